"""Items of STAC with the Machine Learning Model extension 1.x, read as cards of ours.

https://github.com/stac-extensions/mlm. Nothing that an item refers to is fetched, and no function that it names is run.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from seg_batch.config.common_names import COMMON_NAMES, akin, names_at
from seg_batch.conversion.cards.archive import file_inside
from seg_batch.conversion.cards.entry import Entry, document
from seg_batch.conversion.cards.foreign import (
    Foreign,
    colour_of_hex,
    no_place,
)
from seg_batch.conversion.cards.scaling import NO_LIMIT, Scaling
from seg_batch.conversion.words import background_of
from seg_batch.core.text import as_name
from seg_batch.core.units import counted

WORLD = "STAC MLM"
SCHEMA = re.compile(r"https://[a-z.-]+/(?:mlm|mlm-extension)/v1\.\d+\.\d+/schema\.json")
FORMAT = "segbatch"  # of a processing expression: what a card calls a scheme
ROLE = "mlm:model"
UNITS = {"K": "kelvin", "dB": "dB", "HU": "HU", "1": "reflectance", "W/m2/sr/um": "radiance", "g/mL": "SUV"}  # fmt: skip
# Ours of the usual words for the axes of a tensor.
_AXES = {
    "batch": "batch", "b": "batch", "bands": "channel", "channel": "channel", "channels": "channel", "c": "channel",
    "class": "channel", "classes": "channel", "score": "channel", "confidence": "channel",
    "height": "y", "h": "y", "y": "y", "width": "x", "w": "x", "x": "x",
}  # fmt: skip
LAYOUTS = {
    ("batch", "channel", "y", "x"): "channels_first",
    ("batch", "y", "x", "channel"): "channels_last",
}
_ENDINGS = (".onnx", ".keras", ".pt2", ".ts", ".pt", ".pth")  # the one that is taken of several
_ACTIVATIONS = re.compile(r"(?:^|[.:_\s])(softmax|sigmoid|argmax)\b", re.IGNORECASE)
# What is read, or says nothing that a card could hold.
_READ = {
    "mlm:name", "mlm:input", "mlm:output", "mlm:tasks", "mlm:framework", "mlm:architecture", "bands", "eo:bands",
    "raster:bands", "gsd", "description", "license", "datetime", "title", "created", "updated", "file:size",
    "raster:spatial_resolution",
}  # fmt: skip
CLIPPED = re.compile(r"\(clip\(A, (\S+), (\S+)\) - (\S+)\) / (\S+)")  # as ``written`` writes it


def is_item(entry: Entry) -> bool:
    return entry.value.get("type") == "Feature" and "mlm:input" in entry["properties"].mapping()


def read(path: Path) -> Foreign:
    """The item in a JSON file, its model beside it."""
    item = document(path)
    key, asset = _asset(item)
    file = file_inside(path.parent, _href(asset, path), f"the model of asset {key!r}")
    fields, sentences = card_fields(item, asset)
    checksum = asset["file:checksum"].text("")
    sha256 = checksum[4:] if checksum.startswith("1220") else ""
    return Foreign(WORLD, path, file, fields, tuple(sentences), sha256)


def card_fields(item: Entry, asset: Entry) -> tuple[dict[str, Any], list[str]]:
    """The fields of a card, and sentences on what they don't hold. InputError where an item asks for what a card
    can't do."""
    _require_known(item)
    about = item["properties"]
    given, result = about["mlm:input"].only("inputs"), about["mlm:output"].only("outputs")
    bands = _bands(given, item, asset)
    layout, sides, channels = _tensor(given["input"])
    if len(bands) not in (0, channels) and channels > 0:
        raise given.error(f"names {len(bands)} bands, and its tensor has {channels}: mend one")
    if not bands:
        bands = [Entry({"name": f"band {k}"}, given.where) for k in range(1, channels + 1)]
    classes = _classes(result)
    fields: dict[str, Any] = {
        "name": as_name(about["mlm:name"].text("") or item["id"].text("model")),
        "description": about["description"].text(""),
        "licence": about["license"].text("").removeprefix("other"),
        "kind": "raster",
        "rank": 2,
        "channels": _channels(bands),
        "classes": classes,
        "background": background_of(classes),
        "normalisation": _normalisation(given, len(bands)),
        "tensors": {"layout": layout},
        **_sides(sides, _result_sides(result, layout)),
    }
    if output := fields.pop("output", {}) | _activation(result, len(classes)):
        fields["output"] = output
    if gsd := about["gsd"]:
        fields["pixel_m"] = gsd.number()
    if (arch := about["mlm:architecture"].text("unknown")) != "unknown":
        fields["architecture"] = {"arch": arch}
    return fields, _not_carried(item, about, bands)


def _require_known(item: Entry) -> None:
    versions = [e.text() for e in item["stac_extensions"] if "/mlm" in e.text()]
    if not any(SCHEMA.fullmatch(v) for v in versions):
        version = versions[0] if versions else "no"
        raise item.error(f"it names {version} MLM schema, and version 1 is read here: mend it")
    tasks = item["properties"]["mlm:tasks"].texts()
    if tasks and not {"semantic-segmentation", "segmentation"} & set(tasks):
        raise item["properties"]["mlm:tasks"].error(
            f"the model is for {', '.join(tasks)}, and only semantic segmentation is done here"
        )


def _asset(item: Entry) -> tuple[str, Entry]:
    """The asset with the model, the best of several."""
    assets = {key: item["assets"][key] for key in item["assets"].mapping()}
    able = {key: asset for key, asset in assets.items() if ROLE in asset["roles"].texts()}
    if not able:
        raise item["assets"].error(f"none has the role {ROLE}: name the model's")

    def rank(key: str) -> int:
        href = able[key]["href"].text("").lower()
        return next((k for k, e in enumerate(_ENDINGS) if href.endswith(e)), len(_ENDINGS))

    key = min(able, key=rank)
    return key, able[key]


def _href(asset: Entry, path: Path) -> str:
    """Relative to the item; of an address the last part, where a file of that name is beside it."""
    href = asset["href"].text()
    beside = href.rsplit("/", 1)[-1]
    return beside if "://" in href and beside and (path.parent / beside).is_file() else href


def _tensor(entry: Entry) -> tuple[str, list[int], int]:
    """Layout, sides ``y, x`` and channels; -1: open."""
    names = [name.lower() for name in entry["dim_order"].texts()]
    axes = tuple(_AXES.get(name, name) for name in names)
    if axes not in LAYOUTS:
        raise entry["dim_order"].error(
            f"the axes are {', '.join(names)}, and networks of batch, bands, height, width (or bands last) are run: export it so"
        )
    shape = [side.integer() for side in entry["shape"]]
    if len(shape) != 4 or min(shape) < -1 or 0 in shape:
        raise entry["shape"].refused("4 sides, above 0 or -1")
    by = dict(zip(axes, shape, strict=True))
    return LAYOUTS[axes], [by["y"], by["x"]], by["channel"]


def _result_sides(result: Entry, layout: str) -> list[int]:
    """Sides of the output; open where it does not say, as many items do."""
    order = result["result"]["dim_order"].texts()
    if len(order) < 4:
        return [-1, -1]
    theirs, sides, _ = _tensor(result["result"])
    if theirs != layout:
        raise result["result"]["dim_order"].error(
            "its channels stand elsewhere than the input's: export the model with one order"
        )
    return sides


def _sides(sides: list[int], result: list[int]) -> dict[str, Any]:
    """Patch, and how the output lies in it."""
    if -1 in sides:
        return {}
    fields: dict[str, Any] = {"patch": tuple(sides)}
    if -1 in result or result == sides:
        return fields
    factors = {o / i for o, i in zip(result, sides, strict=True)}
    if len(factors) == 1 and min(factors) in range(2, 9):
        return {**fields, "finer": int(min(factors))}
    if all(o < i and (i - o) % 2 == 0 for o, i in zip(result, sides, strict=True)):
        shrink = tuple((i - o) // 2 for o, i in zip(result, sides, strict=True))
        return {**fields, "output": {"shrink": shrink}}
    return fields


def _bands(given: Entry, item: Entry, asset: Entry) -> list[Entry]:
    """The description of each band of the input, in its order."""
    known: dict[str, dict[str, Any]] = {}
    about = item["properties"]
    for source in (about["bands"], about["eo:bands"], asset["eo:bands"], asset["raster:bands"], asset["bands"]):  # fmt: skip
        for band in source:
            facts = {k.removeprefix("eo:").removeprefix("raster:"): v for k, v in band.mapping().items()}  # fmt: skip
            known.setdefault(band["name"].text(""), {}).update(facts)
    bands = []
    for ref in given["bands"]:
        if isinstance(ref.value, dict) and ref["expression"]:
            raise ref.error(
                "the band is computed of others, and code is never run: store it as a band of its own"
            )
        name = ref.value if isinstance(ref.value, str) else ref["name"].text()
        bands.append(Entry({**known.get(name, {}), "name": name}, ref.where, ref.way))
    twice = [name for name, n in Counter(b["name"].text() for b in bands).items() if n > 1]
    if twice:
        raise given["bands"].error(
            f"{twice[0]!r} stands there twice, as of two dates: name each band in its own way"
        )
    return bands


def _channels(bands: list[Entry]) -> list[dict[str, Any]]:
    shared = Counter(band["common_name"].text("") for band in bands)
    return [_channel(band, shared[band["common_name"].text("")] > 1) for band in bands]


def _channel(band: Entry, shared: bool) -> dict[str, Any]:
    """``shared``: other bands have the same common name, so that only the wavelength tells them apart."""
    name, common = band["name"].text(), band["common_name"].text("")
    alias = common if common in COMMON_NAMES and not shared else ""
    if not alias and (wavelength := band["center_wavelength"]):
        near = names_at(wavelength.number()) - {common}
        near = {n for n in near if not common or akin({common}, {n})}
        alias = near.pop() if len(near) == 1 else ""
    channel: dict[str, Any] = {
        "name": name,
        "aliases": (alias,) if alias not in ("", name) else (),
        "quantity": UNITS.get(band["unit"].text("")),
    }
    numbers = band["statistics"]
    if numbers["mean"] and numbers["stddev"]:
        gap = 1 - numbers["valid_percent"].number(100) / 100
        mean, std = numbers["mean"].number(), numbers["stddev"].number()
        channel["statistics"] = {"mean": mean, "std": std, "nodata_share": gap}
    return channel


def _classes(result: Entry) -> list[dict[str, Any]]:
    entries = list(result["classification:classes"] or result["classification_classes"])
    if len(entries) < 2:
        raise result["classification:classes"].error(
            "fewer than two classes: a map tells two apart, name them in the order of the outputs"
        )
    classes = []
    for entry in entries:
        name = entry["title"].text("") or entry["name"].text("") or entry["description"].text()
        value = entry["value"].integer()
        colour = colour_of_hex(entry["color_hint"].text(""), value)
        classes.append({"id": value, "name": name, "colour": colour})
    return classes


def _normalisation(given: Entry, channels: int) -> dict[str, Any]:
    """Of ``value_scaling``, and of a function where it is one that we wrote."""
    if given["resize_type"]:
        raise given["resize_type"].error(
            "images are resized to the model's input, and here they are tiled: export it without"
        )
    functions = given["pre_processing_function"]
    each = list(functions) if isinstance(functions.value, list) else [functions]
    for function in filter(None, each):
        if function["format"].text() == FORMAT:
            return {"kind": function["expression"].text()}
        raise function.error(
            f"values go through {function['expression'].shown}, and code is never run: where value_scaling says all of "
            "it, remove the function; else say it with --card"
        )
    scaling = Scaling(channels)
    steps = list(given["value_scaling"])
    if len(steps) not in (0, 1, channels):
        raise given["value_scaling"].error(
            f"{len(steps)} scalings for {counted(channels, 'band')}: one for all, or one for each"
        )
    for c, step in enumerate(steps * channels if len(steps) == 1 else steps):
        try:
            _scale(scaling, c, step)
        except ValueError as error:
            raise step.error(f"{step['type'].text('')}: {error}: say it with --card") from None
    return scaling.normalisation()


def _scale(scaling: Scaling, c: int, step: Entry) -> None:
    """One scaling of channel ``c`` alone."""
    kind = step["type"].text("") if step.mapping() else ""
    mean, std, low, high = 0.0, 1.0, -NO_LIMIT, NO_LIMIT
    if kind == "z-score":
        mean, std = step["mean"].number(), step["stddev"].number()
    elif kind == "min-max":
        mean = step["minimum"].number()
        std = step["maximum"].number() - mean
    elif kind in ("clip", "clip-min", "clip-max"):
        low = step["minimum"].number(-NO_LIMIT) if kind != "clip-max" else low
        high = step["maximum"].number(NO_LIMIT) if kind != "clip-min" else high
    elif kind == "offset":
        mean = step["value"].number()
    elif kind == "scale":
        std = step["value"].number()
    elif kind == "processing" and (numbers := CLIPPED.fullmatch(step["expression"].text(""))):
        low, high, mean, std = map(float, numbers.groups())
    elif kind:
        raise step.error(f"the scaling {kind!r} is none that is known: say it with --card")
    others = range(len(scaling.mean))
    scaling.clip(
        *([v if k == c else w for k in others] for v, w in ((low, -NO_LIMIT), (high, NO_LIMIT)))
    )
    scaling.standardise(
        *([v if k == c else w for k in others] for v, w in ((mean, 0.0), (std, 1.0)))
    )


def _activation(result: Entry, classes: int) -> dict[str, Any]:
    """What a function after the network tells of its scores; nothing where there is none: the first run tells."""
    functions = result["post_processing_function"]
    each = list(functions) if isinstance(functions.value, list) else [functions]
    output: dict[str, Any] = {}
    for function in filter(None, each):
        match = _ACTIVATIONS.search(function["expression"].text())
        if match is None:
            raise function.error(
                f"scores go through {function['expression'].shown}, which is none of softmax, sigmoid and argmax; code is never run: remove it if a map needs it not"
            )
        if match[1].lower() == "argmax":
            continue
        output["gives"] = "logits"
        if match[1].lower() == "sigmoid" and classes > 2:
            output["classes"] = "independent"
    return output


def _not_carried(item: Entry, about: Entry, bands: list[Entry]) -> list[str]:
    unread = set(about.mapping()) - _READ
    if item["geometry"]:
        unread.add("geometry")
    unread |= {k for k in ("start_datetime", "end_datetime") if k in about.mapping()}
    sentences = no_place("where, when and by whom a model was made", unread)
    nodata = [b["name"].text() for b in bands if b["nodata"]]
    if nodata:
        sentences.append(f"nodata of {', '.join(nodata)}: files say their own, or --nodata does")
    waves = [b["name"].text() for b in bands if b["center_wavelength"] or b["full_width_half_max"]]
    return sentences + no_place("wavelengths of bands", waves)
