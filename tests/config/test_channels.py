"""Channels of cards: a name alone, or with what training saw."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from seg_batch.config.card_parts.channels import Channel, Channels, ChannelStatistics, names_of

CHANNELS = TypeAdapter(Channels)
VALUES = st.floats(-1e9, 1e9)


@given(
    names=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4),
    aliases=st.lists(st.text(max_size=5), max_size=2),
    five=st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES).map(sorted),
    std=st.floats(0, 1e9),
)
def test_channels_come_back_from_json(
    names: list[str], aliases: list[str], five: list[float], std: float
) -> None:
    statistics = ChannelStatistics(mean=five[2], std=std, percentiles=five)
    last = Channel(name="last", aliases=aliases, quantity="DN", statistics=statistics)
    channels = (*map(CHANNELS.validate_python, [names]), (last,))
    together = channels[0] + channels[1]
    assert names_of(together) == (*names, "last")
    assert CHANNELS.validate_json(CHANNELS.dump_json(together)) == together
    assert CHANNELS.dump_python(together)[: len(names)] == tuple(names)  # as earlier versions wrote


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"percentiles": [0, 1, 3, 2, 4]}, "rise"),
        ({"std": -1}, "std"),
        ({"nodata_share": 1.5}, "nodata_share"),
    ],
)
def test_statistics_that_contradict_themselves(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ChannelStatistics(**{"mean": 2, "std": 1, "percentiles": [0, 1, 2, 3, 4], **wrong})
