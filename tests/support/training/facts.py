"""Facts of datasets that need no files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seg_batch.config.recipe import Recipe
from seg_batch.training.autoconfig import (
    CaseFacts,
    DatasetFacts,
    Reason,
    StripStats,
    propose_recipe,
)

GIB = 1 << 30


def case(name: str = "a", **changes: Any) -> CaseFacts:
    plain = CaseFacts(name, (36, 50, 36), (1.0, 1.0, 1.0), {0: 950, 1: 30, 2: 20}, 0, 900, 200)
    return replace(plain, **changes)


def volume(n: int = 20, **changes: Any) -> DatasetFacts:
    one = {k: changes.pop(k) for k in list(changes) if k in CaseFacts.__dataclass_fields__}
    cases = tuple(case(f"case_{k:02}", **one) for k in range(n))
    return replace(DatasetFacts("volume", ("T1",), "int16", True, cases, 16 * GIB, 2), **changes)


def scene(extent: tuple[int, int] = (1000, 600), **voxels: int) -> DatasetFacts:
    counts = {int(k[1:]): n for k, n in voxels.items()} or {1: 500, 2: 400, 5: 100}
    edges = tuple(extent[0] * k // 20 for k in range(21))
    strips = StripStats(0, edges, (counts,) * 20, extent)
    one = CaseFacts("scene", extent, (30.0, 30.0), {k: 20 * n for k, n in counts.items()}, 0, 9, 3)
    return DatasetFacts("raster", ("a", "b"), "uint16", True, (one,), 16 * GIB, 2, strips=strips)


def recipe_of(facts: DatasetFacts) -> Recipe:
    return Recipe.model_validate(propose_recipe(facts)[0])


def reasons(facts: DatasetFacts) -> dict[str, Reason]:
    return {r.key: r for r in propose_recipe(facts)[1] if not r.warning}


def warnings(facts: DatasetFacts) -> list[str]:
    return [str(r) for r in propose_recipe(facts)[1] if r.warning]
