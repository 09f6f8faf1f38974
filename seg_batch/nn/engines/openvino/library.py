"""OpenVINO, imported at its first use and without its telemetry.

Each ``import openvino`` forks a process and reports to an analytics service (its dependency
``openvino-telemetry``, on unless the user opts out). Pixels here may be patients', and machines
offline. OpenVINO works without that dependency too, so its import is made to fail.
Every module takes `openvino` from here.
"""

import functools
import importlib
import sys
from typing import Any


@functools.cache
def _library() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # import fails
    importlib.import_module("openvino.passes")
    return importlib.import_module("openvino")


class _AtFirstUse:
    def __getattr__(self, name: str) -> Any:
        return getattr(_library(), name)


openvino: Any = _AtFirstUse()

__all__ = ["openvino", "openvino_core"]


@functools.cache
def openvino_core() -> Any:
    """The only core of this process, which is never freed.

    A core gives the thread that compiles with it a stack for signals, and frees the stack with itself:
    with a second core alive, the next SIGINT or SIGTERM of the process would run on freed memory.
    """
    return openvino.Core()
