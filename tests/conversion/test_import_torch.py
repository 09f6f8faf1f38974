"""Files of PyTorch become bundles by way of another Python, named by SEGBATCH_TORCH_PYTHON: `make test-torch`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import InputError
from seg_batch.core.resources import DOCS
from seg_batch.inference.bundles import find_bundle
from seg_batch.nn.torch_conversion.process import VARIABLE
from tests.support.files import segbatch

pytestmark = pytest.mark.convert

MAKE = """
import os, pickle, zipfile, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

class Evil:
    def __reduce__(self):
        return os.system, ("touch touched",)

class Writes(nn.Module):
    def forward(self, x):
        torch.save(x, "touched")
        return x

def changed(source, target, rename, pairs, *more):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            for a, b in pairs if item.filename.endswith(".py") else ():
                assert a.encode() in content
                content = content.replace(a.encode(), b.encode())
            new.writestr(rename(item.filename), content)
        for name in more:
            new.writestr(name, "")

torch.manual_seed(0)
net, patch = Net().eval(), torch.rand(1, 3, 32, 32)
torch.jit.trace(net, patch).save("traced.pt")
torch.jit.script(net).save("scripted.pt")
torch.export.save(torch.export.export(net, (patch,)), "fixed.pt2")
sides = {2: torch.export.Dim("h", min=8, max=512), 3: torch.export.Dim("w", min=8, max=512)}
torch.export.save(torch.export.export(net, (patch,), dynamic_shapes=(sides,)), "open.pt2")
torch.save(net.state_dict(), "weights.pth")
torch.save(net, "whole.pth")
torch.save({"a": Evil()}, "evil.pth")
torch.save({"a": Evil()}, "old.pth", _use_new_zipfile_serialization=False)
pickle.dump(Evil(), open("evil.pkl", "wb"))
torch.jit.script(Writes()).save("writes.pt")
torch.jit.script(nn.Sequential(nn.Conv2d(4, 2, 1))).save("four.pt")
for name, pairs in {
    "blanks.pt": [("torch.save", "torch . save")],
    "ops.pt": [("torch.save", "ops.aten . save")],
    "alias.pt": [("torch.save", 'getattr(torch, "\\\\163ave")')],
}.items():
    changed("writes.pt", name, lambda member: member, pairs)
changed("writes.pt", "case.pt", lambda m: m.replace("/code/", "/CODE/").replace(".py", ".PY"), [], "writes/code/x.txt")
changed("fixed.pt2", "aoti.pt2", lambda m: m, [], "fixed/data/aotinductor/model/abc.wrapper.so")
image = torch.tensor(__import__("numpy").load("image.npy"))
__import__("numpy").save("scores.npy", net(image).softmax(1).detach().numpy())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = os.environ.get(VARIABLE)
    assert python, f"{VARIABLE} names no Python with torch: make test-torch"
    folder = tmp_path_factory.mktemp("files")
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    np.save(folder / "image.npy", image)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    (folder / "make.py").write_text(MAKE)
    subprocess.run([python, "make.py"], cwd=folder, env=environment, check=True)
    return folder


def said(**more: object) -> ImportOptions:
    return ImportOptions(("a", "b", "c"), "background,x", logits=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["traced.pt", "scripted.pt", "fixed.pt2", "open.pt2"])
def test_a_network_gives_what_it_gave_in_torch(files: Path, tmp_path: Path, name: str) -> None:
    from seg_batch.conversion.test_tensor import predictor_of

    patch = None if name == "fixed.pt2" else (32, 32)
    result = import_model(files / name, tmp_path / "b", said(patch=patch))
    assert result["card"]["origin"]["pytorch"]["file"] == name
    assert (result["card"]["multiple"] is not None) == (name == "open.pt2")
    image = np.moveaxis(np.load(files / "image.npy"), 1, -1)
    scores = predictor_of(find_bundle(str(tmp_path / "b")), "openvino")(image)
    expected = np.moveaxis(np.load(files / "scores.npy"), 1, -1)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights.pth", "holds weights .4 entries. and no network"),
        ("whole.pth", "it calls .*Net"),
        ("evil.pth", "it calls posix.system"),
        ("old.pth", "it calls posix.system"),
        ("evil.pkl", "nothing in it was run"),
        ("writes.pt", "torch.save"),
        ("blanks.pt", "save"),
        ("ops.pt", "save"),
        ("alias.pt", "getattr"),
        ("case.pt", "CODE"),
        ("aoti.pt2", "abc.wrapper.so"),
        ("traced.pt", "give --patch"),
    ],
)
def test_what_holds_no_network_or_code_is_refused(
    files: Path, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        import_model(files / name, tmp_path / "b", said())
    assert "\n" not in caught.value.message
    assert not list(tmp_path.iterdir())
    assert not list(files.rglob("touched"))
    assert not Path("touched").exists()


def test_a_patch_that_does_not_fit_is_told_with_what_torch_says(
    files: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"4 channels.* --channels, --patch and --layout"
    ) as caught:
        import_model(files / "four.pt", tmp_path / "b", said(patch=(32, 32)))
    assert str(files / "four.pt") in caught.value.message


def test_the_file_that_people_know_is_told_after_conversion(files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fixed.pt2 was made for patches") as caught:
        import_model(files / "fixed.pt2", tmp_path / "b", said(patch=(64, 64)))
    assert str(tmp_path) not in caught.value.message
    assert "open sides" not in caught.value.message


def test_a_bundle_tells_no_paths_of_who_exported_it(files: Path, tmp_path: Path) -> None:
    import_model(files / "fixed.pt2", tmp_path / "b", said())
    content = (tmp_path / "b/model.onnx").read_bytes()
    assert b"make.py" not in content
    assert str(files).encode() not in content


GUARD = """
import runpy, sys, torch
path = sys.argv[1]
main = runpy.run_path(path)["main"]
main(["writes.pt", "torchscript", "1,3,8,8", "writes.pt", ""])
"""


def test_the_graph_is_a_second_guard(files: Path) -> None:
    """What the text of a program would not show is refused before it runs."""
    from seg_batch.nn.torch_conversion import process

    script = Path(process.__file__).with_name("torchscript_script.py")
    command = [os.environ[VARIABLE], "-c", GUARD, str(script)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=files, env=environment, capture_output=True, text=True)
    assert "is not run: it calls aten::save" in ran.stderr
    assert not (files / "touched").exists()


def test_the_page_says_what_runs(files: Path, tmp_path: Path) -> None:
    """The card and the commands of the page, on files of these names."""
    page = (DOCS / "pytorch.md").read_text(encoding="utf-8")
    (card,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my.yaml").write_text(card)
    for name, source in (("traced.pt", "traced.pt"), ("exported.pt2", "fixed.pt2")):
        (tmp_path / name).write_bytes((files / source).read_bytes())
    lines = [line.partition("#")[0] for line in re.findall(r"^segbatch (.*)$", page, re.MULTILINE)]
    imports = [line.split() for line in lines if "models import" in line and "onnx" not in line]
    assert len(imports) == 2
    python = os.environ[VARIABLE]
    for words in imports:
        bundle = tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}"
        values = {"my.yaml": tmp_path / "my.yaml", "my-bundle": bundle, "256,256": "32,32"}
        values |= {"~/torch/bin/python": python, words[2]: tmp_path / words[2]}
        ran = segbatch(*(values.get(word, word) for word in words))
        assert ran.status == 0, ran.err
        assert segbatch("models", "check", bundle).status == 0
