"""Against ukis-csmask, on its own network for clouds and their shadows: a Sentinel-2 scene of 512 pixels repeated to
4096 x 4096, GeoTIFF to GeoTIFF, each as a command from start to end.

Our side is the network that its package holds, imported by ``models import`` with the card of workflows/cards, as
predict chooses precision, and in float32. ``ukis_csmask`` takes tiles of 256 that overlap by a fifth, as the card does, and
makes a buffered mask of what is valid beside the labels.

What the labels are worth: Cohen's kappa against the truth on both scenes of 512 pixels; and the share of pixels of
single patches that have the label that the network gives in float64, computed by ONNX's reference evaluator.

``python tests/benchmarks/csmask.py [--side 4096 | --small] [--patches 4] [--python PYTHON] [--package FOLDER]``:
PYTHON runs the other side, .venv-peers by default; FOLDER holds ``ukis_csmask`` where PYTHON has it not installed.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import rasterio
from figures import target
from onnx.reference import ReferenceEvaluator
from peers import PYTHON, report
from rasterio.windows import Window
from timing import DATA, ROOT, SEGBATCH, Ran, measured, predict, run_command, show

from seg_batch.config.card import ModelCard
from seg_batch.inference.bundles import find_bundle
from seg_batch.nn.engines import load_predictor

SCENES = DATA / "ukis_csmask"
CARD = ROOT / "workflows" / "cards" / "ukis_csmask_6b_l1c.yaml"
LARGE, SMALL = 4096, 1024
WHERE = "import json, ukis_csmask; print(json.dumps(list(ukis_csmask.__path__)))"
OTHER_SIDE = Path(__file__).parent / "torch_side" / "csmask_predict.py"
WIDE = onnx.TensorProto.DOUBLE
NARROW = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def toa(name: str) -> Path:
    return SCENES / f"{name}_toa.tif"


def band(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def repeated(source: Path, path: Path, side: int) -> Path:
    """The scene side by side and below itself, with its names, scales and offsets; strip by strip."""
    with rasterio.open(source) as file:
        values, profile = file.read(), file.profile
        names, scales, offsets = file.descriptions, file.scales, file.offsets
    height, width = values.shape[1:]
    strip = np.tile(values, (1, 1, -(-side // width)))[..., :side]
    with rasterio.open(path, "w", **profile | {"width": side, "height": side}) as file:
        for top in range(0, side, height):
            rows = min(height, side - top)
            file.write(strip[:, :rows], window=Window(0, top, side, rows))
        file.descriptions, file.scales, file.offsets = names, scales, offsets
    return path


@dataclass(frozen=True)
class Sides:
    """``python``: of the other side; ``paths``: what PYTHONPATH is for it."""

    bundle: Path
    python: str
    paths: dict[str, str]

    def ours(self, scene: Path, *options: str) -> tuple[Ran, np.ndarray]:
        output = scene.with_name("ours.tif")
        ran = predict(scene, output, "--model", str(self.bundle), *options)
        return ran, band(output)

    def theirs(self, scene: Path) -> tuple[Ran, np.ndarray]:
        output = scene.with_name("theirs.tif")
        command = [self.python, str(OTHER_SIDE), str(scene), str(output)]
        return run_command(command, **self.paths), band(output)


def imported(model: Path, folder: Path) -> Path:
    """The bundle, and how long its import took."""
    command = ["models", "import", str(model), "--card", str(CARD), "-o", str(folder)]
    ran = measured([*SEGBATCH, *command])
    text = f"{ran.seconds:.1f} s (target {target('csmask, import', 'seconds'):.0f} s)"
    show("csmask, import", text, seconds=ran.seconds, sides={"segbatch": ran.costs})
    return folder


def compare(sides: Sides, scene: Path, side: int) -> None:
    """Ours, theirs, ours, as predict chooses precision; then float32, against the same run of theirs."""
    ours, labels = sides.ours(scene)
    theirs, peer = sides.theirs(scene)
    name = f"csmask {side}"
    report(name, [ours, sides.ours(scene)[0]], [theirs], **same(labels, peer))
    exact, labels = sides.ours(scene, "--precision", "float32")
    report(f"{name}, float32", [exact], [theirs], **same(labels, peer))


def same(labels: np.ndarray, peer: np.ndarray) -> dict[str, float]:
    return {"same_labels": float((labels == peer).mean())}


def kappa(labels: np.ndarray, truth: np.ndarray) -> float:
    """Cohen's, of the classes of the truth."""
    n = int(max(labels.max(), truth.max())) + 1
    table = np.bincount(truth.ravel().astype(int) * n + labels.ravel(), minlength=n * n)
    shares = table.reshape(n, n) / truth.size
    by_chance = float(shares.sum(0) @ shares.sum(1))
    return (float(np.trace(shares)) - by_chance) / (1 - by_chance)


def against_truth(sides: Sides, name: str, work: Path) -> None:
    """On one scene, and what the other side reaches."""
    scene = repeated(toa(name), work / f"{name}.tif", 512)
    truth = band(SCENES / f"{name}_truth.tif")
    ours = {
        key: sides.ours(scene, "--precision", precision)[1]
        for key, precision in (("kappa", "auto"), ("float32_kappa", "float32"))
    }
    peer = sides.theirs(scene)[1]
    values = {key: kappa(labels, truth) for key, labels in ours.items()}
    values |= {"peer_kappa": kappa(peer, truth)}
    text = ", ".join(f"{key} {value:.4f}" for key, value in values.items())
    wanted = target(f"csmask, {name}", "kappa")
    shared = same(ours["float32_kappa"], peer)
    more = f" (target {wanted}); {shared['same_labels']:.3%} of float32 labels are the same"
    show(f"csmask, {name}", text + more, **values, **shared)


def widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = onnx.numpy_helper.to_array(tensor)
    return onnx.numpy_helper.from_array(values.astype(np.float64), tensor.name)


def in_float64(path: Path) -> onnx.ModelProto:
    """The network with the weights of the file and every number computed with in float64."""
    model = onnx.load(path)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = WIDE
    del graph.value_info[:]
    constants = [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type in NARROW:
            tensor.CopyFrom(widened(tensor))
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Cast" else ():
            if attribute.name == "to" and attribute.i in NARROW:
                attribute.i = WIDE
    return model


def normalised(card: ModelCard, name: str) -> np.ndarray:
    """The scene as the network takes it: float32 ``(H, W, channels)``."""
    with rasterio.open(toa(name)) as file:
        values = np.moveaxis(file.read(), 0, -1) * file.scales + file.offsets
    mean, std = card.normalisation.mean, card.normalisation.std
    return ((values - np.array(mean)) / np.array(std)).astype(np.float32)


def against_float64(bundle: Path, count: int) -> None:
    """Patches of both scenes in turn: the labels of our predictors, and those of the reference."""
    card, path = find_bundle(bundle).card, bundle / "model.onnx"
    how: dict[str, Any] = {"sha256": card.weights_sha256, "network": card.network}
    precise = load_predictor(path, engine="openvino", **how)
    reference = ReferenceEvaluator(in_float64(path))
    entry = reference.input_names[0]
    height, width = card.patch
    scenes = [normalised(card, name) for name in ("sentinel2", "landsat7")]
    equal = []
    for k in range(count):
        top, left = (k // 4 % 2) * height, (k // 2 % 2) * width
        patch = scenes[k % 2][None, top : top + height, left : left + width]
        assert patch.shape[1:3] == (height, width), "a patch is not in the scene"
        raw = reference.run(None, {entry: np.moveaxis(patch, -1, 1).astype(np.float64)})[0]
        assert raw.dtype == np.float64, "the reference computes with less than float64"
        equal.append((precise(patch)[0].argmax(-1) == raw[0].argmax(0)).mean())
    share, wanted = float(np.mean(equal)), target("csmask, float64", "same_labels")
    show(
        "csmask, float64",
        f"{share:.4%} of labels of {count} patches are those of float64, {min(equal):.4%} of the "
        f"worst (target {wanted:.1%})",
        same_labels=share,
        worst=float(min(equal)),
    )


def main() -> None:
    if not SCENES.is_dir():
        sys.exit("no real data: set SEGBATCH_DATA")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=LARGE)
    parser.add_argument("--small", action="store_const", const=SMALL, dest="side")
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--python", default=str(PYTHON))
    parser.add_argument("--package", type=Path)
    asked = parser.parse_args()
    paths = {"PYTHONPATH": str(asked.package.resolve())} if asked.package else {}
    (package,) = run_command([asked.python, "-c", WHERE], **paths).report
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        bundle = imported(Path(package) / "model_6b_l1c.onnx", work / "bundle")
        sides = Sides(bundle, asked.python, paths)
        scene = repeated(toa("sentinel2"), work / "scene.tif", asked.side)
        compare(sides, scene, asked.side)
        for name in ("landsat7", "sentinel2"):
            against_truth(sides, name, work)
        if asked.patches:
            against_float64(bundle, asked.patches)


if __name__ == "__main__":
    main()
