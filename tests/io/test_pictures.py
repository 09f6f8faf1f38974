"""One renderer: the same voxels have the same brightness and the same colour in every picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.batch.report import quicklook as report_quicklook
from seg_batch.cli.demo import write_preview
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.datasets.label_classes import of_card
from seg_batch.evaluation import overlays
from seg_batch.evaluation.file_pairs import open_labelled_case
from seg_batch.evaluation.matching import Match
from seg_batch.io import quicklook
from seg_batch.io.pictures import (
    NO_DATA,
    OKABE_ITO,
    UPRIGHT,
    Composite,
    bands_shown,
    coloured,
    middle,
    planes,
    png_bytes,
    stretch,
)
from seg_batch.io.sources.thumbnail import downsample
from seg_batch.training import examples
from tests.support.batch.run_folders import pixels
from tests.support.files import write_raster, write_volume

CARD = ModelCard(
    name="m",
    kind="any",
    classes=tuple(
        ClassInfo(id=2 * k, name=f"class {k}", colour=colour)
        for k, colour in enumerate(((9, 9, 9), *OKABE_ITO[:3]))
    ),
    normalisation=Normalisation(kind="identity"),
)
ROWS = [{"id": c.id, "name": c.name, "colour": list(c.colour)} for c in CARD.classes]


def shown_in_training(
    folder: Path, image: np.ndarray, index: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[np.ndarray, np.ndarray]]:
    """``(image, truth)`` of each plane, as they are before matplotlib enlarges them."""
    from matplotlib.axes import Axes

    drawn: list[np.ndarray] = []
    with monkeypatch.context() as patch:
        patch.setattr(Axes, "imshow", lambda self, rgb, **options: drawn.append(rgb))
        shown = examples.ExamplePatches(
            image[None], index[None], np.ones((1, *index.shape), bool), ("a",)
        )
        examples.Examples(folder, shown, CARD)(1, lambda _: np.eye(4)[index[None]])
    return list(zip(drawn[::3], drawn[1::3], strict=True))


def shown_in_evaluation(image: Path, labels: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    table = of_card(CARD)
    with open_labelled_case(Match("a", labels, labels, image), table, ()) as pair:
        views = overlays.draw_overlays(pair, table)
    return [(pixels(v.panels["image"]), pixels(v.panels["truth"])) for v in views]


def shown_in_reports(
    image: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[np.ndarray, np.ndarray]]:
    monkeypatch.setattr(report_quicklook, "jpeg_bytes", png_bytes)
    monkeypatch.setattr(quicklook, "SEEN", "RAS")
    views = report_quicklook.draw_quicklook(image, labels, {"classes": ROWS, "background": 0})
    return [(pixels(v.image), over_ground(pixels(v.labels))) for v in views]


def over_ground(rgba: np.ndarray) -> np.ndarray:
    """The labels of a report, whose background is seen through, with the colour of the first class."""
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], np.uint8(CARD.classes[0].colour))


def shown_in_the_demo(image: Path, labels: Path, extent: tuple[int, ...]) -> np.ndarray:
    plan = {"extent": extent, "fingerprint": {}}
    report = {"input": str(image), "output": str(labels), "plan": plan, "classes": ROWS}
    path = write_preview(report, image.parent)
    assert path is not None
    return pixels(path.read_bytes())


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_all_pictures_of_a_raster_have_one_stretch_and_one_palette(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bands: int
) -> None:
    rng = np.random.default_rng(bands)
    image = rng.integers(0, 3000, (400, 410, bands)).astype(np.uint16)
    index = rng.integers(0, 4, (400, 410))
    a = write_raster(tmp_path / "a.tif", image.transpose(2, 0, 1))
    b = write_raster(tmp_path / "b.tif", (2 * index[None]).astype(np.uint8))
    made = shown_in_reports(a, b, monkeypatch) + shown_in_evaluation(a, b)
    made += shown_in_training(tmp_path, image, index, monkeypatch)
    pair = shown_in_the_demo(a, b, index.shape)
    made.append((pair[:, :410], pair[:, 410:]))
    assert len(made) == 4
    for rgb, labels in made:
        np.testing.assert_array_equal(rgb, made[0][0])
        np.testing.assert_array_equal(labels, np.array([c.colour for c in CARD.classes])[index])


@pytest.mark.parametrize("air", [0, -1000])
def test_all_pictures_of_a_volume_show_the_same_planes_by_one_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, air: int
) -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(air, 900, (24, 20, 9)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    labels[15:19, 11:14, 6:8], labels[17, 12, 7] = 2, 4
    a, b = (
        write_volume(tmp_path / f"{k}.nii", v, np.eye(4)) for k, v in enumerate((image, labels))
    )
    reports = shown_in_reports(a, b, monkeypatch)
    others = shown_in_evaluation(a, b)
    training = shown_in_training(
        tmp_path, image.T[..., None].astype(np.float32), labels.T // 2, monkeypatch
    )
    assert len(reports) == 3
    for plane, again, third in zip(reports, others, training, strict=True):
        for k in (0, 1):
            np.testing.assert_array_equal(again[k], plane[k])
            np.testing.assert_array_equal(third[k], plane[k])


def test_bands_as_satellites_have_them_and_as_cameras_do() -> None:
    physical = Pixels(
        np.arange(8, dtype=np.uint8).reshape(1, 1, 8), scale=(2,) * 8, offset=(1,) * 8
    )
    shown = {
        n: bands_shown(Pixels(physical.physical()[..., :n])).values.tolist() for n in (2, 3, 8)
    }
    assert shown == {2: [[[1]]], 3: [[[1, 3, 5]]], 8: [[[5, 3, 1]]]}
    assert bands_shown(physical).values.tolist() == [[[5, 3, 1]]]


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        (["near infrared", "red", "green", "blue"], (1, 2, 3)),
        (["B02", "B03", "B04", "B08"], (2, 1, 0)),
        (["SR_B4", "SR_B3", "SR_B2"], (0, 1, 2)),
        (["b", "g", "r"], (2, 1, 0)),
        (["Band 4 - Red", "Band 3 - Green", "Band 2 - Blue"], (0, 1, 2)),
        (["Red Edge 1", "nir", "red", "green"], (1, 2, 3)),
        (["coastal blue", "green", "red"], (0,)),
        (["VV", "VH", "angle"], (0,)),
        (["T1", "FLAIR", "T2"], (0,)),
    ],
)
def test_bands_are_shown_by_name(names: list[str], channels: tuple[int, ...]) -> None:
    assert Composite.by_name([(name,) for name in names]).channels == channels


def test_what_is_not_valid_is_grey_and_moves_no_window() -> None:
    values = np.linspace(0, 100, 400, dtype=np.float32).reshape(20, 20, 1)
    spoilt, valid = values.copy(), np.ones(values.shape, bool)
    spoilt[0, 0], spoilt[0, 1], valid[0, 0] = 1e9, np.nan, False
    (plain,), words = stretch([Pixels(values)])
    (shown,), again = stretch([Pixels(spoilt, valid)])
    assert (shown[0, :2] == NO_DATA).all()
    assert np.abs(shown[1:].astype(int) - plain[1:]).max() <= 2
    assert words == "1 to 99 (1st to 99th percentile)"
    assert "percentile" in again
    (flat,), _ = stretch([Pixels(np.zeros((4, 4, 1)))])
    assert flat.dtype == np.uint8, "no spread, no division by zero"
    (nothing,), words = stretch([Pixels(values, np.zeros(values.shape, bool))])
    assert words == "no data"
    assert (nothing == NO_DATA).all()


def test_a_label_without_a_colour_is_as_what_is_not_valid() -> None:
    labels, valid = np.array([[0, 1], [2, 1]]), np.array([[True, True], [True, False]])
    palette = {0: (0, 0, 0), 1: (230, 159, 0)}
    expected = [[[0, 0, 0], [230, 159, 0]], [[128, 128, 128], [128, 128, 128]]]
    assert coloured(labels, valid, palette).tolist() == expected


@pytest.mark.parametrize("side", [(2, 3, 4), (9, 9, 9)])
def test_the_middle_is_the_median_of_the_foreground_whatever_the_blocks(side: Any) -> None:
    there = np.zeros((9, 8, 7), bool)
    there[5:8, 1, 3:5] = True
    assert middle(lambda box: there[box.slices()], Box.whole(there.shape), side) == (6, 1, 3)
    box = Box((2, 2, 2), (6, 8, 7))
    assert middle(lambda box: np.zeros(box.shape, bool), box, side) == (4, 5, 4)
    turned = [there[part.slices()][UPRIGHT[axis]] for axis, part in planes(box, (5, 2, 3))]
    assert [a.shape for a in turned] == [(6, 5), (4, 5), (4, 6)]
    np.testing.assert_array_equal(turned[0], there[5, 2:8, 2:7][::-1])
    assert planes(Box.whole((4, 5)), ()) == [(None, Box.whole((4, 5)))]


def test_blocks_without_a_wanted_voxel_are_not_read() -> None:
    values, asked = np.arange(20 * 30).reshape(20, 30, 1), []

    def read(box: Box) -> Pixels:
        asked.append(box)
        return Pixels(values[box.slices()])

    places = [np.array([3, 4, 18]), np.array([11, 29])]
    small = downsample(read, Box.whole((20, 30)), places, (5, 10))
    np.testing.assert_array_equal(small.values[..., 0], values[np.ix_(*places)][..., 0])
    assert small.any_valid().all()
    assert len(asked) == 2 * 2


def test_numbers_are_no_names() -> None:
    unnamed, model = [("band1",), ("band2",), ("band3",)], [("nir",), ("red",), ("green",)]
    assert Composite.of(3, unnamed) == Composite.by_place(3)
    assert Composite.of(3, unnamed, model) == Composite.by_name(model)
    assert Composite.of(4, unnamed, model) == Composite.by_place(4)
    assert Composite.of(2, [("VV",), ("VH",)]).words == "VV in grey"
