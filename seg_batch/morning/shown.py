"""Text and numbers as a reader may safely see them. File names are written by strangers."""

from __future__ import annotations

import math
from datetime import datetime

from seg_batch.machine import show_bytes
from seg_batch.named import visible

NONE = "–"
LONGEST_TEXT = 2000


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
