"""The configuration of a network, as one frozen value; it makes the input and the heads."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from seg_batch.core.errors import InputError
from seg_batch.core.text import nearest
from seg_batch.nn.backend import keras
from seg_batch.nn.networks.blocks import Tensor, head

RANKS = {2: "2 (images)", 3: "3 (volumes)"}


@dataclass(frozen=True)
class NetworkConfig:
    """What every network is built from; the fields of a subclass are its options, with defaults.

    `rank` is one of `ranks`. `channels` are those of the input, `classes` those of the output (1:
    one sigmoid channel, else softmax). `filters` run from the full resolution downwards, so
    ``depth = len(filters) - 1``, and sides must be multiples of ``2 ** depth``. `heads` are the
    levels N whose node X[0][N] gets an output, all of `choices` when empty.
    """

    arch: ClassVar[str] = ""  # its name in the registry, and that of its models
    title: ClassVar[str] = "network"  # its name in messages
    ranks: ClassVar[tuple[int, ...]] = (2, 3)
    by_level: ClassVar[bool] = True  # any number of filters will do, one per level

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

    def image(self) -> Tensor:
        """The input of the network, ``(B, *s, channels)`` with open sides."""
        return keras.Input((None,) * self.rank + (self.channels,), name="image")

    def model(self, image: Tensor, nodes: Mapping[int, Tensor], size: int = 1) -> keras.Model:
        """The network from `image` to a head of `size` on the node of each of `levels`.

        Outputs are probabilities ``(B, *s, classes)``, shallowest head first, or one tensor.
        """
        rank, classes = self.rank, self.classes
        outputs = [head(nodes[n], classes, rank, f"head_{n}", size) for n in self.levels]
        return keras.Model(image, outputs[0] if len(outputs) == 1 else outputs, name=self.arch)

    @property
    def options(self) -> dict[str, Any]:
        """The values of this network's own fields, as JSON writes them."""
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value
            for name in option_defaults(type(self))
        }

    @property
    def said(self) -> tuple[str, ...]:
        """What the network takes from files, one line each."""
        return ()

    def require_files(self) -> None:
        """Raises InputError if a file that the network is built from is missing."""

    def _require(self, holds: Any, problem: str, advice: str) -> None:
        if not holds:
            raise InputError(f"{self.title} cannot be built: {problem}; {advice}")


@dataclass(frozen=True)
class OneHeadConfig(NetworkConfig):
    """The configuration of a network whose only head is at its end."""

    @property
    def choices(self) -> tuple[int, ...]:
        return (self.depth,)


def option_defaults(config: type[NetworkConfig]) -> dict[str, Any]:
    """The options of a network, each with its default."""
    common = {field.name for field in fields(NetworkConfig)}
    return {field.name: field.default for field in fields(config) if field.name not in common}


def checked_options(config: type[NetworkConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` from a file, lists as tuples.

    Raises InputError for an unknown option, with the nearest name, and for a value of another type
    than the default.
    """
    known = option_defaults(config)
    for name, value in options.items():
        if name not in known:
            advice = nearest(name, known) if known else "it takes none"
            raise InputError(f"{config.title} has no option {name!r}; {advice}")
        if not _has_type_of(value, known[name]):
            raise InputError(
                f"{config.title}'s option {name} is {value!r}; give something like {known[name]!r}"
            )
    return {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}


def _has_type_of(value: Any, default: Any) -> bool:
    """Whether a value has the type of a default; None is a text that is not set."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and all(_has_type_of(v, default[0]) for v in value)
    if default is None or isinstance(default, str):
        return isinstance(value, str) or value is default
    return isinstance(value, (int, float) if isinstance(default, float) else int)
