"""The page: self-contained, honest, and safe from the names in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.report import html_page, write
from seg_batch.core.text import visible
from seg_batch.core.units import clock, duration, number, share, short, whole
from tests.support.batch.run_folders import FACTS, HOSTILE, RESULT, Told
from tests.support.files import segbatch


class Page(HTMLParser):
    """Tags with their attributes, and all text that is not style or script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._skip = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skip = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._skip else data


def test_the_page_fetches_nothing_and_runs_one_script(made: tuple) -> None:
    page = Page(made[1])
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
        assert not {name for name in attributes if name.startswith("on")}
        assert tag not in ("form", "iframe", "object", "embed", "base")
    assert "@import" not in made[1]
    assert "url(" not in made[1]
    (script,) = re.findall(r"<script>(.*?)</script>", made[1], re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    metas = [a for t, a in page.tags if t == "meta"]
    (policy,) = [a["content"] for a in metas if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_names_are_shown_and_never_obeyed(made: tuple) -> None:
    text = made[1]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert visible(HOSTILE) in Page(text).text
    assert "<script>alert" not in text
    assert "mend its <path>" in Page(text).text


def test_bytes_that_are_no_text_break_nothing(tmp_path: Path) -> None:
    """A name of bytes that are no UTF-8 comes as lone surrogates, which no file can hold."""
    bad = "a\udcff\u2066<b>\x00"
    told = Told(tmp_path, bad)
    told.tell(1, "refused", bad, error=bad)
    told.tell(1, "surveyed", bad + "2", facts={**FACTS, "model": bad, "warnings": [bad]})
    told.tell(2, "started", bad + "2", attempt=1, worker=bad)
    told.tell(3, "worker_lost", worker=bad, why=bad)
    classes = [{**RESULT["classes"][0], "name": bad}]
    failures = [{"block": "0", "box": bad, "error": bad}] * 2
    holes = {"status": "partial", "classes": classes, "failures": failures, "warnings": [bad]}
    told.done(4, 1, bad + "3", {**RESULT, **holes}, bad)
    write(told.end(9, 3, bad))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert visible(bad) in Page(text).text
    assert "<b>\\x00" not in text
    assert not re.search("[\x00-\x09\x0b-\x1f\u2066]", text)


def test_inner_links_lead_somewhere(made: tuple) -> None:
    page = Page(made[1])
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for t, a in page.tags if t == "a"}
    assert targets <= {f"#{name}" for name in ids}
    assert {a["aria-controls"] for _, a in page.tags if "aria-controls" in a} <= set(ids)
    assert all(a.get("alt") for t, a in page.tags if t == "img")


def test_what_is_not_complete_stands_first_and_in_the_title(made: tuple) -> None:
    facts, text, run = made
    title = re.search("<title>(.*?)</title>", text)
    assert title is not None
    assert "4 of 6 inputs are not complete: 1 refused, 1 failed, 1 partial, 1 waiting" in title[1]
    order = [re.search(rf'<tbody id="[^"]*" data-status="{s}"', text) for s in facts["statuses"]]
    at = [found.start() for found in order if found]
    assert at == sorted(at)
    assert len(at) == 5
    assert text.index("gone.tif does not exist") < text.index('id="inputs"')
    assert json.loads((run / "report.json").read_text()) == facts
    assert sorted(p.name for p in run.iterdir()) == [
        "areas.csv",
        "areas_by_class.csv",
        "journal.jsonl",
        "metrics.prom",
        "report.html",
        "report.json",
        "report.xml",
        "volumes.csv",
        "volumes_by_class.csv",
        "workflow.json",
    ]


def test_the_table_has_sizes_and_the_map_leads_to_its_rows(made: tuple) -> None:
    facts, text, _ = made
    heads = re.findall(r'<th scope="col" class="sizes">.*?<small>(.*?)</small>', text)
    assert Counter(heads) == {"ha": 7, "mL": 5}, "the most common of seven each"
    (volume,) = (row for row in facts["inputs"] if row["kind"] == "volume")
    at = facts["inputs"].index(volume)
    cells = re.search(rf'<tbody id="input-{at}".*?</tr>', text, re.DOTALL)
    assert cells is not None
    sizes = re.findall(r'data-value="([^"]*)" class="sizes">', cells[0])
    found = [float(v) for v in sizes if v]
    common = sorted(c["millilitres"] for c in volume["classes"] if c["id"] != volume["background"])
    assert sorted(found) == common[-5:]
    outlines = re.findall(r'<a href="#input-(\d+)"><polygon', text)
    assert sorted(map(int, outlines)) == [
        i for i, row in enumerate(facts["inputs"]) if row["footprint"]
    ]


def test_details_are_those_of_the_rows(made: tuple) -> None:
    facts, text, _ = made
    shown = Page(text).text
    for row in facts["inputs"]:
        for c in row["classes"]:
            unit = "hectares" if "hectares" in c else "millilitres"
            assert number(c[unit]) in shown
            assert share(c["share"]) in shown
        if row["seconds"]:
            assert duration(row["seconds"]) in shown
            assert row["product"]["sha256"] in shown
            assert all(f"{k} {duration(s)}" in shown for k, s in row["stages_s"].items())
    assert "Repeated after" in shown
    assert "worker died" in shown
    assert "worker lost" in shown


@pytest.mark.parametrize("lines", [[], [("surveyed", "a", {"facts": FACTS})]])
def test_a_run_that_has_done_nothing_has_a_report(tmp_path: Path, lines: list) -> None:
    told = Told(tmp_path)
    for kind, key, fields in lines:
        told.tell(1, kind, key, **fields)
    facts = write(told.write())
    text = (tmp_path / "report.html").read_text()
    assert facts["verdict"] == "unfinished"
    assert "the run has not ended" in text


def test_an_empty_journal_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("")
    assert write(tmp_path)["verdict"] == "unfinished"


def test_a_run_that_was_stopped_while_looking_does_not_call_itself_complete(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.done(1, 1, "/nowhere/a.tif", RESULT, "h:1")
    write(told.end(9, 130, "SIGTERM"))
    text = (tmp_path / "report.html").read_text()
    assert "1 input complete, and not all were looked at; the same command goes on" in text
    assert "It ended because: SIGTERM" in text
    assert 'class="verdict complete"' not in text


def test_inputs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    assert html_page._tails(
        ["/a/x/s.tif", "/b/x/s.tif", "/b/y/s.tif", "/b/t.tif", "s.tif", "/a/z/"]
    ) == {
        "/a/x/s.tif": "a/x/s.tif",
        "/b/x/s.tif": "b/x/s.tif",
        "/b/y/s.tif": "y/s.tif",
        "/b/t.tif": "t.tif",
        "s.tif": "s.tif",
        "/a/z/": "z",
    }


def test_events_are_counted_by_what_they_are(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.done(1, 4, "/nowhere/a.tif", RESULT, "h:1")
    told.tell(2, "straggler", worker="h:1", why="a: 0.1: 40 s, begun elsewhere too")
    told.tell(3, "straggler", worker="h:1", why="a: 0.2: 40 s, begun elsewhere too")
    told.tell(3, "worker_dropped", worker="h:1", why="nothing works there")
    told.tell(4, "stopping", why="SIGTERM received")
    facts = write(told.end(9, 130, "SIGTERM received"))
    assert facts["totals"]["stragglers"] == 2
    text = (tmp_path / "report.html").read_text()
    assert "<summary>2 stragglers, 1 worker sent away, 1 stop</summary>" in text
    assert "segbatch_stragglers{" in (tmp_path / "metrics.prom").read_text()


def test_numbers_read_well() -> None:
    assert duration(None) == "–"
    assert [duration(s) for s in (0.123, 12.34, 59.94, 59.96, 125, 7384)] == [
        *("0.12 s", "12.3 s", "59.9 s", "1:00 min", "2:05 min", "2:03:04 h")
    ]
    assert [short(n) for n in (None, 999_999, 1_234_567, 197_531_080_754, 2e12)] == [
        *("–", "999\u00a0999", "1.235\u00a0M", "197.5\u00a0G", "2\u00a0T")
    ]
    assert whole(1234567) == "1\u00a0234\u00a0567"
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(0.0))
    assert visible("a\x1b\n\u202e\udc80é") == "a\\x1b\\n\\u202e\\udc80é"


@pytest.mark.full
def test_the_command_writes_it_again(made: tuple) -> None:
    facts, _, run = made
    (run / "report.html").unlink()
    ran = segbatch("report", run)
    assert ran.status == 0, ran.err
    assert "1 refused, 1 failed" in ran.out
    assert (run / "report.html").is_file()
    assert json.loads((run / "report.json").read_text())["statuses"] == facts["statuses"]
    refused = segbatch("report", run.parent)
    assert refused.status == 2
    assert "journal.jsonl" in refused.err


def test_details_beyond_the_limit_are_in_the_json_only(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(html_page, "MOST_DETAILS", 2)
    told = Told(tmp_path)
    for k in range(4):
        told.done(1, 1, f"/nowhere/{k}.tif", RESULT, "h:1")
    write(told.end(9))
    text = (tmp_path / "report.html").read_text()
    assert text.count('class="more"') == 2
    assert "Details of the first 2 inputs" in text
