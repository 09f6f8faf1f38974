"""Against nnU-Net's predictor, on its own trained network and from NIfTI to NIfTI: resampled to the spacing of its
plans and back, windows that overlap by half, Gaussian weights, each as a command from start to end.

Our side is its results folder, imported by ``models import``: the same network on the same tiles, so that the labels can be compared.
Its instance normalisation looks at the whole patch, so no other patch than that of its plans can be chosen.

Tasks: a part of a real head (MNI152) without mirroring, as it comes and with torch.compile; folders of small volumes,
the hippocampus' test cases, as they come, which is with mirroring: 12, and in `make bench-long` 100, these in float32 too. More cases than there
are begin anew.

``python tests/benchmarks/nnunet.py [--size 112,128,112] [--only head compiled folder volumes] [--cases N]``: N instead of 12 and 100.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from monai_volume import cropped
from peers import report, require_peers
from spacing import HIPPOCAMPUS, names
from timing import DATA, PEERS, ROOT, SEGBATCH, Ran, measured, show

from seg_batch.inference.bundles import find_bundle
from seg_batch.nn.engines import load_predictor

RESULTS = DATA / "nnunet_hippocampus" / "Dataset004_Hippocampus"
TRAINED = RESULTS / "nnUNetTrainer_5epochs__nnUNetPlans__3d_coarse"
FOLDERS = {"folder": (12, False), "volumes": (100, True)}  # cases, and whether in float32 too
CONVERTER = ROOT / ".venv-torch" / "bin" / "python"  # make test-torch builds it


def bundle(folder: Path) -> Path:
    """The results folder as a bundle; $SEGBATCH_TORCH_PYTHON counts before the environment of the tests."""
    python = os.environ.get("SEGBATCH_TORCH_PYTHON") or str(CONVERTER)
    ran = measured(
        [*SEGBATCH, "models", "import", str(TRAINED), "-o", str(folder), "--torch-python", python]
    )
    text = f"{ran.seconds:.1f} s"
    show("nnunet, import", text, seconds=ran.seconds, sides={"segbatch": ran.costs})
    card = find_bundle(folder).card
    load_predictor(
        folder / "model.onnx", engine="openvino", network=card.network
    )  # compiled, once for all runs
    return folder


class Task:
    """Images under the names that each side wants, and what both make of them."""

    def __init__(self, images: list[Path], model: Path, work: Path) -> None:
        self.images, self.model, self.work = images, model, work
        (work / "in").mkdir(parents=True)
        for image in images:
            name = image.name.removesuffix(".nii.gz")
            shutil.copy(image, work / "in" / f"{name}_0000.nii.gz")

    def ours(self, tta: str, precision: str = "auto") -> Ran:
        out = self.work / "ours"
        options = ["--tta", tta, "--force", "--overwrite", "--quiet", "--precision", precision]
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


def compare(name: str, task: Task, tta: str, options: tuple[str, ...], **env: str) -> Ran:
    """Ours, theirs, ours; the run of theirs."""
    ours, theirs = [task.ours(tta)], task.theirs(*options, **env)
    ours.append(task.ours(tta))
    report_pair(name, task, ours, theirs)
    return theirs


def report_pair(name: str, task: Task, ours: list[Ran], theirs: Ran) -> None:
    card = find_bundle(task.model).card
    flops = card.compute.flops / np.prod(card.patch)
    voxels, same = task.voxels(), task.same_labels()
    note = (
        f"; {voxels / ours[-1].seconds / 1e3:.0f} and {voxels / theirs.seconds / 1e3:.0f} thousand voxels "
        f"per second, {flops / 1e3:.0f} thousand operations per voxel of a patch on both sides; "
        f"{same:.2%} of labels are the same"
    )
    report(
        name,
        ours,
        [theirs],
        note,
        same_labels=same,
        voxels=voxels,
        ours_voxels_per_s=voxels / ours[-1].seconds,
        theirs_voxels_per_s=voxels / theirs.seconds,
        flops_per_voxel_of_a_patch=float(flops),
    )


def copied(cases: list[str], k: int, work: Path) -> Path:
    """The ``k``-th image: a case under a name of its own."""
    case = cases[k % len(cases)]
    to = work / f"{case}-{k}.nii.gz"
    shutil.copy(HIPPOCAMPUS / "images" / f"{case}.nii.gz", to)
    return to


def compare_folder(name: str, count: int, model: Path, work: Path, exact: bool) -> None:
    """``exact``: our side in float32 too, against the same run of theirs."""
    work.mkdir()
    cases = names(find_bundle("hippocampus-mri").card, "test")
    task = Task([copied(cases, k, work) for k in range(count)], model, work / "sides")
    theirs = compare(name, task, "auto", ())
    if exact:
        report_pair(f"{name}, float32", task, [task.ours("auto", "float32")], theirs)


def main() -> None:
    if not TRAINED.is_dir():
        sys.exit("no real data: set SEGBATCH_DATA")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, help="of both folders")
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
        for name, (count, exact) in FOLDERS.items():
            if name in asked.only:
                compare_folder(f"nnunet, {name}", asked.cases or count, model, work / name, exact)


if __name__ == "__main__":
    main()
