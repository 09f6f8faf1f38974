"""The sample inputs of ``segbatch demo``: what the recipes beside this script hold out for test.

python workflows/make_samples.py DATA [OUTPUT]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import rasterio
from rasterio.windows import Window

from seg_batch.config.recipe import Recipe, read_recipe

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "seg_batch" / "data" / "samples"
CASES = 2


def main(data: Path, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    made = [landsat(data / "zion_landsat8_nlcd" / "landsat8_b2345.tif", output)]
    made += hippocampus(data / "msd_hippocampus" / "images", output)
    for path in made:
        print(f"{path.stat().st_size:>9}  {path}")


def landsat(scene: Path, output: Path) -> Path:
    """The test box of the land-cover recipe as a GeoTIFF with its own transform."""
    recipe, target = read_recipe(HERE / "landsat8-landcover.yaml"), output / "zion_landsat8.tif"
    with rasterio.open(scene) as file:
        window = _test_window(recipe, file.shape)
        profile = {**file.profile, "height": window.height, "width": window.width}
        layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "band"}
        packed = {"compress": "deflate", "predictor": 2, "zlevel": 9}
        place = {"transform": file.window_transform(window)}
        with rasterio.open(target, "w", **{**profile, **layout, **packed, **place}) as crop:
            crop.write(file.read(window=window))
            crop.descriptions = recipe.card.channels
    return target


def _test_window(recipe: Recipe, shape: tuple[int, int]) -> Window:
    (box,) = recipe.hold_out.test.boxes_in(shape)
    return Window(box.start[1], box.start[0], box.shape[1], box.shape[0])


def hippocampus(images: Path, output: Path) -> list[Path]:
    """The smallest of the cases that the volume recipe holds out for test, copied as they are."""
    recipe = read_recipe(HERE / "hippocampus-mri.yaml")
    cases = [(n, path.name.removesuffix(".nii.gz"), path) for n, path in _sorted(images)]
    held = [path for n, case, path in cases if recipe.hold_out.part_of(case, n) == "test"]
    for path in held:
        print(f"{path.stat().st_size:>9}  {path.name} may be a sample")
    chosen = sorted(held, key=lambda path: path.stat().st_size)[:CASES]
    return [Path(shutil.copyfile(path, output / path.name)) for path in sorted(chosen)]


def _sorted(images: Path) -> list[tuple[int, Path]]:
    return list(enumerate(sorted(images.glob("*.nii.gz"))))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit((__doc__ or "").strip())
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else SAMPLES)
