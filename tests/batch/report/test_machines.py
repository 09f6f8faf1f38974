"""What machines read: JUnit's XML and Prometheus' text, checked by strict readers of their formats."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from seg_batch.batch.report.for_machines.junit import junit
from seg_batch.batch.report.for_machines.prometheus import metrics
from seg_batch.batch.report.history import STATUSES, history_of
from seg_batch.batch.report.summary import run_report
from tests.support.batch.run_folders import FACTS, HOSTILE, RESULT, Told

NASTY = HOSTILE + '\n\t\x00\udc80]]>\\"é\u2028'

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? ([^ ]+)")


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    told = Told(tmp_path, NASTY)
    told.tell(1, "surveyed", "a", facts={**FACTS, "model": NASTY})
    hostile = {**RESULT, "classes": [{**RESULT["classes"][0], "name": NASTY}], "warnings": [NASTY]}
    told.done(2, 2, "a", hostile, "h:1")
    told.done(3, 2, "p", {**RESULT, "status": "partial"}, "h:1")
    told.tell(1, "refused", NASTY, error=NASTY)
    told.tell(1, "failed", "f", error=NASTY, status=3)
    told.tell(1, "surveyed", "w", facts=FACTS)
    told.tell(2, "started", "s", attempt=1)
    told.tell(9, "ended", status=130, why=NASTY)
    return run_report(history_of(json.loads(json.dumps(told.lines))), NASTY, {})


def strict(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by metric and labels; AssertionError for anything that the format does not allow."""
    assert text.endswith("\n")
    read: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    helped: set[str] = set()
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped, "one HELP per metric, before its samples"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind == "gauge"
            assert name in helped
            assert name not in read, "one TYPE per metric, all of its samples after it"
            read[name] = {}
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, inside, value = match.groups()
            assert name == list(read)[-1], "the samples of a metric stand together"
            labels = LABEL.findall(inside or "")
            rebuilt = ",".join(f'{k}="{v}"' for k, v in labels)
            assert rebuilt == (inside or ""), "labels are quoted and nothing is between them"
            assert len({k for k, _ in labels}) == len(labels)
            key = tuple(sorted(labels))
            assert key not in read[name], "each set of labels once"
            read[name][key] = float(value)
    return read


def test_metrics_are_in_prometheus_format(found: dict[str, Any]) -> None:
    text = metrics(found)
    assert not re.search(r"[^\x20-\x7eé\n]", text), "nothing that can't be seen"
    read = strict(text)
    by_status = {dict(k)["status"]: v for k, v in read["segbatch_inputs"].items()}
    assert by_status == dict.fromkeys(STATUSES, 1)
    assert list(read["segbatch_tiles"].values()) == [60]
    assert list(read["segbatch_run_complete"].values()) == [0]
    assert sum(read["segbatch_class_hectares"].values()) == 5
    stages = {dict(k)["stage"]: v for k, v in read["segbatch_stage_seconds"].items()}
    assert stages == {"read": 1.0, "model": 2.0}
    assert {dict(k)["run"] for samples in read.values() for k in samples} == {
        dict(next(iter(read["segbatch_tiles"])))["run"]
    }


def test_the_strict_reader_refuses_what_is_wrong() -> None:
    good = '# HELP a b\n# TYPE a gauge\na{x="1"} 1\n'
    assert strict(good) == {"a": {(("x", "1"),): 1.0}}
    wrong = (
        good[:-1],
        good.replace('"1"', '"1'),
        good.replace('"1"', '"\\x"'),
        good + 'a{x="1"} 2\n',
        good.replace(" 1\n", " one\n"),
        good + "# TYPE a gauge\n",
    )
    for text in wrong:
        with pytest.raises((AssertionError, ValueError)):
            strict(text)


def test_junit_counts_what_its_cases_say(found: dict[str, Any]) -> None:
    root = ElementTree.fromstring(junit(found))
    assert root.tag == "testsuites"
    (suite,) = root
    cases = suite.findall("testcase")
    for counted in (root, suite):
        assert int(counted.attrib["tests"]) == len(cases) == 6
        for kind in ("failure", "error", "skipped"):
            name = kind if kind == "skipped" else f"{kind}s"
            told = sum(case.find(kind) is not None for case in cases)
            assert int(counted.attrib[name]) == told, kind
        assert float(counted.attrib["time"]) == 9
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    verdicts = {}
    for case in cases:
        assert {"name", "classname", "time"} <= case.attrib.keys()
        kinds = [child.tag for child in case if child.tag != "system-out"]
        assert len(kinds) <= 1
        verdicts[case.attrib["name"][:1]] = kinds[0] if kinds else "passed"
    names = {row["input"][:1]: row["status"] for row in found["inputs"] if row["input"] != NASTY}
    assert verdicts["p"] == "failure"
    assert verdicts["f"] == "error"
    assert verdicts["s"] == "error"
    assert verdicts["w"] == "skipped"
    assert names["p"] == "partial"
    passed = [case for case in cases if not {c.tag for c in case} - {"system-out"}]
    assert [case.attrib["name"] for case in passed] == ["a"]


def test_a_run_without_inputs_does_not_pass(tmp_path: Path) -> None:
    root = ElementTree.fromstring(junit(run_report(history_of(Told(tmp_path).lines), "n", {})))
    assert (root.attrib["tests"], root.attrib["errors"]) == ("1", "1")
