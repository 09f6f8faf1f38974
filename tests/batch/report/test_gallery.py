"""Which inputs are drawn: what is not complete and what is slow first, within the limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.batch.report import gallery as module
from seg_batch.batch.report.gallery import gallery
from seg_batch.batch.report.quicklook import PlaneView
from seg_batch.io.pictures import png_bytes
from tests.support.batch.run_folders import pixels, scene
from tests.support.batch.run_folders import product as made
from tests.support.files import write_raster


def row(key: str, status: str = "complete") -> dict[str, Any]:
    known = {"output": "o", "report": None, "review": [], "odd_sizes": []}
    return {"input": key, "status": status, **known}


def test_the_wanted_come_first_and_the_rest_is_counted(monkeypatch: Any) -> None:
    drawn: list[str] = []

    def draw(image: str, labels: str | None, report: dict[str, Any]) -> tuple[PlaneView, ...]:
        drawn.append(image)
        return (PlaneView("", b"x" * 1000, None, 1.0),)

    monkeypatch.setattr(module, "draw_quicklook", draw)
    rows = [row("refused", "refused"), row("failed", "failed"), row("partial", "partial")]
    rows += [row("waiting", "waiting"), *(row(f"{k:03}") for k in range(100))]
    facts = {"inputs": rows, "slowest": ["090", "050", "partial"]}
    rows[80]["review"], rows[70]["odd_sizes"] = ["look"], [{}]
    found = gallery(facts)
    assert drawn[:7] == ["failed", "partial", "076", "066", "090", "050", "000"]
    assert len(drawn) == module.MOST
    assert [p.input for p in found.pictures] == [r["input"] for r in rows if r["input"] in drawn]
    assert found.left_out == 102 - module.MOST
    drawn.clear()
    monkeypatch.setattr(module, "BYTES", 4500)
    assert gallery(facts).left_out == 102 - 5
    monkeypatch.setattr(module, "SECONDS", -1.0)
    assert gallery(facts).pictures == ()


def test_what_can_not_be_drawn_says_why(tmp_path: Path) -> None:
    facts = {"inputs": [row(str(tmp_path / "gone.tif"), "failed")], "slowest": []}
    (picture,) = gallery(facts).pictures
    assert "no such file" in picture.why
    assert picture.views == ()
    broken = {**row("a.tif"), "report": str(tmp_path / "none.json")}
    (picture,) = gallery({"inputs": [broken], "slowest": []}).pictures
    assert "No such file" in picture.why


def test_an_input_that_was_moved_away_leaves_its_labels(tmp_path: Path) -> None:
    image, product = scene(tmp_path / "a.tif"), tmp_path / "a_labels.tif"
    _, result = made(image, product)
    moved = {**row(str(image)), "output": str(product), "report": result["report"]}
    facts = {"inputs": [moved], "slowest": []}
    (whole,) = gallery(facts).pictures
    assert whole.why == ""
    assert whole.views[0].image is not None
    image.rename(tmp_path / "elsewhere.tif")
    (left,) = gallery(facts).pictures
    assert left.views[0].image is None
    assert left.views[0].labels == whole.views[0].labels
    assert "no such file" in left.why


def drawn(folder: Path, bands: dict[str, float], name: str) -> tuple[dict[str, Any], np.ndarray]:
    """The row of a scene whose bands, by name, are noise around these values, and the noise."""
    noise = np.random.default_rng(len(name)).normal(0, 10, (len(bands), 60, 50))
    values = (noise + np.array([*bands.values()])[:, None, None]).astype(np.int16)
    path, product = write_raster(folder / f"{name}.tif", values), folder / f"{name}_labels.tif"
    with rasterio.open(path, "r+") as file:
        file.descriptions = tuple(bands)
    _, result = made(path, product)
    return {**row(str(path)), "output": str(product), "report": result["report"]}, values


def shown(picture: module.Picture) -> np.ndarray:
    return pixels(picture.views[0].image).astype(int)


def test_bands_are_shown_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_batch.batch.report.quicklook.jpeg_bytes", png_bytes)
    optical, values = drawn(tmp_path, {"B08": 900, "B04": 300, "B02": 100, "B03": 200}, "optical")
    radar, _ = drawn(tmp_path, {"VV": 300, "VH": 100, "angle": 30}, "radar")
    pictures = gallery({"inputs": [optical, radar], "slowest": []}).pictures
    colours = shown(pictures[0])
    for channel, band in enumerate((1, 3, 2)):
        seen = np.corrcoef(colours[..., channel].ravel(), values[band].ravel())[0, 1]
        assert seen > 0.95
    grey = shown(pictures[1])
    assert (grey == grey[..., :1]).all()
    assert [p.views[0].window.split(":")[0] for p in pictures] == ["red, green, blue", "VV in grey"]


def test_one_stretch_and_one_legend_for_all_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_batch.batch.report.quicklook.jpeg_bytes", png_bytes)
    rows = [
        drawn(tmp_path, {"VV": level}, f"scene{'x' * k}")[0] for k, level in enumerate((200, 400))
    ]
    told = gallery({"inputs": rows, "slowest": []})
    dark, bright = (shown(picture).mean() for picture in told.pictures)
    assert bright - dark > 150
    assert len(told.windows) == 1
    assert told.windows[0].endswith("one for all inputs of probe")
    assert len(told.legends) == 1
    alone = gallery({"inputs": rows[:1], "slowest": []})
    assert 100 < shown(alone.pictures[0]).mean() < 155
    assert alone.windows == ()
