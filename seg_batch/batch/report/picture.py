"""The quicklook of one input, as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from seg_batch.batch.report.quicklook import PlaneView


@dataclass(frozen=True)
class Picture:
    """The quicklook of one input; ``why``: the reason where it could not be drawn."""

    input: str
    views: tuple[PlaneView, ...] = ()
    why: str = ""
