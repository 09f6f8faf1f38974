"""What is printed reads back, near enough; and no minute is called sixty seconds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core import units

PACKAGE = Path(units.__file__).parents[1]
SECONDS = st.floats(0, 1e7)
BYTES = st.integers(0, 1 << 60)
COUNTS = st.integers(0, 10**15)
SHARES = st.floats(0, 1)


def clock_s(text: str) -> int:
    """Of ``1:02:05`` or ``12:05``."""
    found = 0
    for part in text.split(":"):
        assert found == 0 or int(part) < 60
        found = found * 60 + int(part)
    return found


def words_s(text: str) -> float:
    return units.parse_seconds(text.replace(" ", ""))


@given(SECONDS)
def test_clock(seconds: float) -> None:
    assert abs(clock_s(units.show_s(seconds)) - seconds) <= 0.5


@given(SECONDS)
def test_duration(seconds: float) -> None:
    text, unit = units.duration(seconds).split(" ")
    if unit == "s":
        assert float(text) < 60
        assert abs(float(text) - seconds) <= 0.05 + 1e-9
        return
    assert (text.count(":") == 2) == (unit == "h")
    assert abs(clock_s(text) - seconds) <= 0.5


@given(st.integers(1, 10**6))
def test_in_words(seconds: int) -> None:
    text = units.duration_in_words(seconds)
    assert words_s(text) == seconds
    assert not re.search(r"\b60 s", text)


@given(st.floats(0.06, 1e7))
def test_told(seconds: float) -> None:
    near = 0.05 if seconds < 90 else 0.5 if seconds < 5399 else 240
    assert abs(words_s(units.duration_in_line(seconds)) - seconds) <= near + 1e-6


@given(st.floats(0.6, 1e7))
def test_roughly(seconds: float) -> None:
    near = 0.5 if seconds < 90 else 30 if seconds < 5400 else 180
    assert abs(words_s(units.duration_roughly(seconds)) - seconds) <= near + 1e-6


@given(st.floats(1, 1e7))
def test_to_write(seconds: float) -> None:
    back = units.parse_seconds(units.duration_to_write(seconds))
    assert seconds - 60 < back <= seconds


@given(BYTES)
def test_bytes(n: int) -> None:
    assert units.parse_bytes(units.show_bytes(n).replace(" ", "")) == pytest.approx(n, rel=0.06)


@given(BYTES)
def test_bytes_rounded_down(n: int) -> None:
    written = units.parse_bytes(units.bytes_to_write(n))
    assert n - (1 << 20) < written <= n
    assert units.parse_bytes(units.whole_mib(n)) == written
    assert n - (1 << 30) < units.parse_bytes(units.whole_gib(n)) <= n


@given(COUNTS)
def test_counts(n: int) -> None:
    assert int(units.with_commas(n).replace(",", "")) == n
    assert int(units.with_spaces(n).replace(" ", "")) == n
    assert int(units.whole(n).replace("\N{NO-BREAK SPACE}", "")) == n
    assert units.counted_plainly(n, "case").startswith(f"{n} case")
    assert units.counted_plainly(n, "case").endswith("s") == (n != 1)


@given(SHARES, st.integers(0, 4))
def test_shares(value: float, digits: int) -> None:
    near = 0.51 * 10 ** -(digits + 2)
    assert abs(float(units.share(value, digits).removesuffix(" %")) / 100 - value) <= near
    assert abs(float(units.share_in_line(value, digits).removesuffix("%")) / 100 - value) <= near
    roughly = float(units.share_roughly(value).removesuffix(" %")) / 100
    assert roughly == pytest.approx(value, rel=0.06, abs=1e-12)


@pytest.mark.parametrize(
    ("seconds", "told", "roughly", "written", "words"),
    [
        (41, "41.0 s", "41 s", "41s", "41 s"),
        (89.4, "89.4 s", "89 s", "89s", "1 min 29 s"),
        (125, "2 min 5 s", "2 min", "2m", "2 min 5 s"),
        (5400, "1.5 h", "1.5 h", "1h30m", "90 min 0 s"),
        (7200, "2.0 h", "2.0 h", "2h", "120 min 0 s"),
    ],
)
def test_as_it_reads(seconds: float, told: str, roughly: str, written: str, words: str) -> None:
    assert units.duration_in_line(seconds) == told
    assert units.duration_roughly(seconds) == roughly
    assert units.duration_to_write(seconds) == written
    assert units.duration_in_words(seconds) == words


def specs(path: Path) -> list[str]:
    """Format specifications that print a count or a share by themselves."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)]
    plain = [(node.lineno, ast.unparse(node.format_spec)) for node in found if node.format_spec]
    return [f"{line}: {spec}" for line, spec in plain if re.search(r"(,|%)'$", spec)]


def test_nobody_else_prints_counts_and_shares() -> None:
    others = [path for path in PACKAGE.rglob("*.py") if path != Path(units.__file__)]
    found = {str(path): lines for path in others if (lines := specs(path))}
    assert not found
