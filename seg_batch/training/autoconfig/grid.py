"""The grid of the model: its voxel size, as nnU-Net chooses it from the data, and slices or volumes.

Images with other voxels are resampled to it (``io.sources.views.model_grid``); between slices that are seen one by
one nothing is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from seg_batch.config.card_parts.resampling import AS_NNUNET, Resampling
from seg_batch.core.units import counted_plainly
from seg_batch.io.sources.views.model_grid import target_extent
from seg_batch.training.autoconfig.reasons import Reason, show

type Shape = tuple[int, ...]
type Sizes = tuple[float, ...]

ANISOTROPIC = 3.0
LEAST_SLICES = 8  # with fewer there is nothing to see across them
_THICK_PERCENTILE = 10
_DIGITS = 6
_PLACES = {"S": 0, "I": 0, "A": 1, "P": 1, "R": 2, "L": 2}


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
    resampling: Resampling = AS_NNUNET

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
        return target_extent(header.extent, header.spacing, target, self.resampling.tolerance)


@dataclass(frozen=True)
class GivenGrid:
    """What a recipe says of the grid: ``spacing`` in its orientation, of rasters one number; ``orientation``: its letters;
    ``rank`` of the model, and the rules of ``resampling``."""

    spacing: Sizes | None = None
    orientation: str | None = None
    rank: int | None = None
    resampling: Resampling = AS_NNUNET

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of the files in this orientation; empty where there is none."""
        letters = reversed((self.orientation or "").upper())
        order = tuple(_PLACES.get(letter, -1) for letter in letters)
        return order if sorted(order) == [0, 1, 2] else ()


NOT_GIVEN = GivenGrid()


def choose_grid(kind: str, headers: Sequence[Header], given: GivenGrid = NOT_GIVEN) -> ChosenGrid:
    """The grid for these files, or the ``given`` one, with reasons for the card."""
    spacing, why = _chosen(kind, headers)
    grid = _seen(kind, headers, spacing, given)
    own = _in_file_axes(given, grid.order)
    if own is not None:
        spacing, why = own, "given"
        grid = _seen(kind, headers, own, given, grid.order)
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
    return replace(grid, reasons=tuple(reasons))


def _chosen(kind: str, headers: Sequence[Header]) -> tuple[Sizes | None, str]:
    """The median; with few thick slices, along them the tenth percentile (nnU-Net's planner of experiments)."""
    known = np.array([h.spacing for h in headers if h.spacing], float)
    if not len(known):
        return None, ""
    why = f"the median of {counted_plainly(len(known), 'case')}"
    if kind == "raster":
        side = _rounded(median(np.sqrt(known.prod(1)).tolist()))
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
    return tuple(map(_rounded, spacing.tolist())), why


def _rounded(side: float) -> float:
    """To as many decimals as there are digits, small sides to as many digits."""
    return round(side, max(_DIGITS, _DIGITS - 1 - math.floor(math.log10(side))))


def _seen(
    kind: str,
    headers: Sequence[Header],
    spacing: Sizes | None,
    given: GivenGrid,
    order: tuple[int, ...] = (),
) -> ChosenGrid:
    """Slices or volumes of this spacing, or what is ``given``; ``order``: of the axes, where it is known."""
    axes, order, rules = (
        tuple(range(len(headers[0].extent))),
        given.order or order,
        given.resampling,
    )
    if kind == "raster":
        why = "rasters have two axes"
        return ChosenGrid(spacing, 2, axes, (Reason("card.rank", 2, why),), rules)
    whole = ChosenGrid(spacing, 3, order or axes, (), rules)
    if given.rank == 3:
        return replace(whole, reasons=(Reason("card.rank", 3, "given"),))
    extent = [int(median(side)) for side in zip(*map(whole.extent_of, headers), strict=True)]
    if spacing is None or max(spacing) <= ANISOTROPIC * sorted(spacing)[1]:
        sizes = "unknown spacing" if spacing is None else f"spacing {show(spacing)} mm"
        why = f"{sizes} is not coarser than 3 : 1 along any axis"
        few = min(extent) < LEAST_SLICES
        if not few and given.rank is None:
            return replace(whole, reasons=(Reason("card.rank", 3, why),))
        why = f"only {min(extent)} slices: nothing to look at across them"
        coarse = (
            extent.index(min(extent)) if few or spacing is None else spacing.index(max(spacing))
        )
    else:
        why = f"spacing {show(spacing)} mm is coarser than 3 : 1 along one axis, so slices are seen one by one"
        coarse = spacing.index(max(spacing))
    reasons = [Reason("card.rank", 2, why if given.rank is None else "given")]
    order = order or (coarse, *(a for a in axes if a != coarse))
    if not given.order:
        letters = "".join("SAR"[a] for a in reversed(order))
        ways = "slices lie across the axis with the coarsest voxels"
        reasons.append(Reason("card.orientation", letters, ways))
    return ChosenGrid(spacing, 2, order, tuple(reasons), rules)


def _in_file_axes(given: GivenGrid, order: tuple[int, ...]) -> Sizes | None:
    """A given spacing in the axes of the files, which for the model have this order."""
    if given.spacing is None:
        return None
    if len(given.spacing) == 1 and len(order) == 2:
        return given.spacing * 2
    if len(given.spacing) != len(order):
        return None
    return tuple(given.spacing[order.index(a)] for a in range(len(order)))
