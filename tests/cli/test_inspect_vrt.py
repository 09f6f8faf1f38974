"""``inspect`` shows a VRT where it is allowed, as ``predict`` reads it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.transform import from_origin

from seg_batch.cli.main import app
from seg_batch.core.errors import InputError


def test_a_vrt_is_shown_where_allowed(tmp_path, capsys, monkeypatch):
    place = {"crs": 32632, "transform": from_origin(6e5, 58e5, 10, 10)}
    shape = {"height": 8, "width": 9, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **place, **shape) as file:
        file.write(np.arange(72, dtype="uint8").reshape(8, 9), 1)
    monkeypatch.chdir(tmp_path)
    copy("a.tif", "a.vrt", driver="VRT")
    with pytest.raises(InputError, match="--allow-vrt"):
        app(["inspect", "a.vrt"], standalone_mode=False)
    app(["inspect", "a.vrt", "--allow-vrt"], standalone_mode=False)
    assert "8 x 9 voxels" in capsys.readouterr().out
