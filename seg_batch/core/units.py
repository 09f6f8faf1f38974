"""Sizes, times, counts and text as people read and write them.

What is shown holds nothing that can't be seen: file names are written by strangers.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from seg_batch.core.text import visible

NONE = "–"
LONGEST_TEXT = 2000

_LENGTH = re.compile(
    r"(?:(\d{1,8}(?:\.\d+)?)d)?\s*(?:(\d{1,8}(?:\.\d+)?)h)?\s*"
    r"(?:(\d{1,8}(?:\.\d+)?)m(?:in)?)?\s*(?:(\d{1,8}(?:\.\d+)?)s)?",
    re.ASCII,
)


def shown(text: object) -> str:
    """The text, of bearable length, with nothing in it that can't be seen."""
    plain = str(text)
    return visible(plain[:LONGEST_TEXT]) + (" …" if len(plain) > LONGEST_TEXT else "")


def moment(seconds: float | None) -> str:
    """Unix seconds as local time with its offset: ``2026-11-21 06:30:05 +0000``."""
    if seconds is None:
        return NONE
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def clock(seconds: float | None) -> str:
    """Unix seconds as the time of day."""
    return NONE if seconds is None else datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def day(seconds: float) -> str:
    """Unix seconds as day and time: ``11-21 06:30``."""
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M")


def counted(count: int, noun: str) -> str:
    """``1 warning``, ``2 warnings``."""
    return f"{whole(count)} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """``0.42 s``, ``12.5 s``, ``3:05 min``, ``2:14:09 h``."""
    if seconds is None:
        return NONE
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def size(count: float | None) -> str:
    return NONE if count is None else show_bytes(count)


def whole(count: float | None) -> str:
    """``1234567`` as ``1 234 567``."""
    return NONE if count is None else f"{round(count):,}".replace(",", "\N{NO-BREAK SPACE}")


def short(count: float | None) -> str:
    """``197 531 080 754`` as ``197.5 G``: what is cut off can't read as another number."""
    if count is None or abs(count) < 1e6:
        return number(count)
    scale, letter = next((s, x) for s, x in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if count >= s)
    return f"{count / scale:.4g}\N{NO-BREAK SPACE}{letter}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """Four digits that count; large numbers whole."""
    if value is None or not math.isfinite(value):
        return NONE
    return whole(value) if abs(value) >= 10_000 else f"{value:.4g}"


def parse_bytes(text: str) -> int:
    """``"8GiB"``, ``"500MB"``, ``"2e9"`` -> bytes. ValueError when it is none of these."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if not match:
        raise ValueError(f"{text!r} is not a size like 8GiB or 500MB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def parse_seconds(text: str) -> float:
    """``"90s"``, ``"55m"``, ``"90min"``, ``"1h 30m"``, ``"1.5h"`` or ``"1d"`` -> seconds. ValueError when it
    is none of these."""
    match = _LENGTH.fullmatch(text.strip())
    parts = [float(part or 0) for part in match.groups()] if match else []
    if not sum(parts):
        raise ValueError(
            f"{text[:40]!r} is no length of time: write one like 90s, 55m, 1h30m or 2d"
        )
    return sum(part * unit for part, unit in zip(parts, (86400, 3600, 60, 1), strict=True))


def show_bytes(n: float) -> str:
    """``1536 -> "1.5 KiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


def show_s(seconds: float) -> str:
    """``12:05``, ``1:02:05``; ``?`` where it is not known."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
