"""Reading a patch dataset (``store``): its patches, lazily, and its held-out regions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seg_batch.config.recipe import PARTS, Recipe, parse_recipe
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.datasets.store import FORMAT, VERSION
from seg_batch.io.sources.views.open_view import Seen

CACHE_BYTES = 512 << 20


class PatchSet:
    """A patch dataset, read lazily. ``recipe`` is the one it was cut by; ``split`` uint8 ``(N,)``,
    ``histogram`` int64 ``(N, classes)``, ``start`` int64 ``(N, axes)`` and ``valid`` float32
    ``(N,)`` (share of voxels with a class) are in memory. ``hold_out``: the resolved split, plain
    JSON (``split.Split``). ``fingerprint``: digest of everything it was cut from and by."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._group = _open(self.path)
        attributes = dict(self._group.attrs)
        self.recipe: Recipe = parse_recipe(attributes["recipe"], f"{path} (recipe)")
        self.cases: list[dict[str, Any]] = attributes["cases"]
        self.normaliser = Normaliser.from_json(attributes["normaliser"] or {})
        with _intact(self.path, "its index"):
            self.split, self.histogram = self._group["split"][:], self._group["histogram"][:]
            self.start, self.case = self._group["start"][:], self._group["case"][:]
            self.valid = self._group["valid"][:]
        self.hold_out: dict[str, Any] = attributes["split"]
        self.fingerprint: str = attributes["fingerprint"]
        self._image, self._label = self._group["image"], self._group["label"]
        self.ignore = int(self._label.fill_value)
        self.patch: Shape = tuple(self._label.shape[1:])
        patch_bytes = int(np.prod(self._image.shape[1:])) * 4 + int(np.prod(self.patch))
        # Threads may read at once: at worst a patch is read twice.
        self.read = lru_cache(max(1, CACHE_BYTES // patch_bytes))(self._read)

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of ``training``, ``validation`` or ``test``."""
        return np.flatnonzero(self.split == PARTS.index(part))

    def _read(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """``(*patch, C)`` float32 and ``(*patch)`` class indices; the last ones are cached."""
        with _intact(self.path, f"patch {row}"):
            return self._image[row], self._label[row]

    def held(self, part: str) -> list[HeldRegion]:
        """The held-out regions of a part, in order of their case and place."""
        groups = dict(self._group["held"].groups())
        names = sorted(groups, key=lambda name: tuple(map(int, name.split("."))))
        regions = [
            HeldRegion.of(groups[name], self.ignore, self.recipe.card.missing) for name in names
        ]
        return [region for region in regions if region.part == part]


@dataclass(frozen=True)
class HeldRegion:
    """A held-out region: ``box`` is scored, ``window`` (a patch more on each side) can be read.

    Boxes are in voxels of the case, whose whole shape is ``extent``, in the model's orientation.
    """

    case: str
    part: str
    extent: Shape
    box: Box
    window: Box
    normaliser: Normaliser
    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None
    ignore: int
    missing: str
    group: Any

    @classmethod
    def of(cls, group: Any, ignore: int, missing: str) -> HeldRegion:
        facts = dict(group.attrs)
        start, shape = tuple(facts["start"]), group["labels"].shape
        return cls(
            case=facts["case"],
            part=facts["part"],
            extent=tuple(facts["extent"]),
            box=Box(*map(tuple, facts["box"])),
            window=Box.at(start, shape),
            normaliser=Normaliser.from_json(facts["normaliser"]),
            scale=facts["scale"] and tuple(facts["scale"]),
            offset=facts["offset"] and tuple(facts["offset"]),
            ignore=ignore,
            missing=missing,
            group=group,
        )

    def read(self, box: Box) -> Pixels:
        """The pixels of a box inside the window, in the source's own values."""
        where = box.slices(self.window.start)
        with self._intact():
            values, valid = self.group["values"][where], self.group["valid"][where]
        return Pixels(values, None if valid.all() else valid, self.scale, self.offset)

    @property
    def way_back(self) -> None:
        """A dataset lies on the grid of its model."""

    @property
    def decided(self) -> None:
        """All of it."""

    @property
    def rest(self) -> Normaliser:
        """What is left to do to a window of ``read_with``."""
        return self.normaliser

    def read_with(self, window: Box, box: Box) -> Seen:
        """The pixels of a window, and of a box inside it."""
        held = self.read(window)
        return Seen(held, held[box.slices(window.start)], [])

    def truth(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Class indices and where they count, ``box.shape`` each."""
        with self._intact():
            labels = self.group["labels"][box.slices(self.window.start)]
            valid = self.group["valid"][box.slices(self.window.start)]
        has_data = valid.all(-1) if self.missing == "any" else valid.any(-1)
        return labels, (labels != self.ignore) & has_data

    def _intact(self) -> AbstractContextManager[None]:
        where = Path(self.group.store.root, self.group.path)
        return _intact(where, f"what is held out of {self.case}")


@contextmanager
def _intact(path: Path | str, what: str) -> Iterator[None]:
    """Turn whatever a codec raises into an InputError of one line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: {what} does not read back as it was written ({reason}): check the disk and "
            "cut the dataset anew"
        ) from error


def _open(path: Path) -> Any:
    try:
        group = zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is no patch dataset ({type(error).__name__}): make one with segbatch patches"
        ) from None
    if group.attrs.get("format") != FORMAT:
        raise InputError(f"{path} is no patch dataset: make one with segbatch patches")
    if group.attrs["version"] != VERSION:
        raise InputError(
            f"{path} has version {group.attrs['version']}, this segbatch reads {VERSION}: cut it anew"
        )
    if "recipe" not in group.attrs:
        raise InputError(f"{path} is not finished: run segbatch patches again to go on with it")
    return group
