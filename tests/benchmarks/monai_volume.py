"""Against MONAI in 3-D: ANU-Net for volumes on a part of a real head (MNI152, 1 mm), NIfTI to NIfTI, as monai.py
does it for scenes: as either comes, tuned by hand with our patch and precision, and compiled.

``python tests/benchmarks/monai_volume.py [--size 160,192,160] [--only NAME ...]``
"""

import argparse
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from efficiency import volume
from monai import ONE, OURS
from peers import Pair, Task, compare, require_peers
from timing import make_bundle

from seg_batch.nn.engines import load_predictor

FILTERS, PATCH, OVERLAP, CLASSES = (16, 32, 64, 128), 96, 24, 3
PAIRS = (
    Pair("monai 3-D, as they come", FILTERS),
    Pair("monai 3-D, by hand", FILTERS, options=(*OURS, *ONE), our_patch=True),
    Pair("monai 3-D, compiled", FILTERS, options=(*OURS, *ONE, "--compile"), our_patch=True),
)


def cropped(size: tuple[int, ...], work: Path) -> Path:
    """The middle of the head."""
    file = nibabel.load(volume(work))
    starts = [(n - side) // 2 for n, side in zip(file.shape, size, strict=True)]
    part = file.slicer[tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))]
    nibabel.save(nibabel.Nifti1Image(np.asarray(part.dataobj), part.affine), work / "head.nii.gz")
    return work / "head.nii.gz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="160,192,160")
    parser.add_argument("--only", nargs="+", help="names without their prefix")
    asked = parser.parse_args()
    require_peers()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        head = cropped(tuple(map(int, asked.size.split(","))), work)
        network = {"channels": 1, "classes": CLASSES, "filters": FILTERS}
        bundle = make_bundle(work / "deep", 3, PATCH, OVERLAP, **network)
        load_predictor(bundle / "model.keras", engine="openvino")
        task = Task(head, {FILTERS: bundle}, (PATCH,) * 3, (OVERLAP,) * 3, 1, CLASSES)
        for pair in PAIRS:
            if not asked.only or pair.name.partition(", ")[2] in asked.only:
                compare(pair, task)


if __name__ == "__main__":
    main()
