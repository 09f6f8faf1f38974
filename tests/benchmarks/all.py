"""All benchmarks, or those named: python tests/benchmarks/all.py [efficiency overhead ...]"""

import subprocess
import sys
from pathlib import Path

NAMES = (
    "efficiency",
    "engines",
    "archs",
    "overhead",
    "memory",
    "workers",
    "feed",
    "training",
    "crf",
    "crf_gain",
    "post",
    "monai",
    "resample",
    "simulation",
    "spacing",
    "warmth",
    "leaks",
    "scale",
)

if __name__ == "__main__":
    folder = Path(__file__).parent
    failed = [
        name
        for name in sys.argv[1:] or NAMES
        if subprocess.run([sys.executable, str(folder / f"{name}.py")]).returncode
    ]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
