"""Whether tiles can be blended, and labels made, as a card says."""

from __future__ import annotations

from seg_batch.config.card_parts.network import Output
from seg_batch.config.predict_options import TTA
from seg_batch.core.geometry import Shape
from seg_batch.core.text import nearest


def labelled_of(patch: Shape, output: Output) -> Shape:
    """What a network labels of a patch; ValueError where that is nothing."""
    shrink = output.shrink
    if shrink is None:
        return patch
    if len(shrink) != len(patch) or any(2 * m >= n for m, n in zip(shrink, patch, strict=True)):
        raise ValueError(f"output.shrink {shrink} leaves nothing of the patch {patch}")
    return tuple(n - 2 * m for n, m in zip(patch, shrink, strict=True))


def check_blending(
    output: Output,
    patch: Shape | None,
    lead: Shape | None,
    background: int | None,
    taper: str | None,
    tta: str,
) -> None:
    """ValueError with the reason where they do not fit together or are unknown."""
    if output.shrink and patch is None:
        raise ValueError("output.shrink is of a patch: give the patch")
    if patch is not None:
        sides = zip(lead or (0,) * len(patch), labelled_of(patch, output), strict=True)
        if any(2 * m >= n for m, n in sides):
            raise ValueError(f"lead {lead} is half of the patch {patch} or more")
    if output.rule == "last" and background is None:
        raise ValueError("the rule last needs a background, which voxels of no class get")
    _require_known("tta", tta, TTA)
    if taper is not None:
        from seg_batch.core.taper import TAPERS  # loads NumPy

        _require_known("taper", taper, TAPERS)


def _require_known(field: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"there is no {field} {name[:40]!r}; {nearest(name, known)}")
