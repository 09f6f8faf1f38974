"""Model descriptions of bioimage.io, ``rdf.yaml`` of format 0.5, read as cards of ours.

https://github.com/bioimage-io/spec-bioimage-io. Custom operations are refused by name, never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.conversion.cards.archive import file_inside
from seg_batch.conversion.cards.bioimageio.steps import Activation, activation_of, normalisation_of
from seg_batch.conversion.cards.bioimageio.tensors import Axes, axes_of, example_of
from seg_batch.conversion.cards.entry import Entry, document
from seg_batch.conversion.cards.example import Example
from seg_batch.conversion.cards.foreign import (
    Foreign,
    classes_of,
    no_place,
    with_background,
)
from seg_batch.conversion.words import background_of, is_background, modality_of
from seg_batch.core.text import as_name

WORLD = "bioimage.io"
NAMES = ("rdf.yaml", "bioimageio.yaml")
# Files of weights that are run, the first of them that is there; and why the others aren't.
_WEIGHTS = ("onnx", "torchscript", "keras_v3")
_WITHOUT = {
    "pytorch_state_dict": "needs the code of its architecture, and code is never run",
    "keras_hdf5": "is HDF5, which may hold code",
    "tensorflow_saved_model_bundle": "holds code of TensorFlow",
    "tensorflow_js": "is for browsers",
}
_NOT_KEPT = [
    "covers",
    "maintainers",
    "documentation",
    "git_repo",
    "links",
    "uploader",
    "version",
    "attachments",
    "badges",
    "packaged_by",
    "parent",
    "run_mode",
    "icon",
    "download_url",
]
_MM = {
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "decimeter": 100.0,
    "meter": 1e3,
    "kilometer": 1e6,
    "angstrom": 1e-7,
}


def is_description(entry: Entry) -> bool:
    return entry.value.get("type") == "model" and "format_version" in entry.value


def read(path: Path) -> Foreign:
    """The description in a YAML file, its weights and test tensors beside it."""
    rdf = document(path)
    kind, weights = _weights(rdf)
    file = _file(weights, path.parent, f"the {kind} weights")
    if data := weights["external_data"]:
        _file(data, path.parent, "the external data of the weights")
    given, result = rdf["inputs"].only("inputs"), rdf["outputs"].only("outputs")
    axes = axes_of(given)
    example = example_of(given, result, axes, path.parent, rdf["config"]["bioimageio"])
    fields, sentences = card_fields(rdf, example)
    return Foreign(
        WORLD,
        path,
        file,
        fields,
        tuple(sentences),
        sha256=weights["sha256"].text(""),
        credits=_credits(rdf),
        example=example,
    )


def card_fields(rdf: Entry, example: Example | None) -> tuple[dict[str, Any], list[str]]:
    """The fields of a card, and sentences on what they don't hold. InputError where a description asks for what a card
    can't do. ``example``: its test tensors, which tell what ``output`` is where the description does not."""
    version = rdf["format_version"].text()
    if not version.startswith("0.5."):
        raise rdf["format_version"].error(
            f"the format is {version[:20]}, and 0.5 is read: bring it to that with bioimageio.spec"
        )
    given, result = rdf["inputs"].only("inputs"), rdf["outputs"].only("outputs")
    axes, outer = axes_of(given), axes_of(result)
    if axes.layout != outer.layout or axes.sides != outer.sides:
        raise result["axes"].error(
            "the axes of the output stand in another order than the input's: export the model with one order"
        )
    activation = activation_of(result, example)
    classes, output = _classes(outer.channels, activation)
    tags = tuple(tag.lower() for tag in rdf["tags"].texts())
    fields: dict[str, Any] = {
        "name": as_name(rdf["name"].text()),
        "description": rdf["description"].text(""),
        "licence": rdf["license"].text(""),
        "training_data": _training_data(rdf["training_data"]),
        "rank": len(axes.sides),
        "kind": _kind(tags, len(axes.sides)),
        "modality": modality_of(tags),
        "channels": [{"name": name} for name in axes.channels],
        "classes": classes,
        "background": background_of(classes),
        "normalisation": normalisation_of(given, len(axes.channels), axes.sides),
        "tensors": {"layout": axes.layout},
        **_size(axes),
        **_grid(result, axes, outer, example, output),
    }
    return fields, _not_carried(rdf, activation)


def _weights(rdf: Entry) -> tuple[str, Entry]:
    known = rdf["weights"].mapping()
    for kind in _WEIGHTS:
        if kind in known:
            return kind, rdf["weights"][kind]
    why = "; ".join(f"{k} {_WITHOUT.get(k, 'is not known')}" for k in known) or "it names none"
    raise rdf["weights"].error(
        f"there are no weights in onnx, torchscript or keras_v3: {why}; convert them first"
    )


def _file(entry: Entry, folder: Path, whose: str) -> Path:
    return file_inside(folder, entry["source"].text(), whose)


def _classes(
    channels: tuple[str, ...], activation: Activation
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The classes, and ``output`` of a card."""
    output: dict[str, Any] = {"gives": activation.gives} if activation.gives else {}
    if activation.threshold is not None and activation.threshold != 0.5:
        activation = Activation(activation.gives, True, activation.threshold, activation.discrete)
    if activation.independent:
        output["classes"] = "independent"
        output["threshold"] = 0.5 if activation.threshold is None else activation.threshold
    if is_background(channels[0]) or (len(channels) > 1 and not activation.independent):
        return classes_of(channels), output
    return with_background(channels), output


def _kind(tags: tuple[str, ...], rank: int) -> str:
    if rank == 3 or "volume" in tags or modality_of(tags) in ("CT", "MR", "PET"):
        return "volume"
    return "raster" if "raster" in tags else "any"


def _size(axes: Axes) -> dict[str, Any]:
    """Voxel size of a volume, in mm; pixel size of an image, in metres."""
    if not all(axes.units):
        return {}
    try:
        spacing = tuple(s * _MM[u] for s, u in zip(axes.scales, axes.units, strict=True))
    except KeyError as error:
        raise axes.entry["axes"].error(
            f"the unit {error} is none that is known: use micrometer"
        ) from None
    square = len(spacing) == 2 and spacing[0] == spacing[1]
    if square and axes.units[0] != "millimeter":
        return {"pixel_m": spacing[0] / 1e3}
    return {"spacing_mm": spacing}


def _grid(
    result: Entry, axes: Axes, outer: Axes, example: Example | None, output: Any
) -> dict[str, Any]:
    """The patch, what of it is trusted, and where the output lies in it."""
    fields: dict[str, Any] = {"output": output} if output else {}
    finer = {round(a / b, 6) for a, b in zip(axes.scales, outer.scales, strict=True)}
    if len(finer) != 1 or min(finer) not in range(1, 9):
        raise result["axes"].error(
            f"the output is {', '.join(f'{f:g}' for f in sorted(finer))} times as fine as the input, and 1 to 8 times are taken"
        )
    factor = int(finer.pop())
    if factor > 1:
        fields["finer"] = factor
    if any(n % 2 or n > 0 for n in outer.offsets):
        raise result["axes"].error(
            f"the output is larger than the input by {outer.offsets}, and only less by the same on both sides is taken"
        )
    if any(outer.offsets):
        fields["output"] = {**output, "shrink": tuple(-n // (2 * factor) for n in outer.offsets)}
    if any(outer.halos):
        fields["margin"] = tuple(-(-n // factor) for n in outer.halos)
        fields["overlap"] = tuple(2 * n for n in fields["margin"])
    patch = (
        example.input.shape[1:-1]
        if example
        else tuple(map(axes.usual_size, range(len(axes.sides))))
    )
    fields["patch"] = patch
    if axes.multiple:
        fields["multiple"] = axes.multiple
    if fields.get("overlap") and any(o >= p for o, p in zip(fields["overlap"], patch, strict=True)):
        raise result["axes"].error(f"a halo of {outer.halos} leaves nothing of a patch of {patch}")
    return fields


def _credits(rdf: Entry) -> tuple[str, ...]:
    people = [author["name"].text() for author in rdf["authors"]]
    works = [f"{c['text'].text('')} {c['doi'].text('') or c['url'].text('')}" for c in rdf["cite"]]
    return (*people, *(work.strip() for work in works))


def _training_data(entry: Entry) -> str:
    if isinstance(entry.value, str):
        return str(entry.value)
    return entry["name"].text("") or entry["id"].text("") if entry else ""


def _not_carried(rdf: Entry, activation: Activation) -> list[str]:
    sentences = no_place("what tells of its makers", [k for k in _NOT_KEPT if rdf[k]])
    other = [k for k in rdf["weights"].mapping() if k not in _WEIGHTS]
    sentences += no_place("weights in other formats", other)
    if activation.independent and len(rdf["outputs"][0]["axes"].value or ()) > 3:
        sentences.append(
            "a voxel may be of several classes there, and gets the most probable one here"
        )
    return sentences
