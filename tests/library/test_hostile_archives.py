"""Archives that strangers made: nothing of them is installed, nothing is written outside, nothing is unpacked forever."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from seg_batch.io import archive
from seg_batch.library import check, contents
from tests.library.conftest import Adds, Refuses
from tests.support.library import LAYER, files_of, keras_file, tarred, zipped

OUTSIDE = ("../x.json", "a/../../x.json", "/tmp/x.json", "C:/x.json", "a\\..\\x.json", "..")
CODE = (
    "train.py",
    "m.pkl",
    "weights.pt",
    "op.so",
    "a/b/run.sh",
    "model.h5",
    "Model.PY",
    "examples/x.pyc",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_that_lead_outside(name: str, tmp_path: Path, refuses: Refuses) -> None:
    files = {**files_of(), name: b"{}"}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tgz", files)):
        assert "leads outside of the bundle" in refuses(path)
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("name", CODE)
def test_code(name: str, tmp_path: Path, refuses: Refuses) -> None:
    files = {**files_of(), name: b""}
    for path in (
        zipped(tmp_path / "a.zip", files),
        tarred(tmp_path / "a.tar", files, mode="w:"),
    ):
        line = refuses(path)
        assert name in line
        assert "is or may hold code" in line


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "card.json"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
        (b"Z", ""),
    ],
)
def test_links_and_devices_in_a_tar(
    kind: bytes, target: str, tmp_path: Path, refuses: Refuses
) -> None:
    path = tarred(tmp_path / "a.tar", files_of(), mode="w:")
    with tarfile.open(path, "a") as packed:
        info = tarfile.TarInfo("notes.md")
        info.type, info.linkname = kind, target
        packed.addfile(info)
    assert "which may lead anywhere" in refuses(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(kind: int, tmp_path: Path, refuses: Refuses) -> None:
    path = zipped(tmp_path / "a.zip", files_of())
    with zipfile.ZipFile(path, "a") as packed:
        info = zipfile.ZipInfo("notes.md")
        info.external_attr = (kind | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    assert "which may lead anywhere" in refuses(path)


def test_bombs(tmp_path: Path, refuses: Refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = bytes(5 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("notes.md", zeros)
    assert "larger than 4.0 MiB" in refuses(tmp_path / "a.zip", most_bytes=4 << 20)
    tarred(tmp_path / "a.tgz", {"notes.md": zeros})
    assert "larger than 4.0 MiB" in refuses(tmp_path / "a.tgz", most_bytes=4 << 20)
    tarred(tmp_path / "b.tgz", {f"{n}.bin": bytes(1 << 20) for n in range(10)})  # none is wanted
    assert "unpacks to more than" in refuses(tmp_path / "b.tgz", most_bytes=4 << 20)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 50)
    many = {f"{n}.md": b"" for n in range(51)}
    for path in (zipped(tmp_path / "c.zip", many), tarred(tmp_path / "c.tgz", many)):
        assert "more than 50 files" in refuses(path)
    monkeypatch.setattr(contents, "CARD_BYTES", 1 << 20)
    card = zipped(tmp_path / "d.zip", {"card.json": bytes((1 << 20) + 1)})
    assert "larger than 1.0 MiB" in refuses(card)


def test_headers_that_claim_too_much(tmp_path: Path, refuses: Refuses) -> None:
    """Readers take the extended header of a tar, and the directory of a zip, whole into memory."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 16 << 20
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as packed:
        packed.write(info.tobuf() + bytes(16 << 20))
    assert "far too large" in refuses(tmp_path / "a.tgz")
    chain = b"".join(
        tarfile.TarInfo.create_pax_global_header({}) or pax("path", "card.json")
        for _ in range(3000)
    )
    (tmp_path / "b.tar").write_bytes(chain)
    assert "no sound archive" in refuses(tmp_path / "b.tar")
    zipped(tmp_path / "c.zip", {f"{n:0>200}": b"" for n in range(5000)})
    assert "far too large" in refuses(tmp_path / "c.zip")


def pax(key: str, value: str) -> bytes:
    record = f"{len(key) + len(value) + 5} {key}={value}\n".encode()
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    return info.tobuf() + record + bytes(-len(record) % 512)


def test_damaged_archives(tmp_path: Path, refuses: Refuses) -> None:
    whole_zip = zipped(tmp_path / "a.zip", files_of()).read_bytes()
    whole_tar = tarred(tmp_path / "a.tgz", files_of()).read_bytes()
    flipped = bytearray(whole_zip)
    flipped[200] ^= 1  # a file in it fails its checksum
    cases = {
        "empty": b"",
        "words": b"not an archive at all" * 40,
        "cut.zip": whole_zip[:200],
        "flipped.zip": bytes(flipped),
        "cut.tgz": whole_tar[: len(whole_tar) // 2],
        "head.tgz": whole_tar[:30],
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        line = refuses(tmp_path / name)
        assert "is no sound archive" in line or "is no .zip, .tar or .tar.gz" in line


def test_what_is_encrypted_or_there_twice(tmp_path: Path, refuses: Refuses) -> None:
    data = bytearray(zipped(tmp_path / "a.zip", files_of()).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert "encrypted" in refuses(tmp_path / "a.zip")
    path = tarred(tmp_path / "b.tar", files_of(), mode="w:")
    with tarfile.open(path, "a") as packed:
        packed.addfile(tarfile.TarInfo("CARD.JSON".lower()), io.BytesIO())
    assert "twice" in refuses(path)


def test_networks_that_could_run_code_or_are_not_those_of_the_card(
    tmp_path: Path, refuses: Refuses
) -> None:
    code = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil"}}
    stranger = {
        "module": "evil",
        "class_name": "Own",
        "config": {"name": "o"},
        "registered_name": "evil>Own",
    }
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    for network, said in (
        (keras_file(LAYER, code), "Lambda layers (evil)"),
        (keras_file(LAYER, stranger), "not Keras' own"),
        (keras_file(config=deep), "too deep"),
    ):
        line = refuses(zipped(tmp_path / "a.zip", files_of(network=network)))
        assert said in line
        assert ".segbatch" not in line  # no place that the user does not know
    for facts, said in (
        ({"weights_sha256": "0" * 64}, "does not match the hash"),
        ({"folds_sha256": ["0" * 64]}, "no model_1.keras"),
        ({"format": "onnx"}, "no model.onnx"),
        ({"network": b"words"}, "no Keras model"),
    ):
        assert said in refuses(zipped(tmp_path / "b.zip", files_of(**facts)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../evil", "/etc/x", "a/b", ".hidden", "", "a b"])
def test_a_card_whose_name_is_a_path(name: str, tmp_path: Path, refuses: Refuses) -> None:
    files = files_of()
    files["card.json"] = json.dumps({**json.loads(files["card.json"]), "name": name}).encode()
    assert "card.json: name" in refuses(zipped(tmp_path / "a.zip", files))
    assert "is no name for a bundle" in refuses(
        zipped(tmp_path / "b.zip", files_of()), name=name or "/"
    )


def onnx_network(operator: str = "Relu", domain: str = "", elsewhere: str = "") -> bytes:
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 2, None, None]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy")
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    if elsewhere:
        zero.ClearField("float_data")
        zero.data_location = TensorProto.EXTERNAL
        zero.external_data.add(key="location", value=elsewhere)
    nodes = [helper.make_node(operator, ["x"], ["z"], domain=domain)]
    nodes.append(helper.make_node("Add", ["z", "zero"], ["y"]))
    graph = helper.make_graph(nodes, "g", [x], [y], [zero])
    domains = {"": 17, **({domain: 1} if domain else {})}
    opsets = [helper.make_opsetid(name, version) for name, version in domains.items()]
    model: bytes = onnx.helper.make_model(graph, opset_imports=opsets).SerializeToString()
    return model


@pytest.mark.parametrize("library", [True, False])
def test_onnx_networks(
    library: bool, tmp_path: Path, adds: Adds, refuses: Refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the library ``onnx`` is not installed: numbers in other files are refused there too."""

    def packed(network: bytes, **more: bytes) -> Path:
        files = files_of(network=network, format="onnx")
        files["model.onnx"] = files.pop("model.keras")
        return zipped(tmp_path / "a.zip", {**files, **more})

    good, outside = onnx_network(), onnx_network(elsewhere="../../../../etc/passwd")
    beside, own = onnx_network(elsewhere="history.csv"), onnx_network("Magic", "evil")
    if not library:
        monkeypatch.setattr(check, "find_spec", lambda name: None)
    assert adds(packed(good))["card"]["format"] == "onnx"
    elsewhere, damaged = "has numbers in other files", "is no ONNX model (it is "
    for network, said in (
        (outside, elsewhere),
        (beside, elsewhere),
        (onnx_network(elsewhere="none.bin"), elsewhere),
        (b"words", damaged),
        (good[:-1], damaged),
        (b"", "is no ONNX model (it holds no graph)"),
    ):
        assert said in refuses(packed(network, **{"history.csv": bytes(4)}), name="other")
    if library:
        assert "Magic" in refuses(packed(own), name="other")


def test_a_keras_file_that_unpacks_to_far_more_than_it_is(
    tmp_path: Path, refuses: Refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_MOST_INSIDE", 1 << 20)
    file = io.BytesIO(keras_file(LAYER))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("model.weights.h6", bytes(2 << 20))
    path = zipped(tmp_path / "a.zip", files_of(network=file.getvalue()))
    assert "unpacks to 2.0 MiB, far more than numbers do" in refuses(path)
