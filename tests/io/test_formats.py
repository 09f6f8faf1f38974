"""A format is one file: what is registered of it is all that predict, listings, watches and products go by."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.batch.inputs.listing import list_inputs
from seg_batch.batch.watch.arrivals import list_arrivals
from seg_batch.config.workflow.parts import Formats
from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.registry.formats import FORMATS, PRODUCTS, Format, ProductFormat, image_endings
from seg_batch.core.resources import PACKAGE
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.io.sinks.product import check_output
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sources import open_source, stage
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.identity import file_identity
from seg_batch.io.sources.protocol import SourceInfo
from tests.support.batch.listings import made, names

MAGIC = b"TOY\0"

# Modules that spell an ending though they are of no format, and what they mean by it.
ELSEWHERE = {
    "core/registry/formats.py": "modules in the list of formats",
    "core/run_files.py": "what the work store of a run is called",
    "training/train.py": "what the patches of a training are called",
    "io/sources/foreign.py": "remedies: what a file that is not read is to be converted to",
    "io/sources/formats/nifti_staging.py": "what a staged copy is called",
    "io/sinks/cog/write.py": "what is made on the way",
    "io/sinks/nifti.py": "what is made on the way",
    "cli/demo.py": "which programs show the results",
}


class ToySource:
    """An array behind four bytes, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._values = np.load(BytesIO(path.read_bytes()[len(MAGIC) :]))
        self.info = SourceInfo(
            path=str(path),
            format="toy",
            kind="raster",
            extent=self._values.shape,
            channels=("band1",),
            dtype=self._values.dtype.name,
            georef=RasterGeoref(),
            chunk=self._values.shape,
            nodata=(None,),
            identity=file_identity(path),
        )

    def read(self, box: Box) -> Pixels:
        values = self._values[box.slices()][..., None]
        return Pixels(values, np.ones(values.shape, bool))

    def close(self) -> None: ...


def _open(path: Path, *, volume: int | None = None, staged: Path | None = None) -> ToySource:
    assert volume is None
    return ToySource(staged or path)


def _stage(path: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / path.name).write_bytes(path.read_bytes())
    return folder / path.name


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    values = np.empty(spec.extent, spec.dtype)
    for box in spec.boxes():
        values[box.slices()] = read(box)
    write_toy(part, values)


def write_toy(path: Path, values: np.ndarray) -> Path:
    with path.open("wb") as file:
        file.write(MAGIC)
        np.save(file, values)
    return path


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    form = Format(
        name="toy",
        title="Toy",
        kind="raster",
        endings=(".toy",),
        matches=lambda head: head.startswith(MAGIC),
        open=_open,
        stage=_stage,
    )
    product = ProductFormat(name="toys", kinds=("raster",), endings=(".toy",), write=_write)
    monkeypatch.setitem(FORMATS, "toy", form)
    monkeypatch.setitem(PRODUCTS, "toys", product)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    values = np.arange(90 * 70, dtype=np.uint16).reshape(90, 70)
    return write_toy(tmp_path / "a.toy", values)


def test_a_registered_format_is_detected_opened_and_staged(image: Path, tmp_path: Path) -> None:
    assert detect(image) == "toy"
    assert image.name.endswith(image_endings())
    assert open_source(image).info.extent == (90, 70)
    assert stage(image, tmp_path / "staged") == tmp_path / "staged" / "a.toy"
    (tmp_path / "words.toy").write_text("words")
    with pytest.raises(
        InputError,
        match=r"NIfTI \(.nii, .nii.gz, .hdr\), NRRD, MetaImage, Zarr, .* DICOM or Toy file",
    ):
        detect(tmp_path / "words.toy")


def test_a_workflow_lists_it_and_a_watch_accepts_it(image: Path, tmp_path: Path) -> None:
    outputs = {"folder": "out", "formats": {"raster": "toy"}}
    for pattern in ("*", "*.toy"):
        found = list_inputs(made(tmp_path, {"paths": [pattern]}, outputs=outputs))
        assert names(found, tmp_path) == {"a.toy": "a_labels.toy"}
    assert set(list_arrivals(tmp_path).images) == {"a.toy"}


def test_it_is_predicted_and_written(image: Path, tmp_path: Path) -> None:
    report = predict_one(Request(str(image), str(tmp_path / "map.toy"), model="probe"))
    assert report["status"] == "complete"
    as_tiff = predict_one(Request(str(image), str(tmp_path / "map.tif"), model="probe"))
    assert as_tiff["product"]["counts"] == report["product"]["counts"]
    whole = Box.whole((90, 70))
    ours, theirs = (
        open_source(tmp_path / f"map.{end}").read(whole).values for end in ("toy", "tif")
    )
    np.testing.assert_array_equal(ours, theirs)
    assert ours.any()


def test_a_registered_product_is_offered() -> None:
    assert Formats(raster="toy").raster == "toy"
    with pytest.raises(ValueError, match="'tif', 'zarr' or 'toy'"):
        Formats(raster="nii")
    with pytest.raises(OutputError, match=r"name it .tif, .tiff, .toy, .zarr; --also takes it$"):
        check_output(Path("a.png"), "raster")


def test_endings_are_spelled_by_their_formats() -> None:
    spelling = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if _spells(p)}
    assert {name for name in spelling if not name.startswith("io/formats/")} == set(ELSEWHERE)


def _spells(path: Path) -> bool:
    """Whether a text in the code holds the ending of an image that labels are written as or that holds
    volumes; pictures for pages are PNG and JPEG everywhere."""
    ending = re.compile(r"\.(nii|tiff?|zarr)\b")
    return any(ending.search(text) for text in _texts(ast.parse(path.read_text())))


def _texts(tree: ast.AST) -> Iterator[str]:
    """Without what stands alone, as descriptions do."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if not isinstance(tree, ast.Expr):
                yield node.value
        else:
            yield from _texts(node)
