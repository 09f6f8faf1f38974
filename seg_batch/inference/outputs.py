"""Where results go: default names, and whether what is already there may be replaced."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from seg_batch.config.card import ClassInfo
from seg_batch.config.image_options.scene import FurtherOptions
from seg_batch.config.predict_options import STEM, is_ending
from seg_batch.core.errors import OutputError
from seg_batch.core.files import read_json, require_local_output
from seg_batch.core.registry import formats
from seg_batch.core.run_files import (
    ATTEMPT,
    ATTEMPT_BYTES,
    INTERMEDIATE,
    PART,
    PROBABILITIES,
    REPORT,
    STAGED,
    STORE,
    named,
    path_beside,
    shortened,
)
from seg_batch.inference.report import AlsoFacts, Report
from seg_batch.io.remote.objects import stored
from seg_batch.io.sinks.product import also_format_of, digest, prove_place
from seg_batch.io.sinks.product_sides import side_file_changes
from seg_batch.io.sinks.publish import require_short_name
from seg_batch.io.sources.naming.stack_names import image_stem, mosaic_stem
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.image_spec import ImageSpec

_OURS = {"segbatch", "status", "blocks", "plan", "product"}  # keys of every report of ours


@dataclass(frozen=True)
class Outputs:
    """All paths of one run, next to each other. ``attempt``: a part of the names of store and staged
    copy, so that two attempts at one product never meet; empty: the next run goes on with them. ``also``: further
    products, which may lie elsewhere."""

    product: Path
    attempt: str = ""
    also: tuple[Path, ...] = ()

    @property
    def store(self) -> Path:
        return self._beside(STORE)

    @property
    def staging(self) -> Path:
        return self._beside(STAGED)

    def _beside(self, end: str) -> Path:
        if not self.attempt:
            return path_beside(self.product, end)
        return self.product.with_name(f"{self._of_attempts}.{self.attempt}{end}")

    @property
    def _of_attempts(self) -> str:
        return shortened(self.product.name, ATTEMPT_BYTES)

    def attempts(self) -> list[Path]:
        """Stores and staged copies of attempts at this product, ended or at work."""
        named = self.product.parent.glob(f"{glob.escape(self._of_attempts)}.{ATTEMPT}*")
        return sorted(path for path in named if path.name.endswith(INTERMEDIATE))

    @property
    def report(self) -> Path:
        return path_beside(self.product, REPORT)

    @property
    def probabilities(self) -> Path:
        """``x_labels.tif -> x_labels_probabilities.tif``; a Zarr product holds them itself, beside a format that can't they
        are in another."""
        name, end = split_output(self.product)
        return self.product.with_name(
            named(name, PROBABILITIES + formats.probabilities_ending(end))
        )


def split_output(path: Path) -> tuple[str, str]:
    """Name and ending, where ``.nii.gz`` is one ending."""
    ending = max(formats.split(path.name)[1], formats.product_ending(path.name), key=len)
    return (path.name.removesuffix(ending), ending) if ending else (path.stem, path.suffix)


def outputs_for(
    info: SourceInfo,
    output: str | Path | None,
    *,
    many: bool = False,
    also: tuple[str, ...] = (),
    stem: str = "",
) -> Outputs:
    """``<input stem>_labels.tif`` or ``.nii.gz`` in the current folder, or in the folder that
    ``output`` names, or ``output`` itself. The stem of several files is what their names begin with;
    ``stem``: another one."""
    stem = stem or (mosaic_stem if info.pieces else image_stem)(info.paths)
    outputs = _product_of(stem, info.kind, output, many)
    return replace(outputs, also=also_paths(also, outputs.product, stem, many))


def also_paths(
    names: tuple[str, ...], product: Path, stem: str, many: bool = False
) -> tuple[Path, ...]:
    """The paths of further products. A name is an ending, for the name of the main product with it; or holds
    ``{stem}``, the name of the input, and lies in the folder of the main product; or is a path, unless there are ``many``
    inputs. OutputError where two are one."""
    paths = tuple(_also_path(name, product, stem, many) for name in names)
    outputs = Outputs(product)
    taken = {
        os.path.realpath(outputs.product): "the output",
        os.path.realpath(outputs.probabilities): "the file of probabilities",
    }
    for name, path in zip(names, paths, strict=True):
        if (real := os.path.realpath(path)) in taken:
            raise OutputError(f"--also {name} is {path}, and so is {taken[real]}: name another")
        taken[real] = f"--also {name}"
    return paths


def possible(
    outputs: Outputs,
    info: SourceInfo,
    image: ImageSpec,
    classes: tuple[ClassInfo, ...],
    further: FurtherOptions,
    *,
    everything: bool,
) -> tuple[Outputs, list[str]]:
    """The outputs without the further products that can't be made of this input, and a line for each of those;
    OutputError for the first one where ``everything`` has to be made."""
    made, left_out = [], []
    for path in outputs.also:
        try:
            prove_place(info, path, also_format_of(path, info.kind), image, classes, further)
            made.append(path)
        except OutputError as error:
            if everything:
                raise
            left_out.append(error.message)
    return replace(outputs, also=tuple(made)), left_out


def require_own_names(also: tuple[str, ...], many: bool) -> None:
    """OutputError for a further product whose name would be that of all of ``many`` inputs."""
    for name in also if many else ():
        if not is_ending(name) and STEM not in name:
            raise OutputError(
                f"--also {name} would be the same file for every input: give an ending like .csv, or a name with {STEM}"
            )


def _also_path(name: str, product: Path, stem: str, many: bool) -> Path:
    require_local_output(name)
    if is_ending(name):
        return product.with_name(named(split_output(product)[0], name))
    if STEM in name:
        path = product.parent / name.replace(STEM, stem)
    else:
        require_own_names((name,), many)
        path = Path(name).absolute()
    require_short_name(path)
    return Path(os.path.normpath(path))


def _product_of(stem: str, kind: str, output: str | Path | None, many: bool) -> Outputs:
    default = named(stem, f"_labels{formats.product_endings(kind)[0]}")
    if output is None:
        return Outputs(Path.cwd() / default)
    require_local_output(output)
    path = Path(output)
    require_short_name(path)
    is_folder = path.is_dir() and not formats.names_folder(path.name)
    inside = many or is_folder or str(output).endswith("/")
    return Outputs(path.absolute() / default if inside else path.absolute())


def read_report(outputs: Outputs) -> Report | None:
    """The report beside a product, or None where there is none of ours."""
    report = read_json(outputs.report)
    ours = isinstance(report, dict) and report.keys() >= _OURS
    return cast(Report, report) if ours else None


def is_intact(outputs: Outputs, report: Report) -> bool:
    """True when the product, and probabilities beside it, have the hashes that the report names, and
    no side file makes them read otherwise."""
    wanted = {
        outputs.product: report["product"],
        outputs.probabilities: report.get("probabilities"),
    }
    return all(
        is_kept_in_bucket(path, product["sha256"], report)
        if not path.exists()
        else digest(path) == product.get("sha256")
        and not side_file_changes(path, product.get("side_files", {}))
        for path, product in wanted.items()
        if product
    )


def is_kept_in_bucket(path: Path, sha256: str, report: Report) -> bool:
    """True when a file with this hash was written into a bucket, and is still there."""
    row = report.get("remote", {}).get(str(path))
    return row is not None and row["sha256"] == sha256 and in_bucket(row)


def in_bucket(row: Mapping[str, Any]) -> bool:
    """Whether an object is the one that was written."""
    there = stored(row["url"])
    return there is not None and there.etag == row["etag"] and there.size == row["bytes"]


def is_current(path: Path, report: Report, settings: dict[str, Any]) -> bool:
    """True when a further product is as the report names it, of the main product that the report is of, and made with
    these settings."""
    row = also_row(path, report)
    return (
        row is not None
        and row.get("settings", {}) == settings
        and row["of"] == report["product"]["sha256"]
        and path.exists()
        and digest(path) == row["sha256"]
        and not side_file_changes(path, row.get("side_files", {}))
    )


def also_row(path: Path, report: Report) -> AlsoFacts | None:
    """What the report says of the further product at a path."""
    return next((row for row in report.get("also", ()) if row["path"] == str(path)), None)


def write_report(path: Path, report: Report) -> None:
    """Write beside the place, flush to disk, replace atomically."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=shortened(path.name, 16), suffix=PART)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2, allow_nan=False, default=_plain)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else str(value)
