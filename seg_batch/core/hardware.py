"""The hardware of this machine: memory, cores, GPUs, disk; read from the system, without a library."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

# Values of ONEDNN_MAX_CPU_ISA that exclude AVX-512, and bfloat16.
BELOW_AVX512 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"})
BELOW_BFLOAT16 = BELOW_AVX512 | {"AVX512_CORE", "AVX512_CORE_VNNI"}


MEMORY_SHARE = 0.6  # of a machine, for all workers on it together


def cores() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA devices this process may use (``CUDA_VISIBLE_DEVICES`` is honoured)."""
    return len(gpu_names())


def gpu_names() -> tuple[str, ...]:
    """The names of those devices in ``CUDA_VISIBLE_DEVICES``."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = (name.strip() for name in visible.split(","))
        return tuple(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA's rule
    devices = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return tuple(map(str, sorted(int(device[1]) for device in devices if device)))


def default_precision() -> str:
    """``mixed`` where the hardware computes in half precision (GPU, or a CPU with bfloat16).

    On such a CPU it takes 0.6 of the time, and changes the label of about 1 voxel in 1000, at the same
    accuracy (measured on both starter bundles).
    """
    return "mixed" if gpus() or has_bfloat16() else "float32"


def has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16 without emulation, and libraries may use that."""
    return may_use_bfloat16() and _has_flag("avx512_bf16", "amx_bf16")


def may_use_bfloat16() -> bool:
    """Whether oneDNN, which computes for TensorFlow and OpenVINO, may use bfloat16:
    ``ONEDNN_MAX_CPU_ISA`` names the highest instruction set that it uses."""
    return _highest_isa() not in BELOW_BFLOAT16


def has_avx512() -> bool:
    """Whether the CPU has oneDNN's AVX512_CORE instructions, and oneDNN may use them."""
    return _highest_isa() not in BELOW_AVX512 and _has_flag("avx512bw")


def _highest_isa() -> str:
    limits = (os.environ.get(f"{prefix}_MAX_CPU_ISA", "") for prefix in ("ONEDNN", "DNNL"))
    return next(filter(None, limits), "").upper()


def _has_flag(*names: str) -> bool:
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return re.search(rf"\b({'|'.join(names)})\b", cpu) is not None


def user_cache(kind: str) -> Path:
    """``$XDG_CACHE_HOME/segbatch/<kind>``; RuntimeError where there is no home folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "segbatch" / kind


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _meminfo(key: str) -> int | None:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == key:
                return int(rest.split()[0]) * 1024
    return None


def _cgroup_bytes() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return int(Path(path).read_text())
    return None


def memory_bytes() -> int:
    """Memory of the machine, or of the container when that is smaller."""
    total, limit = _meminfo("MemTotal"), _cgroup_bytes()
    if total is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total if limit is None else min(total, limit)


def available_bytes() -> int:
    """Memory that new work can take without swapping (the kernel's estimate)."""
    available = _meminfo("MemAvailable")
    return memory_bytes() if available is None else available


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far.

    ``VmHWM`` and not ``ru_maxrss``: the latter is inherited from the parent across ``exec``.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rss_bytes() -> int:
    """Resident memory of this process now; where the system does not tell, its largest so far."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return peak_rss_bytes()


def here() -> str:
    """The name of this process in receipts, journals and logs."""
    import socket  # 10 ms, and seldom wanted

    return f"{socket.gethostname()}:{os.getpid()}"


def existing(folder: Path) -> Path:
    """The folder, absolute, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def disk_free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
