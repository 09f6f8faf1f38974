"""Further products of one run, made of the finished main product.

That is read back box by box, so one that is asked for later, or is gone, is made at once: nothing is predicted, and no
work store is needed. A partial map gets none, until the same command has completed it.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.image_options.scene import PLAIN, FurtherOptions
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError
from seg_batch.core.files import sha256
from seg_batch.core.geometry import Box
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.core.spells import spell
from seg_batch.inference.bundles import described
from seg_batch.inference.outputs import Outputs, also_row, is_current, read_report, write_report
from seg_batch.inference.plan import Decisions, Plan
from seg_batch.inference.products.export import label_spec, provenance
from seg_batch.inference.products.in_bucket import with_what_is_needed
from seg_batch.inference.report import AlsoFacts, Report, product_facts
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.product import (
    Product,
    also_format_of,
    check_output,
    digest,
    like_of,
    size,
)
from seg_batch.io.sinks.product_sides import side_digests
from seg_batch.io.sinks.publish import atomic_replace
from seg_batch.io.sinks.spec import MainProduct, ProductSpec, Read
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import Source


def check_also(prepared: Prepared[Decisions], report: Report | None) -> None:
    """Before any work: OutputError for a further product that can't be written, or would replace a file that is
    not ours, or one of ours that was changed."""
    for path in prepared.outputs.also:
        check_output(path, prepared.info.kind, also=True)
        if prepared.request.overwrite or not path.exists():
            continue
        row = also_row(path, report) if report else None
        if row is None or digest(path) != row["sha256"]:
            raise OutputError(
                f"{path} exists and is not an unchanged result of segbatch, so it would be lost: move it "
                "away, use --overwrite or give another name"
            )


def make_missing(prepared: Prepared[Plan], report: Report, callback: Callback) -> Report:
    """Make the further products that are asked for and not there, or of another map. The report with all that
    there are; the file beside the product has each before it is moved into place."""
    outputs, report = prepared.outputs, _with_warnings(prepared, report)
    kind, further = prepared.info.kind, prepared.request.options.further
    missing = [
        path
        for path in outputs.also
        if not is_current(path, report, _settings(also_format_of(path, kind), further))
    ]
    if not missing or report["status"] != "complete":
        return report
    callback.on(events.Stage("writing further products"))
    with_what_is_needed(prepared, report)
    return {**report, "also": _make(prepared, missing, report)}


def _with_warnings(prepared: Prepared[Plan], report: Report) -> Report:
    """A report of before with what is said of this call alone: which further products can't be made."""
    source = report["source"]
    new = [line for line in prepared.info.warnings if line not in source["warnings"]]
    return (
        {**report, "source": {**source, "warnings": [*source["warnings"], *new]}} if new else report
    )


@spell("also")
def _make(prepared: Prepared[Plan], missing: list[Path], report: Report) -> list[AlsoFacts]:
    """All rows of further products, in the order in which they were made."""
    outputs = prepared.outputs
    kept = read_report(outputs) or report
    tags = provenance(prepared, report["status"])
    for path in missing:
        form = also_format_of(path, prepared.info.kind)
        spec = replace(label_spec(prepared, tags), like=like_of(prepared.info, form))
        with closing(open_source(outputs.product)) as source:
            kept = _made(path, form, spec, source, outputs, kept, described(prepared.model))
    return kept["also"]


def _made(
    path: Path,
    form: str,
    spec: ProductSpec,
    source: Source,
    outputs: Outputs,
    report: Report,
    model: str,
) -> Report:
    """Write one of ``source``; the report with its row, as it is on disk."""
    facts = report["product"]
    main = MainProduct(outputs.product, facts["bytes"], facts["sha256"], model)
    spec, read = replace(spec, chunk=source.info.chunk, main=main), _reader(source, spec)
    with atomic_replace(path) as part:
        PRODUCTS[form].write(part, None, spec, read, read, "")
        product = Product(path, size(part), digest(part), {}, side_digests(part))
        row: AlsoFacts = {**product_facts(product), "of": report["product"]["sha256"]}  # type: ignore[typeddict-item]
        if settings := _settings(form, spec.further):
            row["settings"] = settings
        others = [other for other in report.get("also", ()) if other["path"] != str(path)]
        report = {**report, "also": [*others, row]}
        write_report(outputs.report, report)
    return report


def _settings(form: str, further: FurtherOptions) -> dict[str, Any]:
    """What the bytes of a further product depend on besides the map, as JSON: options that are not at their defaults, and
    the contents of files that they name."""
    before = asdict(PLAIN)
    said = {name: getattr(further, name) for name in PRODUCTS[form].settings}
    said = {name: value for name, value in said.items() if value != before[name]}
    if "zones" in said:
        said["zones"] = sha256(zones) if (zones := Path(said["zones"])).is_file() else ""
    return {n: list(v) if isinstance(v, tuple) else v for n, v in said.items()}


def _reader(source: Source, spec: ProductSpec) -> Read:
    """Labels of the finished product, in their own type."""

    def read(box: Box) -> np.ndarray:
        return source.read(box).values[..., 0].astype(spec.dtype, copy=False)

    return read


def also_files(report: Report, product: Path) -> list[tuple[Path, AlsoFacts]]:
    """The further products in a report, beside ``product`` where both were moved there."""
    rows = report.get("also", ())
    paths = [Path(row["path"]) for row in rows]
    beside = [path if path.exists() else product.with_name(path.name) for path in paths]
    return [
        (path if not there.exists() else there, row)
        for path, there, row in zip(paths, beside, rows, strict=True)
    ]
