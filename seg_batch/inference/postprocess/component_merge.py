"""Objects over blocks: connected components by union-find across block faces.

A block labels its own components and sends those on its faces towards other blocks to the coordinator,
which joins what meets there::

    block a   . . 2 2|2 2 . .   block b     one label on both sides of a face: one component,
              . . 2 2|2 . . .               whose facts are those of its parts put together
              . 3 3 3|. . . .

The coordinator holds the facts of the components on faces between blocks (some 100 bytes each) and
the faces whose other side is still to come: nothing that grows with what lies inside the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from seg_batch.core.geometry import Block, Box, Shape
from seg_batch.inference.postprocess.components import Components, components, union_find
from seg_batch.io.sources.areas.pixel_areas import PixelAreas

NOWHERE = -1  # the label beyond the border of the extent
_FAR = np.iinfo(np.int32).max
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ComponentFacts:
    """What is known of some components, one entry each: label, size in voxels, area in units of
    ``PixelAreas`` (where the rule reads none: the size), the index of the first voxel in the extent (C
    order), and the least and the greatest label across their faces (``NOWHERE`` beyond the extent; of a
    component that no other borders on, low > high)."""

    label: np.ndarray
    size: np.ndarray
    area: np.ndarray
    first: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, chosen: np.ndarray) -> ComponentFacts:
        return ComponentFacts(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def grouped(self, groups: np.ndarray) -> ComponentFacts:
        """The facts of parts put together: entry ``g`` of what has ``groups == g``."""
        n = int(groups.max(initial=-1)) + 1
        label = np.zeros(n, self.label.dtype)
        size, area = np.zeros((2, n), np.int64)
        first, low = np.full(n, _LAST), np.full(n, _FAR, np.int32)
        high = np.full(n, NOWHERE, np.int32)
        label[groups] = self.label
        np.add.at(size, groups, self.size)
        np.add.at(area, groups, self.area)
        np.minimum.at(first, groups, self.first)
        np.minimum.at(low, groups, self.low)
        np.maximum.at(high, groups, self.high)
        return ComponentFacts(label, size, area, first, low, high)

    @staticmethod
    def joined(parts: list[ComponentFacts]) -> ComponentFacts:
        names = [each.name for each in fields(ComponentFacts)]
        columns = ([getattr(part, name) for part in parts] for name in names)
        return ComponentFacts(*map(np.concatenate, columns))


@dataclass(frozen=True)
class LocalComponents:
    """One block: its ``labels``, the ``components`` of those that matter, their ``facts``, and
    ``on_face``, the numbers of those that touch a neighbouring block, in rising order."""

    block: Block
    labels: np.ndarray
    components: Components
    facts: ComponentFacts
    on_face: np.ndarray


def local_components(
    window: np.ndarray,
    held: Box,
    block: Block,
    extent: Shape,
    *,
    only: tuple[int, ...] | None = None,
    rest: int = 0,
    around: int | None = None,
    areas: PixelAreas | None = None,
) -> LocalComponents:
    """The components of ``block``, cut from a ``window`` of labels over ``held``.

    Labels that are not among ``only`` are taken for ``rest``: fewer components, the same for those
    that matter. ``around``: the label whose components get ``low`` and ``high``, which mean nothing for
    any other; ``held`` then reaches one voxel further than the block where the extent does.
    """
    labels = np.ascontiguousarray(window[block.box.slices(held.start)])
    pixels = None if areas is None else areas.of_pixels(block.box)
    parts = components(labels if only is None else _merged(labels, only, rest), pixels)
    place = np.unravel_index(parts.first, labels.shape)
    places = [p + a for p, a in zip(place, block.box.start, strict=True)]
    first = np.ravel_multi_index(places, extent).astype(np.int64)
    low = high = first
    if around is not None:
        low, high = _around(window, held, block.box, parts, extent, around)
    facts = ComponentFacts(parts.labels, parts.sizes, parts.areas, first, low, high)
    faces = [np.unique(face) for face in _faces(parts.ids, block.box, extent).values()]
    on_face = np.unique(np.concatenate(faces)) if faces else np.zeros(0, np.int32)
    return LocalComponents(block, labels, parts, facts, on_face)


def _merged(labels: np.ndarray, only: tuple[int, ...], rest: int) -> np.ndarray:
    table = np.full(np.iinfo(labels.dtype).max + 1, rest, labels.dtype)
    table[list(only)] = only
    return table[labels]


def _around(
    window: np.ndarray, held: Box, box: Box, parts: Components, extent: Shape, of: int
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest label that each component of the label ``of`` borders on."""
    n = len(parts.labels)
    low, high = np.full(n, _FAR, np.int32), np.full(n, NOWHERE, np.int32)
    padding = [
        (int(a == b == 0), int(c == d == e))
        for a, b, c, d, e in zip(held.start, box.start, held.stop, box.stop, extent, strict=True)
    ]
    signed = np.int16 if window.dtype == np.uint8 else np.int32  # NOWHERE is no label
    wide = np.pad(window.astype(signed), padding, constant_values=NOWHERE)
    inner = (slice(1, -1),) * wide.ndim
    here = wide[inner] == of
    for axis in range(wide.ndim):
        for by in (0, 2):
            beside = [*inner]
            beside[axis] = slice(by, by + here.shape[axis])
            other = wide[tuple(beside)]
            differ = here & (other != of)
            np.minimum.at(low, parts.ids[differ], other[differ])
            np.maximum.at(high, parts.ids[differ], other[differ])
    return low, high


def _faces(ids: np.ndarray, box: Box, extent: Shape) -> dict[tuple[int, int], np.ndarray]:
    """The outer plane of ``ids`` on each face that another block lies behind, by axis and side."""
    planes = {}
    for axis, (a, b, n) in enumerate(zip(box.start, box.stop, extent, strict=True)):
        if a > 0:
            planes[axis, 0] = ids.take(0, axis)
        if b < n:
            planes[axis, 1] = ids.take(-1, axis)
    return planes


@dataclass(frozen=True)
class ComponentSurvey:
    """What one block sends to the coordinator: the facts of the components on its faces, where they lie
    there, and ``interior``: what a step makes of those that touch no other block."""

    block: Block
    facts: ComponentFacts
    faces: dict[tuple[int, int], np.ndarray]
    interior: object


def survey_components(part: LocalComponents, extent: Shape, interior: object) -> ComponentSurvey:
    """Faces number the components as ``facts`` does."""
    faces = {
        side: np.searchsorted(part.on_face, ids).astype(np.int32)
        for side, ids in _faces(part.components.ids, part.block.box, extent).items()
    }
    return ComponentSurvey(part.block, part.facts.take(part.on_face), faces, interior)


# Components on a face: the number of the first one of their block, the block's facts, their ids there.
Side = tuple[int, ComponentFacts, np.ndarray]


class Merger:
    """The coordinator's side: takes surveys in any order, joins what meets at faces.

    ``contacts``: also note how many voxel faces two components of different labels share across a
    face of blocks (for votes); rows of ``first, second, faces``.
    """

    def __init__(self, contacts: bool = False) -> None:
        self._note_contacts, self._total = contacts, 0
        self._facts: list[ComponentFacts] = []
        self._parts: dict[Shape, slice] = {}
        self._waiting: dict[tuple[Shape, int], Side] = {}
        self._pairs = [np.zeros((2, 0), np.int64)]
        self._contacts = [np.zeros((3, 0), np.int64)]

    def add(self, survey: ComponentSurvey) -> None:
        start = self._total
        self._total += len(survey.facts)
        self._parts[survey.block.index] = slice(start, self._total)
        self._facts.append(survey.facts)
        for (axis, side), ids in survey.faces.items():
            mine = start, survey.facts, ids
            index = list(survey.block.index)
            index[axis] -= 1 - side  # a face is known by the block before it
            key = tuple(index), axis
            if key in self._waiting:
                self._meet(self._waiting.pop(key), mine)
            else:
                self._waiting[key] = mine

    def _meet(self, a: Side, b: Side) -> None:
        (start_a, facts_a, ids_a), (start_b, facts_b, ids_b) = a, b
        keys = ids_a.astype(np.int64).reshape(-1) * len(facts_b) + ids_b.reshape(-1)
        keys, counts = np.unique(keys, return_counts=True)
        i, j = np.divmod(keys, len(facts_b))
        same = facts_a.label[i] == facts_b.label[j]
        rows = np.stack([start_a + i, start_b + j, counts])
        self._pairs.append(rows[:2, same])
        if self._note_contacts:
            self._contacts.append(rows[:, ~same])

    def merged(self) -> Merged:
        """Once every block was added."""
        facts = ComponentFacts.joined(self._facts)
        roots = np.zeros(0, np.int32)
        if len(facts):
            roots = union_find(len(facts), np.concatenate(self._pairs, 1))
        return Merged(self._parts, roots, facts.grouped(roots), np.concatenate(self._contacts, 1))


@dataclass(frozen=True)
class Merged:
    """The whole components on faces between blocks: ``facts`` of each, and ``roots``, to which of them
    each part belongs that a block sent; ``contacts``: see ``Merger``, in numbers of parts."""

    parts: dict[Shape, slice]
    roots: np.ndarray
    facts: ComponentFacts
    contacts: np.ndarray

    def of(self, block: Block) -> np.ndarray:
        """Which whole component each component on the block's faces belongs to."""
        return self.roots[self.parts[block.index]]
