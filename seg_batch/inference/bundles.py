"""Finding bundles: those inside the package, in the user's folders, or by path. No Keras here.

A bundle is a folder with ``card.json`` and the networks that it names, such as ``model.keras``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_batch.config.card import ModelCard, read_card
from seg_batch.core.errors import BundleError, InputError, SegbatchError
from seg_batch.core.files import file_parts, sha256, why_not_local
from seg_batch.core.resources import BUNDLES
from seg_batch.core.run_files import CARD
from seg_batch.core.text import as_name
from seg_batch.inference.probe import PROBE_CARD
from seg_batch.inference.probe import predict as probe
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.channels.by_name import channel_fault
from seg_batch.io.sources.views.rescaled import units_fault

WEIGHTS = {"keras": "model.keras", "openvino": "model.xml", "onnx": "model.onnx"}

MODEL_ITEM = "stac_mlm.json"  # as ``export --cards`` writes it


@dataclass(frozen=True)
class Model:
    """A card with its network: in a bundle's folder, or any callable ``array -> array``.

    ``members``: further models whose probabilities are averaged with this one's. ``fold``: which of several
    networks in the folder it is.
    """

    card: ModelCard
    path: Path | None = None
    function: Callable[[Any], Any] | None = None
    members: tuple[Model, ...] = ()
    fold: int = 0

    @property
    def weights(self) -> Path:
        assert self.path is not None
        return weights_file(self.path, self.card, self.fold)

    @property
    def all(self) -> tuple[Model, ...]:
        """This model and its members: one, unless it is an ensemble."""
        return (self, *self.members)

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        return tuple(model.card for model in self.all)

    @property
    def name(self) -> str:
        """What it is called by: its folder, as ``--model`` takes it; a function by its card."""
        return self.card.name if self.path is None else self.path.name

    @property
    def names(self) -> list[str]:
        """What the cards call this model and its members, whatever their folders are called."""
        return [model.card.name for model in self.all]

    @property
    def called(self) -> str:
        """The names of this model and its members, as they are told; of several folds in one bundle once."""
        return " + ".join(f"{m.name}{self._folds_of(m)}" for m in self.all if not m.fold)

    def _folds_of(self, model: Model) -> str:
        folds = sum(model.path is not None and model.path == other.path for other in self.all)
        return f" ({folds} folds)" if folds > 1 else ""


def weights_file(folder: Path, card: ModelCard, fold: int = 0) -> Path:
    """``model.onnx``, of further folds ``model_1.onnx`` on."""
    path = folder / WEIGHTS[card.format]
    return path.with_stem(f"{path.stem}_{fold}") if fold else path


def model_in(folder: Path) -> Model:
    """The bundle in a folder; of several folds an ensemble. BundleError where there is no sound card."""
    card = read_card(folder)
    folds = [
        Model(card.model_copy(update={"weights_sha256": sha256}), folder, fold=k)
        for k, sha256 in enumerate(card.folds_sha256, 1)
    ]
    return Model(card, folder, members=tuple(folds))


def name_for(folder: Path) -> str:
    """The name in the card of a new bundle, where none is given: that of its folder, as far as cards hold it."""
    return as_name(folder.resolve().name)


COMMANDS = ("add", "bench", "check", "import", "index", "list", "remove", "show-one")


def require_no_command(name: str) -> None:
    """InputError for a name that commands take for something else."""
    if name == PROBE_CARD.name:
        raise InputError(f"{name} is what the built-in predictor is called: take another name")
    if name in COMMANDS:
        raise InputError(
            f"segbatch models {name} is a command, so no bundle of this name could be shown: take another name"
        )


PROBE = Model(PROBE_CARD, function=probe)


def users_bundles() -> Path:
    """The folder of the bundles that the user added."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return home / "segbatch" / "bundles"


def bundle_folders() -> list[Path]:
    """Where bundles are looked for: ``$SEGBATCH_BUNDLES``, the user's data folder, the package."""
    named = [Path(p) for p in os.environ.get("SEGBATCH_BUNDLES", "").split(os.pathsep) if p]
    return [*named, users_bundles(), BUNDLES]


@dataclass(frozen=True)
class Listing:
    """The bundles by name; ``hides``: folders of the same name that are looked at later; ``damaged``: folders, and
    what is wrong with their cards."""

    models: dict[str, Model] = field(default_factory=dict)
    hides: dict[str, list[Path]] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    def hides_of(self, model: Model) -> list[Path]:
        """The folders that this bundle hides; none for another of its name, which was named by its path."""
        first = self.models.get(model.name)
        is_first = first and first.path and model.path and first.path.samefile(model.path)
        return self.hides.get(model.name, []) if is_first else []


def listing() -> Listing:
    """All bundles in ``bundle_folders()``."""
    found = Listing()
    for folder in bundle_folders():
        for card in sorted(folder.glob(f"*/{CARD}")):
            path = card.parent
            if path.name in found.models:
                found.hides.setdefault(path.name, []).append(path)
                continue
            try:
                found.models[path.name] = model_in(path)
            except SegbatchError as error:
                found.damaged[path] = error.message
    return found


def installed_bundles() -> list[Model]:
    """All bundles but the hidden and the damaged (``find_bundle`` says what is wrong with one)."""
    return list(listing().models.values())


def find_bundle(name: str) -> Model:
    """The bundle of that name or at that path; its weights are not checked yet."""
    if name == PROBE_CARD.name:
        return PROBE
    if why := why_not_local(name):
        raise BundleError(why)
    path = Path(name)
    if not path.is_dir():
        places = [folder / name for folder in bundle_folders() if (folder / name).is_dir()]
        if not places:
            known = ", ".join(m.name for m in [*installed_bundles(), PROBE])
            raise BundleError(
                f"there is no model {name!r}: use the path of a bundle, or one of {known}"
            )
        path = places[0]
    return model_in(path.resolve())


def described(model: Model) -> str:
    """Where a model is described as an item of STAC (the MLM extension), as a link; empty where its bundle holds none."""
    item = None if model.path is None else model.path / MODEL_ITEM
    return item.absolute().as_uri() if item is not None and item.is_file() else ""


def require_intact(model: Model) -> Model:
    """The model, if its weights and those of its members are the ones the cards were written for; BundleError otherwise."""
    for member in model.all:
        _require_intact(member)
    return model


def _require_intact(model: Model) -> None:
    if model.path is None:
        return
    for part in file_parts(model.weights):
        if not part.is_file():
            raise BundleError(
                f"{model.path} has no {part.name}: the bundle is incomplete, fetch it again"
            )
    if sha256(model.weights) != model.card.weights_sha256:
        raise BundleError(
            f"{model.weights} does not match the hash in its card: the weights were changed or "
            "damaged, so results could not be trusted; fetch the bundle again"
        )


def mismatch(card: ModelCard, info: SourceInfo) -> str | None:
    """The reason why the model can't take the input, in a few words; None when it can."""
    if card.kind not in (info.kind, "any"):
        return f"it is for {card.kind}s and the input is a {info.kind}"
    if card.rank is not None and card.rank > len(info.extent):
        return f"it is {card.rank}-D and the input has {len(info.extent)} spatial axes"
    if card.rank == 3 and info.facts.get("slices") == 1:
        return (
            "it is 3-D and the series is a single slice, which shows nothing of what lies beside it"
        )
    return channel_fault(info, card.channels) or units_fault(info, card.channels)


def require_fit(model: Model, info: SourceInfo) -> Model:
    if reason := mismatch(model.card, info):
        raise BundleError(
            f"model {model.name} does not fit {info.path}: {reason}{_stack_hint(model.card, info)}; choose "
            "another --model"
        )
    return model


def _stack_hint(card: ModelCard, info: SourceInfo) -> str:
    """What gives a single file the channels that it lacks."""
    lacks = card.channels is not None and len(info.channels) < len(card.channels)
    return (
        "; files of one channel each are one image with --stack" if lacks and not info.stack else ""
    )
