"""Whether the number of threads can change what an engine computes here (law 2), and what follows.

Workers have as many threads as their number leaves them, so bytes may not depend on it. Where `is_known`
says so the tests prove that they do not. Elsewhere a bundle is tried when it is first loaded: one patch,
in processes with different numbers of threads. Where the results differ the engine gets one thread. The
answer is kept in the user's cache, by all that it follows from. ``python -m`` this module is such a
process.
"""

import contextlib
import hashlib
import logging
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from seg_batch.core import hardware
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Shape
from seg_batch.core.resources import PACKAGE

THREADS = (1, 2, 7)
ANY = 0  # as many threads as the process was given
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"

_log = logging.getLogger(__name__)


def threads_for(engine: str, weights: Path, sha256: str, precision: str, patch: Shape) -> int:
    """1 where another number of threads could change a bit of what `engine` computes, else `ANY`.

    `patch` is the spatial shape of the patches to come, in voxels. A line is logged for 1.
    """
    if hardware.gpus() or is_known(engine):
        return ANY
    told = [engine, version(engine), sha256, precision, str(patch), hardware.cpu()]
    told.append(os.environ.get(ONEDNN, ""))
    file = hashlib.sha256("|".join(told).encode()).hexdigest()[:32]
    answer = _kept(file) or _tried(engine, weights, precision, patch)
    _keep(file, answer)
    if answer == "same":
        return ANY
    _log.warning(
        "%s computes with one thread: with this model its last bits depend on how many there are; "
        "take more workers for speed, or --engine openvino",
        engine,
    )
    return 1


def is_known(engine: str) -> bool:
    """Whether the tests prove that on this kind of CPU no number of threads changes a bit.

    OpenVINO's convolutions never split a sum among threads, on any x86-64. oneDNN's in TensorFlow do
    below AVX-512, in two dimensions (``gemm:jit``), and TensorFlow's own do everywhere.
    """
    if engine == "keras":
        return True  # one thread on CPUs anyway
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    onednn = os.environ.get(ONEDNN, "1") != "0" and hardware.has_avx512()
    return x86 and (engine == "openvino" or onednn)


def _tried(engine: str, weights: Path, precision: str, patch: Shape) -> str:
    digests = {_digest(engine, weights, precision, patch, threads) for threads in THREADS}
    return "same" if len(digests) == 1 else "different"


def _digest(engine: str, weights: Path, precision: str, patch: Shape, threads: int) -> str:
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    sides = ",".join(map(str, patch))
    # -P: the current folder, where anybody's numpy.py may lie, is no place to import from.
    command = [sys.executable, "-P", "-m", __name__, engine, str(weights), precision, sides]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise PlanError(
            f"{engine} could not be tried with {threads} threads ({reason}): use another --engine"
        )
    return done.stdout.split()[-1]


def _kept(file: str) -> str | None:
    with contextlib.suppress(OSError, RuntimeError, UnicodeDecodeError):
        answer = (hardware.user_cache("threads") / file).read_text()
        return answer if answer in ("same", "different") else None
    return None


def _keep(file: str, answer: str) -> None:
    """Written beside its place and moved there; where there is no place, it is tried again each time."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = hardware.user_cache("threads")
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{file}.{os.getpid()}"
        made.write_text(answer)
        made.replace(folder / file)


def main(engine: str, weights: str, precision: str, sides: str) -> None:
    """Print the digest of one patch of noise, computed by `engine`."""
    from seg_batch.nn.engines.choice import class_of

    predictor = class_of(engine)(weights, precision=precision, threads=ANY)
    shape = (1, *map(int, sides.split(",")), predictor.channels)
    patch = np.random.default_rng(0).standard_normal(shape, np.float32)
    print(hashlib.sha256(predictor(patch).tobytes()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
