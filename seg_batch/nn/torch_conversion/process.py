"""Scripts that run in a Python with torch, in a process of their own.

A script is a file beside this one with ``main(arguments) -> dict``; a ValueError of it is a refusal in one
line. It sees the Python's own libraries and nothing of segbatch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.text import without_colours

VARIABLE = "SEGBATCH_TORCH_PYTHON"
LONGEST_S = 1800
_NO_CODE = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}  # whatever a script, or torch within it, asks for
_HERE = Path(__file__).resolve().parent


def convert(
    script: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    python: str | None = None,
    extra: str = "torch",
) -> dict[str, Any]:
    """What ``script`` (``torchscript_script``) answers to ``arguments``; it runs with ``folder`` as its working folder.

    ``python``: the interpreter; None: that of ``$SEGBATCH_TORCH_PYTHON``, else this one. ``extra``: of segbatch,
    with the libraries that the script needs. Raises InputError, one line, for any failure.
    """
    interpreter = python or os.environ.get(VARIABLE) or sys.executable
    command = [interpreter, str(_HERE / "run_script.py"), str(_HERE / f"{script}.py"), *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(interpreter),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
        )
    except OSError as error:
        raise InputError(
            f"{interpreter} can't be run ({error.strerror}), and torch runs in it: name a Python that has torch "
            f"by --torch-python or ${VARIABLE}"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{interpreter} did not convert the model within {LONGEST_S // 60} minutes: export it to ONNX "
            "yourself, and import that"
        ) from None
    return _answer(done, interpreter, extra)


def _environment(interpreter: str) -> dict[str, str]:
    """Ours; for another Python without what names the libraries of this one."""
    unsafe = {"PYTHONHOME", "PYTHONPATH"} if interpreter != sys.executable else set()
    kept = {name: value for name, value in os.environ.items() if name not in unsafe}
    return {**kept, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", **_NO_CODE}


def _answer(done: subprocess.CompletedProcess[str], interpreter: str, extra: str) -> dict[str, Any]:
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        last = (without_colours(done.stderr).strip().splitlines() or ["it said nothing"])[-1]
        raise InputError(
            f"the conversion by {interpreter} ended with status {done.returncode} ({last[:200]}): free memory, "
            "or name another Python by --torch-python"
        )
    if missing := answer.get("missing"):
        raise InputError(
            f"{interpreter} has no {missing}, and the model is converted with it: pip install 'segbatch[{extra}]', or "
            f"name a Python that has it by --torch-python or ${VARIABLE}"
        )
    if reason := answer.get("error"):
        raise InputError(" ".join(without_colours(str(reason)).split()))
    return answer
