"""Products of images that are not to be known: the labels are the same, and nothing else of the image is there."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.core.errors import InputError, PlanError, SegbatchError
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.privacy.table import read_table
from seg_batch.inference import predict as coordinator
from seg_batch.inference.deidentified.telling import known_as, told_report
from seg_batch.inference.verify import verify_product
from seg_batch.io.sources import open_source
from tests.support.planted import (
    NAME,
    UIDS,
    leaks,
    planted_in,
    write_planted_dicom,
    write_planted_nifti,
    write_planted_scene,
)

ALSO = (".csv", ".seg.nrrd", ".mha", ".label", ".ctbl", "{stem}_again.nrrd")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of planted images, beside the folder ``out``."""
    folder = tmp_path / "in" / f"{NAME}, Mary"
    write_planted_nifti(folder / f"{NAME}_t1.nii.gz")
    write_planted_dicom(folder / f"{NAME} CT")
    write_planted_scene(folder / f"{NAME}.tif")
    (tmp_path / "out").mkdir()
    return folder


def labels(product: Path) -> np.ndarray:
    if product.suffix == ".tif":
        with rasterio.open(product) as file:
            return file.read(1)
    return np.asarray(nibabel.load(product).dataobj)


@pytest.mark.parametrize("name", [f"{NAME}_t1.nii.gz", f"{NAME} CT", f"{NAME}.tif"])
def test_the_labels_are_the_same_and_nothing_tells_of_the_input(
    source: Path, tmp_path: Path, name: str
) -> None:
    table, out = tmp_path / "codes.json", tmp_path / "out"
    options: dict[str, Any] = {"model": "probe", "probabilities": True}
    if not name.endswith(".tif"):
        options["also"] = ALSO
    plain = seg_batch.predict(source / name, f"{tmp_path / 'in' / 'plain'}/", **options)
    report = seg_batch.predict(source / name, f"{out}/", deidentify=str(table), **options)
    code = report["input"]
    product = Path(report["output"])
    assert product.name.startswith(f"{code}_labels.")
    assert read_table(table).source(code).files == (str(source / name),)  # type: ignore[union-attr]
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    assert (labels(product) == labels(Path(plain["output"]))).all()
    assert report["product"]["counts"] == plain["product"]["counts"]
    assert leaks(out, (), json.dumps(report), repr(report)) == []
    assert sorted(p.name.removeprefix(code) for p in out.iterdir()) == sorted(
        p.name.removeprefix(NAME).removeprefix("_t1").removeprefix(" CT")
        for p in (tmp_path / "in" / "plain").iterdir()
    )
    verified = verify_product(product, str(table))
    assert verified["ok"], verified["lines"]
    again = seg_batch.predict(source / name, f"{out}/", deidentify=str(table), **options)
    assert again["seconds"] == 0.0  # nothing is done twice


def test_verify_finds_the_input_by_the_table_alone(source: Path, tmp_path: Path) -> None:
    path, table = source / f"{NAME}_t1.nii.gz", tmp_path / "codes.json"
    report = seg_batch.predict(path, f"{tmp_path}/out/", model="probe", deidentify=str(table))
    product = Path(report["output"])
    assert checked(product)["input"][1].endswith("not checked without --deidentify TABLE")
    assert checked(product, table)["input"] == (True, f"{report['input']} unchanged")
    write_planted_nifti(path, (12, 11, 9))
    assert checked(product, table)["input"] == (False, f"{report['input']} has changed since")
    assert leaks(tmp_path / "out", (), repr(checked(product, table)), repr(checked(product))) == []
    path.unlink()
    assert "gone" in checked(product, table)["input"][1]
    other = tmp_path / "other.json"
    seg_batch.predict(
        source / f"{NAME}.tif", f"{tmp_path}/b/", model="probe", deidentify=str(other)
    )
    with pytest.raises(InputError, match=f"has no {report['input']}"):
        verify_product(product, str(other))


def checked(product: Path, table: Path | None = None) -> dict[str, tuple[bool, str]]:
    found = verify_product(product, table and str(table))
    return {check["name"]: (check["ok"], check["found"]) for check in found["checks"]}


def test_a_product_of_another_table_or_without_one_is_not_taken_for_this(
    source: Path, tmp_path: Path
) -> None:
    path, product = source / f"{NAME}_t1.nii.gz", tmp_path / "out" / "map.nii.gz"
    one, other = str(tmp_path / "1.json"), str(tmp_path / "2.json")
    seg_batch.predict(path, product, model="probe", deidentify=one)
    for deidentify in (other, None):
        with pytest.raises(SegbatchError, match="another plan") as caught:
            seg_batch.predict(path, product, model="probe", deidentify=deidentify)
        assert leaks(tmp_path / "out", (), str(caught.value)) == [] or deidentify is None


def test_where_names_would_be_told_by_the_output_it_is_refused(
    source: Path, tmp_path: Path
) -> None:
    path = source / f"{NAME}_t1.nii.gz"
    table = str(tmp_path / "codes.json")
    outputs = (None, f"{NAME}_t1_labels.nii.gz", f"{NAME.lower()}.nii.gz", "mary_x.nii.gz")
    for output in (name and tmp_path / "out" / name for name in outputs):
        with pytest.raises(PlanError) as caught:
            seg_batch.predict(path, output, model="probe", deidentify=table)
        assert leaks(tmp_path / "out", (), str(caught.value)) == []
    for also in (f"{tmp_path}/{NAME}.csv", f"{source}/x.csv", f"{{stem}}_{NAME}.csv"):
        with pytest.raises(PlanError, match="named after its input"):
            seg_batch.predict(path, f"{tmp_path}/out/", model="probe", deidentify=table, also=also)
    short = write_planted_nifti(tmp_path / "in" / "s5.nii.gz")
    with pytest.raises(PlanError, match="named after its input"):
        seg_batch.predict(short, tmp_path / "out" / "s5.nii.gz", model="probe", deidentify=table)
    assert not list(tmp_path.glob("*codes*")), "a refused command leaves neither table nor lock"
    inside = str(tmp_path / "out" / "codes.json")
    with pytest.raises(PlanError, match="folder of the products"):
        seg_batch.predict(path, f"{tmp_path}/out/", model="probe", deidentify=inside)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", [b"Zebulon, no image", b"\x1f\x8b\x08Zebulon", b""])
def test_a_refusal_tells_the_code_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in" / f"{NAME}.nii.gz"
    path.parent.mkdir()
    path.write_bytes(content)
    table = str(tmp_path / "codes.json")
    with pytest.raises(InputError) as caught:
        seg_batch.predict(path, f"{tmp_path}/out/", model="probe", deidentify=table)
    (code,) = (code for code, entry in read_table(table).codes.items() if "files" in entry)
    assert caught.value.message.startswith(code)
    assert leaks(tmp_path, (path.parent, Path(table)), str(caught.value)) == []


def test_a_series_that_lacks_a_slice_is_refused_without_its_name(tmp_path: Path) -> None:
    folder = write_planted_dicom(tmp_path / "in" / NAME, only=[0, 1, 3, 5])
    table = str(tmp_path / "codes.json")
    with pytest.raises(InputError) as caught:
        seg_batch.predict(folder, f"{tmp_path}/out/", model="probe", deidentify=table)
    assert leaks(tmp_path, (folder, Path(table)), str(caught.value)) == []
    assert len(caught.value.message.replace("[...]", "").split()) > 6  # it still says why


def test_a_fault_that_quotes_the_input_is_hushed_and_leaves_no_copy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = source / f"{NAME}_t1.nii.gz", tmp_path / "out"

    def broken(*_: object, **__: object) -> None:
        assert list(out.glob("*.staged/*"))
        assert leaks(out, tuple(out.glob("*.staged/*"))) == []
        assert not [copy for copy in out.glob("*.staged/*") if NAME.lower() in copy.name.lower()]
        raise RuntimeError(f"{path} of Dr. Quagmire")

    monkeypatch.setattr(coordinator, "post_process", broken)
    with pytest.raises(RuntimeError) as caught:
        seg_batch.predict(path, f"{out}/", model="probe", deidentify=str(tmp_path / "codes.json"))
    assert leaks(out, (), str(caught.value)) == []
    assert not list(out.glob("*.staged"))
    monkeypatch.undo()  # the work store is there: it goes on
    report = seg_batch.predict(
        path, f"{out}/", model="probe", deidentify=str(tmp_path / "codes.json")
    )
    assert report["blocks"]["resumed"] == 1
    assert leaks(out) == []


@pytest.mark.full
def test_a_segmentation_for_the_pacs_holds_the_patient_and_that_is_said(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"model": "probe", "deidentify": str(tmp_path / "codes.json")}
    report = seg_batch.predict(source / f"{NAME} CT", f"{out}/", also=".seg.dcm", **options)
    made = out / f"{report['input']}_labels.seg.dcm"
    assert planted_in(made.read_bytes())
    (said,) = [line for line in report["source"]["warnings"] if str(made) in line]
    assert said.endswith("it is not de-identified")
    assert leaks(out, (made,), json.dumps(report)) == []


def test_whatever_a_report_holds_passes_the_gate(source: Path) -> None:
    """Also what a later version adds to it."""
    path = source / f"{NAME}_t1.nii.gz"
    hidden = Pseudonym((str(path),), (), "0123456789abcdef")
    with closing(open_source(path)) as opened:
        info = replace(opened.info, series=UIDS[0])
    known = known_as(info, hidden, {"keyed": "1"})
    assert (known.path, known.series, known.stack) == (hidden.code, "", ())
    plain: Any = {
        "source": {"identity": {"keyed": "1"}, "warnings": [f"{NAME} moved"]},
        "added_later": [{"note": f"of {NAME}"}],
        "output": f"/out/{hidden.code}.nii",
    }
    told = told_report(plain, hidden)
    assert NAME not in repr(told)
    assert told["source"]["identity"] == {"keyed": "1"}
    assert told["output"] == plain["output"]
