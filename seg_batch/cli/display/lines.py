"""Facts about plans and results, as JSON-ready values and as lines of text."""

from __future__ import annotations

from typing import Any

from seg_batch.cli.display.rows import by, rows
from seg_batch.config.card import WHOLE_PATCH
from seg_batch.config.postprocess import describe
from seg_batch.core.units import duration_in_line, share_in_line, show_bytes, with_commas
from seg_batch.inference.measuring.disk import free_bytes, left_bytes
from seg_batch.inference.measuring.time import Estimate, estimate
from seg_batch.inference.plan import DraftPlan
from seg_batch.inference.report import SIZE_UNITS, Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sources.views.model_grid import ModelGrid


def summary_lines(report: Report) -> str:
    """The lines after a run: the product, its classes in world units, blocks and memory."""
    lines = [f"{report['output']}  ({report['status']}, {duration_in_line(report['seconds'])})"]
    unit = next((unit for unit in SIZE_UNITS if unit in report["classes"][0]), None)
    for row in report["classes"]:
        voxels = f"{with_commas(row['voxels']):>14} voxels"
        size = f"{row[unit]:>14,.2f} {SIZE_UNITS[unit]}" if unit else voxels
        lines.append(f"  {row['name']:<24} {size}  {share_in_line(row['share'], 2):>7}")
    blocks = report["blocks"]
    lines.append(
        f"  {blocks['done']} of {blocks['total']} blocks ({blocks['resumed']} resumed), "
        f"{report['n_tiles']} tiles, recompute x{report['recompute']:.2f}, peak memory "
        f"{show_bytes(report['peak_rss_bytes'])} of {show_bytes(report['promised_bytes'])} promised"
    )
    resampled = _resampled_lines(report) + _also_lines(report)
    review = [f"  to review: {reason}" for reason in report.get("review", ())]
    return "\n".join(lines + _post_lines(report) + _seam_lines(report) + resampled + review)


def _also_lines(report: Report) -> list[str]:
    """One line per further product of this map."""
    sha256, tiles = report["product"]["sha256"], report.get("tiles")
    lines = [f"  also {row['path']}" for row in report.get("also", ()) if row["of"] == sha256]
    if tiles and tiles["of"] == sha256:
        lines.append(f"  also {tiles['files']} maps of pieces in {tiles['folder']}")
    return lines


def _resampled_lines(report: Report) -> list[str]:
    grid = report["plan"].get("model_grid")
    if not grid:
        return []
    made = ModelGrid.from_json(grid)
    return [f"  {made.verb} {made.words}"]


def _post_lines(report: Report) -> list[str]:
    """One line per step after prediction."""
    lines = []
    for row in report.get("post", []):
        number = row["objects_changed"]
        objects = "" if number is None else f"{with_commas(number)} objects, "
        voxels = with_commas(row["voxels_changed"])
        lines.append(f"  {row['words']}: {objects}{voxels} voxels changed")
    return lines


def _seam_lines(report: Report) -> list[str]:
    """The seam index; nothing where too few voxels were counted."""
    borders = _border_lines(report)
    seams = report.get("seams")
    if seams is None or seams["index"] is None:
        return borders
    jump = "" if seams["jump"] is None else f", probabilities jump x{seams['jump']:.2f}"
    error = "" if seams.get("error") is None else f" (+-{seams['error']:.2f})"
    lines = [f"  seams: x{seams['index']:.2f}{error} the label flips across tile borders{jump}"]
    if layers := report["model"].get(WHOLE_PATCH):
        others = f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""
        lines.append(
            f"  {len(layers)} layer(s) see the whole patch: {layers[0]}{others}, which makes seams that "
            "no blending removes"
        )
    return [*lines, *borders]


def _border_lines(report: Report) -> list[str]:
    """How much more often labels flip where two files of a mosaic meet."""
    borders = report.get("file_borders")
    if borders is None or borders["index"] is None:
        return []
    return [f"  file borders: x{borders['index']:.2f} the label flips elsewhere"]


def plan_facts(prepared: Prepared[DraftPlan]) -> dict[str, Any]:
    """The plan of one input, JSON-ready."""
    plan, time_s = prepared.plan, estimate(prepared.plan, prepared.model)
    at_most = plan.disk_bytes
    return {
        "input": prepared.called,
        "output": str(prepared.outputs.product),
        "also": [*map(str, prepared.outputs.also)],
        "model": prepared.model.name,
        "members": [member.name for member in prepared.model.members],
        "blocks": {"total": plan.blocks, "shape": list(plan.block)},
        "n_tiles": plan.tiles,
        "recompute": round(plan.recompute, 4),
        "promised_bytes": plan.promised_bytes,
        "memory_bytes": plan.memory_bytes,
        "fit": prepared.verdict.to_json(),
        "disk_bytes": at_most,
        "disk_needed_bytes": left_bytes(at_most, prepared.outputs),
        "disk_free_bytes": free_bytes(prepared.outputs.product),
        "seconds_estimate": round(time_s.seconds, 1),
        "time": time_s.to_json(),
        "plan": plan.to_json(),
    }


def plan_lines(prepared: Prepared[DraftPlan]) -> str:
    """The plan of one input, as lines of a name and a value."""
    plan, info, product = prepared.plan, prepared.info, prepared.outputs.product
    finer = prepared.model.card.finer
    finer_text = f"{finer} voxels for each of the input's along each axis; sizes here count those"
    at_most = plan.disk_bytes
    left, free = left_bytes(at_most, prepared.outputs), free_bytes(product)
    there = f", {show_bytes(at_most - left)} of it there already" if left < at_most else ""
    lines = [
        (
            "input",
            f"{prepared.called}  ({info.kind}, {by(plan.extent)}, {len(info.channels)} channels)",
        ),
        ("model", f"{prepared.model.called}  ({plan.rank}-D)"),
        ("engine", f"{plan.engine} in {plan.precision}: {plan.engine_why}"),
        *([("finer", finer_text)] if finer > 1 else []),
        *_grid_rows(plan),
        (
            "patch",
            f"{by(plan.patch_seen)}{_labelled(plan)}, overlap {by(plan.overlap)}, {plan.taper} taper: "
            f"{plan.patch_choice['why']}",
        ),
        *_averaging(plan, len(prepared.model.all)),
        ("blocks", f"{plan.blocks} of {by(plan.block)}{_touched(plan)}, {plan.workers} worker(s)"),
        ("tiles", f"{plan.tiles}, recompute x{plan.recompute:.2f}, {plan.batch} per model call"),
        (
            "memory",
            f"{show_bytes(plan.promised_bytes)} promised per worker, "
            f"{show_bytes(plan.memory_bytes)} allowed",
        ),
        ("disk", f"at most {show_bytes(at_most)}{there}, {show_bytes(free)} free"),
        ("time", time_line(estimate(plan, prepared.model))),
        *(("then", describe(step)) for step in plan.post),
        *(("to review", line) for line in prepared.verdict.lines),
        ("output", product),
        *(("also", path) for path in prepared.outputs.also),
    ]
    return rows(lines + [("warning", w) for w in info.warnings])


def _grid_rows(plan: DraftPlan) -> list[tuple[str, str]]:
    """From which voxels to which the image comes for the model; nothing where it stays as it is."""
    grid = plan.model_grid and ModelGrid.from_json(plan.model_grid)
    if not grid:
        return []
    voxels = f"{'' if grid.crop else by(grid.source)} to {by(grid.target)} voxels".lstrip()
    back = (
        "the product is on it"
        if grid.output == "model"
        else f"back {', '.join(dict.fromkeys(grid.back))}"
    )
    if not grid.resampled or grid.nothing:
        return [(grid.verb, f"{grid.words}; the rest is background")]
    return [(grid.verb, f"{grid.words}, {voxels}; {back}")]


def time_line(time_s: Estimate) -> str:
    """``about 41 s (33 s to 52 s): measured here 3 times``."""
    low, high = duration_in_line(time_s.low), duration_in_line(time_s.high)
    advice = "; segbatch plan --measure measures" if time_s.kind == "guess" else ""
    return f"about {duration_in_line(time_s.seconds)} ({low} to {high}): {time_s.why}{advice}"


def _touched(plan: DraftPlan) -> str:
    return "" if plan.touched is None else f", {plan.touched} of which are read"


def _labelled(plan: DraftPlan) -> str:
    return "" if plan.patch == plan.patch_seen else f" of which {by(plan.patch)} is labelled"


def _averaging(plan: DraftPlan, models: int) -> list[tuple[str, str]]:
    """The views and models that are averaged; nothing where each tile is one call of one model."""
    if plan.passes == 1:
        return []
    views = f"test-time augmentation {plan.tta}: {plan.passes // models} views, "
    text = "" if plan.tta == "none" else views
    text += f"{models} models, " if models > 1 else ""
    return [("averaged", f"{text}{plan.passes} model calls per tile")]
