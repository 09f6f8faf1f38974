"""A bundle from a results folder of nnU-Net: read, converted in a Python with torch, and held against it."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from seg_batch.config.card import ModelCard
from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion import onnx_import, test_tensor
from seg_batch.conversion.nnunet.card import card_of, not_held
from seg_batch.conversion.nnunet.folder import (
    Checkpoint,
    Folds,
    folds_of,
    left_out,
    require_trained,
)
from seg_batch.conversion.nnunet.reading import (
    DATASET,
    FINGERPRINT,
    PLANS,
    Configuration,
    Dataset,
    Fingerprint,
    Plans,
    checked,
    configuration,
    read,
)
from seg_batch.conversion.nnunet.trainers import BATCH_NORM, PATTERN, keeps_network
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.core.units import counted
from seg_batch.inference import bundles
from seg_batch.nn.engines.output import finished
from seg_batch.nn.torch_conversion.process import convert

SCRIPT, EXTRA = "nnunet_script", "nnunet"
_OURS = ("fold", "checkpoint")  # options that are for these folders alone
_TAKEN = ("name", "description", "licence", "torch_python", *_OURS)


@dataclass(frozen=True)
class Results:
    """A results folder that was read: its folder, its files as values, and what is taken of it."""

    folder: Path
    plans: Plans
    dataset: Dataset
    fingerprint: Fingerprint
    folds: Folds


@dataclass(frozen=True)
class Trained:
    """What the checkpoints say of themselves, all of them the same."""

    trainer: str
    configuration: str
    mirroring: tuple[int, ...]
    epochs: tuple[int | None, ...]
    torch: str
    notes: tuple[str, ...]


def into(
    part: Path, source: Path, options: ImportOptions, name: str
) -> tuple[ModelCard, tuple[str, ...]]:
    """Write the networks of the results folder ``source`` and their card, called ``name``, into ``part``; the card, and the
    choices made.

    The engine that predicts gives for the test tensor what torch gave, or nothing is kept. Raises InputError for what can't
    be carried over.
    """
    require_alone(options)
    results = read_results(source, options.fold, options.checkpoint)
    with tempfile.TemporaryDirectory(dir=part, prefix=".") as scratch:
        made = Path(scratch)
        trained = _converted(results, made, options.torch_python)
        chosen = configuration(results.plans, trained.configuration, str(source / PLANS))
        lost = [*left_out(source), *not_held(chosen)]
        card = card_of(
            results.plans,
            chosen,
            results.dataset,
            results.fingerprint,
            trained.mirroring,
            name=name,
            description=options.description,
            licence=options.licence,
            training_data=_training_data(results),
            origin=_origin(results, trained, options.checkpoint, lost),
            architecture={"nnunet": chosen.architecture.name},
        )
        networks = [
            made / f"model_{k}.onnx" if k else made / "model.onnx"
            for k in range(len(results.folds.names))
        ]
        said = card.model_dump(mode="json", exclude_defaults=True)
        said["background"] = card.background  # said, though it is the default
        card, notes = onnx_import.into(part, networks, said)
        _require_as_torch(part, made / "raw.npz")
    return card, (
        _taken(results, trained, options.checkpoint),
        *notes,
        *trained.notes,
        *lost,
    )


def require_alone(options: ImportOptions) -> None:
    """InputError for options of models whose files say less than those of nnU-Net do."""
    for field in fields(options):
        if field.name not in _TAKEN and getattr(options, field.name) != field.default:
            raise InputError(
                f"--{field.name.replace('_', '-')} is for models whose files do not say it: nnU-Net's plans do, so leave it out"
            )


def require_none_of(options: ImportOptions) -> None:
    """InputError for options of results folders, where the model is none."""
    for field in fields(options):
        if field.name in _OURS and getattr(options, field.name) != field.default:
            raise InputError(
                f"--{field.name} is for results folders of nnU-Net: name one, or leave it out"
            )


def _require_as_torch(part: Path, raw: Path) -> None:
    """BundleError unless the engine that predicts gives what torch did, which becomes the test tensor."""
    model = bundles.model_in(part)
    with np.load(raw, allow_pickle=False) as held:
        image, scores = (np.moveaxis(held[key], 1, -1) for key in ("input", "output"))
    expected = finished(scores, model.card.network)
    test_tensor.require_same_here(model, image, expected)
    test_tensor.keep(part, image, expected)


def read_results(folder: Path, fold: str | None, checkpoint: Checkpoint) -> Results:
    """The folder with its files as checked values; InputError where it is none, or lacks what is asked for."""
    require_trained(folder)
    plans, dataset = read(folder / PLANS, Plans), read(folder / DATASET, Dataset)
    known = folder / FINGERPRINT
    fingerprint = read(known, Fingerprint) if known.is_file() else Fingerprint()
    return Results(folder, plans, dataset, fingerprint, folds_of(folder, fold, checkpoint))


def _converted(results: Results, made: Path, python: str | None) -> Trained:
    """Networks in the folder ``made``, and what their checkpoints say; InputError for what can't be carried over."""
    job = {
        "checkpoints": [str(path.resolve()) for path in results.folds.checkpoints],
        "networks": _designs(results),
        "trainers": PATTERN,
        "batch_norm": BATCH_NORM,
        "inputs": len(results.dataset.channels),
        "outputs": results.dataset.outputs,
    }
    (made / "job.json").write_text(json.dumps(job), encoding="utf-8")
    answer = convert(SCRIPT, ["job.json"], made, python=python, extra=EXTRA)
    return _same(answer, results)


def _designs(results: Results) -> dict[str, Any]:
    """The networks of all configurations that can be carried over: which of them it is stands in the checkpoints."""
    designs = {}
    for name in results.plans.configurations:
        with suppress(InputError):
            chosen = configuration(results.plans, name, PLANS)
            designs[name] = {**chosen.architecture.as_job(), "patch": chosen.patch_size}
    return designs


def _same(answer: dict[str, Any], results: Results) -> Trained:
    """What all checkpoints say; InputError where they differ from one another, or from the files beside them."""
    first, paths = answer["folds"][0], results.folds.checkpoints
    for path, other in zip(paths, answer["folds"], strict=True):
        for what in ("trainer", "configuration", "mirroring"):
            if other[what] != first[what]:
                raise InputError(
                    f"{path} has the {what} {str(other[what])[:60]} and {paths[0]} {str(first[what])[:60]}: folds of one training have one; "
                    "choose by --fold"
                )
        _require_labels(other["dataset"], results.dataset, path)
    if not keeps_network(first["trainer"]):
        raise InputError(
            f"{paths[0]} was trained by {first['trainer'][:80]}, which is none of nnU-Net's that keep the network of its plans: predict "
            "with nnU-Net"
        )
    return Trained(
        trainer=first["trainer"],
        configuration=first["configuration"],
        mirroring=_axes(first["mirroring"], paths[0]),
        epochs=tuple(other["epoch"] for other in answer["folds"]),
        torch=str(answer["torch"]),
        notes=(*_renamed(first, results.folder), *_changed(first, results)),
    )


def _require_labels(stated: Any, dataset: Dataset, path: Path) -> None:
    """InputError where a checkpoint was trained on other labels or channels than dataset.json has."""
    if not isinstance(stated, dict):
        return
    trained = checked(stated, Dataset, f"{path}, dataset_json")
    for what in ("labels", "regions_class_order", "channels"):
        theirs, ours = getattr(trained, what), getattr(dataset, what)
        if theirs != ours and not (what == "channels" and len(theirs) == len(ours)):
            raise InputError(
                f"{path} was trained with the {what} {str(theirs)[:100]}, and {DATASET} has {str(ours)[:100]}: copy the results "
                "folder again"
            )


def _axes(mirroring: Any, path: Path) -> tuple[int, ...]:
    """The axes along which predictions are mirrored; none where the checkpoint has none."""
    axes = tuple(mirroring or ())
    if any(axis not in (0, 1, 2) for axis in axes) or len(set(axes)) < len(axes):
        raise InputError(
            f"{path} is mirrored along axes {str(axes)[:60]}: 0, 1 and 2 alone are axes"
        )
    return tuple(sorted(axes))


def _renamed(stated: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Where the folder is called after another trainer or configuration; the checkpoints count, by which it was trained."""
    words = folder.resolve().name.split("__")
    if len(words) != 3:
        return ()  # no name of nnU-Net's, which says nothing
    trainer, _, configured = words
    if (trainer, configured) == (stated["trainer"], stated["configuration"]):
        return ()
    return (
        f"the folder is called {folder.resolve().name}, and its checkpoints are of {stated['trainer']}, {stated['configuration']}, "
        "which count",
    )


def _changed(stated: dict[str, Any], results: Results) -> tuple[str, ...]:
    """Where plans.json says other things than the plans in the checkpoint; as nnU-Net, we go by the file."""
    name, inside = stated["configuration"], stated["plans"]
    try:
        theirs = configuration(Plans.model_validate(inside), name, "")
        ours = configuration(results.plans, name, "")
    except (InputError, ValidationError):
        return ()
    keys = [key for key in Configuration.model_fields if getattr(theirs, key) != getattr(ours, key)]
    if not keys:
        return ()
    return (
        f"{PLANS} has another {', '.join(keys)} than the plans in the checkpoint, and counts, as in nnU-Net",
    )


def _training_data(results: Results) -> str:
    """Its name, and what dataset.json says of it."""
    said = results.dataset
    licence = f"licence of the images: {said.licence}" if said.licence else ""
    return "; ".join(text for text in (results.plans.dataset_name, said.reference, licence) if text)


def _origin(
    results: Results, trained: Trained, checkpoint: Checkpoint, lost: list[str]
) -> dict[str, Any]:
    """What the bundle was made of, and what is ``lost``."""
    made_of = {
        "dataset": results.plans.dataset_name,
        "trainer": trained.trainer,
        "plans": results.plans.plans_name,
        "configuration": trained.configuration,
        "folds": list(results.folds.names),
        "checkpoint": checkpoint,
        "sha256": [files.sha256(path) for path in results.folds.checkpoints],
        "epochs": list(trained.epochs),
        "reader": results.plans.image_reader_writer,
        "torch": trained.torch,
    }
    return {"nnunet": made_of, "left_out": lost}


def _taken(results: Results, trained: Trained, checkpoint: Checkpoint) -> str:
    count = counted(len(results.folds.names), "fold")
    return (
        f"{trained.configuration} of {results.plans.dataset_name}, {trained.trainer}: {count} "
        f"({', '.join(results.folds.names)}), checkpoint {checkpoint}"
    )
