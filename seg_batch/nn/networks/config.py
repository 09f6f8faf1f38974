"""What any of our networks is built from, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest

RANKS = {2: "2 (images)", 3: "3 (volumes)"}


@dataclass(frozen=True)
class NetworkConfig:
    """What is needed to build a network; what a subclass adds are its options, with defaults.

    `rank` one of `ranks`; `channels` of the input; `classes` of the output (1: one sigmoid channel, else
    softmax); `filters` from the full resolution downwards, so ``depth = len(filters) - 1`` and
    sides must be multiples of ``2 ** depth``; `heads` the levels N whose node X[0][N] gets an
    output, all of `choices` when empty.
    """

    title: ClassVar[str] = "network"
    ranks: ClassVar[tuple[int, ...]] = (2, 3)
    by_level: ClassVar[bool] = True  # as many filters as levels are wished for

    rank: int
    channels: int
    classes: int
    filters: tuple[int, ...] = (32, 64, 128, 256, 512)
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        kinds = " or ".join(RANKS[rank] for rank in self.ranks)
        self._require(self.rank in self.ranks, f"rank is {self.rank}", f"use {kinds}")
        self._require(self.channels >= 1, f"channels is {self.channels}", "use 1 or more")
        classes, filters = f"classes is {self.classes}", f"filters are {self.filters}"
        self._require(1 <= self.classes <= 65535, classes, "use 1 to 65535")
        self._require(len(self.filters) >= 2, filters, "give at least two levels")
        self._require(min(self.filters) >= 1, filters, "use positive numbers")
        heads = f"heads are {self.heads}"
        advice = f"use some of {', '.join(map(str, self.choices))}, in rising order"
        self._require(set(self.heads) <= set(self.choices), heads, advice)
        self._require(tuple(sorted(set(self.heads))) == self.heads, heads, advice)

    @property
    def depth(self) -> int:
        """How often the input is halved; the N of the full network LN."""
        return len(self.filters) - 1

    @property
    def choices(self) -> tuple[int, ...]:
        """The levels that can have a head: those of the nodes of the top row."""
        return tuple(range(1, self.depth + 1))

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels that have a head."""
        return self.heads or self.choices

    @property
    def multiple(self) -> int:
        """Every side of a patch must be a multiple of this."""
        return int(2**self.depth)

    def gate_width(self, level: int) -> int:
        """Inner width of a gate: the filters of the level above it, at the top its own.

        Gives the ANU-Net paper's (32, 32, 64, 128) for its filters (32, 64, 128, 256, 512).
        """
        return self.filters[max(level - 1, 0)]

    @property
    def options(self) -> dict[str, Any]:
        """What this network has beyond the fields of every network, as JSON writes it."""
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value
            for name in option_defaults(type(self))
        }

    @property
    def said(self) -> tuple[str, ...]:
        """What building it takes from files, one line each."""
        return ()

    def require_files(self) -> None:
        """InputError if a file that building it reads is not there."""

    def _require(self, holds: Any, found: str, advice: str) -> None:
        if not holds:
            raise InputError(f"{self.title} cannot be built: {found}; {advice}")


@dataclass(frozen=True)
class OneHeadConfig(NetworkConfig):
    """What is needed to build a network that is supervised at its end only."""

    @property
    def choices(self) -> tuple[int, ...]:
        return (self.depth,)


def option_defaults(config: type[NetworkConfig]) -> dict[str, Any]:
    """The options of a network, each with its default."""
    every = {field.name for field in fields(NetworkConfig)}
    return {field.name: field.default for field in fields(config) if field.name not in every}


def checked_options(config: type[NetworkConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` as they come from a file, lists as tuples; InputError for those there are not, with
    the nearest name, and for values of another kind than the default."""
    known = option_defaults(config)
    for name, value in options.items():
        if name not in known:
            advice = nearest(name, known) if known else "it takes none"
            raise InputError(f"{config.title} has no option {name!r}; {advice}")
        if not _alike(value, known[name]):
            raise InputError(
                f"{config.title}'s option {name} is {value!r}; give something like {known[name]!r}"
            )
    return {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}


def _alike(value: Any, default: Any) -> bool:
    """Whether a value is of the kind of a default; None stands for a text that is not given."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and all(_alike(v, default[0]) for v in value)
    if default is None or isinstance(default, str):
        return isinstance(value, str) or value is default
    kinds = (int, float) if isinstance(default, float) else int
    return isinstance(value, kinds)
