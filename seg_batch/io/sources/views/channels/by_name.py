"""Which channels of an image are those of a model: by the names that its files give, else by position.

The names of a file count where they name all channels of the model, in any order and among others. Where they
contradict the order without naming all, nothing is taken: a map of other channels than it was asked
for looks like any other. Names that neither side knows contradict nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from seg_batch.config import common_names as common
from seg_batch.config.card_parts.channels import Channel, Channels
from seg_batch.core.errors import InputError
from seg_batch.io.sources.naming.channel_names import ChannelNames
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.views.channels.alpha import alpha_hint, require_settled, settled_reading
from seg_batch.io.sources.views.channels.by_file import files_in_order
from seg_batch.io.sources.views.channels.selected import selected

REMEDY = "say which channels to take with --bands (options.bands in a workflow)"
BY_NAME = "channels are taken by name"  # how the line begins that tells of it
_SHOWN = 24


@dataclass(frozen=True)
class Taken:
    """``indices``: of the channels of the image, in the order of the model; None: all, as they are. ``line``: what is to be
    told of it. ``fault``: why none can be taken. ``missing``: channels of the model that no name names, where some do."""

    indices: tuple[int, ...] | None = None
    line: str = ""
    fault: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Wanted:
    """A channel of a model by the spellings of its name, by all, and the common names among them."""

    name: str
    own: set[str]
    spellings: set[str]
    commons: set[str]


@dataclass(frozen=True)
class _Meaning:
    """What the names of one channel of an image mean: channels of the model, by their name, by that or an alias, or
    loosely; and common names."""

    own: frozenset[int] = frozenset()
    exact: frozenset[int] = frozenset()
    loose: frozenset[int] = frozenset()
    commons: frozenset[str] = frozenset()


def taken_by_name(info: SourceInfo, channels: Sequence[Channel] | None) -> Taken:
    """Which channels of an image a model with these ``channels`` takes."""
    if channels is None:
        return Taken()
    order = files_in_order(info, channels)
    if isinstance(order, str):
        return Taken(fault=order)
    if order is None and not any(info.names):
        return Taken()
    letters = common.letters_of({common.spelling(channel.name) for channel in channels})
    wanted = [_wanted(channel, letters) for channel in channels]
    if order is not None:
        return _all(info, wanted, order)
    strong = [(each.names, each.wavelength_um) for each in info.names]
    meanings = _meanings(strong, wanted)
    if any(meaning.exact or meaning.loose or meaning.commons for meaning in meanings):
        return _taken(info, wanted, meanings)
    weak = _taken(info, wanted, _meanings([(each.weak, None) for each in info.names], wanted))
    return weak if weak.indices is not None else Taken()


def _wanted(channel: Channel, letters: dict[str, str]) -> _Wanted:
    spellings = {common.spelling(text) for text in (channel.name, *channel.aliases)}
    spellings |= {letters[word] for word in spellings if word in letters}
    commons, name = common.common_names(spellings), common.spelling(channel.name)
    own = {name, letters.get(name, name)}
    own |= common.words_of(common.common_names(own))
    return _Wanted(channel.name, own, spellings | common.words_of(commons), commons)


def _meanings(
    named: Sequence[tuple[tuple[str, ...], float | None]], wanted: Sequence[_Wanted]
) -> list[_Meaning]:
    every = {word for texts, _ in named for text in texts for word in common.spellings_in(text)}
    numbering, letters = common.numbering_of(every), common.letters_of(every)
    lettered = [
        (tuple(letters.get(text.lower(), text) for text in texts), length)
        for texts, length in named
    ]
    return [_meaning(texts, length, wanted, numbering) for texts, length in lettered]


def _meaning(
    texts: tuple[str, ...],
    wavelength_um: float | None,
    wanted: Sequence[_Wanted],
    numbering: dict[str, str],
) -> _Meaning:
    """Of the first text that means anything, else of the wavelength."""
    lengths = [wavelength_um, *map(common.wavelength_in, texts)]
    length = next(filter(None, lengths), None)
    at = common.names_at(length) if length else set()
    for text in texts:
        spellings = {*common.spellings_in(text)}
        commons = common.common_names(spellings)
        if commons:
            spellings = common.words_of(commons) | {common.spelling(text)}
        known = commons or {numbering[word] for word in spellings if word in numbering} or at
        exact = {i for i, w in enumerate(wanted) if spellings & w.spellings}
        if not commons and known:  # a number is another channel on another sensor
            exact = {
                i for i in exact if not wanted[i].commons or common.akin(wanted[i].commons, known)
            }
        if exact or commons:
            own = frozenset(i for i in exact if spellings & wanted[i].own)
            return _Meaning(own, frozenset(exact), _akin(commons, wanted), frozenset(commons))
    return _Meaning(exact=_akin(at, wanted, exactly=True), commons=frozenset(at))


def _akin(commons: set[str], wanted: Sequence[_Wanted], exactly: bool = False) -> frozenset[int]:
    return frozenset(
        i
        for i, w in enumerate(wanted)
        if (w.commons & commons if exactly else common.akin(w.commons, commons))
    )


def _taken(info: SourceInfo, wanted: Sequence[_Wanted], meanings: Sequence[_Meaning]) -> Taken:
    places = _places(wanted, meanings)
    for w, at in zip(wanted, places, strict=True):
        if len(at) > 1:
            return Taken(fault=_twice(info, w.name, at))
    if all(places):
        return _all(info, wanted, tuple(at[0] for at in places))
    some = any(places)
    missing = tuple(w.name for w, at in zip(wanted, places, strict=True) if not at) if some else ()
    if len(wanted) != len(meanings):
        return Taken(missing=missing)
    misplaced = any(at and at[0] != i for i, at in enumerate(places))
    if misplaced or any(_others(wanted, meanings)):
        return Taken(fault=_contradiction(info, wanted, missing), missing=missing)
    return Taken()


def _places(wanted: Sequence[_Wanted], meanings: Sequence[_Meaning]) -> list[list[int]]:
    """For each channel of the model, the channels of the image that name it: by its name, else by an alias, else
    loosely. What is named by its name or an alias is not another loosely."""
    places = [
        [j for j, m in enumerate(meanings) if i in m.own]
        or [j for j, m in enumerate(meanings) if i in m.exact]
        for i in range(len(wanted))
    ]
    sure = {j for at in places for j in at}
    return [
        at or [j for j, m in enumerate(meanings) if i in m.loose and j not in sure]
        for i, at in enumerate(places)
    ]


def _others(wanted: Sequence[_Wanted], meanings: Sequence[_Meaning]) -> Iterator[bool]:
    """Whether the channel at each place is clearly another than the model's."""
    for w, meaning in zip(wanted, meanings, strict=True):
        known = w.commons and meaning.commons
        yield bool(known) and not common.akin(w.commons, {*meaning.commons})


def _all(info: SourceInfo, wanted: Sequence[_Wanted], indices: tuple[int, ...]) -> Taken:
    if len({*indices}) < len(indices):
        j = next(j for j in indices if indices.count(j) > 1)
        both = " and ".join(w.name for w, at in zip(wanted, indices, strict=True) if at == j)
        return Taken(fault=f"{info.channels[j]} may be {both}")
    if indices == tuple(range(len(info.channels))):
        return Taken()
    at = ", ".join(f"{w.name} = {j + 1}" for w, j in zip(wanted, indices, strict=True))
    return Taken(indices, f"{BY_NAME}, of {len(info.channels)} in the file: {at}")


def _twice(info: SourceInfo, name: str, at: Sequence[int]) -> str:
    both = " and ".join(f"{j + 1} ({info.channels[j]})" for j in at)
    return f"its channels {both} are both named as {name}"


def _contradiction(info: SourceInfo, wanted: Sequence[_Wanted], missing: Sequence[str]) -> str:
    names = ", ".join(w.name for w in wanted)
    lacks = f", and none is named as {' or '.join(missing)}" if missing else ""
    return f"it takes {names}, and the input's channels are named {', '.join(info.channels)}{lacks}"


def channel_fault(info: SourceInfo, channels: Sequence[Channel] | None) -> str | None:
    """Why an image has no channels for a model, in a few words; None where it has."""
    if channels is None:
        return None
    count = len(channels)
    if count != len(info.channels) and settled_reading(info, count) != "auto":
        return None  # the other reading of its alpha has other channels
    taken = taken_by_name(info, channels)
    if taken.indices is not None:
        return None
    if taken.fault or count == len(info.channels):
        return f"{taken.fault}; {REMEDY}" if taken.fault else None
    lacks = f", none of which is named as {' or '.join(taken.missing)}" if taken.missing else ""
    hint = alpha_hint(info, count)
    if not hint and len(info.channels) > count:
        hint = f"; {REMEDY}"
    return (
        f"it needs {count} channels ({', '.join(c.name for c in channels)}) and the input has "
        f"{len(info.channels)}{lacks}{hint}"
    )


def channels_called(info: SourceInfo, bands: Sequence[str]) -> tuple[int, ...]:
    """The channels that ``--bands`` names, by name or by number from 1. InputError where one does not exist."""
    return tuple(_called(info, band) for band in bands)


def _called(info: SourceInfo, band: str) -> int:
    count = len(info.channels)
    if band.isascii() and band.isdecimal():
        if 1 <= int(band) <= count:
            return int(band) - 1
        raise InputError(f"{info.path} has no band {band[:20]}; {_what_there_is(info)}")
    word = common.spelling(band)
    words = {word} | common.words_of(common.common_names({word}))
    named = info.names or (ChannelNames(),) * count
    strict = [j for j, label in enumerate(info.channels) if label.casefold() == band.casefold()]
    at = strict or [j for j, each in enumerate(named) if words & _spellings(each)]
    if len(at) == 1:
        return at[0]
    if at:
        places = " and ".join(str(j + 1) for j in at)
        raise InputError(f"{info.path} has the band {band[:40]} twice, as {places}: use numbers")
    raise InputError(f"{info.path} has no band {band[:40]!r}; {_what_there_is(info)}")


def _spellings(each: ChannelNames) -> set[str]:
    words = {w for text in (*each.names, *each.weak) for w in common.spellings_in(text)}
    if not common.common_names(words) and each.wavelength_um:
        return words | common.names_at(each.wavelength_um)
    return words


def _what_there_is(info: SourceInfo) -> str:
    """All bands by number and name, or the first of many."""
    rows = [f"{j} {label}" for j, label in enumerate(info.channels, 1)]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    beside = info.facts.get("quality_bands", ())
    masks = f"; for masks alone: {', '.join(beside)}" if beside else ""
    return f"it has {', '.join(rows[:_SHOWN])}{more}{masks}"


def with_channels(image: Source, channels: Channels | None, remedy: str = REMEDY) -> Source:
    """The channels of a model by the names that the files give; the image itself where it has them as they are.
    ``InputError`` with the ``remedy`` where the names contradict their order; the image is closed with the result, or then."""
    with ExitStack() as opened:
        opened.callback(image.close)
        taken = taken_by_name(image.info, channels)
        if taken.fault:
            raise InputError(f"{image.info.path}: {taken.fault}; {remedy}")
        if taken.indices is not None:
            if not {*taken.indices} & {*(image.info.alpha.indices if image.info.alpha else ())}:
                require_settled(image.info, "a model whose channels have other names")
            image = selected(image, taken.indices, taken.line)
        opened.pop_all()
    return image
