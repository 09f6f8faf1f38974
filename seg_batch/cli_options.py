"""What several commands take in the same words, and what is made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from seg_batch.errors import PlanError

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]


def blending(overlap: str | None, taper: str, precision: str) -> dict[str, Any]:
    """Three fields of ``plan.Options``; PlanError naming the option that makes no sense."""
    from seg_batch.taper import TAPERS

    if taper not in TAPERS:
        raise PlanError(f"--taper {taper!r} is unknown: use one of {', '.join(TAPERS)}")
    if precision not in ("auto", "float32", "mixed"):
        raise PlanError(f"--precision {precision!r} is unknown: use auto, float32 or mixed")
    return {"overlap": voxels_of(overlap), "taper": taper, "precision": precision}


def voxels_of(overlap: str | None) -> int | Literal["auto"] | None:
    """What ``--overlap`` says: a number, auto, or nothing."""
    if overlap is None or overlap == "auto":
        return "auto" if overlap else None
    if not (overlap.isascii() and overlap.isdecimal() and len(overlap) < 10):
        raise PlanError(
            f"--overlap {overlap[:20]!r} is no number of voxels: use one from 0 on, or auto"
        )
    return int(overlap)
