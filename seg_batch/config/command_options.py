"""The options of ``patches``, ``train``, ``evaluate`` and ``models import``, each declared once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seg_batch.config.options import option
from seg_batch.config.predict_options import ALPHA_HELP, CLUSTERS
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.statistics import PerImage

_settings = partial(option, (), "Over the recipe: part.key=value.", flags=("--set",))
_align = partial(option, None, "nearest: bring labels on another grid to their image's.", free=True)
_alpha = partial(option, "auto", ALPHA_HELP, free=True)
_fold = partial(option, None, "Of hold_out.folds, from 0.", least=0)


@dataclass(frozen=True)
class CutOptions:
    """How and where pairs of image and label are cut into patches."""

    settings: tuple[str, ...] = _settings()
    align: Literal["nearest"] | None = _align()
    alpha: Literal["auto", "data", "mask"] = _alpha()
    fold: int | None = _fold()
    cluster: str | Mapping[str, Any] = option("auto", CLUSTERS, key="")
    workers: int = option(1, "Processes.", least=1, key="")


@dataclass(frozen=True)
class TrainOverrides:
    """Values put over the advised recipe, or over that of a dataset: the file ``recipe``, then
    ``settings``, then the options that are short for one. ``align`` to ``workers``: as in ``CutOptions``."""

    recipe: str | Path | None = option(None, "YAML, put over what is advised.", text="path")
    settings: tuple[str, ...] = _settings()
    minutes: float | None = option(None, "For all of it: cutting, steps, scores.", free=True)
    steps: int | None = option(None, "Stop after so many steps.", free=True, least=1)
    arch: str | None = option(
        None, "anunet, unet, unet_se and so on: segbatch models --archs lists them."
    )
    align: Literal["nearest"] | None = _align()
    alpha: Literal["auto", "data", "mask"] = _alpha()
    fold: int | None = _fold()
    cluster: str | Mapping[str, Any] = option("auto", "Where pairs are cut.", key="")
    workers: int = option(1, "Processes that cut pairs.", least=1, key="")

    @property
    def all_settings(self) -> tuple[str, ...]:
        """All of them but the file, as ``--set`` takes them."""
        short = {"fit.minutes": self.minutes, "fit.steps": self.steps, "network.arch": self.arch}
        texts = (f"{key}={value}" for key, value in short.items() if value is not None)
        return (*self.settings, *texts)


@dataclass(frozen=True)
class StartOptions:
    """The bundles that a training starts from and distils, and its event files."""

    from_bundle: str | None = option(
        None, "Start from the weights of this bundle.", flags=("--from",), text="name"
    )
    teacher: str | None = option(None, "Follow this bundle's outputs, too.", text="name")
    tensorboard: str | None = option(None, "Folder for event files.", key="")


@dataclass(frozen=True)
class EvaluateOptions:
    """The part that is scored, the pictures, and the required scores."""

    split: Literal["test", "validation", "training", "all"] = option(
        "test", "test, validation, training or all.", free=True
    )
    images: str | None = option(
        None, "The images, file or folder, to show beside the labels.", text="path"
    )
    classes: str | None = option(None, "0=background,3=forest, or a bundle that names them.")
    ignore: tuple[float, ...] = option((), "A label value that counts nowhere; repeatable.")
    requirements: tuple[str, ...] = option(
        (), "'dice>=0.8' or 'dice[forest]>=0.84', else status 3.", flags=("--require",)
    )
    pictures: int = option(20, "Cases shown, worst and best first.", least=0)

    def keywords(self, *own: str) -> dict[str, Any]:
        """The options that ``evaluate_bundle`` and ``evaluate_files`` share, and those in ``own``."""
        return {name: getattr(self, name) for name in ("ignore", "requirements", "pictures", *own)}


def _numbers(where: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{where} {text!r} is no list of numbers: write them like 1.5,2,0.25")
    return numbers


def _voxels(where: str, text: str) -> Shape:
    numbers = _numbers(where, text)
    if any(n != int(n) or n < 0 for n in numbers):
        raise InputError(f"{where} {text!r} is no list of voxels: write them like 256,256")
    return tuple(map(int, numbers))


def _names(_: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_PER_AXIS: dict[str, Any] = {"metavar": "N,N", "read": _voxels}


@dataclass(frozen=True)
class ProfileOptions:
    """Of ``predict`` and ``run``."""

    profile: str | None = option(
        None, "Write where the time went, as a Chrome trace, to FILE.", metavar="FILE"
    )


@dataclass(frozen=True)
class ImportOptions:
    """Facts about a model that its file lacks: in the file ``card`` by the names of a card's fields, or here, and
    what is here counts. ``channels`` and ``classes`` are needed. ``patch``, ``overlap`` and ``margin``: voxels per axis;
    ``classes``: ``background,forest`` or ``0=background,3=forest``, in the model's order;
    ``normalisation``: None is ``card`` where ``mean`` and ``std`` are given, else ``identity``."""

    channels: tuple[str, ...] = option(
        (), "red,green,blue: names, in the model's order.", read=_names
    )
    classes: str | None = option(
        None, "background,forest or 0=background,3=forest, in the model's order."
    )
    card: str | None = option(
        None, "YAML or JSON with fields of a card; options count before it.", metavar="FILE"
    )
    patch: Shape | None = option(None, "Voxels per axis.", **_PER_AXIS)
    overlap: Shape | None = option(None, "Voxels per axis.", **_PER_AXIS)
    margin: Shape | None = option(
        None, "Voxels at each border of a patch that are not used, per axis.", **_PER_AXIS
    )
    normalisation: Literal["identity", "card", PerImage] | None = option(
        None, "What the model was trained on; card takes --mean and --std."
    )
    mean: tuple[float, ...] = option((), "One per channel, like 104.2,99.1.", read=_numbers)
    std: tuple[float, ...] = option((), "One per channel.", read=_numbers)
    low: tuple[float, ...] = option(
        (), "-160: values below are set to it first; one per channel, with --high.", read=_numbers
    )
    high: tuple[float, ...] = option((), "Values above are set to it first.", read=_numbers)
    aliases: tuple[str, ...] = option(
        (), "B4|SR_B4,B8|nir: other names that files have for each channel.", read=_names
    )
    quantity: tuple[str, ...] = option(
        (),
        "reflectance, DN, HU, arbitrary, ...: what values are, one or one per channel.",
        read=_names,
    )
    modality: str | None = option(
        None, "optical, sar, CT, MR, ...: what its images were taken with."
    )
    missing: Literal["any", "all"] | None = option(
        None, "No label where any channel has no data, as if not given, or where all have none."
    )
    kind: Literal["raster", "volume"] | None = option(None, "What it is for.")
    name: str | None = option(None, "Of the bundle; its folder's, if not given.")
    description: str = option("", "In one sentence.")
    licence: str = option("", "Of the weights.")
    pixel_m: float | None = option(None, "Pixel size it was trained at.")
    pixel_range_m: tuple[float, ...] | None = option(
        None, "Smallest and largest that it takes, like 8,12.", read=_numbers
    )
    spacing_mm: tuple[float, ...] | None = option(
        None, "Voxel size it was trained at, z,y,x.", read=_numbers
    )
    output_name: str | None = option(
        None,
        "Which of several outputs; the last of a Keras model, if not given.",
        flags=("--head", "--output-name"),
    )
    logits: bool = option(False, "It ends in raw scores: a softmax (or sigmoid) follows.")
    activation: Literal["softmax", "sigmoid"] | None = option(
        None, "sigmoid: classes do not exclude one another. Of ONNX and PyTorch files."
    )
    threshold: float | None = option(
        None, "Probability that a class of a sigmoid has to reach; 0.5, if not given."
    )
    layout: Literal["channels_first", "channels_last"] | None = option(
        None, "Of ONNX and PyTorch files whose shapes leave it open."
    )
    fold: str | None = option(
        None, "Of an nnU-Net results folder: 0,1 or all; each that was trained, if not given."
    )
    checkpoint: Literal["final", "best"] = option("final", "Of an nnU-Net results folder.")
    torch_python: str | None = option(
        None, "A Python with torch, for PyTorch files; else $SEGBATCH_TORCH_PYTHON.", metavar="FILE"
    )
