"""What commands on small files cost from start to end: processor seconds of all their processes, imports and all.

The model of ``predict`` is the hippocampus starter, converted beforehand as any earlier run leaves it.
The median of several commands; a busy machine lengthens their wall time and hardly their processor time.
"""

import statistics
import tempfile
from pathlib import Path

from nights import make_scenes, make_volumes
from timing import ROOT, SEGBATCH, Ran, measured, show

ROUNDS = 5
MODEL = "hippocampus-mri"
SCENE = ROOT / "seg_batch" / "data" / "samples" / "zion_landsat8.tif"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = str(next(make_scenes(work / "scenes", 1).iterdir()))
        volume = str(next(make_volumes(work / "volumes", 1).iterdir()))
        commands = {
            "inspect": ["inspect", scene],
            "plan": ["plan", scene, "--model", "probe"],
            "inspect_scene": ["inspect", str(SCENE)],
            "plan_scene": ["plan", str(SCENE), "--model", "landsat8-landcover"],
            "predict": ["predict", volume, "--model", MODEL, "-o", str(work / "out.nii.gz")],
        }
        commands["predict"] += ["--overwrite", "--quiet"]
        runs: dict[str, list[Ran]] = {name: [] for name in commands}
        for turn in range(ROUNDS + 1):
            for name, command in commands.items():
                ran = measured([*SEGBATCH, *command])
                runs[name] += [ran] if turn else []  # the first one fills caches
    seconds = {name: statistics.median(ran.cpu_s for ran in runs[name]) for name in commands}
    show(
        "startup",
        "processor seconds: " + ", ".join(f"{name} {s:.2f}" for name, s in seconds.items()),
        sides={name: median(runs[name]).costs for name in commands},
        **seconds,
    )


def median(runs: list[Ran]) -> Ran:
    return sorted(runs, key=lambda ran: ran.cpu_s)[len(runs) // 2]


if __name__ == "__main__":
    main()
