"""Scripts whose workers would run them again: refused before any worker starts."""

from __future__ import annotations

import sys
from pathlib import Path

from seg_batch.core.errors import ClusterError

GUARDS = ("__name__", "parent_process", "current_process")


def require_guard() -> None:
    """ClusterError where the script that runs can't be imported by the workers without running its calls again.

    A spawned process imports the script of its parent. Without a test of ``__name__`` it starts workers
    itself, and dies of it, and so does its successor. Modules (``python -m``) and consoles are let be.
    """
    main = sys.modules.get("__main__")
    name = getattr(main, "__file__", None)
    if name is None or getattr(main, "__spec__", None) is not None:
        return
    script = Path(name)
    if script.suffix != ".py" or not script.is_file():
        return
    text = script.read_text(encoding="utf-8", errors="replace")
    if not any(guard in text for guard in GUARDS):
        raise ClusterError(
            f"{script.name} would be run again by each of its workers, which import it: put its calls "
            'below a line if __name__ == "__main__": or take workers=1'
        )
