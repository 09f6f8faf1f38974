"""Dates and times of DICOM (PS3.5 6.2: DA, TM, DT) as seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MOMENT = re.compile(
    r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)(\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,6}))?([+-]\d{4})?$"
)
_TIME = re.compile(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,6}))?$")


def moment(text: str) -> float | None:
    """Seconds of ``YYYYMMDDHHMMSS.FFFFFF&ZZXX``, of one without a zone as if it were UTC; None where it is no date and
    time."""
    found = _MOMENT.match(text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, part, zone = found.groups()
    try:
        whole = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute or 0),
            min(59, int(second or 0)),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    away = (1 if zone[0] == "+" else -1) * (int(zone[1:3]) * 60 + int(zone[3:])) * 60 if zone else 0
    return whole.timestamp() + (float(f"0.{part}") if part else 0.0) - away


def seconds(text: str) -> float | None:
    """Seconds since midnight of ``HHMMSS.FFFFFF``; None where it is no time."""
    found = _TIME.match(text.strip())
    if not found:
        return None
    hour, minute, second, part = found.groups()
    return (
        int(hour) * 3600
        + int(minute or 0) * 60
        + int(second or 0)
        + (float(f"0.{part}") if part else 0.0)
    )
