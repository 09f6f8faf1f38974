"""Damaged headers end in an image or a refusal of one line: no traceback, no line of a library, little time."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from tests.support.io.header_fuzz import outcomes
from tests.support.io.header_mutations import write_seeds

SAMPLE, ALL = 200, 10_000


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[Path]:
    """Written in another process, so that no library has been used when a header is opened."""
    folder = tmp_path_factory.mktemp("headers") / "seeds"
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=write_seeds, args=(folder,))
    writer.start()
    writer.join()
    return sorted(path for path in folder.iterdir())


def check(seeds: list[Path], numbers: range, folder: Path) -> None:
    ended = outcomes(seeds, numbers, folder)
    assert len(ended) == len(numbers)
    assert [outcome for outcome in ended if outcome.fault] == []
    words = Counter(outcome.word for outcome in ended)
    assert words["ok"] > len(numbers) // 10  # else the changes would be too coarse
    assert words["InputError"] > len(numbers) // 10


@pytest.mark.full
def test_a_sample_of_damaged_headers(seeds: list[Path], tmp_path: Path) -> None:
    check(seeds, range(SAMPLE), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, ALL, ALL // 10))
def test_ten_thousand_damaged_headers(seeds: list[Path], tmp_path: Path, first: int) -> None:
    check(seeds, range(first, first + ALL // 10), tmp_path)
