"""The grids and rules of other programs: scipy, SimpleITK, scikit-image as nnU-Net calls it."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from hypothesis import given, settings
from scipy import ndimage
from skimage.transform import resize

from seg_batch.core.geometry import Box
from seg_batch.core.resample.resampler import Resampler
from tests.support.resampling import resamplers

SHAPES = [((19, 24, 15), (30, 17, 15)), ((40, 33), (25, 61)), ((64,), (200,))]
ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}


def image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)


def ours(values: np.ndarray, target: tuple[int, ...], *rules: str) -> np.ndarray:
    of = Resampler(values.shape, target, rules * (1 if len(rules) > 1 else values.ndim))
    return of(values[..., None], None, Box.whole(of.source), Box.whole(of.target))[0][..., 0]


@pytest.mark.parametrize(("source", "target"), SHAPES)
@pytest.mark.parametrize("rule", ORDERS)
def test_scipy_zoom(rule: str, source: tuple[int, ...], target: tuple[int, ...]) -> None:
    values = image(source)
    ratios = [b / a for a, b in zip(source, target, strict=True)]
    theirs = ndimage.zoom(
        values.astype(float), ratios, order=ORDERS[rule], mode="nearest", grid_mode=True
    )
    assert np.allclose(ours(values, target, rule), theirs, rtol=0, atol=2e-6)


@settings(max_examples=min(60, settings().max_examples))
@given(resamplers(("linear",)))
def test_scipy_zoom_by_any_ratio(of: Resampler) -> None:
    values = image(of.source)
    ratios = [b / a for a, b in zip(of.source, of.target, strict=True)]
    theirs = ndimage.zoom(values.astype(float), ratios, order=1, mode="nearest", grid_mode=True)
    assert np.allclose(ours(values, of.target, "linear"), theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("source", "target"), SHAPES)
@pytest.mark.parametrize("rule", ORDERS)
def test_scikit_image_as_in_nnunet(
    rule: str, source: tuple[int, ...], target: tuple[int, ...]
) -> None:
    values = image(source)
    theirs = resize(
        values.astype(float), target, ORDERS[rule], mode="edge", clip=False, anti_aliasing=False
    )
    assert np.allclose(ours(values, target, rule), theirs, rtol=0, atol=2e-6)


def test_nnunet_on_thick_slices() -> None:
    """Cubic in plane, nearest across: nnU-Net's resampling where spacings differ more than threefold."""
    values, target = image((6, 20, 24)), (11, 30, 18)
    slices = np.stack(
        [resize(s.astype(float), target[1:], 3, mode="edge", clip=False) for s in values]
    )
    rows = (np.arange(target[0]) + 0.5) * len(values) / target[0] - 0.5
    columns = np.meshgrid(*[np.arange(n) for n in target[1:]], indexing="ij")
    places = [np.broadcast_to(rows[:, None, None], target)]
    places += [np.broadcast_to(c, target) for c in columns]
    theirs = ndimage.map_coordinates(slices, places, order=0, mode="nearest")
    found = ours(values, target, "nearest", "cubic", "cubic")
    assert np.allclose(found[:, :, :], theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("rule", "theirs", "border"),
    [("linear", sitk.sitkLinear, 0), ("nearest", sitk.sitkNearestNeighbor, 0), ("cubic", sitk.sitkBSpline, 16)],
)  # fmt: skip
def test_simpleitk(rule: str, theirs: int, border: int) -> None:
    """Its spline mirrors at the border, so the two agree inside."""
    values, target = image((41, 45, 47)), (57, 39, 61)  # odd: no centre lies on a face
    source = sitk.GetImageFromArray(values.astype(np.float64))
    spacing = [a / b for a, b in zip(values.shape[::-1], target[::-1], strict=True)]
    grid = sitk.Image(target[::-1], sitk.sitkFloat64)
    grid.SetSpacing(spacing)
    grid.SetOrigin([s / 2 - 0.5 for s in spacing])
    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(grid)
    resample.SetInterpolator(theirs)
    resample.SetUseNearestNeighborExtrapolator(True)
    result = sitk.GetArrayFromImage(resample.Execute(source))
    inside = tuple(slice(border, n - border) for n in target)
    assert np.allclose(ours(values, target, rule)[inside], result[inside], rtol=0, atol=2e-6)


def test_area_is_the_mean_of_what_a_voxel_covers() -> None:
    values = image((24, 30))
    means = values.reshape(8, 3, 6, 5).mean((1, 3))
    assert np.allclose(ours(values, (8, 6), "area"), means, rtol=0, atol=1e-6)
    assert np.array_equal(ours(values, (48, 60), "area"), values.repeat(2, 0).repeat(2, 1))
