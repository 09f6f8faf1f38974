"""``segbatch models --archs``: the networks that ``train --arch`` can build, each with its costs.

Each network is built at the widths of its source and measured, which takes Keras and some seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seg_batch.core.units import with_commas

CHANNELS, CLASSES = 4, 8  # of the image and of the map, for which costs are given
COLUMNS = ("network", "for", "parameters", "field", "GFLOP/MVx", "sides", "what it is")
KINDS = {2: "images", 3: "volumes"}


def arch_facts() -> list[dict[str, Any]]:
    """One row per network, JSON-ready.

    ``filters`` and ``options``: the defaults that the numbers hold for; ``rank``: 2, or 3 where a network is
    for volumes only; ``receptive_field``: voxels per axis, null for the whole patch;
    ``gflop_per_megavoxel``: of the forward pass, multiply-adds x 2; ``multiple``: sides of a patch are
    multiples of it; ``whole_patch``: the findings of ``nn.analysis.global_layers``.
    """
    from seg_batch.nn.networks.registry import ARCHITECTURES

    return [_facts(name) for name in ARCHITECTURES]


def _facts(name: str) -> dict[str, Any]:
    from seg_batch.nn.analysis.flops import forward_flops
    from seg_batch.nn.analysis.global_layers import findings
    from seg_batch.nn.analysis.receptive_field import receptive_field
    from seg_batch.nn.networks.anunet import deepest
    from seg_batch.nn.networks.registry import ARCHITECTURES, configuration

    network = ARCHITECTURES[name]
    filters = network.config.filters
    config = configuration(name, filters, channels=CHANNELS, classes=CLASSES)
    model = deepest(network.builder(config))
    patch = (4 * config.multiple,) * config.rank
    voxels = patch[0] ** config.rank
    return {
        "name": name,
        "says": network.says,
        "ranks": list(network.config.ranks),
        "rank": config.rank,
        "filters": list(filters),
        "options": config.options,
        "parameters": int(model.count_params()),
        "receptive_field": list(receptive_field(model)),
        "gflop_per_megavoxel": round(forward_flops(model, patch) / voxels * 1e-3, 1),
        "multiple": config.multiple,
        "whole_patch": [finding.line for finding in findings(model)],
    }


def arch_lines(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The facts as a table, and under it the meaning of its numbers."""
    rows = [COLUMNS, *map(_row, facts)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [
        *table,
        "",
        f"For {CHANNELS} channels, {CLASSES} classes and the widths of the source (2-D where there is a "
        "choice): parameters in all;",
        "field: voxels per axis that one result can depend on; GFLOP per million voxels of one forward "
        "pass;",
        "sides: what the sides of a patch must be a multiple of. Others by network.filters and options:",
        *(f"  {row['name']}: {_settings(row['options'])}" for row in facts if row["options"]),
    ]


def _row(network: Mapping[str, Any]) -> tuple[str, ...]:
    sides = network["receptive_field"]
    fields = dict.fromkeys("whole patch" if n is None else str(n) for n in sides)
    return (
        network["name"],
        ", ".join(KINDS[rank] for rank in network["ranks"]),
        with_commas(network["parameters"]),
        " x ".join(fields),
        with_commas(round(network["gflop_per_megavoxel"])),
        str(network["multiple"]),
        network["says"],
    )


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in options.items())
