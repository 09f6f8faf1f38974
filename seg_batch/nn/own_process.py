"""A module of ours as a process that ends: ``python -m``, its answer in JSON on the last line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from seg_batch.core import errors
from seg_batch.core.errors import Exit, SegbatchError
from seg_batch.core.resources import PACKAGE


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The module in a new process, which has ended; an error of ours that `answer` printed there is raised here."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    # -P: nothing is imported from the current folder, which may contain a numpy.py.
    command = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode == Exit.REFUSED:
        error = json.loads(done.stdout.splitlines()[-1])
        raise getattr(errors, error["kind"])(error["message"])
    return done


def answer(function: Callable[..., Any], *arguments: Any) -> int:
    """The exit status of such a process: prints what the function returns, or its error."""
    try:
        result, status = function(*arguments), 0
    except SegbatchError as error:
        result = {"kind": type(error).__name__, "message": str(error)}
        status = int(Exit.REFUSED)
    print(json.dumps(result))
    return status
