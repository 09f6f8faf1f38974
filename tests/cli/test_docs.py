"""``segbatch docs``: which pages there are, and one of them."""

from __future__ import annotations

import io
import sys

import pytest

from seg_batch.cli import docs
from seg_batch.core.errors import Exit, InputError
from seg_batch.core.resources import DOCS
from tests.support.files import segbatch


def test_all_pages_are_listed_with_what_they_tell() -> None:
    listed = segbatch("docs")
    assert listed.status == 0, listed.err
    lines = listed.out.splitlines()
    pages = [line.split(maxsplit=1) for line in lines[: lines.index("")]]
    assert [name for name, _ in pages] == sorted(path.stem for path in DOCS.glob("*.md"))
    assert all(tells.endswith(".") for _, tells in pages)


def test_to_a_pipe_a_page_goes_as_it_is() -> None:
    assert segbatch("docs", "workflow").out == (DOCS / "workflow.md").read_text(encoding="utf-8")


def test_an_unknown_page_is_refused_in_one_line_with_the_nearest() -> None:
    refused = segbatch("docs", "wrkflow")
    assert (refused.status, refused.out) == (Exit.REFUSED, "")
    assert refused.err == "segbatch: there is no page 'wrkflow'; did you mean workflow?\n"
    with pytest.raises(InputError, match=r"known are .*cluster"):
        docs.docs("../../pyproject")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_page_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    docs.docs("words")
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert "overlap, margin" in shown
    assert "|---|" not in shown
