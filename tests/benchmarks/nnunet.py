"""Against nnU-Net's predictor, on its own trained network and from NIfTI to NIfTI: resampled to the spacing of its
plans and back, windows that overlap by half, Gaussian weights, each as a command from start to end.

Our side is a bundle made here: the same network layer by layer in Keras, with the weights of the checkpoint, so that
both compute the same operations per voxel, and the maps can be compared (on one patch their labels are equal;
over an image windows lie elsewhere, which that network's normalisation depends on). Its instance normalisation looks at
the whole patch, so no other patch than that of its plans can be chosen.

Two tasks: a part of a real head (MNI152) without mirroring, as it comes and with torch.compile; a folder of small volumes,
the hippocampus' test cases, as it comes, which is with mirroring.

``python tests/benchmarks/nnunet.py [--cases 12] [--size 112,128,112] [--only head compiled folder]``
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from monai_volume import cropped
from peers import report, require_peers
from spacing import HIPPOCAMPUS, names
from timing import DATA, PEERS, SEGBATCH, Ran, measured, run_command

from seg_batch.config.card import ModelCard, Resampling
from seg_batch.core.files import sha256
from seg_batch.inference.bundles import find_bundle
from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
from seg_batch.nn.backend import keras
from seg_batch.nn.engines import load_predictor

RESULTS = DATA / "nnunet_hippocampus" / "Dataset004_Hippocampus"
TRAINED = RESULTS / "nnUNetTrainer_5epochs__nnUNetPlans__3d_coarse"
CONFIGURATIONS = ("3d_coarse", "3d_fullres")  # the second says what the first leaves out
EPSILON, SLOPE = 1e-5, 0.01
type Weights = dict[str, np.ndarray]


def plans() -> dict:
    known = json.loads((TRAINED / "plans.json").read_text())["configurations"]
    return known[CONFIGURATIONS[1]] | known[CONFIGURATIONS[0]]


def as_keras(weight: np.ndarray) -> np.ndarray:
    """Kernels of (transposed) convolutions; torch's axes z, y, x are x, y, z here."""
    return weight.transpose(range(weight.ndim)[::-1])


class PlainUNet:
    """nnU-Net's PlainConvUNet in Keras, with given weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights, self._values = weights, list[tuple[keras.Layer, list[np.ndarray]]]()

    def build(self, shape: tuple[int, ...], stages: int) -> keras.Model:
        image = x = keras.Input((*shape, 1), name="image")
        skips = []
        for i in range(stages):
            x = self._unit(f"encoder.stages.{i}.0.convs", x, strided=i > 0)
            skips.append(x)
        for i, skip in enumerate(reversed(skips[:-1])):
            lifted = self._layer(
                f"decoder.transpconvs.{i}",
                x,
                keras.layers.Conv3DTranspose,
                kernel_size=2,
                strides=2,
            )
            x = keras.layers.Concatenate()([lifted, skip])
            x = self._unit(f"decoder.stages.{i}.convs", x)
        x = self._layer(f"decoder.seg_layers.{stages - 2}", x, keras.layers.Conv3D, kernel_size=1)
        model = keras.Model(image, keras.layers.Softmax()(x))
        for layer, values in self._values:
            layer.set_weights(values)
        return model

    def _unit(self, name: str, x: keras.KerasTensor, strided: bool = False) -> keras.KerasTensor:
        """Two convolutions, each normalised over the patch."""
        for k in range(2):
            part, strides = f"{name}.{k}", 2 if strided and k == 0 else 1
            before = (1, 1) if strides == 1 else (1, 0)  # torch pads before as after
            x = keras.layers.ZeroPadding3D((before,) * 3)(x)
            x = self._layer(f"{part}.conv", x, keras.layers.Conv3D, kernel_size=3, strides=strides)
            norm = keras.layers.GroupNormalization(groups=-1, epsilon=EPSILON)
            x = norm(x)
            scale, offset = (self._weights[f"{part}.norm.{kind}"] for kind in ("weight", "bias"))
            self._values.append((norm, [scale, offset]))
            x = keras.layers.LeakyReLU(negative_slope=SLOPE)(x)
        return x

    def _layer(
        self, name: str, x: keras.KerasTensor, kind: type[keras.Layer], **options: int
    ) -> keras.KerasTensor:
        bias = self._weights[f"{name}.bias"]
        layer = kind(filters=len(bias), **options)
        x = layer(x)
        self._values.append((layer, [as_keras(self._weights[f"{name}.weight"]), bias]))
        return x


def bundle(folder: Path) -> Path:
    """What an import of the results folder would make."""
    folder.mkdir()
    side = Path(__file__).parent / "torch_side" / "nnunet_weights.py"
    checkpoint = TRAINED / "fold_0" / "checkpoint_final.pth"
    run_command([str(PEERS / "python"), str(side), str(checkpoint), str(folder / "weights.npz")])
    told = plans()
    patch, spacing = tuple(told["patch_size"][::-1]), tuple(told["spacing"][::-1])
    stages = told["architecture"]["arch_kwargs"]["n_stages"]
    with np.load(folder / "weights.npz") as weights:
        model = PlainUNet(dict(weights)).build(patch, stages)
    model.save(folder / "model.keras")
    classes = json.loads((TRAINED / "dataset.json").read_text())["labels"]
    card = ModelCard(
        name="nnunet-hippocampus",
        kind="volume",
        rank=3,
        channels=("MRI",),
        classes=[{"id": i, "name": name} for name, i in classes.items()],
        patch=patch,
        overlap=tuple(side // 2 for side in patch),
        spacing_mm=spacing,
        resampling=Resampling(down="cubic"),
        normalisation={"kind": "source"},
        compute={
            "activation_bytes": activation_bytes(model, patch),
            "flops": forward_flops(model, patch),
        },
        weights_sha256=sha256(folder / "model.keras"),
    )
    (folder / "card.json").write_text(card.model_dump_json(indent=2))
    load_predictor(folder / "model.keras", engine="openvino")  # converted, once for all runs
    return folder


class Task:
    """Images under the names that each side wants, and what both make of them."""

    def __init__(self, images: list[Path], model: Path, work: Path) -> None:
        self.images, self.model, self.work = images, model, work
        (work / "in").mkdir(parents=True)
        for image in images:
            name = image.name.removesuffix(".nii.gz")
            shutil.copy(image, work / "in" / f"{name}_0000.nii.gz")

    def ours(self, tta: str) -> Ran:
        out = self.work / "ours"
        options = ["--taper", "gaussian", "--tta", tta, "--force", "--overwrite", "--quiet"]
        files = ["predict", *map(str, self.images), "-o", f"{out}/", "--model", str(self.model)]
        return measured([*SEGBATCH, *files, *options])

    def theirs(self, *options: str, **env: str) -> Ran:
        shutil.rmtree(self.work / "theirs", ignore_errors=True)
        program = Path(__file__).parent / "torch_side" / "nnunet_predict.py"
        folders = {"-i": self.work / "in", "-o": self.work / "theirs", "-m": TRAINED}
        files = [text for option, path in folders.items() for text in (option, str(path))]
        unset = {f"nnUNet_{name}": str(self.work) for name in ("raw", "preprocessed", "results")}
        command = [
            str(PEERS / "python"),
            str(program),
            *files,
            "-f",
            "0",
            "-device",
            "cpu",
            "--disable_progress_bar",
        ]
        return measured([*command, *options], **unset, **env)

    def same_labels(self) -> float:
        """The share of voxels with one label on both sides."""
        shares = []
        for image in self.images:
            name = image.name.removesuffix(".nii.gz")
            ours, theirs = (
                self.work / "ours" / f"{name}_labels.nii.gz",
                self.work / "theirs" / image.name,
            )
            a, b = (np.asarray(nibabel.load(path).dataobj) for path in (ours, theirs))
            shares.append((a == b).mean())
        return float(np.mean(shares))

    def voxels(self) -> int:
        return sum(int(np.prod(nibabel.load(image).shape)) for image in self.images)


def compare(name: str, task: Task, tta: str, options: tuple[str, ...], **env: str) -> None:
    ours = [task.ours(tta)]
    theirs = [task.theirs(*options, **env)]
    ours.append(task.ours(tta))
    card = find_bundle(task.model).card
    flops = card.compute.flops / np.prod(card.patch)
    voxels, same = task.voxels(), task.same_labels()
    note = (
        f"; {voxels / ours[-1].seconds / 1e3:.0f} and {voxels / theirs[-1].seconds / 1e3:.0f} thousand voxels "
        f"per second, {flops / 1e3:.0f} thousand operations per voxel of a patch on both sides; "
        f"{same:.2%} of labels are the same"
    )
    report(
        name,
        ours,
        theirs,
        note,
        same_labels=same,
        voxels=voxels,
        ours_voxels_per_s=voxels / ours[-1].seconds,
        theirs_voxels_per_s=voxels / theirs[-1].seconds,
        flops_per_voxel_of_a_patch=float(flops),
    )


def main() -> None:
    if not TRAINED.is_dir():
        sys.exit("no real data: set SEGBATCH_DATA")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--size", default="112,128,112", help="of the part of the head")
    parser.add_argument("--only", nargs="+", default=("head", "compiled", "folder"))
    asked = parser.parse_args()
    require_peers()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        model = bundle(work / "bundle")
        size = tuple(map(int, asked.size.split(",")))
        head = Task([cropped(size, work)], model, work / "head")
        plain = ("--disable_tta",)
        if "head" in asked.only:
            compare("nnunet, head", head, "none", plain)
        if "compiled" in asked.only:
            compare("nnunet, head, compiled", head, "none", plain, nnUNet_compile="true")
        if "folder" in asked.only:
            cases = names(find_bundle("hippocampus-mri").card, "test")[: asked.cases]
            images = [HIPPOCAMPUS / "images" / f"{case}.nii.gz" for case in cases]
            compare("nnunet, folder", Task(images, model, work / "folder"), "flips", ())


if __name__ == "__main__":
    main()
