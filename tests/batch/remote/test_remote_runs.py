"""Predictions of files behind a real server on this machine: the maps of the same files here, whatever happens midway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_batch import predict
from seg_batch.core.errors import ChangedError, Exit, StoreError, UnreachableError
from seg_batch.io.remote.patience import SECONDS
from tests.support.files import segbatch
from tests.support.patience import PATIENCE_S
from tests.support.remote.range_server import RangeServer, serving
from tests.support.remote.rasters import raster

SCENE = raster(1100, 3100, 1, nodata=5)
BLOCKS = {"block": (256, 256), "model": "probe"}
SECRET = "geheim"


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with serving({"/d/scene.tif": SCENE, "/d/other%20one.tif": raster(300, 200)}) as server:
        yield server


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The map of the file on this machine."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "scene.tif").write_bytes(SCENE)
    predict(folder / "scene.tif", folder / "map.tif", **BLOCKS)  # type: ignore[arg-type]
    return labels(folder / "map.tif")


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def texts(folder: Path) -> str:
    """All that lies in a folder, and below."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def test_the_map_of_a_remote_scene_is_that_of_the_file(
    server: RangeServer, wanted: np.ndarray, tmp_path: Path
) -> None:
    server.behaviour.failing = 0.05
    url = f"{server.url}/d/scene.tif?X-Amz-Signature={SECRET}"
    report = predict(url, tmp_path / "out" / "map.tif", also=[".csv"], **BLOCKS)  # type: ignore[arg-type]
    assert np.array_equal(labels(tmp_path / "out" / "map.tif"), wanted)
    assert report["input"] == f"{server.url}/d/scene.tif"
    assert SECRET not in texts(tmp_path)
    again = predict(url, tmp_path / "out" / "map.tif", **BLOCKS)  # type: ignore[arg-type]
    assert again["product"] == report["product"]
    server.behaviour.etag = '"two"'
    with pytest.raises(StoreError, match="has changed since"):
        predict(url, tmp_path / "out" / "map.tif", **BLOCKS)  # type: ignore[arg-type]


def test_a_scene_that_changes_midway_stops_the_run(server: RangeServer, tmp_path: Path) -> None:
    begin = len(server.requests)
    server.behaviour.before = lambda n: setattr(server.behaviour, "etag", f'"{n - begin > 8}"')
    with pytest.raises(ChangedError, match="changed while it was"):
        predict(f"{server.url}/d/scene.tif", tmp_path / "map.tif", **BLOCKS)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.full  # blocks are tried again after 1, 4 and 16 s
def test_a_server_that_goes_midway_leaves_a_run_to_be_resumed(
    server: RangeServer, wanted: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS, "0.2")
    url, output = f"{server.url}/d/scene.tif", tmp_path / "map.tif"
    seen = list[str]()

    class After:
        def on(self, event: object) -> None:
            seen.append(type(event).__name__)
            if seen.count("BlockEnded") == 1:
                server.behaviour.gone_after = 0

    with pytest.raises(UnreachableError, match="run the same command again"):
        predict(url, output, callback=After(), **BLOCKS)  # type: ignore[arg-type]
    assert not output.exists()
    server.behaviour.gone_after = None
    report = predict(url, output, **BLOCKS)  # type: ignore[arg-type]
    assert report["blocks"]["resumed"] >= 1
    assert np.array_equal(labels(output), wanted)


@pytest.mark.full
def test_a_night_of_addresses_in_a_workflow_and_in_lists(
    server: RangeServer, wanted: np.ndarray, tmp_path: Path
) -> None:
    url = f"{server.url}/d"
    (tmp_path / "list.txt").write_text(
        f"{url}/other%20one.tif?sig={SECRET}\n{url}/gone.tif\nftp://h/x.tif\n"
    )
    (tmp_path / "night.yaml").write_text(
        f"model: probe\noutputs: out\ncluster: inline\n"
        f"inputs: {{paths: ['{url}/scene.tif?sig={SECRET}'], list: list.txt}}\n",
    )
    done = segbatch("run", tmp_path / "night.yaml")
    assert done.status == Exit.PARTIAL, done.err
    assert np.array_equal(labels(tmp_path / "out" / "scene_labels.tif"), wanted)
    assert labels(tmp_path / "out" / "other one_labels.tif").shape == (300, 200)
    assert "no such file" in done.out + done.err
    (tmp_path / "night.yaml").unlink()
    (tmp_path / "list.txt").unlink()
    assert SECRET not in texts(tmp_path) + done.out + done.err


@pytest.mark.full
def test_the_command_with_two_workers_and_without_names(
    server: RangeServer, wanted: np.ndarray, tmp_path: Path
) -> None:
    server.behaviour.failing = 0.05
    url = f"{server.url}/d/scene.tif?sig={SECRET}"
    options = ("--model", "probe", "--block", "512,512", "--cluster", "local", "--workers", "2")
    done = segbatch("predict", url, "-o", tmp_path / "a.tif", *options)
    assert done.status == 0, done.err
    assert np.array_equal(labels(tmp_path / "a.tif"), wanted)
    hidden = segbatch("predict", url, "-o", f"{tmp_path / 'b/c'}/", "--deidentify", tmp_path / "d" / "codes.json", *options)  # fmt: skip
    assert hidden.status == 0, hidden.err
    (product,) = (tmp_path / "b" / "c").glob("*.tif")
    assert np.array_equal(labels(product), wanted)
    assert "scene" not in texts(tmp_path / "b") + hidden.out + hidden.err
    assert SECRET not in texts(tmp_path) + done.out + done.err


@pytest.mark.full
def test_a_change_midway_stops_two_workers_with_one_line(
    server: RangeServer, tmp_path: Path
) -> None:
    server.behaviour.before = lambda n: setattr(server.behaviour, "etag", f'"{n > 12}"')
    done = segbatch("predict", f"{server.url}/d/scene.tif", "-o", tmp_path / "a.tif", "--model", "probe", "--block", "256,256", "--cluster", "local", "--workers", "2")  # fmt: skip
    assert done.status == Exit.REFUSED, done.err
    assert [line for line in done.err.splitlines() if "changed while it was" in line]
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_killed_midway_it_goes_on(server: RangeServer, wanted: np.ndarray, tmp_path: Path) -> None:
    server.behaviour.latency_s = 0.2
    command = [sys.executable, "-m", "seg_batch", "predict", f"{server.url}/d/scene.tif", "-o", str(tmp_path / "a.tif"), "--model", "probe", "--block", "256,256"]  # fmt: skip
    started = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    until_s = time.monotonic() + PATIENCE_S
    while not list(tmp_path.rglob("*.json")) or len(list(tmp_path.glob("*/done/*"))) < 2:
        assert time.monotonic() < until_s
        if started.poll() is not None:
            break
        time.sleep(0.01)
    os.killpg(started.pid, 9) if started.poll() is None else None
    started.wait()
    server.behaviour.latency_s = 0.0
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(labels(tmp_path / "a.tif"), wanted)
    assert json.loads(done.stdout)
