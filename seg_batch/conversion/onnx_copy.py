"""An ONNX bundle written as ONNX: its files as they are, checked, with the cards of other worlds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_batch.config.card_parts.network import Network
from seg_batch.conversion import test_tensor
from seg_batch.conversion.bundle_folder import write_card
from seg_batch.conversion.cards import export as foreign_cards
from seg_batch.conversion.cards.exported import ExportedFile
from seg_batch.core import files
from seg_batch.core.run_files import TEST
from seg_batch.core.units import show_bytes
from seg_batch.core.versions import package_version
from seg_batch.inference import bundles
from seg_batch.inference.bundles import Model
from seg_batch.io.sinks.publish import writing_folder

REPORT = "export.json"


def copied(
    model: Model, path: Path, worlds: Sequence[str], *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the networks of ``model``, its card, its test tensor and the cards of ``worlds`` into the folder ``path``;
    the report. BundleError where its weights are damaged."""
    assert model.path is not None
    with writing_folder(path, overwrite, REPORT) as folder:
        for network in model.all:
            shutil.copyfile(bundles.require_intact(network).weights, folder / network.weights.name)
        if (model.path / TEST).is_file():
            shutil.copyfile(model.path / TEST, folder / TEST)
        write_card(folder, model.card)
        report = _report(model, folder)
        report["cards"] = _cards(model, folder, worlds)
        files.write_json(folder / REPORT, report, for_people=True)
    return {"output": str(path), **report}


def _report(model: Model, folder: Path) -> dict[str, Any]:
    return {
        "segbatch": package_version(),
        "model": model.card.name,
        "weights_sha256": model.card.weights_sha256,
        "format": model.card.format,
        "file": model.weights.name,
        "patch": list(model.card.patch or ()),
        "size_bytes": sum(network.weights.stat().st_size for network in model.all),
    }


def _cards(model: Model, folder: Path, worlds: Sequence[str]) -> dict[str, Any]:
    if not worlds or model.card.patch is None:
        return {}
    from seg_batch.nn.analysis.onnx.describe import describe
    from seg_batch.nn.engines import load_predictor
    from seg_batch.nn.engines.output import finished
    from seg_batch.nn.engines.reference import reference

    card = model.card
    tensors, weights = card.network.tensors, folder / model.weights.name
    raw = load_predictor(weights, engine=reference(card.format), network=Network.raw(tensors))
    image = test_tensor.noise(card)
    scores = raw(foreign_cards.seen_of(card, image))
    held = describe(weights)
    shape = held.input(tensors.input if tensors else "").shape
    file = ExportedFile.at(
        weights,
        form=card.format,
        input=tensors.input if tensors else "",
        output=tensors.output if tensors else "",
        outputs=scores.shape[-1],
        layout=tensors.layout if tensors else "channels_last",
        single=shape is not None and shape[0] == 1,
        versions={"opset": held.opset},
    )

    return foreign_cards.write(
        worlds, folder, card, file, image, finished(scores, card.network.of_probabilities)
    )


def lines(report: dict[str, Any]) -> list[str]:
    """A report in a few lines for people, without its cards."""
    size = show_bytes(report["size_bytes"])
    by = "x".join(map(str, report["patch"]))
    return [f"{report['output']}/{report['file']}  ({size}, as it was; patches of {by})"]
