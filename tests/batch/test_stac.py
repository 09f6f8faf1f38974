"""A run over items of a STAC catalogue on the loopback interface: the same maps as of local files, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pystac
import pytest

from seg_batch.batch.job import job_of
from seg_batch.batch.journal import Journal
from seg_batch.config.workflow import Workflow
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from tests.support.batch.nights import run_night
from tests.support.files import address_raster, write_raster
from tests.support.remote.catalogue import Catalogue, band, cataloguing, item

NAMES = ("a", "b", "c")
OPTIONS = {"block": [256, 256]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for n, name in enumerate(NAMES):
        write_raster(folder / f"{name}.tif", address_raster((300 + n, 333), 1, "uint8"))
    return folder


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    folder, maps = tmp_path_factory.mktemp("alone"), {}
    for name in NAMES:
        path = folder / f"{name}.tif"
        predict_one(Request(f"{images}/{name}.tif", str(path), model="probe", cluster="inline"))
        maps[name] = pixels(path)
    return maps


def pixels(path: Path) -> list[int]:
    import rasterio

    with rasterio.open(path) as file:
        return [int(value) for value in file.read(1).ravel()]


@pytest.fixture
def catalogue(images: Path) -> Iterator[Catalogue]:
    files = {f"/{name}.tif": (images / f"{name}.tif").read_bytes() for name in NAMES}
    with cataloguing(files) as server:
        server.items = [
            item(name, {"data": band(name) | {"href": f"{server.url}/{name}.tif"}})
            for name in NAMES
        ]
        yield server


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., Workflow]:
    def made(stac: dict[str, Any], **options: Any) -> Workflow:
        return Workflow.model_validate(
            {
                "name": "night",
                "inputs": {"stac": stac},
                "model": "probe",
                "options": {**OPTIONS, **options},
                "outputs": str(tmp_path / "out"),
                "workers": 1,
                "cluster": "inline",
            }
        )

    return made


def ended(workflow: Workflow) -> dict[str, Any]:
    """Kind of the last event of each input, with its words."""
    events = Journal.read(Path(workflow.run_folder) / "journal.jsonl")
    return {e["input"]: (e["event"], str(e)) for e in events if e.get("input")}


def test_a_search_gives_the_maps_of_the_local_files(
    catalogue: Catalogue, night: Callable[..., Workflow], alone: dict[str, list[int]]
) -> None:
    query = {"eo:cloud_cover": {"lt": 10}}
    search = {"api": f"{catalogue.url}/api", "collections": "s2", "query": "eo:cloud_cover<10"}
    workflow = night(search)
    assert run_night(workflow)["complete"] == 3
    assert [body["query"] for body in catalogue.asked] == [query] * 2  # two pages
    assert set(ended(workflow)) == {"s2/a", "s2/b", "s2/c"}
    folder = Path(workflow.outputs.folder)
    for name in NAMES:
        assert pixels(folder / f"{name}_labels.tif") == alone[name]
        beside = pystac.Item.from_file(str(folder / f"{name}_labels.stac.json"))
        assert beside.datetime is not None
        assert beside.datetime.isoformat() == "2024-06-01T10:00:00+00:00"
        report = json.loads((folder / f"{name}_labels.tif.json").read_text())
        assert report["source"]["stac"]["collection"] == "s2"
    assert run_night(workflow)["resumed"] == 3


def test_a_limit_is_told(catalogue: Catalogue, night: Callable[..., Workflow]) -> None:
    job = job_of(night({"api": f"{catalogue.url}/api", "collections": "s2", "limit": 2}))
    assert list(job.requests) == ["s2/a", "s2/b"]
    assert job.left_out == (f"{catalogue.url}/api: there are more items than the limit of 2",)


def test_what_can_not_be_done_is_set_aside_and_the_rest_goes_on(
    catalogue: Catalogue, night: Callable[..., Workflow]
) -> None:
    catalogue.items[1]["assets"]["data"]["href"] = "https://elsewhere.example/b.tif?sig=secret"
    catalogue.items[2]["assets"] = {}
    workflow = night({"api": f"{catalogue.url}/api", "collections": "s2"})
    job = job_of(workflow)
    assert list(job.requests) == ["s2/a"]
    assert "--allow elsewhere.example" in job.refused["s2/b"]
    assert "secret" not in str(job.refused)
    assert "no asset is a raster" in job.refused["s2/c"]
    allowed = job_of(night({"api": f"{catalogue.url}/api", "collections": "s2"}, allow=["elsewhere.example"]))  # fmt: skip
    assert list(allowed.requests) == ["s2/a", "s2/b"]


def test_two_items_of_one_name_are_not_taken_for_one(
    catalogue: Catalogue, night: Callable[..., Workflow]
) -> None:
    for each in catalogue.items:
        each["id"] = "a"
    catalogue.items.append(json.loads(json.dumps(catalogue.items[0])))
    job = job_of(night({"api": f"{catalogue.url}/api", "collections": "s2"}))
    assert list(job.requests) == ["s2/a"]
    assert len(job.refused) == 2
    assert all("is called s2/a" in why for why in job.refused.values())


def refusal(workflow: Workflow) -> str:
    job = job_of(workflow)
    assert not job.requests
    (line,) = job.refused.values()
    assert "\n" not in line
    return line


def test_an_api_that_leads_elsewhere_denies_or_finds_nothing(
    catalogue: Catalogue, night: Callable[..., Workflow]
) -> None:
    workflow = night({"api": f"{catalogue.url}/api", "collections": "s2"})
    catalogue.next_url = "https://elsewhere.example/search"
    assert "--allow elsewhere.example" in refusal(workflow)
    catalogue.behaviour.redirect = "https://elsewhere.example/search"
    assert "redirects to another host are not followed" in refusal(workflow)
    catalogue.behaviour.redirect = ""
    catalogue.behaviour.statuses = [403]
    assert "answers 403" in refusal(workflow)
    catalogue.items = []
    assert "finds no item" in refusal(workflow)


def test_a_signature_that_expires_midway_is_made_anew(
    catalogue: Catalogue, night: Callable[..., Workflow], alone: dict[str, list[int]]
) -> None:
    catalogue.behaviour.signature = "first"
    asked = 0

    def expire(count: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 4:
            catalogue.behaviour.signature = "second"

    catalogue.behaviour.before = expire
    catalogue.items = catalogue.items[:1]
    stac = {"api": f"{catalogue.url}/api", "collections": "s2"}
    workflow = night(stac, sign=f"{catalogue.url}/sign?href={{href}}")
    assert run_night(workflow)["complete"] == 1
    assert asked > 4
    folder = Path(workflow.outputs.folder)
    assert pixels(folder / "a_labels.tif") == alone["a"]
    told = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"sig=" not in told
    assert run_night(workflow)["resumed"] == 1


def test_a_signer_that_names_another_file_is_not_believed(
    catalogue: Catalogue, night: Callable[..., Workflow]
) -> None:
    catalogue.signs_as = f"{catalogue.url}/b.tif"
    catalogue.items = catalogue.items[:1]
    stac = {"api": f"{catalogue.url}/api", "collections": "s2"}
    workflow = night(stac, sign=f"{catalogue.url}/sign?href={{href}}")
    run_night(workflow)
    ((_, words),) = ended(workflow).values()
    assert "which is another file" in words
