"""What a run costs on top of its network: wall time of predict, model load aside, over the time of
the bare compiled forward passes on as many patches. 1.00 would be reading, stitching and writing
for nothing. On the patches that the plan has chosen."""

import tempfile
from pathlib import Path

import numpy as np
from figures import target
from timing import DATA, interleaved, make_bundle, make_scene, seconds_of, show

import seg_batch
from seg_batch.nn.engines import load_predictor


def compare(name: str, scene: Path, bundle: Path, work: Path) -> None:
    """The model is loaded and compiled by a first run; then whole runs and bare passes in turn."""

    def whole() -> dict:
        return seg_batch.predict(scene, work / f"{name}{suffix}", model=bundle, overwrite=True)

    suffix = ".tif" if scene.suffix == ".tif" else ".nii.gz"
    report = whole()
    plan, n = report["plan"], report["tiles_predicted"]
    model = load_predictor(
        bundle / "model.keras",
        engine=plan["engine"],
        batch=plan["batch"],
        precision=plan["precision"],
        sha256=report["model"]["weights_sha256"],
    )
    shape = (plan["batch"], *plan["patch"], model.channels)
    patches = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def bare() -> None:
        for _ in range(-(-n // plan["batch"])):
            model(patches)

    bare()
    found = interleaved(3, predict=lambda: seconds_of(whole), forward=lambda: seconds_of(bare))
    ratio, wanted = found["predict"] / found["forward"], target(f"efficiency {name}", "ratio")
    show(
        f"efficiency {name}",
        f"{found['predict']:.2f} s for the run, {found['forward']:.2f} s for {n} patches alone: "
        f"x{ratio:.3f} (target x{wanted:.2f}), {plan['precision']}, patch "
        f"{'x'.join(map(str, plan['patch']))}",
        ratio=ratio,
        patch=plan["patch"],
        **found,
    )


def volume(work: Path) -> Path:
    """A real head (MNI152, 1 mm); where there is none, noise of its size."""
    real = DATA / "nifti_awkward" / "nilearn_mni152_t1.nii.gz"
    if real.is_file():
        return real
    import nibabel

    noise = np.random.default_rng(0).integers(-1000, 1000, (197, 233, 189)).astype(np.int16)
    nibabel.Nifti1Image(noise, np.eye(4)).to_filename(work / "noise.nii.gz")
    return work / "noise.nii.gz"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        flat = make_bundle(
            work / "flat", 2, 256, 64, channels=4, classes=8, filters=(16, 32, 64, 128, 256)
        )
        compare("2-D", make_scene(work / "scene.tif", 2048), flat, work)
        deep = make_bundle(
            work / "deep", 3, 64, 16, channels=1, classes=3, filters=(16, 32, 64, 128)
        )
        compare("3-D", volume(work), deep, work)


if __name__ == "__main__":
    main()
