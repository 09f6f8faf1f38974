"""The command ``models import``: a bundle from a model of others.

A card file and options give what the file of the model can't tell: names of channels, normalisation, meaning of
classes. The rest is found in the model and checked by running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_batch.config.card import WHOLE_PATCH, ModelCard
from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion import foreign_import, keras_import, onnx_import, torch_import
from seg_batch.conversion.cards.opening import opened
from seg_batch.conversion.declared import Fields, declared
from seg_batch.conversion.nnunet import bundle as nnunet
from seg_batch.conversion.nnunet.folder import is_results
from seg_batch.core.errors import InputError
from seg_batch.core.run_files import CARD
from seg_batch.core.text import visible
from seg_batch.inference import bundles
from seg_batch.io.sinks.publish import require_replaceable, writing_folder

SHOWN = 3  # of layers that see the whole patch


def import_model(
    file: str | Path, bundle: str | Path, options: ImportOptions, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the bundle folder ``bundle`` for the model in ``file``; ``path``, ``card`` and ``notes``.

    ``file``: a Keras model, ``.onnx``, or of PyTorch (TorchScript, ``.pt2``), by its ending; a folder, a zip file or the document
    itself, where a model comes with a card of another world (`conversion.cards`); or a results folder of nnU-Net. The bundle is loaded and run
    before it replaces ``bundle`` atomically. Raises InputError for a model or options that make no bundle, OutputError if
    ``bundle`` can't be written; nothing is written then.
    """
    path = Path(bundle)
    require_replaceable(path, overwrite, CARD)
    if not Path(file).exists():
        raise InputError(
            f"there is no file or folder {visible(str(file))}: name a model, or a folder of one"
        )
    if is_results(Path(file)):
        with writing_folder(path, overwrite, CARD) as folder:
            name = options.name or bundles.name_for(path)
            bundles.require_no_command(name)
            card, notes = nnunet.into(folder, Path(file), options, name)
        return {"path": str(path), "notes": list(notes), "card": card.model_dump(mode="json")}
    nnunet.require_none_of(options)
    with opened(Path(file)) as foreign:
        if foreign is None and (Path(file) / CARD).is_file():
            raise InputError(f"{file} is a bundle already: install it with segbatch models add")
        if foreign is None and Path(file).is_dir():
            raise InputError(
                f"{file} is a folder with no results of nnU-Net and no card of a model (rdf.yaml, configs/metadata.json, an "
                "item of STAC MLM): name the file of the model"
            )
        fields = declared(options, path, {} if foreign is None else foreign.whole)
        source = Path(file) if foreign is None else foreign.model
        with writing_folder(path, overwrite, CARD) as folder:
            card, notes = _into(folder, source, fields, options)
            if foreign is not None:
                card, notes = foreign_import.checked(folder, foreign, card, notes)
    return {"path": str(path), "notes": list(notes), "card": card.model_dump(mode="json")}


def _into(
    folder: Path, source: Path, fields: Fields, options: ImportOptions
) -> tuple[ModelCard, tuple[str, ...]]:
    """Write the bundle of the model in ``source`` by its ending; its card and the choices made."""
    of_torch = source.suffix.lower() in torch_import.ENDINGS
    if options.torch_python is not None and not of_torch:
        raise InputError(
            f"--torch-python: {source} is no file of PyTorch and is not converted: leave it out"
        )
    if source.suffix.lower() == ".onnx":
        card, notes = onnx_import.into(folder, [source], fields)
    elif of_torch:
        card, notes = torch_import.into(folder, source, fields, options.torch_python)
    else:
        card, notes = keras_import.into(folder, source, fields)
    if options.spacing_mm is not None and len(options.spacing_mm) != card.rank:
        raise InputError(f"--spacing-mm: the model is {card.rank}-D, give {card.rank} numbers")
    return card, notes


def imported_lines(result: dict[str, Any]) -> list[str]:
    """The bundle and the choices made, in lines for people."""
    card = result["card"]
    by = " x ".join(map(str, card["patch"]))
    grid = "" if card["finer"] == 1 else f", output x{card['finer']} finer"
    if shrink := card["output"]["shrink"]:
        grid = f", output {' x '.join(map(str, shrink))} smaller on each side"
    gigaflop = card["compute"]["flops"] / 1e9
    return [
        f"{card['name']}: {card['rank']}-D, {len(card['channels'])} channels to "
        f"{len(card['classes'])} classes, patch {by}{grid}, {gigaflop:.3g} GFLOP per patch",
        f"normalisation {card['normalisation']['kind']}: {_MEANING[card['normalisation']['kind']]}",
        *result["notes"],
        *_some(card["architecture"].get(WHOLE_PATCH, ())),
        *(
            [f"predictions take this patch alone: {card['patch_fixed']}"]
            if card["patch_fixed"]
            else []
        ),
        result["path"],
    ]


def _some(layers: Sequence[str]) -> list[str]:
    """The first layers, and how many more there are; the card has all."""
    more = len(layers) - SHOWN
    return [*layers[:SHOWN], *([f"and {more} more layers like these"] if more > 0 else [])]


_MEANING = {
    "identity": "the model sees the values of the file; --normalisation source or card change them",
    "source": "less the mean, by the deviation, of each whole input",
    "nonzero": "less the mean, by the deviation, of what is not 0 in each whole input; 0 stays 0",
    "range": "from 0 to 1, the least and the greatest value of each whole input",
    "percentiles": "from 0 to 1, percentiles 2 and 98 of each whole input, to which it is clipped",
    "card": "less the given mean, by the given deviation",
    "mixed": "each channel by a scheme of its own",
}
