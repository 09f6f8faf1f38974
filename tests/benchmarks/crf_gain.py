"""What the random field gains or loses on held-out data of the two starter bundles, by `--post crf`.

Accuracy on rows 384 to 768 of the Zion scene and Dice of the hippocampus' test cases: the parts that
neither training nor the choice of the step's defaults has seen (those were chosen on the validation
parts). Intervals: 95 %, bootstrap over squares of 64 x 94 voxels, or over cases. Reports; no target.
"""

import json
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
import rasterio
from timing import DATA, SEGBATCH, run_command, show

ROWS, SQUARE = slice(384, 768), (64, 94)
ZION = DATA / "zion_landsat8_nlcd"
HIPPOCAMPUS = DATA / "msd_hippocampus"


def interval(gains: np.ndarray) -> list[float]:
    """Of the mean of these gains, drawn again with replacement."""
    rng = np.random.default_rng(0)
    means = gains[rng.integers(0, len(gains), (4000, len(gains)))].mean(axis=1)
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


def predict(inputs: list[Path], output: Path, model: str, *post: str) -> None:
    command = [*SEGBATCH, "predict", *map(str, inputs), "-o", str(output), "--model", model]
    run_command([*command, "--precision", "float32", "--json", *post])


def report(what: str, before: np.ndarray, after: np.ndarray) -> dict[str, float | list[float]]:
    low, high = interval(after - before)
    print(
        f"{what}: {before.mean():.4f} before, {after.mean():.4f} after, "
        f"gain {(after - before).mean():+.4f} ({low:+.4f} to {high:+.4f})",
        flush=True,
    )
    return {"before": before.mean(), "after": after.mean(), "interval": [low, high]}


def scene(work: Path) -> dict[str, float | list[float]]:
    """Share of right voxels in each square."""
    with rasterio.open(ZION / "label_nlcd8_on_landsat_grid.tif") as file:
        truth = file.read(1)[ROWS]
    found = []
    for name, post in (("before", ()), ("after", ("--post", "crf"))):
        out = work / f"{name}.tif"
        predict([ZION / "landsat8_b2345.tif"], out, "landsat8-landcover", *post)
        with rasterio.open(out) as file:
            right = file.read(1)[ROWS] == truth
        (h, w), (a, b) = right.shape, SQUARE
        found.append(right.reshape(h // a, a, w // b, b).mean(axis=(1, 3)).ravel())
    return report("landsat8-landcover, accuracy", *found)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over anterior and posterior."""
    pairs = [(found == label, truth == label) for label in (1, 2)]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def volumes(work: Path) -> dict[str, float | list[float]]:
    split = files("seg_batch") / "data/bundles/hippocampus-mri/split.json"
    cases = json.loads(split.read_text())["cases"]
    test = [name for name, part in cases.items() if part == "test"]
    found = []
    for name, post in (("before", ()), ("after", ("--post", "crf"))):
        inputs = [HIPPOCAMPUS / "images" / f"{case}.nii.gz" for case in test]
        predict(inputs, work / name, "hippocampus-mri", *post)
        scores = []
        for case in test:
            labels = nibabel.load(work / name / f"{case}_labels.nii.gz")
            truth = nibabel.load(HIPPOCAMPUS / "labels" / f"{case}.nii.gz")
            scores.append(dice(np.asarray(labels.dataobj), np.asarray(truth.dataobj)))
        found.append(np.array(scores))
    return report(f"hippocampus-mri, Dice of {len(test)} cases", *found)


def main() -> None:
    if not DATA.is_dir():
        sys.exit("no real data: set SEGBATCH_DATA")
    with tempfile.TemporaryDirectory() as folder:
        zion, hippocampus = scene(Path(folder)), volumes(Path(folder))
    show(
        "crf_gain",
        f"accuracy {zion['after'] - zion['before']:+.4f} on the scene, "
        f"Dice {hippocampus['after'] - hippocampus['before']:+.4f} on the volumes",
        scene=zion,
        volumes=hippocampus,
    )


if __name__ == "__main__":
    main()
