"""Tiny networks whose float32 results are exact, so that every CPU and engine gives the same bits.

    python -m tests.support.exact_models FOLDER

All weights are multiples of 2 ** -12, all inputs are whole numbers or quarters, and the only functions
are clipping, products and nearest-neighbour enlarging. Every partial sum is less than 2 ** 24 of the
smallest unit that occurs in it, so no order of summation rounds. With ``x`` the patch::

    h = relu(conv3(x) + b)        u, v = clip(conv1(h) + b, 0, 1)
    p = (u v, u (1 - v), 1 - u)   three classes, which sum to exactly 1

Padding with zeros makes tiles differ near their borders, so blending shows in the products. ``u`` and
``v`` are odd multiples of 1 / odd, or 0 or 1, so no two classes are equally probable, and no
``255 p`` lies half-way between two whole numbers: what rounds in blending decides nothing.

The bundles made by this script lie in ``tests/support/kept/bundles``. A ``.keras`` file holds the
time of its making, so a bundle made again has other weights by its sha256: make none anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = (
    {"id": 0, "name": "ground", "colour": [40, 90, 20]},
    {"id": 2, "name": "water", "colour": [20, 60, 220]},
    {"id": 7, "name": "roof", "colour": [220, 60, 40]},
)
IDENTITY = {"kind": "identity"}
SCENE = {
    "kind": "raster",
    "rank": 2,
    "channels": ["red", "nir"],
    "patch": [32, 32],
    "overlap": [16, 16],
    "normalisation": {"kind": "card", "mean": [16.0, 8.0], "std": [2.0, 4.0]},
    "pixel_m": 30.0,
}
CARDS: dict[str, dict[str, Any]] = {
    "exact-scene": {
        **SCENE,
        "margin": [1, 1],
        "border": {"reach": [4, 4], "overlap": [12, 12], "margin": [2, 2]},
    },
    "exact-scene-2": SCENE,
    "exact-slice": {
        "kind": "any",
        "rank": 2,
        "channels": ["grey"],
        "patch": [16, 24],
        "overlap": [8, 12],
        "normalisation": IDENTITY,
        "post": [{"step": "majority", "side": 3}],
    },
    "exact-body": {
        "kind": "volume",
        "rank": 3,
        "channels": ["grey"],
        "patch": [16, 16, 16],
        "overlap": [8, 8, 8],
        "normalisation": IDENTITY,
        "orientation": "LPS",
        "skip": {"below": 3.0, "label": 2},
        "spacing_mm": [2.0, 1.0, 1.0],
    },
    "exact-finer": {
        "kind": "raster",
        "rank": 2,
        "channels": ["grey"],
        "patch": [32, 32],
        "overlap": [8, 8],
        "normalisation": IDENTITY,
        "finer": 2,
    },
}
# (unit, odd, seed): narrow layers have kernels in 1 / unit, and biases of 1/2 and 1 / odd. Of the seeds
# that were tried, those whose three classes are all common.
CHOSEN = {
    "exact-scene": (64, 2**11, 17),
    "exact-scene-2": (64, 2**12, 6),
    "exact-slice": (128, 2**11, 8),
    "exact-body": (128, 2**11, 5),
    "exact-finer": (512, 2**11, 8),
}


def network(rank: int, channels: int, finer: int, chosen: tuple[int, int, int]) -> Any:
    """The formula above as a Keras model of open sides."""
    import keras

    layers = keras.layers
    conv = getattr(layers, f"Conv{rank}D")
    image = layers.Input((None,) * rank + (channels,))
    spread = 4 if rank == 2 and finer == 1 else 1  # TensorFlow spreads no 3-D kernels on CPUs
    x = conv(4, 3, dilation_rate=spread, padding="same", activation="relu")(image)
    if finer > 1:
        x = layers.UpSampling2D(finer)(x)
        x = conv(4, 3, padding="same", activation="relu")(x)
    u = layers.ReLU(max_value=1.0)(conv(1, 1)(x))
    v = layers.ReLU(max_value=1.0)(conv(1, 1)(x))
    not_u, not_v = conv(1, 1, name="not_u")(u), conv(1, 1, name="not_v")(v)
    multiply = layers.Multiply
    p = layers.Concatenate()([multiply()([u, v]), multiply()([u, not_v]), not_u])
    model = keras.Model(image, p)
    _fill(model, *chosen)
    return model


def _fill(model: Any, unit: int, odd: int, seed: int) -> None:
    """Whole numbers into wide layers, ``1 / unit`` into narrow ones, -1 and 1 into ``1 - x``."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel, bias = (weight.shape for weight in layer.weights)
        if layer.name.startswith("not_"):
            layer.set_weights([np.full(kernel, -1.0), np.ones(bias)])
        elif kernel[-1] == 1:
            layer.set_weights([rng.integers(-2, 3, kernel) / unit, np.full(bias, 0.5 + 1 / odd)])
        else:
            layer.set_weights([rng.integers(-1, 2, kernel), rng.integers(-4, 5, bias)])


def write_bundle(folder: Path, name: str) -> None:
    """``model.keras`` and ``card.json``, as ``segbatch models NAME`` reads them."""
    fields = CARDS[name]
    folder.mkdir(parents=True)
    model = network(fields["rank"], len(fields["channels"]), fields.get("finer", 1), CHOSEN[name])
    model.save(folder / "model.keras")
    _squeeze(folder / "model.keras")
    weights = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    card = {"schema_version": 3, "name": name, "classes": CLASSES, "weights_sha256": weights}
    cost = {"compute": {"activation_bytes": 1 << 20, "flops": 1e6}, "licence": "Apache-2.0"}
    text = json.dumps({**card, **fields, **cost}, indent=1)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")


def _squeeze(path: Path) -> None:
    """The same archive, compressed: Keras stores its members as they are."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def main(folder: str) -> None:
    for name in CARDS:
        write_bundle(Path(folder) / name, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
