"""Many small volumes in one run against as many commands, each of which starts the program and loads
the model anew; and how long workers have nothing in hand between two inputs.

Targets: 200 volumes in one run at 5 times the rate of 200 commands or more (of which 20 are run, and
the others counted as the same); less than 10 % idle. Volumes of the size of the hippocampus' ones.

``python tests/benchmarks/warmth.py [--inputs 200] [--commands 20] [--workers 1]``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from nights import Night, make_volumes, make_workflow, run_night
from timing import SEGBATCH, seconds_of, show

TARGET, IDLE = 5.0, 0.10
MODEL = "hippocampus-mri"


def idle_share(night: Night) -> float:
    """Of the time from the first input begun to the last one finished, the part in which a worker had
    no input in hand; the mean over workers."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in night.events:
        if event["event"] == "done":
            outcome = event["outcome"]
            spans[outcome["worker"]].append((outcome["began"], outcome["finished"]))
    first = min(began for spent in spans.values() for began, _ in spent)
    last = max(finished for spent in spans.values() for _, finished in spent)
    busy = sum(covered(spent) for spent in spans.values())
    return 1 - busy / (len(spans) * (last - first))


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    length, end = 0.0, float("-inf")
    for began, finished in sorted(spans):
        length += max(0.0, finished - max(began, end))
        end = max(end, finished)
    return length


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--inputs", type=int, default=200)
    asked.add_argument("--commands", type=int, default=20)
    asked.add_argument("--workers", type=int, default=1)
    told = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        inputs = make_volumes(work / "inputs", told.inputs)
        lines = (f"model: {MODEL}", f"workers: {told.workers}")
        some = sorted(inputs.iterdir())[: told.commands]

        def command(path: Path) -> None:
            options = ["--model", MODEL, "-o", str(work / "alone" / path.name), "--quiet"]
            subprocess.run([*SEGBATCH, "predict", str(path), *options], check=True)

        (work / "alone").mkdir()
        command(some[0])  # what is kept between commands is there: the converted model
        alone = seconds_of(lambda: [command(path) for path in some]) / len(some)
        night = run_night(make_workflow(work / "night", inputs, *lines))
        for path in some:
            one = work / "night" / "out" / f"{path.name.split('.')[0]}_labels.nii.gz"
            if one.read_bytes() != (work / "alone" / path.name).read_bytes():
                raise SystemExit(f"{one} is not what predict alone makes of {path}")
    ratio = alone * told.inputs / night.seconds
    idle = idle_share(night)
    show(
        "warmth",
        f"{told.inputs} volumes in {night.seconds:.1f} s in one run, report and all; one command takes "
        f"{alone:.2f} s ({len(some)} were run), so {told.inputs} would take "
        f"{alone * told.inputs:.0f} s: x{ratio:.1f} (target x{TARGET:.0f}); idle between inputs "
        f"{idle:.1%} (target {IDLE:.0%})",
        ratio=ratio,
        idle=idle,
        seconds=night.seconds,
        one_command_s=alone,
        inputs=told.inputs,
    )
    sys.exit(0 if ratio >= TARGET and idle < IDLE else 1)


if __name__ == "__main__":
    main()
