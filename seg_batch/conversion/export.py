"""The verb ``export``: a bundle in the format of another runtime, proven to say what Keras says.

The file is written by one process, read back by another that has nothing else, and compared with
the bundle's own model on real patches. What disagrees more than its format allows is not kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.conversion import int8_scores, sample_patches
from seg_batch.conversion.sample_patches import SamplePatches
from seg_batch.core import events, files
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import BundleError, InputError, OutputError
from seg_batch.core.run_files import CARD
from seg_batch.core.units import share_in_line, show_bytes
from seg_batch.core.versions import package_version
from seg_batch.inference import bundles
from seg_batch.inference.bundles import Model
from seg_batch.io.sinks.publish import writing_folder
from seg_batch.nn.export import formats, subprocess_run
from seg_batch.nn.export.formats import ExportFormat, Tolerance
from seg_batch.nn.export.job import ExportJob

REPORT = "export.json"
COMPARED, CALIBRATED = 8, 64  # patches
_FILES = (".onnx", ".tflite", ".xml", ".bin", ".keras", ".h5", ".hdf5", ".pb")


@dataclass(frozen=True)
class _Asked:
    """One export, its words understood."""

    model: Model
    form: ExportFormat
    quantize: str
    calibrate: str | None
    check: str | None

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
    overwrite: bool = False,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Write the bundle ``model`` as format ``to`` into the folder ``output``; returns its report.

    The folder (default: ``<name>-<format>`` here) gets the file, ``card.json`` and ``export.json``,
    all or nothing. ``calibrate``: a patch dataset or images that int8 learns its ranges from.
    ``check``: what is compared on; by default what is calibrated on (of a dataset the held-out
    part), else the packaged sample that fits. InputError where the format, its library or the data
    are missing, and where the file disagrees with Keras; BundleError and OutputError as ever.
    """
    form = formats.chosen(to, quantize)
    _require_data(quantize, calibrate)
    formats.require_libraries(form, quantize)
    asked = _Asked(_source(model), form, quantize, calibrate, check)
    path = _folder(output, asked.name)
    with writing_folder(path, overwrite, REPORT) as folder:
        report, card = _made(asked, folder, callback or Callback())
        _write_json(folder / CARD, card.model_dump(mode="json"))
        _write_json(folder / REPORT, report)
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
    """The bundle, if there is a Keras model in it whose bytes its card vouches for."""
    model = bundles.checked(bundles.find_bundle(name))
    if model.path is None or model.card.format != "keras":
        what = "has no network" if model.path is None else f"is an {model.card.format} bundle"
        raise BundleError(
            f"{model.card.name} {what}, and exports are made from Keras models: name the bundle "
            "that was trained"
        )
    return model


def _folder(output: str | Path | None, name: str) -> Path:
    path = Path.cwd() / name if output is None else Path(output).absolute()
    if path.suffix.lower() in _FILES:
        raise OutputError(
            f"-o {path.name} is called like a file, and an export is a folder with the file, its "
            f"card and its report: use -o {path.stem}"
        )
    return path


def _made(asked: _Asked, folder: Path, callback: Callback) -> tuple[dict[str, Any], ModelCard]:
    """The file in ``folder``, compared; its report, and the card that goes with it."""
    card, form = asked.model.card, asked.form
    callback.on(events.Stage("reading patches"))
    order, learnt = _ordered(asked)
    compared = sample_patches.for_comparing(card, COMPARED, asked.check or asked.calibrate)
    callback.on(events.Stage(f"writing {form.name}"))
    written = subprocess_run.write(form.module, order, folder, compared.values)
    callback.on(events.Stage("running what was written"))
    found = subprocess_run.run(form.module, folder / form.file, compared.values, form.batch)
    allowed = form.allowed(asked.quantize)
    difference = difference_of(found.probabilities, written.keras.probabilities)
    require_alike(difference, allowed, asked.name)
    report = {
        **_facts(asked, folder),
        "tensors": found.tensors,
        "versions": {**written.facts, **found.versions},
        "patches": {"compared": len(compared.values), "from": compared.origin},
        "difference": difference,
        "tolerance": asdict(allowed),
        "seconds_per_patch": {form.name: found.seconds, "keras": written.keras.seconds},
    }
    card = _own_card(asked, folder)
    if learnt is not None and asked.calibrate is not None:
        report["calibrated"] = {"patches": len(learnt.values), "from": learnt.origin}
        callback.on(events.Stage("scoring it on what was held out"))
        card, report["dice"] = int8_scores.scored(
            card, asked.model, form, folder / form.file, Path(asked.calibrate)
        )
    return report, card


def _ordered(asked: _Asked) -> tuple[ExportJob, SamplePatches | None]:
    card, learnt = asked.model.card, None
    if asked.calibrate is not None:
        learnt = sample_patches.for_calibrating(card, CALIBRATED, asked.calibrate)
    order = ExportJob(
        weights=asked.model.weights,
        sha256=card.weights_sha256,
        patch=sample_patches.patch_of(card),
        name=asked.form.name,
        quantize=asked.quantize,
        calibration=None if learnt is None else learnt.values,
    )
    return order, learnt


def difference_of(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Of probabilities ``(n, *patch, K)``: the largest and the mean, and the share of equal labels.
    All ones and no label where they can't be compared at all."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return {"largest": 1.0, "mean": 1.0, "label_agreement": 0.0}
    apart = np.abs(found - expected)
    same = found.argmax(-1) == expected.argmax(-1)
    return {
        "largest": float(apart.max()),
        "mean": float(apart.mean(dtype=np.float64)),
        "label_agreement": float(same.mean()),
    }


def require_alike(difference: dict[str, float], allowed: Tolerance, name: str) -> None:
    largest, mean = difference["largest"], difference["mean"]
    agreement = difference["label_agreement"]
    if largest > allowed.difference or mean > allowed.mean or agreement < allowed.agreement:
        raise InputError(
            f"{name} does not say what Keras says: probabilities differ by up to {largest:.2g} "
            f"(allowed {allowed.difference:g}) and {mean:.2g} on average ({allowed.mean:g}), labels agree on {share_in_line(agreement, 3)} of the voxels "
            f"(required {share_in_line(allowed.agreement, 2)}); nothing was kept, use another precision or format"
        )


def _facts(asked: _Asked, folder: Path) -> dict[str, Any]:
    """What was exported, to what, and how large it is."""
    model, form = asked.model, asked.form
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {
        "segbatch": package_version(),
        "model": model.card.name,
        "weights_sha256": model.card.weights_sha256,
        "format": form.name,
        "quantize": asked.quantize,
        "file": form.file,
        "patch": list(sample_patches.patch_of(model.card)),
        "batch": form.batch or "any",
        "size_bytes": sum(path.stat().st_size for path in files),
        "keras_bytes": model.weights.stat().st_size,
    }


def _own_card(asked: _Asked, folder: Path) -> ModelCard:
    """The card for the export: that of a bundle of its own, where the format is one."""
    card, name = asked.model.card, asked.form.name
    if name not in bundles.WEIGHTS:
        return card
    own: dict[str, Any] = {
        "format": name,
        "weights_sha256": files.sha256(folder / bundles.WEIGHTS[name]),
    }
    if name != "keras":
        own["name"] = f"{card.name}-{'int8' if asked.quantize == 'int8' else name}"
        own["multiple"] = None  # it was written for one patch
    return card.model_copy(update=own)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def lines(report: dict[str, Any]) -> str:
    """A report in a few lines for people."""
    size, keras = report["size_bytes"], report["keras_bytes"]
    difference, dice = report["difference"], report.get("dice")
    seconds = report["seconds_per_patch"]
    told = [
        f"{report['output']}/{report['file']}  ({show_bytes(size)}; model.keras {show_bytes(keras)})",
        f"  {report['quantize']}, patches of {'x'.join(map(str, report['patch']))}, "
        f"{report['batch']} at once",
        f"  against Keras on {report['patches']['from']}: probabilities differ by up to "
        f"{difference['largest']:.2g}, labels agree on {share_in_line(difference['label_agreement'], 4)}",
        f"  {seconds[report['format']]:.3f} s per patch here, Keras unfolded {seconds['keras']:.3f} s",
    ]
    return "\n".join(told + ([] if dice is None else [f"  {int8_scores.line(dice)}"]))
