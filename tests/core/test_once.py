"""A warning that concerns a whole run is told of one input, all others of each."""

from __future__ import annotations

from seg_batch.core.text import Once

UNITS = "units of length are not stated: millimetres are assumed"


def test_units_are_told_once_and_other_warnings_each_time() -> None:
    once = Once()
    assert once.left([UNITS, "the qform is damaged"]) == [UNITS, "the qform is damaged"]
    assert once.left(["the qform is damaged", UNITS]) == ["the qform is damaged"]
    assert Once().left([UNITS]) == [UNITS]
