"""Facts about inputs, plans, models and results, as JSON-ready values and as lines of text."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Any

from seg_batch.cli.display.values import (
    model_rows,
    spacing_facts,
    spacing_rows,
    value_facts,
    value_rows,
)
from seg_batch.config.card import WHOLE_PATCH
from seg_batch.config.grid_options import GridOptions
from seg_batch.config.postprocess import describe
from seg_batch.core.errors import InputError
from seg_batch.core.georef import crs_name, georef_to_json
from seg_batch.core.units import duration_in_line, share_in_line, show_bytes, with_commas
from seg_batch.inference.bundles import (
    Model,
    bundle_folders,
    find_bundle,
    installed_bundles,
    require_intact,
)
from seg_batch.inference.fit.choice import judge
from seg_batch.inference.fit.look import taken
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.inference.measuring.disk import free_bytes, left_bytes
from seg_batch.inference.measuring.time import Estimate, estimate
from seg_batch.inference.plan import DraftPlan
from seg_batch.inference.report import SIZE_UNITS, Report
from seg_batch.inference.request import Prepared
from seg_batch.io.sources import corner_warnings, open_source
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.sample import Sample
from seg_batch.io.sources.views.model_grid import ModelGrid
from seg_batch.io.sources.views.open_view import View


def _by(shape: Any) -> str:
    return " x ".join(str(n) for n in shape)


def _rows(pairs: list[tuple[str, Any]]) -> str:
    width = max(len(key) for key, _ in pairs)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in pairs)


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
    resampled = _resampled_lines(report)
    review = [f"  to review: {reason}" for reason in report.get("review", ())]
    return "\n".join(lines + _post_lines(report) + _seam_lines(report) + resampled + review)


def _resampled_lines(report: Report) -> list[str]:
    grid = report["plan"].get("model_grid")
    return [f"  resampled {ModelGrid.from_json(grid).words}"] if grid else []


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
    seams = report.get("seams")
    if seams is None or seams["index"] is None:
        return []
    jump = "" if seams["jump"] is None else f", probabilities jump x{seams['jump']:.2f}"
    error = "" if seams.get("error") is None else f" (+-{seams['error']:.2f})"
    lines = [f"  seams: x{seams['index']:.2f}{error} the label flips across tile borders{jump}"]
    if layers := report["model"].get(WHOLE_PATCH):
        others = f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""
        lines.append(
            f"  {len(layers)} layer(s) see the whole patch: {layers[0]}{others}, which makes seams that "
            "no blending removes"
        )
    return lines


def plan_facts(prepared: Prepared[DraftPlan]) -> dict[str, Any]:
    """The plan of one input, JSON-ready."""
    plan, time_s = prepared.plan, estimate(prepared.plan, prepared.model)
    at_most = plan.disk_bytes
    return {
        "input": prepared.info.path,
        "output": str(prepared.outputs.product),
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
    rows = [
        ("input", f"{info.path}  ({info.kind}, {_by(plan.extent)}, {len(info.channels)} channels)"),
        ("model", f"{prepared.model.called}  ({plan.rank}-D)"),
        ("engine", f"{plan.engine} in {plan.precision}: {plan.engine_why}"),
        *([("finer", finer_text)] if finer > 1 else []),
        *_grid_rows(plan),
        (
            "patch",
            f"{_by(plan.patch)}, overlap {_by(plan.overlap)}, {plan.taper} taper: {plan.patch_choice['why']}",
        ),
        *_averaging(plan, len(prepared.model.all)),
        ("blocks", f"{plan.blocks} of {_by(plan.block)}, {plan.workers} worker(s)"),
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
    ]
    return _rows(rows + [("warning", w) for w in info.warnings])


def _grid_rows(plan: DraftPlan) -> list[tuple[str, str]]:
    """From which voxels to which the image comes for the model; nothing where it stays as it is."""
    grid = plan.model_grid and ModelGrid.from_json(plan.model_grid)
    if not grid:
        return []
    voxels = f"{_by(grid.source)} to {_by(grid.target)} voxels"
    back = (
        "the product is on it"
        if grid.output == "model"
        else f"back {', '.join(dict.fromkeys(grid.back))}"
    )
    return [("resampled", f"{grid.words}, {voxels}; {back}")]


def time_line(time_s: Estimate) -> str:
    """``about 41 s (33 s to 52 s): measured here 3 times``."""
    low, high = duration_in_line(time_s.low), duration_in_line(time_s.high)
    advice = "; segbatch plan --measure measures" if time_s.kind == "guess" else ""
    return f"about {duration_in_line(time_s.seconds)} ({low} to {high}): {time_s.why}{advice}"


def _averaging(plan: DraftPlan, models: int) -> list[tuple[str, str]]:
    """The views and models that are averaged; nothing where each tile is one call of one model."""
    if plan.passes == 1:
        return []
    views = f"test-time augmentation {plan.tta}: {plan.passes // models} views, "
    text = "" if plan.tta == "none" else views
    text += f"{models} models, " if models > 1 else ""
    return [("averaged", f"{text}{plan.passes} model calls per tile")]


def source_facts(path: str, volume: int | None) -> dict[str, Any]:
    """Geometry, channels, values and warnings of a file, and which installed models it fits."""
    with closing(open_source(path, volume=volume)) as source:
        info = source.info
        warnings = [*info.warnings, *corner_warnings(source)]
        try:
            seen = taken(source)
        except InputError as error:  # the header can be read, and is shown
            seen = Sample.nothing(len(info.channels))
            warnings.append(error.message)
        verdicts = judge(source, installed_bundles(), seen)
    return {
        "input": info.path,
        "format": info.format,
        "kind": info.kind,
        "extent": list(info.extent),
        "channels": list(info.channels),
        "dtype": info.dtype,
        "nodata": [v if v is None or math.isfinite(v) else str(v) for v in info.nodata],
        "chunk": list(info.chunk),
        "georef": georef_to_json(info.georef),
        "facts": info.facts,
        "spacing": spacing_facts(info),
        "values": value_facts(info, seen),
        "models": {
            m.name: {**verdict.to_json(), "resampled": _resampled(source, m, verdict)}
            for m, verdict in verdicts
        },
        "warnings": warnings,
    }


def _resampled(source: Source, model: Model, verdict: Verdict) -> str | None:
    """From which voxels to which a file comes for a model that takes it; None where it stays as it is."""
    if verdict.outcome == "does not fit":
        return None
    grid = View(source, model.card, GridOptions()).grid
    return grid.words if grid else None


def source_lines(facts: dict[str, Any]) -> str:
    nodata = ", ".join("none" if n is None else f"{float(n):g}" for n in facts["nodata"])
    rows = [
        ("file", f"{facts['input']}  ({facts['format']})"),
        ("kind", f"{facts['kind']}, {_by(facts['extent'])} voxels, {facts['dtype']}"),
        ("channels", f"{len(facts['channels'])}: {', '.join(facts['channels'])}"),
        ("nodata", nodata or "none"),
        *_georef_rows(facts["georef"]),
        *spacing_rows(facts["spacing"]),
        *value_rows(facts["values"]),
        *facts["facts"].items(),
        *model_rows(facts["models"]),
        *(("warning", text) for text in facts["warnings"]),
    ]
    return _rows(rows)


def _georef_rows(georef: dict[str, Any]) -> list[tuple[str, Any]]:
    if georef["kind"] == "raster":
        name = crs_name(georef["crs_wkt"])
        return [("crs", name), ("transform", ", ".join(f"{v:g}" for v in georef["transform"]))]
    affine = "; ".join(" ".join(f"{v:g}" for v in row) for row in georef["affine"][:3])
    codes = f"sform {georef['sform_code']}, qform {georef['qform_code']}"
    return [("affine", affine), ("codes", codes), ("units", georef["units"])]


def model_facts(name: str | None) -> dict[str, Any]:
    """All installed bundles in short, or one whole card."""
    if name is not None:
        model = require_intact(find_bundle(name))
        return {"path": str(model.path or ""), **model.card.model_dump(mode="json")}
    return {
        "folders": [str(folder) for folder in bundle_folders()],
        "models": [{"path": str(m.path), **_short(m)} for m in installed_bundles()],
    }


def _short(model: Model) -> dict[str, Any]:
    card = model.card
    return {
        "name": model.name,
        **{key: getattr(card, key) for key in ("kind", "rank")},
        "channels": list(card.channel_names or ()),
        "classes": [c.name for c in card.classes],
        "patch": list(card.patch or ()),
        **{key: getattr(card, key) for key in ("scores", "licence", "description")},
    }


def model_lines(facts: dict[str, Any]) -> str:
    if "models" not in facts:
        return _card_lines(facts)
    lines = []
    for m in facts["models"]:
        lines += [
            f"{m['name']}  ({m['rank']}-D {m['kind']}, {m['licence']})",
            f"  {m['description']}",
            f"  channels  {', '.join(m['channels'])}",
            f"  classes   {', '.join(m['classes'])}",
        ]
    lines.append("probe  (any input, no network): class = floor(first channel) mod 8")
    return "\n".join(lines)


def _card_lines(card: dict[str, Any]) -> str:
    """A card as lines of a name and a value, without its tables of numbers."""
    border, training = card["border"], card["scores"].get("training", {})
    values = {
        **{k: v for k, v in card.items() if k not in ("border", "split", "scores", "compute")},
        "classes": ", ".join(f"{c['id']} {c['name']}" for c in card["classes"]),
        "architecture": {k: v for k, v in card["architecture"].items() if k != WHOLE_PATCH},
        "sees whole patch": "; ".join(card["architecture"].get(WHOLE_PATCH, ())),
        "seam index": _seam_index(card["scores"]),
        "GFLOP per patch": round(card["compute"]["flops"] / 1e9, 2) or None,
        "border reach": border and border["reach"],
        "--overlap auto": border and border["overlap"],
        "trained": training and f"{training.get('steps')} steps, {training.get('minutes')} minutes",
    }
    rows = [(k, v) for k, v in values.items() if v not in (None, "", [], {})]
    return "\n".join([_rows(rows), *score_lines(card)])


def _seam_index(scores: dict[str, Any]) -> float | None:
    """As measured on the test part, else on the validation part (see ``sliding_window.seams``)."""
    measured = (scores.get(part, {}).get("seams") for part in ("test", "validation"))
    return next((s["index"] for s in measured if s and s.get("index") is not None), None)


def score_lines(card: dict[str, Any]) -> list[str]:
    """The scores of a trained bundle on each held-out part, with 95 % intervals where it has them."""
    lines = []
    for part in ("validation", "test"):
        scores = card["scores"].get(part, {})
        if "overall" in scores:
            overall, classes = scores["overall"], scores["classes"]
            lines.append(
                f"{part}: accuracy {interval_text(overall['accuracy'])}, "
                f"mean Dice {interval_text(overall['mean_dice'])}  ({scores['measured_on']})"
            )
            lines += [
                f"  {name}: Dice {interval_text(row['dice'])}" for name, row in classes.items()
            ]
    return lines


def interval_text(number: dict[str, Any]) -> str:
    """A number of ``metrics.summarise`` as ``mean [low, high]``."""
    if number["mean"] is None:
        return "undefined"
    if number["low"] is None:
        return f"{number['mean']:.4f}"
    return f"{number['mean']:.4f} [{number['low']:.4f}, {number['high']:.4f}]"
