"""What notebooks show: an image as a table, and how far a prediction is."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from seg_batch.core import events
from seg_batch.inference.api.notebook import Bar, notebook_bar
from seg_batch.inference.api.predict import predict
from seg_batch.io.sources import open_source
from tests.support.files import address_raster, write_raster


def test_an_image_is_a_table_and_what_it_says_is_text(tmp_path):
    path = write_raster(tmp_path / "a.tif", address_raster((30, 40), 2, "uint8"))
    source = open_source(path)
    html = source._repr_html_()
    assert html == source.info._repr_html_()
    assert "30 x 40" in html
    assert "channels (2)" in html
    hostile = "<script>alert(1)</script>"
    names = (hostile, *["&"] * 100)
    info = replace(source.info, channels=names, path=hostile, warnings=(hostile * 9999,))
    shown = info._repr_html_()
    assert "<script" not in shown
    assert len(shown) < 4000
    assert set(re.findall(r"</?(\w+)", shown)) == {"table", "caption", "tr", "th", "td"}


def test_the_bar_knows_how_much_is_left():
    now, lines = [0.0], list[str]()
    bar = Bar(lines.append, lambda: now[0])
    bar.on(events.BlocksPlanned(blocks=10, tiles=80, resumed=2))
    assert "2 of 10 blocks" in lines[-1]
    for k in range(4):
        now[0] += 10
        bar.on(events.BlockEnded(f"b{k}"))
    assert bar.share() == 0.6
    assert "60%" in lines[-1]
    assert "40 s left" in lines[-1]  # 4 blocks took 40 s, 4 are to come
    count = len(lines)
    for _ in range(100):
        bar.on(events.Advanced(0.1))
    assert len(lines) - count <= 1
    bar.on(events.Stage("<b>writing"))
    assert "&lt;b&gt;" in lines[-1]


def test_of_a_real_prediction_it_ends_full(tmp_path):
    path = write_raster(tmp_path / "a.tif", address_raster((90, 80), 1, "uint8"))
    lines: list[str] = []
    bar = Bar(lines.append)
    predict(path, tmp_path / "o.tif", model="probe", callback=bar)
    assert bar.share() == 1
    assert "1 of 1 blocks" in lines[-1]
    assert np.all(np.diff([float(x) for x in re.findall(r'value="([\d.]+)"', "".join(lines))]) >= 0)


def test_outside_of_notebooks_there_is_none():
    assert notebook_bar() is None
