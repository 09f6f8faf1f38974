"""What a run asks of the workers it is given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from seg_batch.bundles import Model
from seg_batch.executors import Needs
from seg_batch.plan import Plan

# Engine -> the libraries whose versions can change a result.
_LIBRARIES = {"openvino": ("openvino",), "tensorflow": ("tensorflow", "keras"), "keras": ("keras",)}


def needs_of(
    model: Model, plan: Plan, *, inputs: Iterable[str | Path], outputs: Iterable[str | Path]
) -> Needs:
    """Those of a prediction: ``inputs`` are read as they stand, ``outputs`` are folders written to."""
    bundles = [member for member in model.all if member.path is not None]
    libraries = _LIBRARIES.get(plan.engine, ())
    if plan.engine == "keras":
        libraries += (os.environ.get("KERAS_BACKEND", "tensorflow"),)
    return Needs(
        libraries=libraries if bundles else (),
        weights=tuple((str(m.weights), m.card.weights_sha256) for m in bundles),
        memory_bytes=plan.promised_bytes,
        on_gpu=bool(bundles) and plan.engine != "openvino",
        mixed=bool(bundles) and plan.precision == "mixed",
        inputs=tuple(map(str, inputs)),
        outputs=tuple(map(str, outputs)),
    )
