"""What the hippocampus starter makes of volumes of other spacings, in three ways: as they are, resampled by
hand first (scipy on whole arrays), and by ``--resample auto``. Dice and volume error on the acquired grid.

The acquisitions are simulated from the cases that training never saw. Along axes where voxels become
larger, an image is averaged over them (a box as slice profile); where they become smaller it is interpolated,
cubic. The long axis of thick slices is the last one, S. The edges of both grids coincide, so a voxel of
5 mm may be 5.1 mm long. Truth is one-hot through the same map (average, or linear), then the largest.

Dice: mean over anterior and posterior and over cases. Volume error: |predicted - true| / true of one class in one
case, mean over both classes and over cases. By hand: the image by the rules named, cubic where nothing
is said, then the model's probabilities linearly back.

``python tests/benchmarks/spacing.py [--model hippocampus-mri] [--part test] [--rules] [--axes]``: with ``--rules``
further rules of resampling by hand, with ``--axes`` thick slices along the other axes too.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import zoom
from timing import DATA, show

import seg_batch
from seg_batch.config.options import declared
from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.bundles import find_bundle

HIPPOCAMPUS = DATA / "msd_hippocampus"
MODEL_MM, LABELS, THICK_RATIO, NEAR = 1.0, (1, 2), 3.0, 1.02
GRIDS: dict[str, tuple[float, float, float] | None] = {
    "native, 1 mm": None,
    "2 mm": (2, 2, 2),
    "1 x 1 x 3 mm": (1, 1, 3),
    ".7 x .7 x 5 mm": (0.7, 0.7, 5),
    ".5 mm": (0.5, 0.5, 0.5),
}
OTHER_AXES = {
    "3 x 1 x 1 mm": (3, 1, 1),
    "1 x 3 x 1 mm": (1, 3, 1),
    "5 x .7 x .7 mm": (5, 0.7, 0.7),
    ".7 x 5 x .7 mm": (0.7, 5, 0.7),
}
# Dice at least, volume error at most.
GOALS = {
    "2 mm": (0.85, 0.08),
    "1 x 1 x 3 mm": (0.84, 0.08),
    ".7 x .7 x 5 mm": (0.76, 0.12),
    ".5 mm": (0.87, 0.06),
}
type Sizes = tuple[float, ...]


@dataclass(frozen=True)
class Rules:
    """Of resampling by hand: the way in where voxels become smaller, larger, or are thick; the way back."""

    up: str = "cubic"
    down: str = "cubic"
    thick: str = "cubic"
    back: str = "linear"

    def __str__(self) -> str:
        return f"up {self.up}, down {self.down}, thick {self.thick}, back {self.back}"


HAND = Rules()
UPS, DOWNS = ("linear", "cubic"), ("cubic", "linear", "area")
THICKS, BACKS = ("nearest", "linear", "cubic"), ("linear", "area")
OTHER_RULES = {
    "2 mm": [Rules(up=up, back=back) for up in UPS for back in BACKS],
    "1 x 1 x 3 mm": [Rules(up=up, back=back) for up in THICKS for back in BACKS],
    ".7 x .7 x 5 mm": [
        *(Rules(down="area", thick=thick, back=back) for thick in THICKS for back in BACKS),
        *(Rules(thick=thick) for thick in THICKS),
    ],
    ".5 mm": [Rules(down=down) for down in DOWNS],
}


@dataclass(frozen=True)
class Case:
    """One acquisition: ``image`` on disk, ``truth`` int ``(X, Y, Z)`` on its grid, mm per voxel and axis."""

    image: Path
    truth: np.ndarray
    sizes: Sizes


@dataclass(frozen=True)
class Scores:
    dice: float
    volume_error: float
    by_class: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.dice:.4f} | {100 * self.volume_error:.1f} %"


def along(values: np.ndarray, axis: int, n: int, rule: str) -> np.ndarray:
    """``values`` with ``n`` voxels along an axis, the edges of both grids the same."""
    if rule == "area":
        return np.moveaxis(
            np.tensordot(overlaps(values.shape[axis], n), values, (1, axis)), 0, axis
        )
    factors = [1.0] * values.ndim
    factors[axis] = n / values.shape[axis]
    order = {"nearest": 0, "linear": 1, "cubic": 3}[rule]
    return np.asarray(zoom(values, factors, order=order, mode="nearest", grid_mode=True))


@cache
def overlaps(n: int, m: int) -> np.ndarray:
    """``(m, n)``: the share of each of m voxels that lies in each of n, over the same length."""
    inner, outer = np.arange(n + 1) * m, np.arange(m + 1) * n
    low = np.maximum(inner[None, :-1], outer[:-1, None])
    high = np.minimum(inner[None, 1:], outer[1:, None])
    return np.maximum(high - low, 0) / n


def mapped(values: np.ndarray, shape: tuple[int, ...], finer: str, coarser: str) -> np.ndarray:
    """Axis by axis, by one rule where voxels become smaller and by another where they become larger."""
    for axis, (old, new) in enumerate(zip(values.shape, shape, strict=False)):
        if new != old:
            values = along(values, axis, new, finer if new > old else coarser)
    return values


def labels_of(shares: np.ndarray) -> np.ndarray:
    """Of shares or probabilities ``(X, Y, Z, 3)``."""
    return np.asarray(shares.argmax(-1))


def acquired(name: str, sizes: Sizes | None, folder: Path) -> Case:
    """The case as a scanner with voxels of ``sizes`` would give it; None: as it is."""
    file = nibabel.load(HIPPOCAMPUS / "images" / f"{name}.nii.gz")
    truth = np.asarray(nibabel.load(HIPPOCAMPUS / "labels" / f"{name}.nii.gz").dataobj).astype(int)
    shape = truth.shape
    if sizes is not None:
        shape = tuple(max(1, round(n / size)) for n, size in zip(shape, sizes, strict=True))
    image = mapped(np.asarray(file.dataobj, float), shape, "cubic", "area")
    path = written(folder / f"{name}.nii", image, file.affine, truth.shape, file.get_data_dtype())
    labels = labels_of(mapped(np.eye(3)[truth], shape, "linear", "area"))
    real = tuple(MODEL_MM * a / b for a, b in zip(truth.shape, shape, strict=True))
    return Case(path, labels, real)


def written(
    path: Path, image: np.ndarray, affine: np.ndarray, old: tuple[int, ...], dtype: np.dtype
) -> Path:
    """A NIfTI over the box that ``old`` voxels of ``affine`` fill."""
    factors = np.array(old) / image.shape
    placed = affine @ np.diag([*factors, 1])
    placed[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        image = np.rint(image).clip(limits.min, limits.max)
    nibabel.save(nibabel.Nifti1Image(image.astype(dtype), placed), path)
    return path


class Ways:
    """The ways from an acquisition to its labels."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder, self._inputs = model, folder, itertools.count()
        # Without this option nothing is ever resampled.
        self.resamples = "resample" in declared(PredictOptions)
        self._predicted: dict[tuple[Path, tuple[str, ...]], np.ndarray] = {}

    def as_is(self, case: Case) -> np.ndarray:
        return self._predict(case.image, "never")

    def auto(self, case: Case) -> np.ndarray:
        return self._predict(case.image, "auto")

    def by_hand(self, case: Case, rules: Rules = HAND) -> np.ndarray:
        return labels_of(
            mapped(self._probabilities(case, rules), case.truth.shape, "linear", rules.back)
        )

    def _probabilities(self, case: Case, rules: Rules) -> np.ndarray:
        """``(X, Y, Z, 3)`` on the model's grid; the way back does not matter for them."""
        key = case.image, (rules.up, rules.down, rules.thick)
        if key not in self._predicted:
            self._predicted[key] = self._predict(self._resampled(case, rules), "never", True)
        return self._predicted[key]

    def _resampled(self, case: Case, rules: Rules) -> Path:
        file = nibabel.load(case.image)
        image = np.asarray(file.dataobj, np.float32)
        for axis, size in enumerate(case.sizes):
            thick = size / min(case.sizes) > THICK_RATIO * NEAR
            rule = rules.thick if thick else rules.up if size > MODEL_MM else rules.down
            if not 1 / NEAR < size / MODEL_MM < NEAR:
                n = round(image.shape[axis] * size / MODEL_MM)
                image = along(image, axis, n, rule)
        path = self.folder / f"by-hand-{next(self._inputs)}.nii"
        return written(path, image, file.affine, case.truth.shape, image.dtype)

    def _predict(self, image: Path, resample: str, probabilities: bool = False) -> np.ndarray:
        out = self.folder / f"out-{next(self._inputs)}_labels.nii"
        options = {"resample": resample} if self.resamples else {}
        report = seg_batch.predict(
            image,
            out,
            model=self.model,
            precision="float32",
            force=True,
            probabilities=probabilities,
            **options,
        )
        path = report["probabilities" if probabilities else "product"]["path"]
        return np.asarray(nibabel.load(path).dataobj)


def scores(cases: list[Case], maps: list[np.ndarray]) -> Scores:
    dice, errors = [], []
    for case, labels in zip(cases, maps, strict=True):
        pairs = [(labels == label, case.truth == label) for label in LABELS]
        dice.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
        errors.append([abs(a.sum() - b.sum()) / b.sum() for a, b in pairs])
    by_class = tuple(float(e) for e in np.mean(errors, axis=0))
    return Scores(float(np.mean(dice)), float(np.mean(errors)), by_class)


def names(card: seg_batch.ModelCard, part: str) -> list[str]:
    return [name for name, where in card.split["cases"].items() if where == part]


def rows(asked: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Scores]]:
    """``(grid, way, scores)``."""
    ways = Ways(asked.model, folder)
    cases_of = names(find_bundle(asked.model).card, asked.part)
    for grid, sizes in (GRIDS | (OTHER_AXES if asked.axes else {})).items():
        place = folder / grid.replace(" ", "")
        place.mkdir()
        cases = [acquired(name, sizes, place) for name in cases_of]
        todo: dict[str, Callable[[Case], np.ndarray]] = {"as is": ways.as_is}
        if sizes is not None:
            todo |= {"by hand": ways.by_hand}
        if sizes is not None and ways.resamples:
            todo |= {"auto": ways.auto}
        if asked.rules:
            todo |= {
                f"by hand: {rules}": lambda case, rules=rules: ways.by_hand(case, rules)
                for rules in OTHER_RULES.get(grid, [])
            }
        for way, predict in todo.items():
            yield grid, way, scores(cases, [predict(case) for case in cases])


def main() -> None:
    if not HIPPOCAMPUS.is_dir():
        sys.exit("no real data: set SEGBATCH_DATA")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="hippocampus-mri")
    parser.add_argument("--part", default="test", choices=("test", "validation"))
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--axes", action="store_true")
    asked = parser.parse_args()
    print("| grid | way | Dice | volume error | anterior, posterior |\n|---|---|---|---|---|")
    table: dict[str, dict[str, Scores]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for grid, way, score in rows(asked, Path(folder)):
            table.setdefault(grid, {})[way] = score
            classes = ", ".join(f"{100 * error:.1f} %" for error in score.by_class)
            print(f"| {grid} | {way} | {score} | {classes} |", flush=True)
    report(table)


def report(table: dict[str, dict[str, Scores]]) -> None:
    """What reaches its goal, by the product's own way where there is one."""
    reached = {}
    for grid, (dice, error) in GOALS.items():
        score = table[grid].get("auto", table[grid]["by hand"])
        reached[grid] = score.dice >= dice and score.volume_error < error
    show(
        "spacing",
        ", ".join(f"{grid} {'reached' if good else 'MISSED'}" for grid, good in reached.items()),
        **{
            grid: {way: [s.dice, s.volume_error] for way, s in ways.items()}
            for grid, ways in table.items()
        },
    )


if __name__ == "__main__":
    main()
