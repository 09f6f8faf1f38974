"""Products of a run whose output is in a bucket: made here, verified, then written there, the report last.

They are made in a folder that follows from the place in the bucket: below ``SEGBATCH_SCRATCH``, else ``.segbatch-buckets`` in
the current folder. The report stays there, with what is where, so that the same command finds its work: nothing is
predicted again while the objects are the ones that were written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.errors import OutputError
from seg_batch.core.privacy.addresses import shown
from seg_batch.core.registry.formats import names_folder
from seg_batch.inference.outputs import Outputs, in_bucket, read_report, write_report
from seg_batch.inference.plan import Decisions
from seg_batch.inference.report import Report
from seg_batch.inference.request import Prepared
from seg_batch.io.remote.objects import StoredObject, download, stored, upload
from seg_batch.io.sinks.product import digest

_JSON = "application/json"
_TYPES = {".json": _JSON, ".xml": "application/xml", ".csv": "text/csv", ".png": "image/png"}


def check_bucket(prepared: Prepared[Decisions], report: Report | None) -> None:
    """Before any work: OutputError for a bucket that can't be written to, and for objects that would be lost."""
    if prepared.request.upload is None:
        return
    outputs, known = prepared.outputs, report.get("remote", {}) if report else {}
    if names_folder(outputs.product.name.lower()):
        raise OutputError(
            f"{outputs.product.name} is a folder, which can't appear in a bucket at once: use the name of a file, or a folder here"
        )
    for path in (outputs.product, outputs.report, *outputs.also):
        if not _goes_along(path, outputs):
            continue
        url = _url(prepared, path)
        there = stored(url)
        if there is None or prepared.request.overwrite or _is_ours(there, path, known):
            continue
        raise OutputError(
            f"{shown(url)} exists and is not an unchanged result of segbatch, so it would be lost: use --overwrite or another output"
        )


def _is_ours(there: StoredObject, path: Path, known: Any) -> bool:
    row = known.get(str(path))
    if row is not None and there.etag == row["etag"]:
        return True
    # An upload whose command was killed before it could note it.
    if path.exists() and there.sha256 == digest(path):
        return True
    told = path.with_name(path.name + _TOLD)
    return bool(there.sha256) and told.exists() and there.sha256 == digest(told)


_ANY = "application/octet-stream"
_TOLD = ".told"  # the report as it is written into the bucket


def with_what_is_needed(prepared: Prepared[Decisions], report: Report) -> None:
    """Bring the map back where a further product is to be made of it, and it is in the bucket alone."""
    product = prepared.outputs.product
    if prepared.request.upload is None or product.exists():
        return
    if row := report.get("remote", {}).get(str(product)):
        download(row["url"], product, row["etag"])


def uploaded(prepared: Prepared[Decisions], report: Report) -> Report:
    """The report with the places in the bucket, after all that is there was written to it."""
    if prepared.request.upload is None:
        return report
    outputs = prepared.outputs
    names = [report["product"], *report.get("also", ()), *([p] if (p := report.get("probabilities")) else [])]  # fmt: skip
    paths = [Path(row["path"]) for row in names]
    sides = [p for path in paths for p in path.parent.glob(f"{path.name}.aux.xml")]
    for path in (*sides, *paths[1:], paths[0]):
        if _goes_along(path, outputs):
            report = _with(prepared, report, path)
    told = _told(prepared, report)
    if report["status"] == "complete" or not report.get("remote", {}).get(str(outputs.report)):
        beside = outputs.report.with_name(outputs.report.name + _TOLD)
        write_report(beside, told)
        report = _put(prepared, report, outputs.report, beside)
    if prepared.request.leaves_copy:
        return report
    if not prepared.request.keep_store and report["status"] == "complete":
        for path in (outputs.product, outputs.probabilities):
            if str(path) in report.get("remote", {}):
                path.unlink(missing_ok=True)
    return told


def _with(prepared: Prepared[Decisions], report: Report, path: Path) -> Report:
    """The report, on disk too, once this file is in the bucket."""
    if not path.exists():  # it is there alone
        return report
    row = report.get("remote", {}).get(str(path))
    if row is not None and row["sha256"] == digest(path) and in_bucket(row):
        return report
    return _put(prepared, report, path, path)


def _put(prepared: Prepared[Decisions], report: Report, path: Path, of: Path) -> Report:
    url, remote = _url(prepared, path), report.get("remote", {})
    there = stored(url)
    ours = there is not None and _is_ours(there, path, remote)
    if there is not None and there.sha256 == digest(of):
        made = there
    else:
        media = _TYPES.get(path.suffix, _ANY)  # fmt: skip
        made = upload(of, url, replaces=ours or prepared.request.overwrite, media_type=media)
    row = {"url": shown(url), "etag": made.etag, "sha256": made.sha256, "bytes": made.size}
    kept = read_report(prepared.outputs) or report
    remote = {**remote, str(path): row}
    write_report(prepared.outputs.report, {**kept, "remote": remote})
    return {**report, "remote": remote}


def _told(prepared: Prepared[Decisions], report: Report) -> Report:
    """The report as it is in the bucket: paths are addresses."""
    outputs = prepared.outputs

    def moved(row: Any) -> Any:
        path = Path(row["path"]) if row else None
        return {**row, "path": shown(_url(prepared, path))} if path and _goes_along(path, outputs) else row  # fmt: skip

    told: Any = {k: v for k, v in report.items() if k != "remote"}
    told |= {"output": shown(_url(prepared, outputs.product)), "product": moved(report["product"])}
    told["probabilities"] = moved(report.get("probabilities"))
    if "also" in report:
        told["also"] = [moved(row) for row in report["also"]]
    return told  # type: ignore[no-any-return]


def _goes_along(path: Path, outputs: Outputs) -> bool:
    return path.parent == outputs.product.parent


def _url(prepared: Prepared[Decisions], path: Path) -> str:
    folder = prepared.request.upload or ""
    return f"{folder.rstrip('/')}/{path.name}"
