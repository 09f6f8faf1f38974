"""What torch would run of a file is read before, without torch: operators and sizes pass, all else is named and refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion.safe_archive import kind_of, require_safe

CONVOLUTION = "torch.ops.aten.conv2d.default"
TWICE = "Mul(Integer(2), Symbol('s39', positive=True, integer=True))"


def archive(path: Path, **members: Any) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            text = content if isinstance(content, str) else json.dumps(content)
            file.writestr(f"m/{name.replace('__', '/').replace('_DOT_', '.')}", text)
    return path


def exported(path: Path, **more: Any) -> Path:
    return archive(path, models__model_DOT_json={"graph": [{"target": CONVOLUTION}, more]})


def test_kinds_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    text = tmp_path / "x.pkl"
    text.write_bytes(b"\x80\x04.")
    assert kind_of(exported(tmp_path / "a.pt")) == "exported"
    assert kind_of(archive(tmp_path / "b.pt", code__net_DOT_py="")) == "torchscript"
    assert kind_of(archive(tmp_path / "c.pt", data_DOT_pkl="")) == "pickle"
    assert kind_of(text) == "pickle"
    for path, words in ((tmp_path, "folder"), (tmp_path / "none.pt", "no file")):
        with pytest.raises(InputError, match=words):
            kind_of(path)


@pytest.mark.parametrize(
    "value",
    [
        *({"target": t} for t in (CONVOLUTION, "_operator.add", "torch.sym_max", "math.floor")),
        *({"expr_str": e} for e in ("2*s0", TWICE, "Max(1, s77)//2 - 0.5", "FloorDiv(u0, 3)")),
        {"use_pickle": False},
        {"target_note": "torch.os.system"},
    ],
)
def test_arithmetic_passes(tmp_path: Path, value: Any) -> None:
    require_safe(exported(tmp_path / "m.pt2", **value), "exported")


@pytest.mark.parametrize(
    "value",
    [
        *({"target": t} for t in ("torch.os.system", "torch.hub.load", "_operator.methodcaller")),
        *({"target": f"torch.ops.aten.{t}"} for t in ("save.default", "from_file.out", "add")),
        *({"target": f"torch.ops.aten.{t}"} for t in ("__class__.mro", "add.__globals__")),
        {"target": f"{CONVOLUTION}\n"},
        {"as_operator": "torch.os.system"},
        *({"expr_str": e} for e in ("__import__('os')", "s0.__class__", "exec('s0')", "'x'")),
        {"use_pickle": True},
        {"path_name": "opaque_obj_0"},
    ],
)
def test_all_else_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match="is not opened") as caught:
        require_safe(exported(tmp_path / "m.pt2", inner=[value]), "exported")
    assert "\n" not in caught.value.message


def test_torchscript_that_reaches_files_is_refused(tmp_path: Path) -> None:
    plain = archive(tmp_path / "a.pt", code__net_DOT_py="def forward(x):\n  return torch.relu(x)")
    require_safe(plain, "torchscript")
    evil = archive(tmp_path / "b.pt", code__net_DOT_py='_0 = torch.save(x, "f")')
    with pytest.raises(InputError, match=r"torch.save"):
        require_safe(evil, "torchscript")


def test_a_damaged_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        require_safe(archive(tmp_path / "m.pt2", models__model_DOT_json="{"), "exported")
    path = exported(tmp_path / "n.pt2")
    data = bytearray(path.read_bytes())
    data[data.index(b"torch.ops")] ^= 1  # fails its checksum
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"n.pt2 is damaged \(models/model.json: Bad CRC"):
        require_safe(path, "exported")
