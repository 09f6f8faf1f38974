"""Options of ``watch`` and ``demo`` that can't be followed are refused in one line that names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from seg_batch.cli.demo import run_demo
from seg_batch.cli.display.bars import Bar
from seg_batch.cli.watch import _workflow
from seg_batch.config.options import unset_options
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core.errors import OutputError, PlanError


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("cluster", "foo", "--cluster: 'foo' is unknown"), ("block", (1,), "--block: ")],
)
def test_watch_names_the_option(tmp_path: Path, name: str, value: object, words: str) -> None:
    arguments = replace(unset_options(RequestArguments), output=str(tmp_path))
    options = unset_options(PredictOptions)
    if hasattr(arguments, name):
        arguments = replace(arguments, **{name: value})
    else:
        options = replace(options, **{name: value})
    with pytest.raises(PlanError) as refused:
        _workflow(None, arguments, options, str(tmp_path))
    assert words in refused.value.message
    assert "\n" not in refused.value.message


def test_the_demo_says_that_a_file_stands_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(OutputError, match="a file stands there"):
        list(run_demo(tmp_path / "a.txt", lambda: Bar(quiet=True)))
    assert (tmp_path / "a.txt").read_text() == "mine"
