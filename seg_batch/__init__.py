"""segbatch: batch segmentation of large rasters and volumes.

The Python face is small, and imports nothing heavy until it is used::

    import seg_batch

    report = seg_batch.predict("scene.tif", "map.tif", model="landsat8-landcover")
    source = seg_batch.open_source("ct.nii.gz")
    seg_batch.train("manifest.yaml", "my-bundle")
    scores = seg_batch.evaluate_bundle("my-bundle", "manifest.yaml", split="test")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from seg_batch.core.callbacks import Callback
    from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files
    from seg_batch.inference.api.predict import predict
    from seg_batch.io.sources import open_source
    from seg_batch.training.train import train

__all__ = [
    "Callback",
    "ModelCard",
    "evaluate_bundle",
    "evaluate_files",
    "open_source",
    "predict",
    "train",
]

_MODULES = {
    "Callback": "seg_batch.core.callbacks",
    "ModelCard": "seg_batch.config.card",
    "evaluate_bundle": "seg_batch.evaluation.evaluate",
    "evaluate_files": "seg_batch.evaluation.evaluate",
    "open_source": "seg_batch.io.sources",
    "predict": "seg_batch.inference.api.predict",
    "train": "seg_batch.training.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from seg_batch.core.versions import package_version

        return package_version()
    if name not in _MODULES:
        raise AttributeError(f"module 'seg_batch' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)
