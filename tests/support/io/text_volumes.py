"""NRRD and MetaImage files whose voxels carry their address, and SimpleITK's reading of any file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.io.sources.protocol import Source

# Of no symmetry; its columns are orthogonal, as ITK wants them.
TURN = np.array([[0.8, -0.6, 0.0], [0.36, 0.48, -0.8], [0.48, 0.64, 0.6]])
SPACING, ORIGIN = (1.5, 2.5, 0.7), (-3.0, 4.1, 5.0)


def address(z: int, y: int, x: int, dtype: str = "int16") -> np.ndarray:
    grids = np.ogrid[:z, :y, :x]
    return (grids[0] * 31 + grids[1] * 7 + grids[2]).astype(dtype)


def nrrd(
    path: Path,
    values: np.ndarray,
    *,
    data: bytes | None = None,
    keys: str = "",
    drop: tuple[str, ...] = (),
    **fields: str,
) -> Path:
    """A NRRD of ``(z, y, x)`` values, raw and LPS unless ``fields`` say otherwise (``_`` for blanks)."""
    x = {
        "type": values.dtype.name,
        "dimension": str(values.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, values.shape[::-1])),
        "space directions": "(1.5,0,0) (0,2.5,0) (0,0,0.7)",
        "kinds": " ".join(["domain"] * values.ndim),
        "endian": "little",
        "encoding": "raw",
        "space origin": "(-3,4.1,5)",
        **{name.replace("_", " "): text for name, text in fields.items()},
    }
    first = [name for name in x if name == "space dimension"]  # teem wants it before vectors
    names = [name for name in (*first, *(n for n in x if n not in first)) if name not in drop]
    lines = "".join(f"{name}: {x[name]}\n" for name in names)
    voxels = values.tobytes() if data is None else data
    path.write_bytes(f"NRRD0005\n# made\n{lines}{keys}\n".encode() + voxels)
    return path


def meta(
    path: Path,
    values: np.ndarray,
    *,
    data: bytes | None = None,
    drop: tuple[str, ...] = (),
    **fields: str,
) -> Path:
    """A MetaImage of ``(z, y, x)`` int16 values, its voxels behind the header."""
    x = {
        "ObjectType": "Image",
        "NDims": str(values.ndim),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": " ".join(map(str, TURN.ravel())),
        "Offset": "-3 4.1 5",
        "ElementSpacing": "1.5 2.5 0.7",
        "DimSize": " ".join(map(str, values.shape[::-1])),
        "ElementType": "MET_SHORT",
        **fields,
    }
    x = {**x, "ElementDataFile": x.pop("ElementDataFile", "LOCAL")}
    lines = "".join(f"{name} = {text}\n" for name, text in x.items() if name not in drop)
    path.write_bytes(lines.encode() + (values.tobytes() if data is None else data))
    return path


def itk_image(values: np.ndarray, turn: np.ndarray = TURN, **options: Any) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(values, **options)
    if image.GetDimension() == 3:
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        image.SetDirection(turn.ravel().tolist())
    return image


def by_itk(path: Path, volume: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """``(z, y, x, c)`` values and the RAS+ affine, as SimpleITK reads a file."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    rank, values = image.GetDimension(), SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        values = values[..., None]
    values = values[None] if rank == 2 else values[volume] if rank == 4 else values
    n, affine = min(rank, 3), np.eye(4)
    turn = np.array(image.GetDirection()).reshape(rank, rank)[:n, :n]
    affine[:n, :n], affine[:n, 3] = turn * image.GetSpacing()[:n], image.GetOrigin()[:n]
    return values, np.diag([-1, -1, 1, 1]) @ affine


def require_as_itk(source: Source, path: Path, volume: int | None = None) -> None:
    from seg_batch.core.geometry import Box

    values, affine = by_itk(path, volume)
    ours = source.read(Box.whole(source.info.extent)).values
    assert ours.dtype == values.dtype
    np.testing.assert_array_equal(ours, values)
    np.testing.assert_allclose(source.info.georef.matrix, affine, rtol=0, atol=1e-5)
