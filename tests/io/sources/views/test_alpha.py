"""A band marked as alpha: data or a mask, by its marks, the channels of the model, or the option."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import seg_batch
from seg_batch.cli.display.source_lines import source_facts
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import InputError, RefusedError
from seg_batch.core.geometry import Box
from seg_batch.datasets.pairs import Pair, open_pair
from seg_batch.inference.plan import Plan
from seg_batch.inference.request import Request, prepare
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import AlphaBands, SourceInfo
from seg_batch.io.sources.views.channels.alpha import settled_reading
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import Axes, View, open_view
from seg_batch.training.measure_dataset import advise_recipe
from tests.support.io.tiny_tiffs import PREMULTIPLIED, UNASSOCIATED, UNSAID, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
RGBA = {"rgb": True, "extra": [UNASSOCIATED]}
SEA = np.zeros((4, 6, 8), "uint8")  # near infrared is 0 over water, and full nowhere
SEA[:3] = np.arange(48).reshape(6, 8)
SEA[3, :2] = 40


def card(channels: int | None, classes: int = 2) -> ModelCard:
    return ModelCard(
        name="t",
        kind="raster",
        rank=2,
        patch=(4, 4),
        overlap=(2, 2),
        classes=tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(classes)),
        normalisation=Normalisation(kind="identity"),
        channels=None if channels is None else tuple(f"c{k}" for k in range(channels)),
    )


def first_bit(patches: np.ndarray) -> np.ndarray:
    odd = patches[..., :1] % 2
    return np.concatenate([1 - odd, odd], -1).astype(np.float32)


def predicted(path: Path, channels: int | None, **options: Any) -> np.ndarray:
    out = path.with_name("labels.tif")
    model = (card(channels), first_bit)
    seg_batch.predict(path, out, model=model, overwrite=True, **options)
    with rasterio.open(out) as dataset:
        labels: np.ndarray = dataset.read(1)
    return labels


def read(view: View) -> tuple[int, np.ndarray | None]:
    pixels = view.read(Box.whole(view.info.extent))
    return pixels.values.shape[-1], pixels.valid


@pytest.fixture
def coast(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "coast.tif", SEA, **RGBA)


def test_the_channels_of_the_model_decide_what_the_file_leaves_open(coast: Path) -> None:
    expected = SEA[0] % 2
    np.testing.assert_array_equal(predicted(coast, 4), expected)
    np.testing.assert_array_equal(predicted(coast, 3), np.where(SEA[3] > 0, expected, 255))


def test_any_number_of_channels_needs_the_option(coast: Path) -> None:
    with pytest.raises(InputError, match=r"^[^\n]*--alpha mask or --alpha data \(options"):
        predicted(coast, None)
    assert not (coast.parent / "labels.tif").exists()
    np.testing.assert_array_equal(predicted(coast, None, alpha="data"), SEA[0] % 2)
    masked = predicted(coast, None, alpha="mask")
    np.testing.assert_array_equal(masked == 255, SEA[3] == 0)


def test_a_word_that_is_no_reading_is_refused(coast: Path) -> None:
    with pytest.raises(RefusedError, match=r"no alpha .maks.; did you mean mask"):
        predicted(coast, 4, alpha="maks")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("rgb", [True, False])
def test_alpha_beyond_doubt_is_a_mask_and_the_option_is_named(
    tmp_path: Path, dtype: str, rgb: bool
) -> None:
    extra = [PREMULTIPLIED] if rgb else [UNSAID, UNSAID, UNASSOCIATED]
    path = write_tiff(tmp_path / "a.tif", SEA.astype(dtype), rgb=rgb, extra=extra)
    for channels in (3, None):
        assert (predicted(path, channels) == 255).sum() == (SEA[3] == 0).sum()
    with pytest.raises(RefusedError, match="--alpha data"):
        predicted(path, 4)
    assert (predicted(path, 4, alpha="data") < 2).all()


@pytest.mark.parametrize(
    ("name", "channels"),
    [("nir", 4), ("Alpha", 3), ("alpha band", 3), ("band 4", 4), ("B4", 4), ("B8", 4), ("mask", 3)],
)
def test_a_name_decides(coast: Path, name: str, channels: int) -> None:
    with rasterio.open(coast, "r+") as dataset:
        dataset.set_band_description(4, name)
    info = open_source(coast).info
    assert len(info.channels) == channels
    assert info.alpha is not None
    assert info.alpha.fixed == (name not in ("band 4", "B4"))


@pytest.mark.parametrize("hidden_by", ["mask", "nodata"])
def test_beside_another_source_of_validity_it_is_data(tmp_path: Path, hidden_by: str) -> None:
    """As in GDAL, whose mask does not use the band then; three channels leave it as a mask."""
    nodata = "5" if hidden_by == "nodata" else None
    values = np.where(SEA[0] == 5, 5, SEA).astype("uint8")
    path = write_tiff(tmp_path / "a.tif", values, nodata=nodata, **RGBA)
    if hidden_by == "mask":
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(SEA[0] != 5)
    hidden = SEA[0] == 5
    for channels in (4, None):
        np.testing.assert_array_equal(predicted(path, channels) == 255, hidden)
    np.testing.assert_array_equal(predicted(path, 3) == 255, hidden | (values[3] == 0))


def test_the_decision_is_made_once_and_travels(coast: Path) -> None:
    for channels, option in ((4, "data"), (3, "mask")):
        prepared = prepare(Request(str(coast), model=(card(channels), first_bit)))
        assert prepared.request.image().alpha == (option,)
        assert len(prepared.info.channels) == channels
        said = [w for w in prepared.info.warnings if "alpha" in w]
        assert said == (["band 4, marked as alpha, is read as data"] if channels == 4 else [])


def fingerprint(path: Path, channels: int | None, alpha: Any = "auto") -> dict[str, Any]:
    request = Request(
        str(path), model=(card(channels), first_bit), options=PredictOptions(alpha=alpha)
    )
    return prepare(request).plan.identity


def test_only_what_the_option_alone_decides_is_in_the_fingerprint(coast: Path) -> None:
    assert "alpha" not in fingerprint(coast, 4)
    assert fingerprint(coast, 4) == fingerprint(coast, 4, "data")
    assert fingerprint(coast, None, "data")["alpha"] == "data"
    assert fingerprint(coast, None, "mask")["alpha"] == "mask"
    assert "alpha" not in Plan.__dataclass_fields__  # plans stored by earlier versions go on


def test_inspect_shows_both_readings(coast: Path) -> None:
    facts = source_facts(str(coast), None)
    measures = [f["measure"] for f in facts["models"]["landsat8-landcover"]["findings"]]
    assert measures
    assert not any("channels" in text for text in measures)  # their number fits
    (line,) = [w for w in facts["warnings"] if "alpha" in w]
    assert re.search("models of 3 channels .* 4 data", line)


def test_the_option_without_a_band_marked_as_alpha_is_told(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", SEA, rgb=True, extra=[UNSAID])
    for option in ("auto", "data"):
        assert not any("alpha" in w for w in open_source(path, alpha=option).info.warnings)
    assert any("does nothing" in w for w in open_source(path, alpha="mask").info.warnings)


def test_each_file_of_a_stack_is_read_by_its_marks(tmp_path: Path, coast: Path) -> None:
    explicit = write_tiff(tmp_path / "b.tif", SEA[2:], extra=[UNASSOCIATED])
    plain = write_tiff(tmp_path / "c.tif", SEA[:1])
    spec = ImageSpec((str(coast), str(explicit), str(plain)))
    for channels, options in ((6, ("data", "auto", "auto")), (5, ("mask", "auto", "auto"))):
        names = card(channels).channels
        with open_view(spec, Axes(channels=names)) as view:
            count, valid = read(view)
            assert count == channels
            assert valid is not None
            np.testing.assert_array_equal(valid[..., -2], SEA[3] > 0)
            np.testing.assert_array_equal(valid[..., 0], (SEA[3] > 0) | (channels == 6))
        with closing(spec.open()) as image:
            assert spec.settled(image, channels).alpha == options


@pytest.mark.parametrize("beyond_doubt", [True, False])
def test_a_pair_is_read_as_its_recipe_names_channels(tmp_path: Path, beyond_doubt: bool) -> None:
    kind = PREMULTIPLIED if beyond_doubt else UNASSOCIATED
    image = write_tiff(tmp_path / "i.tif", SEA, rgb=True, extra=[kind])
    pair = Pair((str(image),), str(write_tiff(tmp_path / "l.tif", SEA[:1] % 2)), "a")
    for channels, needs in ((4, beyond_doubt), (3, False)):
        names = card(channels).channels
        with open_pair(pair, Axes(channels=names)) as (seen, _):
            assert len(seen.info.channels) == (3 if needs else channels)
    axes = Axes(channels=card(4).channels)
    with open_pair(replace(pair, alpha="data"), axes) as (seen, label):
        assert len(seen.info.channels) == 4
        assert len(label.info.channels) == 1


def test_data_without_names_of_channels_need_the_option(tmp_path: Path, coast: Path) -> None:
    label = write_tiff(tmp_path / "l.tif", SEA[:1] % 2)
    with pytest.raises(InputError, match="--alpha mask or --alpha data"):
        advise_recipe([f"{coast}={label}"])
    for option, channels in (("data", 4), ("mask", 3)):
        plain, _ = advise_recipe([f"{coast}={label}"], alpha=option)
        assert len(plain["card"]["channels"]) == channels


def test_the_fourth_probability_is_no_alpha(tmp_path: Path) -> None:
    """GDAL marks the fourth of four 8-bit bands by default: a reader would hide what is not of that class."""
    path = write_tiff(tmp_path / "a.tif", SEA[:1])
    model = (
        card(1, 4),
        lambda patches: np.eye(4, dtype=np.float32)[patches[..., 0].astype(int) % 4],
    )
    report = seg_batch.predict(path, tmp_path / "o.tif", model=model, probabilities=True)
    assert report["probabilities"] is not None
    with rasterio.open(report["probabilities"]["path"]) as dataset:
        assert dataset.count == 4
        assert dataset.read_masks().min() == 255


INFO = {"path": "a", "format": "geotiff", "kind": "raster", "extent": (2, 2), "dtype": "uint8"}


@given(
    st.integers(1, 6),
    st.sampled_from(["data", "mask"]),
    st.booleans(),
    st.none() | st.integers(1, 6),
)
def test_a_reading_is_settled_only_by_a_number_of_channels_that_it_gives(
    count: int, reading: Any, fixed: bool, wanted: int | None
) -> None:
    otherwise = count + (1 if reading == "mask" else -1)
    alpha = AlphaBands(("band 4",), reading, "", fixed, otherwise)
    info = SourceInfo(**INFO, channels=("c",) * count, georef=None, chunk=(2, 2), alpha=alpha)
    settled = settled_reading(info, wanted)
    if fixed or wanted not in (count, otherwise):
        assert settled == "auto"
    else:
        assert settled == (reading if wanted == count else alpha.other)
