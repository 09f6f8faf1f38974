"""A bundle with an ONNX file: predicted on both engines, measured, refused where it can't be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import BundleError, PlanError
from seg_batch.core.registry.engines import ENGINES
from seg_batch.inference.bundles import model_in
from seg_batch.inference.measuring.bench import bench, in_an_hour
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.nn.engines.rates import RatedModel
from tests.support.files import address_raster, write_raster
from tests.support.onnx_bundles import make_onnx_bundle

FLOAT32 = {"precision": "float32"}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", address_raster((150, 133), 3, "uint16"))


def labels(bundle: Path, scene: Path, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
    product = scene.with_name(f"map-{len(list(scene.parent.iterdir()))}.tif")
    how = PredictOptions(**{**FLOAT32, **options})
    report = predict_one(Request(str(scene), str(product), model=str(bundle), options=how))
    with rasterio.open(product) as file:
        return file.read(1), report


@pytest.mark.full
def test_both_engines_make_the_same_map(tmp_path: Path, scene: Path) -> None:
    bundle = make_onnx_bundle(tmp_path / "bundle")
    maps = {}
    for engine in ("openvino", "onnxruntime"):
        maps[engine], report = labels(bundle, scene, engine=engine)
        assert (report["plan"]["engine"], report["plan"]["engine_why"]) == (engine, "asked for")
        assert "onnxruntime" in report["versions"]
    assert len(np.unique(maps["openvino"])) > 1
    assert (maps["openvino"] == maps["onnxruntime"]).mean() > 0.999
    chosen, report = labels(bundle, scene)
    assert report["plan"]["engine"] == "openvino"
    np.testing.assert_array_equal(chosen, maps["openvino"])


@pytest.mark.full
def test_what_a_bundle_does_here_is_what_plans_go_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compute = {"flops": 1e8, "activation_bytes": 1 << 20}
    bundle = make_onnx_bundle(tmp_path / "bundle", compute=compute)
    facts = bench(str(bundle), engine="onnxruntime", seconds=0.01)
    (figure,) = facts["figures"]
    assert (figure["engine"], figure["precision"]) == ("onnxruntime", "float32")
    assert "float32 on a CPU" in facts["not_here"]["onnxruntime mixed"]
    assert figure["voxels_per_s"] == pytest.approx(32 * 32 / figure["tile_s"])
    assert figure["flops_per_s"] == pytest.approx(1e8 / figure["tile_s"])
    assert 30 << 20 < figure["memory_bytes"] < 1 << 30
    card = model_in(bundle).card
    rate = RatedModel("onnxruntime", "float32", card.weights_sha256, 1e8).rate(1)
    assert rate is not None
    assert rate.tile_s == pytest.approx(figure["tile_s"])


def test_an_hour_is_told_in_what_the_card_is_of(tmp_path: Path) -> None:
    raster = model_in(make_onnx_bundle(tmp_path / "a", pixel_m=10)).card
    per_hour = 3600 * 24 * 24  # a tile of 32 with an overlap of 8, each second
    hour = in_an_hour(raster, 1.0)
    assert hour == {"pixels": per_hour, "km2": pytest.approx(per_hour * 100 / 1e6)}
    volume = model_in(make_onnx_bundle(tmp_path / "b", rank=3, tta="flips")).card
    voxels = 3600 * 12**3 / 8
    assert in_an_hour(volume, 1.0) == {"voxels": voxels, "volumes": voxels / (512 * 512 * 300)}


def test_what_can_not_be_measured_is_refused_in_one_line(tmp_path: Path) -> None:
    bundle = make_onnx_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match="is a function"):
        bench("probe")
    with pytest.raises(PlanError, match="--precision 'half' is unknown"):
        bench(str(bundle), precision="half")
    with pytest.raises(PlanError, match="can't run an ONNX model: use --engine openvino"):
        bench(str(bundle), engine="tensorflow")
    with pytest.raises(PlanError, match="--engine 'fast' is unknown"):
        bench(str(bundle), engine="fast")
    (bundle / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match="does not match the hash in its card"):
        bench(str(bundle))


def test_large_weights_are_part_of_the_promise(tmp_path: Path, scene: Path) -> None:
    promised = []
    for k, weights in enumerate((0, 100 << 20)):
        bundle = make_onnx_bundle(tmp_path / f"b{k}", compute={"weights_bytes": weights})
        request = Request(str(scene), None, model=str(bundle))
        promised.append(prepare(request).plan.promised_bytes)
    share = ENGINES["openvino"].weights_share
    assert promised[1] - promised[0] == share * (100 << 20)
