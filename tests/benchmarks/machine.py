"""The machine that figures were measured on: what matters for them, and nothing that says whose it is."""

import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from seg_batch.core import hardware

GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """``cpu``: its name, with family and model, since some names tell less than the generation."""

    cpu: str
    cores: int
    avx512: bool
    bfloat16: bool
    memory_gib: int
    gpus: int

    def __str__(self) -> str:
        can = [name for name in ("avx512", "bfloat16") if getattr(self, name)]
        speed = f"with {' and '.join(can)}" if can else "without avx512 and bfloat16"
        return (
            f"{self.cpu}, {self.cores} cores, {speed}, {self.memory_gib} GiB, "
            f"{self.gpus or 'no'} GPU{'s' if self.gpus > 1 else ''}"
        )

    @property
    def kind(self) -> str:
        """The name of the file of its kept figures."""
        parts = [self.cpu, f"{self.cores} cores", "bfloat16" if self.bfloat16 else "float32"]
        parts += [f"{self.gpus} gpu"] if self.gpus else []
        return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")

    def has(self, feature: str) -> bool:
        return bool(asdict(self)[feature])


def this_machine() -> Machine:
    return Machine(
        _cpu(),
        hardware.cores(),
        hardware.has_avx512(),
        hardware.has_bfloat16(),
        round(hardware.memory_bytes() / GIB),
        hardware.gpus(),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    name = re.sub(r"\((R|TM)\)| CPU| Processor|\s+@.*", "", facts.get("model name", "CPU"))
    known = "cpu family" in facts and "model" in facts
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if known else name
