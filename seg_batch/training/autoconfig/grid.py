"""The grid of the model: its voxel size, as nnU-Net chooses it from the data, and slices or volumes.

Images with other voxels are resampled to it (``io.sources.views.model_grid``); between slices that are seen one by
one nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from seg_batch.config.card import Resampling
from seg_batch.core.units import counted_plainly
from seg_batch.training.autoconfig.reasons import Reason, show

type Shape = tuple[int, ...]
type Sizes = tuple[float, ...]

ANISOTROPIC = 3.0
LEAST_SLICES = 8  # with fewer there is nothing to see across them
_THICK_PERCENTILE = 10
_TOLERANCE = Resampling().tolerance


@dataclass(frozen=True)
class Header:
    """The grid of a file, axes in the order ``(z,) y, x`` of RAS: ``extent`` in voxels, and ``spacing``, their size in mm,
    of rasters in metres; None where the file states none."""

    case: str
    extent: Shape
    spacing: Sizes | None


@dataclass(frozen=True)
class ChosenGrid:
    """``spacing`` of the model in the axes of the headers, None where no file states any; ``rank`` of the model; ``order``:
    those axes in the orientation of the recipe, slices of a 2-D model across the first."""

    spacing: Sizes | None
    rank: int
    order: tuple[int, ...]
    reasons: tuple[Reason, ...]

    def spacing_of(self, file: Sizes | None) -> Sizes | None:
        """The spacing to which a file with this one comes: slices that are seen one by one stay."""
        if self.spacing is None or file is None:
            return None
        stay = self.order[: -self.rank]
        return tuple(file[a] if a in stay else side for a, side in enumerate(self.spacing))

    def extent_of(self, header: Header) -> Shape:
        """The extent of a file on this grid."""
        target = self.spacing_of(header.spacing)
        if target is None or header.spacing is None:
            return header.extent
        sides = zip(header.extent, header.spacing, target, strict=True)
        return tuple(n if _near(a, b) else max(1, round(n * a / b)) for n, a, b in sides)


@dataclass(frozen=True)
class GivenGrid:
    """What a recipe says of the grid: ``spacing`` in its orientation, of rasters one number; ``orientation``: its letters."""

    spacing: Sizes | None = None
    orientation: str | None = None


def choose_grid(kind: str, headers: Sequence[Header], given: GivenGrid | None = None) -> ChosenGrid:
    """The grid for these files, or the ``given`` one, with reasons for the card."""
    spacing, why = _chosen(kind, headers)
    grid = _seen(kind, headers, spacing)
    own = _in_file_axes(given, grid.order)
    if own is not None:
        spacing, why = own, "given"
        grid = _seen(kind, headers, own, grid.order)
    if spacing is None:
        return grid
    value = spacing[0] if kind == "raster" else [spacing[a] for a in grid.order]
    key = "card.pixel_m" if kind == "raster" else "card.spacing_mm"
    others = [h for h in headers if h.spacing and grid.extent_of(h) != h.extent]
    if others:
        why += f"; {counted_plainly(len(others), 'case')} of other voxels will be resampled to it"
    reasons = [*grid.reasons, Reason(key, value, why)]
    if unknown := [h.case for h in headers if h.spacing is None]:
        names = ", ".join(unknown[:5]) + (
            f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        )
        text = f"{names} do not say how large their voxels are, and are taken as they are: add it, or train without"
        reasons.append(Reason(key, None, text, warning=True))
    return ChosenGrid(spacing, grid.rank, grid.order, tuple(reasons))


def _chosen(kind: str, headers: Sequence[Header]) -> tuple[Sizes | None, str]:
    """The median; with few thick slices, along them the tenth percentile (nnU-Net's planner of experiments)."""
    known = np.array([h.spacing for h in headers if h.spacing], float)
    if not len(known):
        return None, ""
    why = f"the median of {counted_plainly(len(headers), 'case')}"
    if kind == "raster":
        side = round(median(np.sqrt(known.prod(1)).tolist()), 6)
        return (side, side), why
    spacing = np.median(known, 0)
    extent = np.median([h.extent for h in headers if h.spacing], 0)
    thick = int(spacing.argmax())
    rest = np.delete(np.arange(len(spacing)), thick)
    is_thick = spacing[thick] > ANISOTROPIC * spacing[rest].max()
    if is_thick and ANISOTROPIC * extent[thick] < extent[rest].min():
        middle = spacing[thick]
        spacing[thick] = max(np.percentile(known[:, thick], _THICK_PERCENTILE), spacing[rest].max())
        if spacing[thick] < middle:
            why += f", across thick slices the tenth percentile (their median is {middle:.3g} mm)"
    return tuple(round(side, 6) for side in spacing.tolist()), why


def _seen(
    kind: str, headers: Sequence[Header], spacing: Sizes | None, order: tuple[int, ...] = ()
) -> ChosenGrid:
    """Slices or volumes of this spacing; the ``order`` of axes where a recipe gives it."""
    axes = tuple(range(len(headers[0].extent)))
    if kind == "raster":
        return ChosenGrid(spacing, 2, axes, (Reason("card.rank", 2, "rasters have two axes"),))
    whole = ChosenGrid(spacing, 3, order or axes, ())
    extent = [int(median(side)) for side in zip(*map(whole.extent_of, headers), strict=True)]
    if spacing is None or max(spacing) <= ANISOTROPIC * sorted(spacing)[1]:
        sizes = "unknown spacing" if spacing is None else f"spacing {show(spacing)} mm"
        why = f"{sizes} is not coarser than 3 : 1 along any axis"
        if min(extent) >= LEAST_SLICES:
            return ChosenGrid(spacing, 3, whole.order, (Reason("card.rank", 3, why),))
        why = f"only {min(extent)} slices: nothing to look at across them"
        coarse = extent.index(min(extent))
    else:
        why = f"spacing {show(spacing)} mm is coarser than 3 : 1 along one axis, so slices are seen one by one"
        coarse = spacing.index(max(spacing))
    order = order or (coarse, *(a for a in axes if a != coarse))
    letters = "".join("SAR"[a] for a in reversed(order))
    ways = "slices lie across the axis with the coarsest voxels"
    reasons = (Reason("card.rank", 2, why), Reason("card.orientation", letters, ways))
    return ChosenGrid(spacing, 2, order, reasons)


def _in_file_axes(given: GivenGrid | None, order: tuple[int, ...]) -> Sizes | None:
    """A given spacing in the axes of the files. It is in the orientation of the recipe, or else in the advised one."""
    if given is None or given.spacing is None:
        return None
    if len(given.spacing) == 1 and len(order) == 2:
        return given.spacing * 2
    if len(given.spacing) != len(order):
        return None
    if given.orientation is not None:
        places = {"S": 0, "I": 0, "A": 1, "P": 1, "R": 2, "L": 2}
        order = tuple(places.get(letter, -1) for letter in reversed(given.orientation.upper()))
        if sorted(order) != [0, 1, 2]:
            return None
    return tuple(given.spacing[order.index(a)] for a in range(len(order)))


def _near(a: float, b: float) -> bool:
    return abs(a / b - 1) <= _TOLERANCE
