"""Which inputs are drawn: what is not complete and what is slow first, within the limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.batch.report import gallery as module
from seg_batch.batch.report.gallery import gallery
from seg_batch.batch.report.quicklook import PlaneView
from tests.support.batch.run_folders import product as made
from tests.support.batch.run_folders import scene


def row(key: str, status: str = "complete") -> dict[str, Any]:
    return {"input": key, "status": status, "output": "o", "report": None}


def test_the_wanted_come_first_and_the_rest_is_counted(monkeypatch: Any) -> None:
    drawn: list[str] = []

    def draw(image: str, labels: str | None, report: dict[str, Any]) -> tuple[PlaneView, ...]:
        drawn.append(image)
        return (PlaneView("", b"x" * 1000, None, 1.0),)

    monkeypatch.setattr(module, "draw_quicklook", draw)
    rows = [row("refused", "refused"), row("failed", "failed"), row("partial", "partial")]
    rows += [row("waiting", "waiting"), *(row(f"{k:03}") for k in range(100))]
    facts = {"inputs": rows, "slowest": ["090", "050", "partial"]}
    found = gallery(facts)
    assert drawn[:5] == ["failed", "partial", "090", "050", "000"]
    assert len(drawn) == module.MOST
    assert [p.input for p in found.pictures] == [r["input"] for r in rows if r["input"] in drawn]
    assert found.left_out == 102 - module.MOST
    drawn.clear()
    monkeypatch.setattr(module, "BYTES", 4500)
    assert gallery(facts).left_out == 102 - 5
    monkeypatch.setattr(module, "SECONDS", -1.0)
    assert gallery(facts).pictures == ()


def test_what_can_not_be_drawn_says_why(tmp_path: Path) -> None:
    facts = {"inputs": [row(str(tmp_path / "gone.tif"), "failed")], "slowest": []}
    (picture,) = gallery(facts).pictures
    assert "no such file" in picture.why
    assert picture.views == ()
    broken = {**row("a.tif"), "report": str(tmp_path / "none.json")}
    (picture,) = gallery({"inputs": [broken], "slowest": []}).pictures
    assert "No such file" in picture.why


def test_an_input_that_was_moved_away_leaves_its_labels(tmp_path: Path) -> None:
    image, product = scene(tmp_path / "a.tif"), tmp_path / "a_labels.tif"
    _, result = made(image, product)
    moved = {**row(str(image)), "output": str(product), "report": result["report"]}
    facts = {"inputs": [moved], "slowest": []}
    (whole,) = gallery(facts).pictures
    assert whole.why == ""
    assert whole.views[0].image is not None
    image.rename(tmp_path / "elsewhere.tif")
    (left,) = gallery(facts).pictures
    assert left.views[0].image is None
    assert left.views[0].labels == whole.views[0].labels
    assert "no such file" in left.why
