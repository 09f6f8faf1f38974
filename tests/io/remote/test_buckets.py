"""Objects of buckets, against a real service of S3 on this machine; and the addresses of the others."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import numpy as np
import pytest
from obstore.exceptions import GenericError, UnknownConfigurationKeyError
from obstore.store import AzureStore, GCSStore, S3Store

import seg_batch
from seg_batch import predict
from seg_batch.core.errors import ChangedError, InputError
from seg_batch.core.geometry import Box
from seg_batch.io.remote.buckets import CREDENTIALS, signed
from seg_batch.io.remote.reader import open_remote
from seg_batch.io.sources import open_source
from tests.support.remote.rasters import raster
from tests.support.remote.s3 import s3

SCENE = raster(1100, 900)
KEY = "a b/scène+1.tif"


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, str]]:
    with s3("maps", {KEY: SCENE, "text.tif": b"no image"}) as settings:
        yield settings


@pytest.mark.full
class TestOfS3:
    @pytest.fixture(autouse=True)
    def environment(self, service: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in service.items():
            monkeypatch.setenv(name, value)

    def test_a_raster_and_its_map_are_those_of_the_file_here(self, tmp_path: Path) -> None:
        (tmp_path / "scene.tif").write_bytes(SCENE)
        here, there = open_source(tmp_path / "scene.tif"), open_source(f"s3://maps/{KEY}")
        box = Box((100, 200), (900, 800))
        assert np.array_equal(here.read(box).values, there.read(box).values)
        assert there.info.path == f"s3://maps/{KEY}"
        assert {"size", "etag"} == there.info.identity.keys()
        for name, path in (("a.tif", tmp_path / "scene.tif"), ("b.tif", f"s3://maps/{KEY}")):
            predict(path, tmp_path / name, model="probe", block=(512, 512))
        maps = [open_source(tmp_path / name).read(Box((0, 0), (1100, 900))).values for name in ("a.tif", "b.tif")]  # fmt: skip
        assert np.array_equal(*maps)
        written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"geheimnis" not in written
        assert b"Signature" not in written

    def test_what_signs_addresses_of_hosts_is_not_asked(self) -> None:
        def sign(url: str) -> str:
            return url

        assert open_remote("s3://maps/text.tif", (), sign).read(0, 8) == b"no image"

    def test_another_object_of_the_name_stops_the_reading(self, service: dict[str, str]) -> None:
        client = boto3.client("s3", endpoint_url=service["AWS_ENDPOINT_URL"])
        client.put_object(Bucket="maps", Key="changing.tif", Body=SCENE)
        source = open_source("s3://maps/changing.tif")
        client.put_object(Bucket="maps", Key="changing.tif", Body=raster(1100, 900, dtype="int16"))
        with pytest.raises(ChangedError):
            source.read(Box((500, 500), (1000, 900)))

    def test_what_is_not_there_is_refused_in_one_line(self) -> None:
        for url, words in (("s3://maps/none.tif", "no such file"), ("s3://none/x.tif", "no such file"), ("s3://maps/text.tif", "copy it")):  # fmt: skip
            with pytest.raises(InputError, match=words) as caught:
                open_source(url)
            assert "\n" not in caught.value.message
            assert "Signature" not in caught.value.message


def test_without_credentials_the_address_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed("s3://maps/a/b c.tif") == "https://maps.s3.us-east-1.amazonaws.com/a/b%20c.tif"
    monkeypatch.setenv("AWS_REGION", "eu-1")
    assert signed("s3://my.maps/a") == "https://s3.eu-1.amazonaws.com/my.maps/a"
    assert signed("gs://maps/a") == "https://storage.googleapis.com/maps/a"
    with pytest.raises(InputError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        signed("az://maps/a")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acc")
    assert signed("az://maps/a") == "https://acc.blob.core.windows.net/maps/a"
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=2")
    assert signed("az://maps/a") == "https://acc.blob.core.windows.net/maps/a?sv=1&sig=2"


def test_with_credentials_it_is_signed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheimnis")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "dauer")
    address = signed("s3://maps/a")
    assert address.startswith("https://")
    assert "X-Amz-Signature=" in address
    assert "X-Amz-Security-Token=dauer" in address
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acc")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert "sig=" in signed("az://maps/a")


def test_bad_credentials_are_told_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", "geheimnis")
    with pytest.raises(InputError, match="credentials of the environment") as caught:
        open_remote("gs://maps/a")
    assert "geheimnis" not in caught.value.message


def test_a_service_without_encryption_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.local:9000")
    with pytest.raises(InputError, match="not encrypted"):
        signed("s3://maps/a")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert signed("s3://maps/a") == "http://store.local:9000/maps/a"


STORES = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}


@pytest.mark.parametrize(("scheme", "name"), [(s, n) for s in STORES for n in CREDENTIALS[s]])
def test_what_leads_to_credentials_is_known_to_what_signs(scheme: str, name: str) -> None:
    """A name that nothing else knows would leave a bucket unsigned, without a word."""
    with pytest.raises(UnknownConfigurationKeyError):
        STORES[scheme]("bucket", config={name.replace("_", "", 1): "x"})
    with suppress(GenericError):  # of a value that leads nowhere
        STORES[scheme]("bucket", config={name: "x"})


def test_the_credentials_that_the_manual_names_are_looked_for() -> None:
    manual = (Path(seg_batch.__file__).parent / "docs" / "remote.md").read_text()
    for scheme, name in (("s3", "AWS_ACCESS_KEY_ID"), ("gs", "GOOGLE_APPLICATION_CREDENTIALS")):
        assert f"`{name}`" in manual
        assert name in CREDENTIALS[scheme]
