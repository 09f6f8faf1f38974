"""The command ``models bench``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seg_batch.cli.options import Json, show
from seg_batch.core import units


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="BUNDLE", help="By its name or its path.")],
    engine: Annotated[str, typer.Option(help="The only one; auto: all that can run it.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32 or mixed; auto: both.")] = "auto",
    as_json: Json = False,
) -> None:
    """Measure what a bundle does on this machine, by engine and precision; plans go by it."""
    from seg_batch.inference.measuring.bench import bench

    assert context.parent is not None
    facts = bench(name, engine=engine, precision=precision)
    show(facts, lines, as_json or context.parent.params["as_json"])


def lines(facts: dict[str, Any]) -> list[str]:
    """A row for each engine and precision, the fastest first; then what can't be run here."""
    rows = sorted(facts["figures"], key=lambda row: row["tile_s"])
    head = ["engine", "precision", "a patch", "voxels/s", "GFLOP/s", "memory", "start", "an hour"]
    table = [head, *map(_cells, rows)]
    widths = [max(len(row[k]) for row in table) for k in range(len(head))]
    return [
        _title(facts),
        *("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table),
        *(f"not {' and '.join(names)}: {why}" for why, names in _by_reason(facts["not_here"])),
    ]  # fmt: skip


def _by_reason(refused: dict[str, str]) -> list[tuple[str, list[str]]]:
    reasons = dict.fromkeys(refused.values())
    return [(why, [name for name, its in refused.items() if its == why]) for why in reasons]


def _title(facts: dict[str, Any]) -> str:
    by = " x ".join(map(str, facts["patch"]))
    networks = units.counted_plainly(facts["networks"], "network")
    views = units.counted_plainly(facts["views"], "view")
    where = units.counted_plainly(facts["cores"], "core")
    if facts["gpus"]:
        where += f" and {units.counted_plainly(facts['gpus'], 'GPU')}"
    return f"{facts['model']}: patches of {by}, {networks}, {views}, on {where}"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["engine"],
        row["precision"],
        units.duration_finely(row["tile_s"]),
        units.whole(row["voxels_per_s"]),
        f"{row['flops_per_s'] / 1e9:.0f}" if row["flops_per_s"] else units.NONE,
        units.show_bytes(row["memory_bytes"]),
        units.duration(row["start_s"]),
        _hour(row["hour"]),
    ]


def _hour(hour: dict[str, float]) -> str:
    if "km2" in hour:
        return f"{units.whole(hour['km2'])} km2"
    if "volumes" in hour:
        return f"{hour['volumes']:.1f} volumes of 512 x 512 x 300"
    return f"{units.whole(hour['pixels'] / 1e6)} million pixels"
