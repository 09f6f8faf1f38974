"""Options that change nothing of what is made are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.outputs import Outputs
from seg_batch.inference.planning.no_effect import lines_without_effect


@pytest.mark.parametrize(
    ("options", "name", "also", "told"),
    [
        (PredictOptions(order="name"), "a.tif", (), "--order"),
        (PredictOptions(align="linear"), "a.tif", (), "--align"),
        (PredictOptions(simplify=5.0), "a.tif", ("a.csv",), "--simplify"),
        (PredictOptions(min_area=5.0), "a.tif", (), "--min-area"),
        (PredictOptions(simplify=5.0), "a.tif", ("a.gpkg",), ""),
        (PredictOptions(compress="zstd"), "a.zarr", (), "--compress"),
        (PredictOptions(compress="zstd"), "a.tif", (), ""),
        (PredictOptions(seg="binary"), "a.tif", (), "--seg"),
        (PredictOptions(), "a.zarr", ("a.gpkg",), ""),
    ],
)
def test_it_is_told(options: PredictOptions, name: str, also: tuple[str, ...], told: str) -> None:
    outputs = Outputs(Path(name), also=tuple(map(Path, also)))
    lines = lines_without_effect(options, outputs, "raster", mosaic=False)
    assert [line.split()[0] for line in lines] == ([told] if told else [])


def test_a_mosaic_has_them() -> None:
    options = PredictOptions(order="date", align="nearest")
    assert lines_without_effect(options, Outputs(Path("a.tif")), "raster", mosaic=True) == []
