"""The command ``export``: a bundle in the format of another runtime, compared with Keras.

One process writes the file, another process that has only the file reads it, and its results are
compared with the bundle's own model on real patches. Files outside the
format's tolerance are not kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.config.card_parts.network import Tensors
from seg_batch.conversion import int8_scores, onnx_copy, sample_patches, test_tensor
from seg_batch.conversion.bundle_folder import write_card
from seg_batch.conversion.cards import export as foreign_cards
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.core import events, files
from seg_batch.core.callbacks import Callback, Callbacks
from seg_batch.core.errors import BundleError, InputError, OutputError
from seg_batch.core.files import require_local_output
from seg_batch.core.units import share_in_line, show_bytes
from seg_batch.core.versions import package_version
from seg_batch.inference import bundles
from seg_batch.inference.bundles import Model
from seg_batch.io.sinks.publish import writing_folder
from seg_batch.nn.export import formats, subprocess_run
from seg_batch.nn.export.formats import ExportFormat, Tolerance
from seg_batch.nn.export.job import INPUT, OUTPUT, ExportJob

REPORT = "export.json"
COMPARED, CALIBRATED = 8, 64  # patches
_FILES = (".onnx", ".tflite", ".xml", ".bin", ".keras", ".h5", ".hdf5", ".pb")


@dataclass(frozen=True)
class _Export:
    """An export with checked arguments."""

    model: Model
    form: ExportFormat
    quantize: str
    calibrate: str | None
    check: str | None
    worlds: tuple[str, ...] = ()  # whose cards are written, too

    @property
    def name(self) -> str:
        precision = "" if self.quantize == "float32" else f"-{self.quantize}"
        return f"{self.model.card.name}-{self.form.name}{precision}"


def export(
    model: str,
    to: str,
    output: str | Path | None = None,
    *,
    quantize: str = "float32",
    calibrate: str | None = None,
    check: str | None = None,
    cards: str = foreign_cards.ALL,
    overwrite: bool = False,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Write the bundle ``model`` as format ``to`` into the folder ``output``; returns its report.

    The folder (default: ``<name>-<format>`` in the working folder) gets the file, ``card.json`` and
    ``export.json``, and a test tensor, all or none. ``calibrate``: a patch dataset or images for the ranges of int8.
    ``check``: a patch dataset or images to compare on; default: those of ``calibrate`` (the
    held-out part of a dataset), else the packaged samples that fit. ``cards``: of which other worlds
    a card is written, too, by commas: stac, bioimageio, monai; all that fit, or none. Raises InputError if the
    format, its library or the data are missing, or if the file disagrees with Keras; BundleError
    for a bundle without a Keras model or with damaged weights; OutputError if ``output`` can't be
    written.
    """
    form = formats.chosen(to, quantize)
    _require_data(quantize, calibrate)
    formats.require_libraries(form, quantize)
    worlds = foreign_cards.chosen(cards)
    if (source := bundles.find_bundle(model)).card.format == form.name == "onnx":
        if check is not None:
            raise InputError(
                f"{source.card.name} is in ONNX already and is copied as it is, so that there is nothing to compare: leave "
                "out --check"
            )
        path = _folder(output, f"{source.card.name}-onnx")
        return onnx_copy.copied(source, path, worlds, overwrite=overwrite)
    job = _Export(_source(model), form, quantize, calibrate, check, worlds)
    path = _folder(output, job.name)
    with writing_folder(path, overwrite, REPORT) as folder:
        report, card = _write(job, folder, Callbacks(callback))
        write_card(folder, card)
        files.write_json(folder / REPORT, report, for_people=True)
    return {"output": str(path), **report}


def _require_data(quantize: str, calibrate: str | None) -> None:
    if quantize == "int8" and calibrate is None:
        raise InputError(
            "int8 learns the range of every activation from real patches, and none are given: add "
            "--calibrate with a patch dataset (segbatch patches) or images"
        )
    if quantize != "int8" and calibrate is not None:
        raise InputError(
            f"--calibrate is for int8, and this export is {quantize}: ask for int8, or name what to "
            "compare on with --check"
        )


def _source(name: str) -> Model:
    """The bundle; raises BundleError without a Keras model that matches the card's hash."""
    model = bundles.require_intact(bundles.find_bundle(name))
    if model.path is None or model.card.format != "keras":
        what = "has no network" if model.path is None else f"is an {model.card.format} bundle"
        raise BundleError(
            f"{model.card.name} {what}, and exports are made from Keras models: name the bundle "
            "that was trained"
        )
    return model


def _folder(output: str | Path | None, name: str) -> Path:
    if output is not None:
        require_local_output(output)
    path = Path.cwd() / name if output is None else Path(output).absolute()
    if path.suffix.lower() in _FILES:
        raise OutputError(
            f"-o {path.name} is called like a file, and an export is a folder with the file, its "
            f"card and its report: use -o {path.stem}"
        )
    return path


def _write(job: _Export, folder: Path, callback: Callback) -> tuple[dict[str, Any], ModelCard]:
    """Write the file into ``folder`` and compare it with Keras; its report and its card."""
    card, form = job.model.card, job.form
    callback.on(events.Stage("reading patches"))
    calibration = None
    if job.calibrate is not None:
        calibration = sample_patches.for_calibrating(card, CALIBRATED, job.calibrate)
    order = ExportJob(
        weights=job.model.weights,
        sha256=card.weights_sha256,
        patch=sample_patches.patch_of(card),
        name=form.name,
        quantize=job.quantize,
        calibration=None if calibration is None else calibration.values,
    )
    compared = sample_patches.for_comparing(card, COMPARED, job.check or job.calibrate)
    callback.on(events.Stage(f"writing {form.name}"))
    liveliest = compared.values[[np.argmax([patch.std() for patch in compared.values])]]
    patches = np.concatenate([compared.values, foreign_cards.seen_of(card, liveliest)])
    written = subprocess_run.write(form.module, order, folder, patches)
    callback.on(events.Stage("running what was written"))
    exported = subprocess_run.run(form.module, folder / form.file, patches, form.batch)
    given, allowed = exported.probabilities[:-1], form.allowed(job.quantize)
    difference = difference_of(given, written.keras.probabilities[:-1])
    require_alike(difference, allowed, job.name)
    report = {
        **_description(job, folder),
        "tensors": exported.tensors,
        "versions": {**written.facts, **exported.versions},
        "patches": {"compared": len(compared.values), "from": compared.origin},
        "difference": difference,
        "tolerance": asdict(allowed),
        "seconds_per_patch": {form.name: exported.seconds, "keras": written.keras.seconds},
    }
    card = _own_card(job, folder)
    test_tensor.keep(folder, compared.values[:1], given[:1])
    if calibration is not None and job.calibrate is not None:
        report["calibrated"] = {"patches": len(calibration.values), "from": calibration.origin}
        callback.on(events.Stage("scoring it on what was held out"))
        card, report["dice"] = int8_scores.scored(
            card, job.model, form, folder / form.file, Path(job.calibrate)
        )
    file, scores = _written_file(job, folder, report), exported.probabilities[-1:]
    report["cards"] = foreign_cards.write(job.worlds, folder, card, file, liveliest, scores)
    return report, card


def _written_file(job: _Export, folder: Path, report: dict[str, Any]) -> ExportedFile:
    """What the cards of other worlds say of the file."""
    names = {side: report["tensors"].get(side, {}).get("name", "") for side in ("input", "output")}
    return ExportedFile.at(
        folder / job.form.file,
        form=job.form.name,
        outputs=len(job.model.card.classes),
        versions=report["versions"],
        **names,
    )


def difference_of(actual: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Largest and mean difference of probabilities ``(n, *patch, K)``, and share of equal labels.

    1, 1 and 0 if they can't be compared (other shape, values that are not finite).
    """
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return {"largest": 1.0, "mean": 1.0, "label_agreement": 0.0}
    difference = np.abs(actual - expected)
    same = actual.argmax(-1) == expected.argmax(-1)
    return {
        "largest": float(difference.max()),
        "mean": float(difference.mean(dtype=np.float64)),
        "label_agreement": float(same.mean()),
    }


def require_alike(difference: dict[str, float], allowed: Tolerance, name: str) -> None:
    """Raises InputError if a ``difference_of`` is outside the tolerance."""
    largest, mean = difference["largest"], difference["mean"]
    agreement = difference["label_agreement"]
    if largest > allowed.difference or mean > allowed.mean or agreement < allowed.agreement:
        raise InputError(
            f"{name} does not say what Keras says: probabilities differ by up to {largest:.2g} "
            f"(allowed {allowed.difference:g}) and {mean:.2g} on average ({allowed.mean:g}), labels agree on {share_in_line(agreement, 3)} of the voxels "
            f"(required {share_in_line(allowed.agreement, 2)}); nothing was kept, use another precision or format"
        )


def _description(job: _Export, folder: Path) -> dict[str, Any]:
    """The report's entries about the model, the format and the size of the files."""
    model, form = job.model, job.form
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {
        "segbatch": package_version(),
        "model": model.card.name,
        "weights_sha256": model.card.weights_sha256,
        "format": form.name,
        "quantize": job.quantize,
        "file": form.file,
        "patch": list(sample_patches.patch_of(model.card)),
        "batch": form.batch or "any",
        "size_bytes": sum(path.stat().st_size for path in files),
        "keras_bytes": model.weights.stat().st_size,
    }


def _own_card(job: _Export, folder: Path) -> ModelCard:
    """The card of the export; its own if the format can be a bundle, else the model's."""
    card, name = job.model.card, job.form.name
    if name not in bundles.WEIGHTS:
        return card
    sha256 = files.sha256(folder / bundles.WEIGHTS[name])
    own: dict[str, Any] = {"format": name, "weights_sha256": sha256}
    if name != "keras":
        own["name"] = f"{card.name}-{'int8' if job.quantize == 'int8' else name}"
        own["multiple"] = None  # the file takes one patch shape
    if name == "onnx":
        own["tensors"] = Tensors(input=INPUT, output=OUTPUT)
        weights_bytes = (folder / bundles.WEIGHTS[name]).stat().st_size
        own["compute"] = card.compute.model_copy(update={"weights_bytes": weights_bytes})
    return card.model_copy(update=own)


def lines(report: dict[str, Any]) -> str:
    """A report in a few lines for people."""
    cards = foreign_cards.lines(report["cards"])
    if "keras_bytes" not in report:
        return "\n".join([*onnx_copy.lines(report), *cards])
    size, keras = report["size_bytes"], report["keras_bytes"]
    difference, dice = report["difference"], report.get("dice")
    seconds = report["seconds_per_patch"]
    text = [
        f"{report['output']}/{report['file']}  ({show_bytes(size)}; model.keras {show_bytes(keras)})",
        f"  {report['quantize']}, patches of {'x'.join(map(str, report['patch']))}, "
        f"{report['batch']} at once",
        f"  against Keras on {report['patches']['from']}: probabilities differ by up to "
        f"{difference['largest']:.2g}, labels agree on {share_in_line(difference['label_agreement'], 4)}",
        f"  {seconds[report['format']]:.3f} s per patch here, Keras unfolded {seconds['keras']:.3f} s",
    ]
    return "\n".join([*text, *([] if dice is None else [f"  {int8_scores.line(dice)}"]), *cards])
