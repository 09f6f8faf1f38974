"""What was trained on what: digests of data and configuration, amounts, machine and time."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_batch.config.recipe import PARTS, Recipe
from seg_batch.core import hardware, units
from seg_batch.core.geometry import Blocks
from seg_batch.core.versions import versions
from seg_batch.datasets.patch_set import HeldRegion, PatchSet

if TYPE_CHECKING:
    from seg_batch.nn.training.history import Row

HEX = 12
_SIDE = {2: 2048, 3: 128}
_WORDS = ("description", "licence", "training_data")  # of a card, which change no number


def short_hash(value: Any) -> str:
    """The first 12 hex digits of the sha256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HEX]


def data_hash(patches: PatchSet) -> str:
    """Of the bytes of all images and labels and the cases' names, not of their dates or paths. Of a
    Zarr folder, whose bytes are not read in order, only the metadata and the size count."""
    return short_hash([[case["case"], _bytes(case)] for case in patches.cases])


def _bytes(case: Mapping[str, Any]) -> dict[str, Any]:
    folders = {
        name: [identity["sha256_metadata"], identity["size"]]
        for name, identity in case["identities"].items()
        if "sha256_metadata" in identity
    }
    return {**case["sha256"], **folders}


def configuration_hash(recipe: Recipe) -> str:
    """Of everything in the recipe that a result may depend on."""
    plain = recipe.model_dump(mode="json")
    for word in _WORDS:
        plain["card"].pop(word)
    return short_hash(plain)


def training_summary(
    patches: PatchSet, recipe: Recipe, history: Sequence[Row], best_step: int
) -> dict[str, Any]:
    """JSON-ready: for the card's ``scores["training"]`` and ``training.json``.

    ``parts``: cases, patches and labelled voxels per class of training (those of its tiles, which
    may overlap), and of what is held out (each voxel once).
    """
    last = history[-1]
    samples = last.step * recipe.fit.batch * recipe.optimiser.accumulate
    return {
        "data": {
            "hash": data_hash(patches),
            "dataset": patches.fingerprint[:HEX],
            "cases": len(patches.cases),
        },
        "configuration": {"hash": configuration_hash(recipe)},
        "parts": {part: _part(patches, recipe, part) for part in PARTS},
        "steps": last.step,
        "best_step": best_step,
        "samples": samples,
        "epochs": round(samples / max(1, len(patches.rows("training"))), 2),
        "minutes": round(last.seconds / 60, 1),
        "waited": round(waiting_share(history), 4),
        "machine": {
            "cores": hardware.cores(),
            "memory": units.show_bytes(hardware.memory_bytes()),
            "gpus": hardware.gpus(),
            "system": platform.system(),
            "architecture": platform.machine(),
        },
        "versions": versions(),
    }


def waiting_share(rows: Sequence[Row]) -> float:
    """Share of the whole time in which the step waited for data: rows weigh by their length."""
    spans = np.diff([row.seconds for row in rows], prepend=0.0)
    return float((spans * [row.wait for row in rows]).sum() / max(float(spans.sum()), 1e-9))


def _part(patches: PatchSet, recipe: Recipe, part: str) -> dict[str, Any]:
    names = [c.name for c in recipe.card.classes]
    rows = patches.rows(part)
    if part == PARTS[0]:
        cases = [patches.cases[k]["case"] for k in np.unique(patches.case[rows])]
        voxels = patches.histogram[rows].sum(0)
    else:
        regions = patches.held(part)
        cases = list(dict.fromkeys(region.case for region in regions))
        voxels = sum((_voxels(region, len(names)) for region in regions), np.zeros(len(names), int))
    counts = dict(zip(names, map(int, voxels), strict=True))
    return {"cases": cases, "patches": len(rows), "voxels": counts}


def _voxels(region: HeldRegion, classes: int) -> np.ndarray:
    """int64 ``(classes,)``: each labelled voxel of the region's box once, block by block."""
    total = np.zeros(classes, np.int64)
    side = (_SIDE[len(region.box.shape)],) * len(region.box.shape)
    for block in Blocks(region.box.shape, side):
        labels, valid = region.truth(block.box.shift(region.box.start))
        total += np.bincount(labels[valid], minlength=classes)
    return total
