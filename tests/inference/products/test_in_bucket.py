"""Products into a bucket: whole or not at all, found again by the same command, never over what is foreign."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from seg_batch.config.workflow import Workflow
from seg_batch.core.errors import DamagedError, OutputError
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.io.remote.objects import download, upload
from tests.support.batch.nights import run_night
from tests.support.files import address_raster, segbatch, write_raster
from tests.support.patience import PATIENCE_S
from tests.support.remote.buckets import SECRET, Buckets, buckets
from tests.support.remote.stalling import stalling

pytestmark = pytest.mark.full  # a service of buckets takes seconds to import
URL = "s3://maps/night/a.tif"


@pytest.fixture(scope="module")
def service() -> Iterator[Buckets]:
    with buckets("maps") as made:
        yield made


@pytest.fixture
def scene(service: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEGBATCH_SCRATCH", str(tmp_path / "scratch"))
    for key in service.keys("maps"):
        service.client.delete_object(Bucket="maps", Key=key)
    return write_raster(tmp_path / "a.tif", address_raster((300, 333), 1, "uint8"))


def predicted(scene: Path, url: str = URL, **more: Any) -> Any:
    return predict_one(Request(str(scene), url, model="probe", cluster="inline", **more))


def body(service: Buckets, key: str) -> bytes:
    return service.client.get_object(Bucket="maps", Key=key)["Body"].read()  # type: ignore[no-any-return]


def test_the_same_bytes_as_here_and_nothing_is_done_twice(service: Buckets, scene: Path, tmp_path: Path) -> None:  # fmt: skip
    alone = tmp_path / "alone.tif"
    predict_one(Request(str(scene), str(alone), model="probe", cluster="inline"))
    report = predicted(scene, also=(".csv",))
    assert service.keys("maps") == ["night/a.csv", "night/a.tif", "night/a.tif.json"]
    assert body(service, "night/a.tif") == alone.read_bytes()
    told = json.loads(body(service, "night/a.tif.json"))
    assert told["output"] == told["product"]["path"] == report["output"] == URL
    assert told["also"][0]["path"] == "s3://maps/night/a.csv"
    staged = tmp_path / "scratch" / "s3" / "maps" / "night"
    assert not (staged / "a.tif").exists()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
    again = predicted(scene, also=(".csv",))
    assert again["blocks"]["resumed"] == again["blocks"]["total"]
    assert again["seconds"] == 0
    more = predicted(scene, also=(".csv", ".stac.json"))
    assert more["seconds"] == 0
    assert "night/a.stac.json" in service.keys("maps")
    service.client.delete_object(Bucket="maps", Key="night/a.tif")
    predicted(scene)
    assert body(service, "night/a.tif") == alone.read_bytes()


def test_what_is_foreign_is_not_replaced(service: Buckets, scene: Path) -> None:
    service.client.put_object(Bucket="maps", Key="night/a.tif", Body=b"of others")
    with pytest.raises(OutputError, match="--overwrite") as caught:
        predicted(scene)
    assert "\n" not in str(caught.value)
    assert body(service, "night/a.tif") == b"of others"
    assert service.keys("maps") == ["night/a.tif"]
    predicted(scene, overwrite=True)
    assert body(service, "night/a.tif") != b"of others"
    service.client.put_object(Bucket="maps", Key="night/a.tif", Body=b"of others again")
    with pytest.raises(OutputError, match="would be lost"):
        predicted(scene)


def test_objects_that_others_write_at_the_same_time_are_neither_lost_nor_taken_for_ours(
    service: Buckets, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, foreign = scene.read_bytes(), b"of another program"

    def write(content: bytes) -> str:
        return str(
            service.client.put_object(Bucket="maps", Key="night/a.tif", Body=content)["ETag"]
        )

    etag = write(foreign)  # after it was seen that nothing is there
    with pytest.raises(OutputError, match="exists and is not"):
        upload(scene, URL, replaces=False, media_type="image/tiff")
    assert body(service, "night/a.tif") == foreign
    download(URL, tmp_path / "b.tif", etag)
    assert (tmp_path / "b.tif").read_bytes() == foreign
    write(ours)
    with pytest.raises(OutputError, match="was replaced"):
        download(URL, tmp_path / "c.tif", etag)
    assert not (tmp_path / "c.tif").exists()
    real = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *a, **k: (real(*a, **k), write(foreign)))
    with pytest.raises(DamagedError, match="does not read back"):
        upload(scene, URL, replaces=True, media_type="image/tiff")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("s3://none/a.tif", "no bucket none"),
        ("https://host/a.tif", "into folders of this machine and into buckets"),
        ("s3://maps/a.zarr", "can't appear in a bucket at once"),
        ("s3://maps/../a.tif", "may mean another bucket"),
    ],
)
def test_places_that_take_nothing(scene: Path, url: str, line: str) -> None:
    with pytest.raises(OutputError, match=line):
        predicted(scene, url)


def test_without_credentials(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(OutputError, match="no credentials"):
        predicted(scene)


def test_an_upload_that_is_cut_leaves_nothing_and_goes_on(
    service: Buckets, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the service that kills the command between the map and the report."""
    import seg_batch.io.remote.objects as objects

    whole = objects.upload
    monkeypatch.setattr("seg_batch.inference.products.in_bucket.upload", _dying)
    with pytest.raises(KeyboardInterrupt):
        predicted(scene)
    assert service.keys("maps") == []
    monkeypatch.setattr("seg_batch.inference.products.in_bucket.upload", whole)
    again = predicted(scene)
    assert again["seconds"] == 0
    assert service.keys("maps") == ["night/a.tif", "night/a.tif.json"]


def test_a_command_that_is_killed_within_a_transfer_in_parts(
    service: Buckets, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with kill -9 while parts of a map of more than 16 MiB are on their way: nothing is under its name, and the same
    command ends with the map."""
    write_raster(scene, address_raster((4200, 4200), 1, "uint8"))
    words = [sys.executable, "-m", "seg_batch", "predict", str(scene), "-o", URL, "--model", "probe", "--compress", "none"]  # fmt: skip
    with stalling(service.url, 8 << 20) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
        with (tmp_path / "words.txt").open("wb") as out:
            command = subprocess.Popen(words, stdout=out, stderr=out)
        try:
            assert way.stalled.wait(PATIENCE_S), (tmp_path / "words.txt").read_text()
        finally:
            command.kill()
            command.wait()
    assert service.client.list_multipart_uploads(Bucket="maps")["Uploads"]
    assert service.keys("maps") == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert service.keys("maps") == ["night/a.tif", "night/a.tif.json"]
    told = json.loads(body(service, "night/a.tif.json"))
    assert told["blocks"]["resumed"] == told["blocks"]["total"]
    map_of_it = body(service, "night/a.tif")
    assert len(map_of_it) > 16 << 20
    assert hashlib.sha256(map_of_it).hexdigest() == told["product"]["sha256"]


def _dying(*args: Any, **more: Any) -> Any:
    raise KeyboardInterrupt


def test_from_the_command_line(service: Buckets, scene: Path, tmp_path: Path) -> None:
    ran = segbatch("predict", scene, "-o", "s3://maps/cli/", "--model", "probe", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert service.keys("maps") == ["cli/a_labels.tif", "cli/a_labels.tif.json"]
    assert "s3://maps/cli/a_labels.tif" in ran.out


def test_a_run_into_a_bucket(service: Buckets, scene: Path, tmp_path: Path) -> None:
    workflow = Workflow.model_validate(
        {
            "name": "night",
            "inputs": [str(scene)],
            "model": "probe",
            "outputs": {
                "folder": str(tmp_path / "out"),
                "bucket": "s3://maps/run",
                "also": [".csv"],
            },
            "workers": 1,
            "cluster": "inline",
        }
    )
    assert run_night(workflow)["complete"] == 1
    wanted = ["run/a_labels.csv", "run/a_labels.tif", "run/a_labels.tif.json"]
    assert service.keys("maps") == wanted
    made = tmp_path / "out" / "a_labels.tif"
    assert body(service, "run/a_labels.tif") == made.read_bytes()
    stamp = made.stat().st_mtime_ns
    assert run_night(workflow)["resumed"] == 1
    service.client.delete_object(Bucket="maps", Key="run/a_labels.csv")
    assert run_night(workflow)["resumed"] == 0
    assert service.keys("maps") == wanted
    assert made.stat().st_mtime_ns == stamp
