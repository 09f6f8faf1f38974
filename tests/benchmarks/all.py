"""All benchmarks of ``make bench``, or those named, and one table of their figures.

``python tests/benchmarks/all.py [efficiency overhead ...] [--long] [--keep]``: ``--long`` for those of
``make bench-long``; ``--keep`` writes this run's figures over the last kept ones of machines of this kind
(tests/benchmarks/kept). The table lies in build/bench as table.txt and table.md, beside what it is made of.
"""

import argparse
import datetime
import os
import subprocess
import sys
import time
from pathlib import Path

import table
from machine import this_machine
from timing import LINES, ROOT

# In less than 30 minutes on two cores that do nothing else.
NAMES = (
    "startup",
    "efficiency",
    "overhead",
    "empty",
    "dicom_survey",
    "memory",
    "monai",
    "monai_volume",
    "nnunet",
    "csmask",
    "patches",
    "gpu",
)
LONG = {
    "monai": ("--side", "3072"),
    "nnunet": ("--only", "volumes"),
    "engines": (),
    "archs": (),
    "workers": (),
    "feed": (),
    "training": (),
    "crf": (),
    "crf_gain": (),
    "post": (),
    "resample": (),
    "simulation": (),
    "spacing": (),
    "warmth": (),
    "leaks": (),
    "scale": (),
    "remote": (),
}
OUT = ROOT / "build" / "bench"


def run(name: str, arguments: tuple[str, ...]) -> str:
    """Run one benchmark; how long it took, and whether it failed."""
    start = time.perf_counter()
    script = Path(__file__).parent / f"{name}.py"
    status = subprocess.run([sys.executable, str(script), *arguments]).returncode
    seconds = time.perf_counter() - start
    return f"{name} {seconds:.0f} s" + (f" (ended with {status})" if status else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    machine, lines = this_machine(), OUT / "figures.jsonl"
    names = asked.names or list(LONG if asked.long else NAMES)
    if not machine.gpus and not asked.names:
        names = [name for name in names if name != "gpu"]
    OUT.mkdir(parents=True, exist_ok=True)
    lines.unlink(missing_ok=True)
    os.environ[LINES] = str(lines)
    start = time.perf_counter()
    times = [run(name, LONG.get(name, ()) if asked.long else ()) for name in names]
    minutes = (time.perf_counter() - start) / 60
    shown = table.Lines.read(lines)
    text, markdown = table.pages(shown, machine, [f"{minutes:.1f} minutes: {', '.join(times)}."])
    (OUT / "table.txt").write_text(text)
    (OUT / "table.md").write_text(markdown)
    print(f"\n{text}")
    if asked.keep:
        path = table.keep(shown, machine, datetime.date.today().isoformat())
        print(f"kept in {path.relative_to(ROOT)}")
    failed = [line for line in times if line.endswith(")")]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
