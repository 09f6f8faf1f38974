"""Keywords in Python are checked as options of the command line are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seg_batch.config.options import as_checked, declared, unset_options
from seg_batch.config.predict_options import PredictOptions, RequestArguments
from seg_batch.core.errors import PlanError


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("post", "majority", ("majority",)),
        ("post", ["majority:3", "min_size:9"], ("majority:3", "min_size:9")),
        ("post", None, None),
        ("block", "64,48", (64, 48)),
        ("block", [64, 48], (64, 48)),
        ("overlap", "16", 16),
        ("overlap", "auto", "auto"),
        ("overlap", np.int64(8), 8),
        ("memory_bytes", "8GB", 8_000_000_000),
        ("memory_bytes", "1GiB", 1 << 30),
        ("tta", "flips", "flips"),
        ("probabilities", True, True),
    ],
)
def test_what_was_meant_is_taken(name: str, raw: Any, value: Any) -> None:
    checked = getattr(as_checked(PredictOptions(**{name: raw})), name)
    assert checked == value
    assert type(checked) is type(value)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("block", 64),
        ("block", "64,x"),
        ("block", (64, "x")),
        ("overlap", "x"),
        ("overlap", 1.5),
        ("overlap", -3),
        ("memory_bytes", "8 apples"),
        ("memory_bytes", 8e9),
        ("engine", "foo"),
        ("engine", None),
        ("precision", "float8"),
        ("tta", "d9"),
        ("taper", ""),
        ("workers", "2"),
        ("workers", -1),
        ("batch", True),
        ("probabilities", "no"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(name: str, raw: Any) -> None:
    with pytest.raises(PlanError) as refused:
        as_checked(PredictOptions(**{name: raw}))
    assert name in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("kind", [PredictOptions, RequestArguments])
def test_what_the_command_line_gives_stays_as_it_is(kind: type) -> None:
    plain = unset_options(kind)
    assert as_checked(plain) == plain
    assert declared(kind)
