"""The axes and the test tensors in a description of bioimage.io."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_batch.conversion.cards.archive import file_inside
from seg_batch.conversion.cards.bioimageio.steps import activation_of
from seg_batch.conversion.cards.entry import Entry
from seg_batch.conversion.cards.example import Example
from seg_batch.core import files
from seg_batch.core.errors import InputError

_SPACE = (("y", "x"), ("z", "y", "x"))
_USUAL = {2: 256, 3: 64}  # least sides of a patch where no test tensor gives them
_MOST_VALUES = 1 << 28


@dataclass(frozen=True)
class Axes:
    """The axes of a tensor. ``sides``: names of those in space; of each: ``least`` size and ``step`` (0: fixed), unit and
    scale, of outputs the ``halo`` and the ``offset`` to the size of the input."""

    entry: Entry
    layout: str
    channels: tuple[str, ...]
    sides: tuple[str, ...]
    least: tuple[int, ...]
    steps: tuple[int, ...]
    units: tuple[str, ...]
    scales: tuple[float, ...]
    halos: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def multiple(self) -> tuple[int, ...] | None:
        """What all sides are multiples of, where that describes which fit."""
        fit = all(s and least % s == 0 for s, least in zip(self.steps, self.least, strict=True))
        return self.steps if fit else None

    def usual_size(self, k: int) -> int:
        """A side that fits, of the usual size where it may have any."""
        least, step = self.least[k], self.steps[k]
        wanted = _USUAL[len(self.sides)]
        return least + -(-max(0, wanted - least) // step) * step if step else least

    def channels_last(self, array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, 1, -1) if self.layout == "channels_first" else array


def axes_of(tensor: Entry) -> Axes:
    """InputError where a network of such axes is none that is run."""
    axes = list(tensor["axes"])
    kinds = [axis["type"].text() for axis in axes]
    if "time" in kinds or "index" in kinds:
        raise tensor["axes"].error(
            "it has an axis of time or of an index, and images have none: export the model without"
        )
    order = tuple(
        kind if kind != "space" else axis["id"].text("x")
        for kind, axis in zip(kinds, axes, strict=True)
    )
    for sides in _SPACE:
        for layout, wanted in (
            ("channels_first", ("batch", "channel", *sides)),
            ("channels_last", ("batch", *sides, "channel")),
        ):
            if order == wanted:
                return _axes(tensor, axes, layout, sides)
    raise tensor["axes"].error(
        f"its axes are {', '.join(order)}, and networks of batch, channel, (z,) y, x (or the channel last) are run: export it so"
    )


def _axes(tensor: Entry, axes: list[Entry], layout: str, sides: tuple[str, ...]) -> Axes:
    space = [axis for axis in axes if axis["type"].value == "space"]
    channel = next(axis for axis in axes if axis["type"].value == "channel")
    names = channel["channel_names"].texts()
    if not names or len(set(names)) < len(names):
        raise channel["channel_names"].error("each channel has a name of its own: name them")
    sizes = [_size(axis, space) for axis in space]
    return Axes(
        tensor,
        layout,
        names,
        sides,
        tuple(least for least, _ in sizes),
        tuple(step for _, step in sizes),
        tuple(axis["unit"].text("") for axis in space),
        tuple(_positive(axis["scale"]) for axis in space),
        tuple(axis["halo"].integer(0) for axis in space),
        tuple(_offset(axis["size"]) for axis in space),
    )


def _size(axis: Entry, space: list[Entry]) -> tuple[int, int]:
    """Least size and step; of an output 1 and 1 where it refers to the input."""
    size = axis["size"]
    if not isinstance(size.value, dict):
        return _above(size, 1), 0
    if size["axis_id"]:
        other = [s for s in space if s["id"].text("x") == size["axis_id"].value and s is not axis]
        same = [s for s in other if not isinstance(s["size"].value, dict) or s["size"]["min"]]
        if same and same[0]["id"].text("x") != axis["id"].text("x"):
            return _size(same[0], [])
        return 1, 1
    return _above(size["min"], 1), _above(size["step"], 1)


def _offset(size: Entry) -> int:
    return size["offset"].integer(0) if isinstance(size.value, dict) else 0


def _above(entry: Entry, least: int) -> int:
    value = entry.integer()
    if value < least:
        raise entry.refused(f"a whole number from {least} on")
    return value


def _positive(entry: Entry) -> float:
    value = entry.number(1.0)
    if value <= 0:
        raise entry.refused("a number above 0")
    return value


def example_of(
    given: Entry, result: Entry, axes: Axes, folder: Path, config: Entry
) -> Example | None:
    """The test tensors; None where there are none. InputError where they are damaged."""
    if not (given["test_tensor"] and result["test_tensor"]):
        return None
    inside, outside = _array(given, folder), _array(result, folder)
    shapes = {"input": inside, "output": outside}
    for name, array in shapes.items():
        if array.ndim != len(axes.sides) + 2 or len(array) != 1:
            raise InputError(
                f"{folder}: the test {name} has the shape {array.shape}, and its axes are 1, {', '.join(axes.sides)} and channels: fetch it again"
            )
    output = axes.channels_last(outside)
    plain = Example(axes.channels_last(inside), output)
    activation = activation_of(result, plain)
    return Example(
        plain.input, output, activation.applied, activation.discrete, **_tolerance(config)
    )


def _tolerance(config: Entry) -> dict[str, float]:
    entries = list(config["reproducibility_tolerance"])
    if not entries:
        return {}
    first = entries[0]
    return {
        "relative": first["relative_tolerance"].number(Example.relative),
        "absolute": first["absolute_tolerance"].number(Example.absolute),
        "mismatched": first["mismatched_elements_per_million"].number(Example.mismatched * 1e6)
        / 1e6,
    }


def _array(tensor: Entry, folder: Path) -> np.ndarray:
    entry = tensor["test_tensor"]
    path = file_inside(folder, entry["source"].text(), "a test tensor")
    expected = entry["sha256"].text("")
    if expected and files.sha256(path) != expected:
        raise entry.error(f"{path.name} does not match its hash: fetch it again")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.size > _MOST_VALUES or array.dtype.kind not in "biuf":
            raise ValueError(f"{array.dtype} of the shape {array.shape}")
        return np.array(array)
    except (OSError, ValueError, EOFError) as error:
        raise entry.error(f"{path.name} is no array of numbers ({error}): fetch it again") from None
