"""Options of ``watch`` and ``demo`` that can't be followed, and slips of ``models``, are refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.main import get_command

from seg_batch.cli import models
from seg_batch.cli.demo import run_demo
from seg_batch.cli.display.bars import Bar
from seg_batch.cli.watch import _workflow
from seg_batch.config.options import unset_options
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core.errors import InputError, OutputError, PlanError
from seg_batch.inference.bundles import COMMANDS


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


@pytest.mark.parametrize(
    ("words", "hint"), [(("chek", "ok"), "check"), (("ad",), "add"), (("benhc", "ok"), "bench")]
)
def test_words_near_the_commands_of_models_lead_to_them(words: tuple[str, ...], hint: str) -> None:
    group = get_command(models.app)
    assert isinstance(group, models.Named)
    assert set(group.commands) == set(COMMANDS)
    with pytest.raises(InputError, match=f"did you mean {hint}"):
        group.resolve_command(None, list(words))
