"""The same scores from two implementations that share nothing with ours.

SimpleITK finds surfaces (LabelContour) and distances (Maurer maps) its own way and must agree to
rounding. surface_distance puts surfaces at voxel corners and weighs them by area: it must agree
within one voxel diagonal, except in the percentile of masks riddled with holes, where its weights
make another number; there it must agree once its weights are equal.
"""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seg_batch.evaluation.metrics import confusion as metrics
from seg_batch.evaluation.metrics.case import CaseScores
from tests.support.evaluation.label_maps import SPACINGS, blob, pairs, scored

sitk = pytest.importorskip("SimpleITK")
surface_distance = pytest.importorskip("surface_distance")

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance"),
]
Spacing = tuple[float, ...]


def image(mask: np.ndarray, spacing: Spacing):
    """With a frame of background: SimpleITK's contours do not see the end of the image."""
    found = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    found.SetSpacing(spacing[::-1])
    return found


def by_simpleitk(truth: np.ndarray, found: np.ndarray, spacing: Spacing) -> dict[str, float]:
    """Overlap of the masks; distances between their contours (faces, not corners)."""
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image(found, spacing), image(truth, spacing))  # the second is the truth
    t, p = (sitk.LabelContour(image(m, spacing), False) for m in (truth, found))
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(t, p)
    there, back = (_distances(a, b) for a, b in ((t, p), (p, t)))
    return {
        "dice": overlap.GetDiceCoefficient(),
        "iou": overlap.GetJaccardCoefficient(),
        "missed": overlap.GetFalseNegativeError(),
        "wrong": overlap.GetFalseDiscoveryRate(),
        "hausdorff": hausdorff.GetHausdorffDistance(),
        "surface_distance": float(np.concatenate([there, back]).mean()),
        "hausdorff95": max(_percentile(there), _percentile(back)),
    }


def _distances(here, there) -> np.ndarray:
    """From each voxel of one contour to the other contour."""
    away = sitk.SignedMaurerDistanceMap(
        there, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return np.abs(sitk.GetArrayFromImage(away)[sitk.GetArrayFromImage(here) > 0])


def _percentile(distances: np.ndarray) -> float:
    return float(np.quantile(distances, 0.95, method="inverted_cdf"))


def assert_simpleitk_agrees(
    scores: CaseScores, k: int, truth: np.ndarray, found: np.ndarray, spacing: Spacing
) -> None:
    theirs = by_simpleitk(truth, found, spacing)
    matrix = scores.confusion
    ours = {
        "dice": metrics.dice(matrix)[k],
        "iou": metrics.iou(matrix)[k],
        "missed": 1 - metrics.sensitivity(matrix)[k],
        "wrong": 1 - metrics.precision(matrix)[k],
    }
    assert {name: theirs[name] for name in ours} == pytest.approx(ours, abs=1e-6)
    for name in ("hausdorff", "hausdorff95", "surface_distance"):  # theirs are float32
        assert theirs[name] == pytest.approx(getattr(scores, name)[k], rel=1e-5, abs=1e-5), name


def equal_weights(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: np.ones_like(v) if "areas" in k else v for k, v in theirs.items()}


def assert_corners_agree(
    scores: CaseScores,
    k: int,
    truth: np.ndarray,
    found: np.ndarray,
    spacing: Spacing,
    riddled: bool = False,
) -> None:
    theirs = surface_distance.compute_surface_distances(truth, found, spacing)
    percentile_of = equal_weights(theirs) if riddled else theirs
    diagonal = math.hypot(*spacing)
    average = np.mean(surface_distance.compute_average_surface_distance(theirs))
    assert scores.hausdorff95[k] == pytest.approx(
        surface_distance.compute_robust_hausdorff(percentile_of, 95), abs=diagonal
    )
    assert scores.hausdorff[k] == pytest.approx(
        surface_distance.compute_robust_hausdorff(theirs, 100), abs=diagonal
    )
    assert scores.surface_distance[k] == pytest.approx(average, abs=diagonal)


def assert_both_agree(
    truth: np.ndarray, found: np.ndarray, spacing: Spacing, riddled: bool = False
) -> int:
    """Class by class where both maps have the class; how many these were."""
    scores, compared = scored(truth, found, spacing=spacing), 0
    for k in range(3):
        t, p = truth == k, found == k
        if t.any() and p.any():
            assert_simpleitk_agrees(scores, k, t, p, spacing)
            assert_corners_agree(scores, k, t, p, spacing, riddled and k == 0)
            compared += 1
    return compared


@pytest.fixture(scope="module")
def labels(data: Path) -> list[np.ndarray]:
    """Hippocampi: 0 elsewhere, 1 anterior, 2 posterior, 1 mm."""
    paths = sorted((data / "msd_hippocampus" / "labels").glob("*.nii.gz"))
    assert len(paths) > 10
    return [np.asanyarray(nibabel.load(p).dataobj).astype(np.uint8) for p in paths]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.2)])
def test_hippocampi_against_their_neighbours_in_the_list(
    labels: list[np.ndarray], spacing: Spacing
) -> None:
    compared = 0
    for a, b in zip(labels[:-1:6], labels[1::6], strict=False):
        common = tuple(slice(0, min(n, m)) for n, m in zip(a.shape, b.shape, strict=True))
        compared += assert_both_agree(a[common], b[common], spacing)
    assert compared >= 3 * (len(labels) // 6 - 1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.2)])
def test_hippocampi_against_themselves_moved_shrunk_and_broken(
    labels: list[np.ndarray], spacing: Spacing
) -> None:
    rng = np.random.default_rng(0)
    for truth in labels[::14]:
        shrunk = np.where(ndimage.binary_erosion(truth > 0), truth, 0)
        broken = np.where(rng.random(truth.shape) < 0.01, 2 - truth, truth)
        for found in (np.roll(truth, (3, -2, 1), (0, 1, 2)), shrunk):
            assert assert_both_agree(truth, found.astype(np.uint8), spacing) == 3
        assert assert_both_agree(truth, broken.astype(np.uint8), spacing, riddled=True) == 3


def test_scattered_holes_weigh_more_by_voxels_than_by_area(labels: list[np.ndarray]) -> None:
    """Where the percentiles part by more than a diagonal, and that the weights are why."""
    truth, unit = labels[0], (1.0, 1.0, 1.0)
    holes = np.random.default_rng(0).random(truth.shape) < 0.01
    found = np.where(holes, 2 - truth, truth).astype(np.uint8)
    ours = scored(truth, found, spacing=unit).hausdorff95[0]
    theirs = surface_distance.compute_surface_distances(truth == 0, found == 0, unit)
    by_area = surface_distance.compute_robust_hausdorff(theirs, 95)
    by_count = surface_distance.compute_robust_hausdorff(equal_weights(theirs), 95)
    assert ours - by_area > math.sqrt(3)
    assert ours == pytest.approx(by_count, abs=math.sqrt(3))


@settings(max_examples=60)
@given(st.data())
def test_simpleitk_agrees_on_masks_of_any_shape(data: st.DataObject) -> None:
    truth, found, valid = data.draw(pairs())
    spacing = data.draw(st.tuples(*[SPACINGS] * truth.ndim))
    scores = scored(truth, found, valid, spacing=spacing)
    for k in range(3):
        t, p = (truth == k) & valid, (found == k) & valid
        if t.any() and p.any():
            assert_simpleitk_agrees(scores, k, t, p, spacing)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(24, 30), (12, 14, 13)]), st.data())
def test_corners_agree_on_blobs(seed: int, shape: tuple[int, ...], data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    spacing = data.draw(st.tuples(*[SPACINGS] * len(shape)))
    truth, found = blob(rng, shape), blob(rng, shape)
    scores = scored(truth.astype(np.uint8), found.astype(np.uint8), spacing=spacing)
    theirs = surface_distance.compute_surface_distances(truth, found, spacing)
    largest = surface_distance.compute_robust_hausdorff(theirs, 100)
    assert scores.hausdorff[1] == pytest.approx(largest, abs=math.hypot(*spacing))
    average = np.mean(surface_distance.compute_average_surface_distance(theirs))
    assert scores.surface_distance[1] == pytest.approx(average, abs=math.hypot(*spacing))
