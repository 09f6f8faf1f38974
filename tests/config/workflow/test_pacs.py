"""The key ``pacs`` of a workflow: what is safe, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seg_batch.config.workflow import Workflow, read, with_network
from seg_batch.core.errors import PlanError, WorkflowError

ROOT = Path(__file__).parents[3]
FLOW = Workflow.model_validate({"name": "night", "inputs": "in", "outputs": "out"})


def test_the_shipped_night_reads_with_the_places_of_the_environment() -> None:
    flow = read(ROOT / "workflows" / "pacs_night.yaml", env={"SEND_TO": "PACS@[::1]:104"})
    assert flow.pacs is not None
    assert str(flow.pacs.address) == "SEGBATCH@127.0.0.1:11112"
    assert [str(place) for place in flow.pacs.places] == ["PACS@[::1]:104"]
    assert [one.title for one in flow.pacs.allowed] == ["ORTHANC"]
    assert flow.inputs is None


def test_a_run_begun_before_goes_on_and_the_network_makes_no_other_product() -> None:
    assert "pacs" not in FLOW.to_json()
    told = with_network(FLOW, {"listen": "SEG@:11112", "allow": None, "tls": None, "plain": False})
    assert told.sha256 == FLOW.sha256
    assert with_network(FLOW, {"listen": None, "plain": False}) is FLOW


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"listen": "SEG@0.0.0.0:11112"}, "over a network"),
        ({"send_to": ["PACS@pacs.example:104"]}, "over a network"),
        ({"send_to": ["http://pacs.example/studies"]}, "in the clear"),
        ({"send_to": ["https://user:secret@pacs.example/studies"]}, "no user or password"),
        ({"listen": "SEG@:11112", "tls": "certs", "plain": True}, "contradict"),
        ({"allow": ["PACS"]}, "nothing listens"),
        ({"listen": "SEG@:11112", "allow": ["PACS@pacs.example"]}, "nobody who sends"),
        ({"listen": "11112"}, "no DICOM address"),
    ],
)
def test_what_is_not_safe_is_refused_in_one_line(said: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words) as raised:
        with_network(FLOW, said)
    assert "\n" not in raised.value.message
    assert "Value error" not in raised.value.message
    assert "secret" not in raised.value.message


def test_a_network_that_is_trusted_is_said_to_be() -> None:
    flow = with_network(FLOW, {"listen": "SEG@0.0.0.0:11112", "plain": True})
    assert flow.pacs is not None
    assert flow.pacs.plain


def test_a_fault_in_a_file_comes_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "night.yaml"
    path.write_text("outputs: out\npacs:\n  listn: SEG@:1\n")
    with pytest.raises(WorkflowError, match=r"night.yaml:3:3.*listen"):
        read(path)
