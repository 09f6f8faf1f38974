"""What resampling holds: a prediction with a network that costs nothing, in a process of its own.

    resample_memory.py FOLDER classes    104 classes on 512 x 512 x 397 voxels of .75 x .75 x 1 mm, at 1.5 mm and back
    resample_memory.py FOLDER large      2048^3 voxels of 1 mm on disk, at 1.5 mm and back

Prints JSON: promised and measured bytes (of the process, as the system saw it), seconds, sha256 of the product."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.inference.api.predict import predict

GIB = 1 << 30
# extent i, j, k, voxel in mm, classes, memory allowed, patch
CASES: dict[str, tuple[tuple[int, ...], tuple[float, ...], int, int, int]] = {
    "classes": ((512, 512, 397), (0.75, 0.75, 1.0), 104, 3 * GIB, 64),
    "large": ((2048, 2048, 2048), (1.0, 1.0, 1.0), 2, 16 * GIB, 128),
}


def written(path: Path, extent: tuple[int, ...], size: tuple[float, ...]) -> Path:
    """An uncompressed volume of uint8, slice by slice, each with a pattern of its own."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(extent)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.diag([*size, 1.0]), 1)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = size
    header["vox_offset"] = 352
    plane = np.add.outer(np.arange(extent[1]) // 9, np.arange(extent[0]) // 7).astype(np.uint8)
    with path.open("wb") as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        for k in range(extent[2]):
            file.write((plane + np.uint8(k // 5 % 251)).tobytes())
    return path


def trivial(classes: int) -> Any:
    """Class = value mod classes."""

    def predictor(patches: np.ndarray) -> np.ndarray:
        out = np.zeros((*patches.shape[:-1], classes), np.float32)
        winners = (patches[..., 0].astype(np.int64) % classes)[..., None]
        np.put_along_axis(out, winners, np.float32(1), -1)
        return out

    return predictor


def main(folder: Path, name: str) -> None:
    extent, size, classes, memory_bytes, patch = CASES[name]
    card = ModelCard(
        name="trivial",
        kind="volume",
        rank=3,
        classes=tuple(ClassInfo(id=i, name=f"class {i}") for i in range(classes)),
        normalisation=Normalisation(kind="card", mean=(0.0,), std=(1.0,)),
        channels=("value",),
        patch=(patch,) * 3,
        overlap=(patch // 4,) * 3,
        spacing_mm=(1.5, 1.5, 1.5),
    )
    image = written(folder / f"{name}.nii", extent, size)
    report = predict(
        image,
        folder / f"{name}_labels.nii",
        model=(card, trivial(classes)),
        memory_bytes=memory_bytes,
        workers=1,
        force=True,
    )
    image.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    grid = report["plan"]["model_grid"]
    print(
        json.dumps(
            {
                "from": grid["source"],
                "to": grid["target"],
                "block": report["plan"]["block"],
                "promised_bytes": report["promised_bytes"],
                "peak_bytes": peak,
                "allowed_bytes": memory_bytes,
                "seconds": report["seconds"],
                "stages_s": report["stages_s"],
                "sha256": report["product"]["sha256"],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
