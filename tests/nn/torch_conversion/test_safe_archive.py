"""What torch would run of a file is read before, without torch: operators and sizes pass, all else is named and refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion.safe_archive import copy_safe, kind_of


def require_safe(path: Path, kind: str) -> None:
    """What is opened is the copy, and it has what was checked."""
    copy_safe(path, kind, path.with_name("copy"))
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(path.with_name("copy")) as copy:
        for name in copy.namelist():
            assert copy.read(name) == given.read(name)


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


NET = "def forward(x):\n  return torch.relu(x)"


@pytest.mark.parametrize(
    "program",
    [
        NET,
        '_0 = getattr(self, "0")',
        'ops.prim.RaiseException("saved", "builtins.ValueError")',
        "_0 = (self).ops\nops : Tensor",
        "x = __torch__.torchvision.ops.misc.f(saved)",
    ],
)
def test_torchscript_of_operators_passes(tmp_path: Path, program: str) -> None:
    members = {"code__net_DOT_py": program, "data_DOT_pkl": "", "data__0": "x", "extra__a": "y"}
    require_safe(archive(tmp_path / "a.pt", **members), "torchscript")
    assert "m/extra/a" not in zipfile.ZipFile(tmp_path / "copy").namelist()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ('_0 = torch.save(x, "f")', "save"),
        ('_0 = torch . save(x, "f")', "save"),
        ('_0 = ops.aten . save(x, "f")', "save"),
        ('_0 = torch. # a\n  save(x, "f")', "save"),
        ('x.save("f")', "save"),
        ('"f".from_file()', "from_file"),
        ('getattr(torch, "\\163ave")(x, "f")', "getattr"),
        ("getattr(torch, 'save')", "save"),
        ("_0 = ops\n_0.rpc.a()", "ops"),
        ("ops . _test.f()", "ops"),
        ("ops.prim.rpc_sync()", "rpc_sync"),
        ("def __setstate__(self):", "__setstate__"),
        ("__torch__.torch.classes.a.B()", "classes"),
    ],
)
def test_torchscript_that_reaches_files_is_refused(
    tmp_path: Path, program: str, words: str
) -> None:
    with pytest.raises(InputError, match=f"is not opened.*{words}") as caught:
        require_safe(archive(tmp_path / "b.pt", code__net_DOT_py=program), "torchscript")
    assert "\n" not in caught.value.message


def test_an_object_of_a_library_is_refused(tmp_path: Path) -> None:
    held = "\x80\x02c__torch__.torch.classes.a\nB\n."
    path = archive(tmp_path / "a.pt", code__net_DOT_py=NET, data_DOT_pkl=held)
    with pytest.raises(InputError, match="object of a library"):
        require_safe(path, "torchscript")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("exported", "data__aotinductor__model__abc_DOT_wrapper_DOT_so"),
        ("exported", "data__constants__custom_obj_0"),
        ("exported", "models__MODEL_DOT_json"),
        ("exported", "models__other_DOT_json"),
        ("torchscript", "CODE__net_DOT_PY"),
        ("torchscript", "code__net_DOT_PY"),
        ("torchscript", "CODE__other_DOT_py"),
        ("torchscript", "code__.._DOT_.._DOT___x_DOT_py"),
    ],
)
def test_a_member_that_is_none_of_torch_is_refused_by_name(
    tmp_path: Path, kind: str, name: str
) -> None:
    members: dict[str, Any] = {"models__model_DOT_json": {}, "code__net_DOT_py": NET}
    del members["code__net_DOT_py" if kind == "exported" else "models__model_DOT_json"]
    path = archive(tmp_path / "m.pt", **members, **{name: ""})
    assert kind_of(path) == kind
    shown = name.replace("__", "/").replace("_DOT_", ".")
    with pytest.raises(InputError, match=f"is not opened.*{shown}"):
        require_safe(path, kind)


def test_a_name_in_two_folders_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as file:
        for folder in "ab":
            file.writestr(f"{folder}/code/net.py", NET)
    with pytest.raises(InputError, match="has both"):
        require_safe(tmp_path / "m.pt", "torchscript")


def test_a_damaged_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        require_safe(archive(tmp_path / "m.pt2", models__model_DOT_json="{"), "exported")
    path = exported(tmp_path / "n.pt2")
    data = bytearray(path.read_bytes())
    data[data.index(b"torch.ops")] ^= 1  # fails its checksum
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"n.pt2 is damaged \(models/model.json: Bad CRC"):
        require_safe(path, "exported")
