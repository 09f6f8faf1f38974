"""Products are the same bytes for blocks, workers and threads on a CPU without AVX-512, in both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.test_bundle import read
from tests.support.bundles import make_bundle
from tests.support.files import address_raster as address
from tests.support.files import segbatch, write_raster

pytestmark = pytest.mark.full

# Seven threads in one process, and two workers with a share of the cores.
FEWER = {"ONEDNN_MAX_CPU_ISA": "AVX2", "TF_NUM_INTRAOP_THREADS": "7"}


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_blocks_workers_and_threads_do_not_change_a_byte(tmp_path: Path, engine: str) -> None:
    """Probabilities too."""
    bundle = make_bundle(tmp_path / "flat", 2, 2)
    scene = write_raster(tmp_path / "scene.tif", address((1100, 1500), 2, "uint16"))
    more = ("--model", bundle, "--engine", engine, "--probabilities", "--json")
    one = segbatch(
        "predict", scene, "-o", tmp_path / "one.tif", *more, "--block", "2048,2048", **FEWER
    )
    two = segbatch(
        *("predict", scene, "-o", tmp_path / "two.tif", *more, "--block", "1024,1024"),
        *("--cluster", "local", "--workers", 2),
        **FEWER,
    )
    assert (one.status, two.status) == (0, 0), one.err + two.err
    assert one.json["plan"]["precision"] == "float32", "no bfloat16 by default where there is none"
    for name in ("{}.tif", "{}_probabilities.tif"):
        a, b = (read(tmp_path / name.format(n)) for n in ("one", "two"))
        assert a.tobytes() == b.tobytes()
        assert len(set(a.ravel()[::97].tolist())) > 1
