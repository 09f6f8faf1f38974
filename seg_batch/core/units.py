"""Sizes, durations, times and counts as text for people, and back.

Shown text holds no invisible characters, since file names may come from strangers.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from seg_batch.core.text import visible

NONE = "–"
LONGEST_TEXT = 2000
MINUTE, HOUR, DAY = 60, 3600, 86400

_LENGTH = re.compile(
    r"(?:(\d{1,8}(?:\.\d+)?)d)?\s*(?:(\d{1,8}(?:\.\d+)?)h)?\s*"
    r"(?:(\d{1,8}(?:\.\d+)?)m(?:in)?)?\s*(?:(\d{1,8}(?:\.\d+)?)s)?",
    re.ASCII,
)


def shown(text: object) -> str:
    """The text, at most ``LONGEST_TEXT`` characters, with invisible characters escaped."""
    plain = str(text)
    return visible(plain[:LONGEST_TEXT]) + (" …" if len(plain) > LONGEST_TEXT else "")


def moment(seconds: float | None) -> str:
    """Unix seconds as local time with its offset: ``2026-11-21 06:30:05 +0000``."""
    if seconds is None:
        return NONE
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def clock(seconds: float | None) -> str:
    """Unix seconds as the time of day: ``06:30:05``."""
    return NONE if seconds is None else datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def day(seconds: float) -> str:
    """Unix seconds as ``11-21 06:30``."""
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M")


def counted(count: int, noun: str) -> str:
    """``1 warning``, ``1 234 warnings``, for pages."""
    return f"{whole(count)} {plural(count, noun)}"


def counted_plainly(count: int, noun: str) -> str:
    """``1 case``, ``1234 cases``, for lines of text."""
    return f"{count} {plural(count, noun)}"


def plural(count: int, noun: str) -> str:
    """The noun after that count."""
    return noun if count == 1 else f"{noun}s"


def duration(seconds: float | None) -> str:
    """``0.42 s``, ``12.5 s``, ``3:05 min``, ``2:14:09 h``."""
    if seconds is None:
        return NONE
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    return f"{show_s(seconds)} {'h' if round(seconds) >= HOUR else 'min'}"


def duration_finely(seconds: float) -> str:
    """``3.2 ms``, and as `duration` from a tenth of a second on."""
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else duration(seconds)


def duration_in_words(seconds: float) -> str:
    """``41 s``, ``3 min 5 s``."""
    minutes, rest = divmod(round(seconds), MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def duration_in_line(seconds: float) -> str:
    """``12.5 s``, ``3 min 5 s``, ``2.3 h``."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // MINUTE
    return duration_in_words(seconds) if minutes < 90 else f"{minutes / 60:.1f} h"


def duration_roughly(seconds: float) -> str:
    """``41 s``, ``12 min``, ``3.4 h``, for estimates."""
    if seconds < 90:
        return whole_s(seconds)
    return f"{seconds / MINUTE:.0f} min" if seconds < 5400 else f"{seconds / HOUR:.1f} h"


def duration_to_write(seconds: float) -> str:
    """For ``parse_seconds``, rounded down: ``95s``; from two minutes on in minutes, ``1h30m``."""
    if seconds < 120:
        return f"{int(seconds)}s"
    hours, minutes = divmod(int(seconds) // MINUTE, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")


def whole_s(seconds: float) -> str:
    """``41 s``, ``7200 s``."""
    return f"{seconds:.0f} s"


def plain_s(seconds: float) -> str:
    """``0.5 s``, ``600 s``, for settings."""
    return f"{seconds:g} s"


def size(count: float | None) -> str:
    return NONE if count is None else show_bytes(count)


def with_commas(count: int) -> str:
    """``1234567`` as ``1,234,567``, for lines of text."""
    return f"{count:,}"


def with_spaces(count: int) -> str:
    """``1234567`` as ``1 234 567``, with plain spaces."""
    return with_commas(count).replace(",", " ")


def whole(count: float | None) -> str:
    """``1234567`` as ``1 234 567``, with no-break spaces."""
    return NONE if count is None else f"{round(count):,}".replace(",", "\N{NO-BREAK SPACE}")


def short(count: float | None) -> str:
    """``197 531 080 754`` as ``197.5 G``: when truncated, it does not look like another number."""
    if count is None or abs(count) < 1e6:
        return number(count)
    scale, letter = next((s, x) for s, x in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if count >= s)
    return f"{count / scale:.4g}\N{NO-BREAK SPACE}{letter}"


def share(value: float | None, digits: int = 1) -> str:
    """``0.123`` as ``12.3 %``."""
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def share_roughly(value: float) -> str:
    """``0.0008`` as ``0.08 %``, ``0.123`` as ``12 %``."""
    return f"{100 * value:.2g} %" if value < 0.1 else share(value, 0)


def share_in_line(value: float, digits: int = 1) -> str:
    """``0.123`` as ``12.3%``, for lines of text."""
    return f"{value:.{digits}%}"


def number(value: float | None) -> str:
    """Four significant digits; from 10 000 on all digits."""
    if value is None or not math.isfinite(value):
        return NONE
    return whole(value) if abs(value) >= 10_000 else f"{value:.4g}"


def parse_bytes(text: str) -> int:
    """``"8GiB"``, ``"500MB"``, ``"2e9"`` -> bytes; ValueError for other text."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if not match:
        raise ValueError(f"{text!r} is not a size like 8GiB or 500MB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def parse_seconds(text: str) -> float:
    """``"90s"``, ``"55m"``, ``"90min"``, ``"1h 30m"``, ``"1.5h"`` or ``"1d"`` -> seconds; ValueError for
    other text."""
    match = _LENGTH.fullmatch(text.strip())
    parts = [float(part or 0) for part in match.groups()] if match else []
    if not sum(parts):
        raise ValueError(
            f"{text[:40]!r} is no length of time: write one like 90s, 55m, 1h30m or 2d"
        )
    return sum(part * unit for part, unit in zip(parts, (DAY, HOUR, MINUTE, 1), strict=True))


def show_bytes(n: float) -> str:
    """``1536 -> "1.5 KiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


def whole_mib(n: int) -> str:
    """``"64 MiB"``, rounded down, for limits."""
    return f"{n >> 20} MiB"


def whole_gib(n: int) -> str:
    """``"15 GiB"``, rounded down."""
    return f"{n >> 30} GiB"


def bytes_to_write(n: int) -> str:
    """``"640MiB"`` for ``parse_bytes``, rounded down."""
    return f"{n >> 20}MiB"


def show_s(seconds: float) -> str:
    """``12:05``, ``1:02:05``; ``?`` where it is unknown (infinite or NaN)."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
