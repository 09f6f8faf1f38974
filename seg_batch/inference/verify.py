"""Re-check a finished product against the report beside it: bytes, geometry, counts, model."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.files import file_of, require_local_input
from seg_batch.core.geometry import Box
from seg_batch.core.georef import georef_from_json
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.core.privacy.pseudonym import hushed
from seg_batch.inference.bundles import installed_bundles
from seg_batch.inference.deidentified.codes import source_of
from seg_batch.inference.ensemble import together
from seg_batch.inference.outputs import Outputs, read_report
from seg_batch.inference.products.also import also_files
from seg_batch.inference.products.reopened import as_mosaic, input_files
from seg_batch.inference.report import ModelFacts, ProductFacts, Report, SourceFacts
from seg_batch.inference.sliding_window.grid import automatic
from seg_batch.io.sinks.product import count_labels, digest, geometry_changes
from seg_batch.io.sinks.product_sides import side_file_changes
from seg_batch.io.sources.identity import changed_beside
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.joined.lattice import OneGrid
from seg_batch.io.sources.views.model_grid import ModelGrid
from seg_batch.io.sources.views.open_view import View

Check = tuple[str, bool, str]
_SEEN = SceneOptions(allow_vrt=True)  # what was used before; its sources are checked all the same


def verify_product(path: Path, table: str | None = None) -> dict[str, Any]:
    """Every check as ``(name, passed, result)``, ``ok``, and lines to print. ``table``: of codes, by which the input of a product
    that is de-identified is found.

    InputError when there is no product, or no report of ours beside it, or the table has not its input.
    """
    require_local_input(path)
    outputs = Outputs(path.absolute())
    if not path.exists():
        raise InputError(f"{path} does not exist: name a product of segbatch predict")
    report = read_report(outputs)
    if report is None:
        raise InputError(
            f"{outputs.report} is missing or not a report of segbatch, so there is nothing to "
            "check against: keep the .json beside its product"
        )
    status, blocks = report["status"], report["blocks"]
    done = f"{status}, {blocks['done']} of {blocks['total']} blocks"
    hidden = led_back(report, table) if report.get("deidentified") else None
    report, same_input = hidden or (report, _input(report))
    checks = [
        ("complete", status == "complete", done),
        _digest("bytes", outputs.product, report["product"]),
        *_probabilities(outputs, report),
        *_side_files(outputs, report),
        *_also(outputs, report),
        *_readable(path, report),
        same_input,
        *(_grid(report) if same_input[1] else ()),
        *_patch(report),
        *map(_model, (report["model"], *report["model"].get("members", ()))),
    ]
    ok = all(passed for _, passed, _ in checks)
    lines = [f"{'ok  ' if p else 'FAIL'}  {name:<10} {result}" for name, p, result in checks]
    return {
        "product": str(path),
        "ok": ok,
        "checks": [{"name": n, "ok": p, "found": result} for n, p, result in checks],
        "lines": [*lines, f"{path}: {'verified' if ok else 'NOT verified'}"],
    }


def _probabilities(outputs: Outputs, report: Report) -> list[Check]:
    """The digest of the probabilities beside the product, where there are any."""
    product = report.get("probabilities")
    return [_digest("beside", outputs.probabilities, product)] if product else []


def _also(outputs: Outputs, report: Report) -> list[Check]:
    """The digest of each further product, and whether it is of this map."""
    checks = []
    for path, row in also_files(report, outputs.product):
        name, same, words = _digest("also", path, row)
        if same and row["of"] != report["product"]["sha256"]:
            same, words = False, "it is of an earlier map: name it with --also again, or remove it"
        checks.append((name, same, words if path.name in words else f"{path.name}: {words}"))
    return checks


def _digest(name: str, path: Path, product: ProductFacts) -> Check:
    if not path.exists():
        return name, False, f"{path} is gone"
    expected, actual = product["sha256"], digest(path)
    return name, expected == actual, f"sha256 {actual[:16]}, report says {expected[:16]}"


def _side_files(outputs: Outputs, report: Report) -> list[Check]:
    """The files that are part of the products, and those that make them read otherwise."""
    products = [(outputs.product, report["product"])]
    if beside := report.get("probabilities"):
        products.append((outputs.probabilities, beside))
    ours = [product.get("side_files", {}) for _, product in products]
    changes = [
        change
        for (path, _), sides in zip(products, ours, strict=True)
        for change in side_file_changes(path, sides)
    ]
    names = [name for sides in ours for name in sides]
    if not changes and not names:
        return []
    return [("side files", not changes, "; ".join(changes) or f"{', '.join(names)} unchanged")]


def _readable(path: Path, report: Report) -> list[Check]:
    """Geometry and class counts, read anew from the product."""
    try:
        extent = tuple(report.get("extent", report["plan"]["extent"]))
        changed = geometry_changes(path, georef_from_json(report["geometry"]), extent)
        counts = count_labels(path)
    except (SegbatchError, OSError) as error:
        return [("readable", False, str(error))]
    expected = {int(k): v for k, v in report["product"]["counts"].items()}
    voxels = sum(counts.values())
    whole = voxels == math.prod(extent)
    return [
        ("geometry", not changed, "; ".join(changed) or _place(report)),
        ("counts", whole and counts == expected, f"{voxels} voxels in {len(counts)} labels"),
    ]


def _place(report: Report) -> str:
    grid = report["plan"].get("model_grid")
    return "on the grid of the model" if grid and grid["output"] == "model" else "as the input's"


def led_back(report: Report, table: str | None) -> tuple[Report, Check]:
    """The report of a product that is de-identified with the files of its input, and whether that is the one that was
    used; both as they are without a table."""
    code = report["input"]
    if table is None:
        return report, ("input", True, f"{code}, known to its table of codes alone: not checked without --deidentify TABLE")  # fmt: skip
    pseudonym, source = source_of(code, table)
    facts: SourceFacts = {**report["source"], "files": list(source.files)}
    if gone := [path for path in source.files if not file_of(path).exists()]:
        return report, ("input", True, f"{code}: {len(gone)} of its files gone: not checked")
    fingerprint = report["plan"]["fingerprint"]
    last = fingerprint.get("channels_last_axis", False)
    last_axis = {"channels_last_axis": last, **as_mosaic(report["source"])}
    spec = ImageSpec(source.files, source.volume, series=source.series, **last_axis)
    with hushed(pseudonym), closing(spec.open()) as opened:
        info = opened.info
    same = pseudonym.sealed([info.identity, info.series]) == report["source"]["identity"]
    if info.series:
        facts["series"] = info.series
    found: Report = {**report, "source": facts}
    return found, ("input", same, f"{code} {'unchanged' if same else 'has changed since'}")


def _input(report: Report) -> Check:
    """An input that is gone is not checked; one that exists has to be the file that was used."""
    files = input_files(report)
    if away := [path for path in files if is_remote(path)]:
        return "input", True, f"{away[0]} is read from elsewhere: not checked"
    if gone := [path for path in files if not file_of(path).exists()]:
        named = ", ".join(gone[:20])
        return "input", True, f"{named} is gone: not checked"
    fingerprint, identity = report["plan"]["fingerprint"], report["source"]["identity"]
    volume, last = fingerprint.get("volume"), fingerprint.get("channels_last_axis", False)
    changed = []
    if more := as_mosaic(report["source"]):
        with closing(ImageSpec(tuple(files), **more).open()) as source:
            same = source.info.identity == identity
        return "input", same, f"{report['input']} {'unchanged' if same else 'has changed since'}"
    known = identity["files"] if "files" in report["source"] else [identity]
    for path, before in zip(files, known, strict=True):
        spec = ImageSpec(
            (path,), volume, channels_last_axis=last, series=_series(report), scene=_SEEN
        )
        with closing(spec.open()) as source:
            now = source.info.files[0].identity
        if now != before:
            changed.append(f"{path} has changed since{changed_beside(before, now)}")
    return "input", not changed, "; ".join(changed) or f"{report['input']} unchanged"


def _series(report: Report) -> str | None:
    return report["source"].get("series")


def _grid(report: Report) -> list[Check]:
    """The grid that the model worked on, where it was not that of the input: made anew from the header and the card."""
    stated = report["plan"].get("model_grid")
    if not stated:
        return []
    grid, facts = ModelGrid.from_json(stated), report["model"]
    card = _card_of(facts["weights_sha256"])
    if card is None or not all(file_of(path).exists() for path in input_files(report)):
        return [
            (
                "grid",
                True,
                f"{grid.words}; the input is gone, or the model is not installed (bundles at other paths are not looked for): not checked",
            )
        ]
    fingerprint = report["plan"]["fingerprint"]
    last = fingerprint.get("channels_last_axis", False)
    spec = ImageSpec(
        tuple(input_files(report)),
        fingerprint.get("volume"),
        channels_last_axis=last,
        series=_series(report),
        bands=tuple(map(str, fingerprint.get("bands", ()))),
        one_grid=OneGrid.stated(fingerprint),
        **as_mosaic(report["source"]),
    )
    options = GridOptions("auto", grid.wanted if grid.asked else None, grid.output)
    crop = grid.part if grid.crop else None
    crop = Box(crop.start, crop.start) if crop and grid.nothing else crop
    with View(spec.open(), card, options, crop=crop) as view:
        same = view.grid == grid
        words = view.grid.words if view.grid else "none"
    return [("grid", same, grid.words if same else f"report says {grid.words}, the header {words}")]


def _patch(report: Report) -> list[Check]:
    """An automatic choice of the patch, made anew from the plan and the card."""
    plan, choice = report["plan"], report["plan"].get("patch_choice") or {}
    if choice.get("by") != "auto":
        return []
    rank, words = plan["rank"], " x ".join(map(str, plan["patch"]))
    facts = (report["model"], *report["model"].get("members", ()))
    cards = [_card_of(model["weights_sha256"]) for model in facts]
    known = [card for card in cards if card is not None]
    if len(known) < len(cards):
        return [("patch", True, f"{words}; a model is not installed: not checked")]
    card = together(known)
    least, margin = tuple(choice["least_overlap"]), tuple(choice["least_margin"])
    how = plan["engine"], plan["tta"], choice["step_bytes"]
    layout = automatic(tuple(plan["view_extent"]), card, least, margin, *how)
    now, shared = ([n * card.finer for n in side] for side in (layout.patch, layout.overlap))
    as_stated = now == list(plan["patch"][-rank:]) and shared == list(plan["overlap"][-rank:])
    same = card.why_fixed is None and as_stated
    return [("patch", same, f"{words}, {choice['why']}" if same else f"{words}, of its card {now}")]


def _card_of(weights_sha256: str) -> ModelCard | None:
    cards = (card for model in installed_bundles() for card in model.cards)
    return next((card for card in cards if card.weights_sha256 == weights_sha256), None)


def _model(facts: ModelFacts) -> Check:
    name, weights = facts["name"], facts["weights_sha256"]
    for model in installed_bundles():
        if model.card.name == name:
            same = any(card.weights_sha256 == weights for card in model.cards)
            return "model", same, f"{name} {'as installed' if same else 'differs from installed'}"
    return (
        "model",
        True,
        f"{name} is not installed here (bundles at other paths are not looked for): not checked",
    )
