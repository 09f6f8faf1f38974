"""The numbers of a dataset by each scheme, against numpy on the voxels that they may be of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_batch.config.card import Normalisation
from seg_batch.core.errors import InputError
from seg_batch.core.normalise import MaskedNormaliser, Normaliser, Pixels
from seg_batch.core.statistics.schemes import measured
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.held_out_cases import require_card
from seg_batch.io.sources.views.open_view import Axes, open_view
from tests.support.files import write_raster, write_volume
from tests.support.training.recipes import recipe

ORGANS = [{"id": 0, "name": "nothing"}, {"id": 1, "name": "liver"}, {"id": 5, "name": "tumour"}]
SHAPE = (60, 50)
BOX = (slice(20, 40), slice(10, 50))
HELD = {"test": {"boxes": [[[20, 10], [40, 50]]]}, "gap": 0}


def pair(folder: Path, name: str, values: np.ndarray, labels: np.ndarray, scale: float = 1) -> str:
    """``image=label``; stored as whole numbers from 0 on where the scale is not 1."""
    image = folder / f"{name}.tif"
    write_raster(
        image, values[None] if scale == 1 else ((values + 1024) / scale)[None].astype("u2")
    )
    if scale != 1:
        with rasterio.open(image, "r+") as file:
            file.scales, file.offsets = (scale,), (-1024,)
    return f"{image}={write_raster(folder / f'{name}_label.tif', labels[None])}"


def body(seed: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Air around organs of even HU, and voxels of nobody knows what."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 0, 1, 5, 255], SHAPE).astype(np.uint8)
    values = np.where(labels == 0, -1000, 2 * rng.normal(mean, 15, SHAPE).round())
    return np.where(labels == 255, 3000, values).astype(np.int16), labels


def test_ct_is_measured_on_the_foreground_that_training_may_see(tmp_path: Path) -> None:
    """Files of other types and scales are one distribution; a held-out box, and a held-out case, hold metal."""
    bodies = [body(1, 20), body(2, 30), body(3, 900)]
    for values, _ in bodies[:2]:
        values[BOX] = 2998
    seen = [values[np.isin(labels, (1, 5)) & (values < 2998)] for values, labels in bodies[:2]]
    together = np.concatenate(seen).astype(float)
    pairs = [
        pair(tmp_path, "a", *bodies[0]),
        pair(tmp_path, "b", *bodies[1], scale=2),
        pair(tmp_path, "c", bodies[2][0].astype(np.float32), bodies[2][1]),
    ]
    hold_out = {"validation": {"cases": ["c"]}, **HELD}
    made = recipe(card={"normalisation": "ct", "classes": ORGANS}, hold_out=hold_out)
    make_patches(pairs, tmp_path / "d.zarr", made)
    numbers = PatchSet(tmp_path / "d.zarr").normaliser
    np.testing.assert_allclose(numbers.mean, [together.mean()])
    np.testing.assert_allclose(numbers.std, [together.std()])
    limits = [numbers.low, numbers.high]
    np.testing.assert_allclose(limits, np.percentile(together, (0.5, 99.5))[:, None])
    card = made.card.card(numbers)
    assert card.normalisation.kind == "card"
    assert card.normalisation.normaliser() == numbers


@pytest.mark.parametrize(
    "kind",
    ["nonzero", *(pytest.param(k, marks=pytest.mark.full) for k in ("range", "percentiles"))],
)
def test_each_image_has_numbers_of_its_own(tmp_path: Path, kind: str) -> None:
    """Training patches those of what training may see, held-out boxes those of the whole, as in predict."""
    values, labels = body(4, 50)
    values[values == -1000] = 0
    values[BOX] = 20_000
    kept = np.ones(SHAPE, bool)
    kept[BOX] = False
    files = pair(tmp_path, "a", values, np.where(labels == 255, 0, labels))
    made = recipe(card={"normalisation": kind, "classes": ORGANS}, hold_out=HELD)
    make_patches([files], tmp_path / "d.zarr", made)
    patches = PatchSet(tmp_path / "d.zarr")
    case, (region,) = patches.cases[0], patches.held("test")
    training = Normaliser.from_json(case["training_normaliser"])
    outside = [Pixels(values[kept][:, None])]
    expected = measured(kind, outside, ("address",), "a.tif")
    assert isinstance(training, MaskedNormaliser) == (kind == "nonzero")
    np.testing.assert_allclose([training.mean, training.std], [expected.mean, expected.std])
    with open_view(files.split("=")[0], Axes()) as view:
        assert region.normaliser == view.statistics(kind)
    row = patches.rows("training")[0]
    start = tuple(patches.start[row])
    box = tuple(slice(a, a + 16) for a in start)
    np.testing.assert_array_equal(patches.read(row)[0], training(Pixels(values[box][..., None])))
    card = made.card.card(patches.normaliser)
    require_card(patches, card)
    other = card.model_copy(update={"normalisation": Normalisation(kind="source")})
    with pytest.raises(InputError, match=rf"other normalisation \({kind} against source\)"):
        require_card(patches, other)


@pytest.mark.parametrize("kind", ["nonzero", pytest.param("range", marks=pytest.mark.full)])
def test_training_and_predict_measure_the_voxels_of_the_file(tmp_path: Path, kind: str) -> None:
    """A bright body in air of 0, at 2 mm and turned, for a model of 1 mm: no number is of what weights make of it, nor
    of a voxel that a held-out box touches."""
    values = np.zeros((10, 10, 10), np.int16)  # x, y, z
    values[2:9, 2:8, 2:8] = np.random.default_rng(8).normal(800, 50, (7, 6, 6))
    kept = np.ones(values.shape, bool)
    kept[5:, 2:6] = False  # x runs backwards
    boxes = [[[0, 4, 0], [20, 12, 9]]]
    turned = np.diag([-2.0, 2, 2, 1])
    image = write_volume(tmp_path / "a.nii", values, turned)
    label = write_volume(tmp_path / "b.nii", (values > 800).astype(np.uint8), turned)
    sides = {"patch": [8] * 3, "overlap": [0] * 3}
    made = recipe(
        3,
        card={"normalisation": kind, "spacing_mm": [1] * 3, "classes": ORGANS[:2], **sides},
        cut=sides,
        hold_out={"test": {"boxes": boxes}, "gap": 0},
    )
    make_patches([f"{image}={label}"], tmp_path / "d.zarr", made)
    (case,) = PatchSet(tmp_path / "d.zarr").cases
    assert case["extent"] == [20, 20, 20]
    for name, seen in (("normaliser", values), ("training_normaliser", values[kept])):
        expected = measured(kind, [Pixels(seen.reshape(-1, 1))], ("a",), "a.nii")
        found = Normaliser.from_json(case[name])
        np.testing.assert_allclose([found.mean, found.std], [expected.mean, expected.std])


def test_a_scheme_that_would_make_one_value_of_all_is_refused(tmp_path: Path) -> None:
    values, labels = body(5, 50)
    rare = np.zeros(SHAPE)
    rare[0, :20] = 3
    for kind, image, said in (
        (
            "ct",
            np.where(labels == 0, values, 40),
            r"address is 40 from percentile 0\.5 to 99\.5 of the foreground",
        ),
        ("percentiles", rare, r"a\.tif: band1 is 0 from percentile 2 to 98"),
    ):
        files = pair(tmp_path, "a", image.astype(np.int16), labels)
        made = recipe(card={"normalisation": kind, "classes": ORGANS})
        with pytest.raises(InputError, match=said):
            make_patches([files], tmp_path / "d.zarr", made)
    assert not list(tmp_path.glob("d.zarr*"))
