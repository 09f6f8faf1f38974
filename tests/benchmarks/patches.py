"""Whether the chosen patch of prediction costs accuracy: both starters with several patches, on data that training
never saw. The land-cover map's accuracy and mean IoU on rows 384 to 768 of the Zion scene, Dice of the hippocampus'
test cases, and the seam index of each (1: labels change at borders of tiles as often as elsewhere).

``python tests/benchmarks/patches.py [--scene auto card 512,512 ...] [--volumes auto card 64,64,64 ...]``
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
from spacing import HIPPOCAMPUS, LABELS, names
from timing import DATA, show

import seg_batch
from seg_batch.config.options import declared
from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.bundles import find_bundle

ROWS = slice(384, 768)
ZION = DATA / "zion_landsat8_nlcd"
SCENE, VOLUMES = "landsat8-landcover", "hippocampus-mri"
SCENE_PATCHES = ("card", "auto", "256,256", "512,512", "768,512")
VOLUME_PATCHES = ("card", "auto", "32,32,32", "64,64,64")
type Scores = dict[str, float]


def options(patch: str) -> dict[str, Any]:
    """Of ``seg_batch.predict``; before there was a choice every patch was the card's."""
    if "patch" not in declared(PredictOptions):
        return {}
    return {"patch": patch if patch in ("auto", "card") else tuple(map(int, patch.split(",")))}


def predicted(image: Path, output: Path, model: str, patch: str) -> dict[str, Any]:
    return seg_batch.predict(
        image,
        output,
        model=model,
        precision="float32",
        force=True,
        overwrite=True,
        **options(patch),
    )


def seams(report: dict[str, Any]) -> float:
    """1 where a single tile holds the image, which then has no seams."""
    index = report["seams"] and report["seams"]["index"]
    return 1.0 if index is None else float(index)


def scene(patch: str, work: Path) -> tuple[Scores, list[int]]:
    """Scores on the rows that training did not see, and the patch."""
    out = work / "map.tif"
    report = predicted(ZION / "landsat8_b2345.tif", out, SCENE, patch)
    with rasterio.open(ZION / "label_nlcd8_on_landsat_grid.tif") as file:
        truth, nodata = file.read(1)[ROWS], file.nodata
    with rasterio.open(out) as file:
        labels = file.read(1)[ROWS]
    valid = truth != nodata
    labels, truth = labels[valid], truth[valid]
    ious = [
        ((labels == c) & (truth == c)).sum() / ((labels == c) | (truth == c)).sum()
        for c in np.unique(truth)
    ]
    accuracy = float((labels == truth).mean())
    scores = {"accuracy": accuracy, "iou": float(np.mean(ious)), "seams": seams(report)}
    return scores, report["plan"]["patch"]


def volumes(patch: str, work: Path) -> tuple[Scores, list[int]]:
    """Means over the test cases, and the patch of the last."""
    dice, indices = [], []
    for case in names(find_bundle(VOLUMES).card, "test"):
        out = work / "labels.nii"
        report = predicted(HIPPOCAMPUS / "images" / f"{case}.nii.gz", out, VOLUMES, patch)
        labels = np.asarray(nibabel.load(out).dataobj)
        truth = np.asarray(nibabel.load(HIPPOCAMPUS / "labels" / f"{case}.nii.gz").dataobj)
        pairs = [(labels == label, truth == label) for label in LABELS]
        dice += [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]
        indices.append(seams(report))
    scores = {"dice": float(np.mean(dice)), "seams": statistics.mean(indices)}
    return scores, report["plan"]["patch"]


def compare(
    name: str, patches: list[str], scored: Callable[[str, Path], tuple[Scores, list[int]]]
) -> None:
    """Show the table, and what ``auto`` gains or loses over ``card``."""
    table: dict[str, Scores] = {}
    with tempfile.TemporaryDirectory() as folder:
        for patch in patches:
            table[patch], sides = scored(patch, Path(folder))
            if len(table) == 1:
                print(f"| {name}: patch | sides | {' | '.join(table[patch])} |")
                print("|---|---|" + "---|" * len(table[patch]))
            cells = [f"{value:.4f}" for value in table[patch].values()]
            print(f"| {patch} | {' x '.join(map(str, sides))} | {' | '.join(cells)} |", flush=True)
    if not {"auto", "card"} <= table.keys():
        return
    auto, card = table["auto"], table["card"]
    change = {key: auto[key] - card[key] for key in auto if key != "seams"}
    change["seams"] = auto["seams"] / card["seams"]
    text = ", ".join(f"{key} {value:+.4f}" for key, value in change.items() if key != "seams")
    show(
        f"patches, {name}",
        f"auto against card: {text}, seam index x{change['seams']:.3f}",
        table=table,
        **change,
    )


def main() -> None:
    if not DATA.is_dir():
        sys.exit("no real data: set SEGBATCH_DATA")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", nargs="*", default=SCENE_PATCHES)
    parser.add_argument("--volumes", nargs="*", default=VOLUME_PATCHES)
    asked = parser.parse_args()
    if "patch" not in declared(PredictOptions):
        print("every patch is the card's: predict has no option for it")
    for name, patches, scored in (
        ("scene", asked.scene, scene),
        ("volumes", asked.volumes, volumes),
    ):
        if patches:
            compare(name, list(patches), scored)


if __name__ == "__main__":
    main()
