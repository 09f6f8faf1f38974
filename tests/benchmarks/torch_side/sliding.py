"""The other side of monai.py and monai_volume.py, run by the benchmarks' own environment (torch, MONAI, rasterio,
nibabel): ANU-Net in torch, from file to file. Prints one JSON object.

Ways: ``monai``, sliding_window_inference as a careful user would write it (inference mode, all cores, the whole
image in memory); ``loop``, windows read by rasterio, predicted, and their middles written, without weights.

``seconds`` has the reading and the writing in it, and neither imports nor the compilation of torch.compile.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
import torch
from anunet import ANUNet
from monai.inferers import sliding_window_inference
from rasterio.windows import Window

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
Model = Callable[[torch.Tensor], torch.Tensor]


def as_input(values: np.ndarray) -> torch.Tensor:
    """``(channels, *s)`` as stored to a batch of one, normalised as the bundle says."""
    return torch.from_numpy((values.astype(np.float32) - 2000) / 1000)[None]


def read(path: str) -> tuple[np.ndarray, Any]:
    """Values with their channels first, and what writing needs."""
    if path.endswith(".tif"):
        with rasterio.open(path) as source:
            return source.read(), source.profile
    file = nibabel.load(path)
    return np.asarray(file.dataobj)[None], file.affine


def write(path: str, labels: np.ndarray, place: Any) -> None:
    if path.endswith(".tif"):
        place |= {"count": 1, "dtype": "uint8", "compress": "deflate"}
        with rasterio.open(path, "w", **place) as file:
            file.write(labels, 1)
        return
    nibabel.save(nibabel.Nifti1Image(labels, place), path)


def whole(given: argparse.Namespace, model: Model) -> None:
    values, place = read(given.scene)
    image = as_input(values)
    if given.channels_last:
        image = image.to(memory_format=LAYOUTS[image.ndim - 2])
    shares = [o / p for o, p in zip(given.overlap, given.patch, strict=True)]
    found = sliding_window_inference(
        image, given.patch, given.batch, model, overlap=shares, mode="gaussian"
    )
    write(given.output, found.argmax(1)[0].numpy().astype(np.uint8), place)


def windows(shape: tuple[int, int], patch: list[int], overlap: list[int]) -> Iterator[tuple]:
    """Corners of windows that cover a raster, the last of each axis at its end."""
    starts = []
    for n, side, shared in zip(shape, patch, overlap, strict=True):
        steps = [*range(0, max(n - side, 0), side - shared), max(n - side, 0)]
        starts.append(steps)
    yield from product(*starts)


def loop(given: argparse.Namespace, model: Model) -> None:
    """Batches of windows; each writes all of itself but a margin where it has a neighbour."""
    height, width = given.patch
    trims = [shared // 2 for shared in given.overlap]
    with rasterio.open(given.scene) as source:
        place = source.profile | {"count": 1, "dtype": "uint8", "compress": "deflate"}
        with rasterio.open(given.output, "w", **place) as file:
            corners = list(windows(source.shape, given.patch, given.overlap))
            for first in range(0, len(corners), given.batch):
                batch = corners[first : first + given.batch]
                images = [source.read(window=Window(x, y, width, height)) for y, x in batch]
                labels = model(torch.cat(list(map(as_input, images)))).argmax(1).numpy()
                for (y, x), tile in zip(batch, labels.astype(np.uint8), strict=True):
                    top, left = (t if start else 0 for t, start in zip(trims, (y, x), strict=True))
                    rows, columns = height - top, width - left
                    file.write(
                        tile[top:, left:], 1, window=Window(x + left, y + top, columns, rows)
                    )


def prepared(given: argparse.Namespace, network: torch.nn.Module, channels: int) -> Model:
    """The network in the layout and mode asked for, compiled."""
    rank = len(given.patch)
    layout = LAYOUTS[rank] if given.channels_last else torch.contiguous_format
    network = network.eval().to(memory_format=layout)
    if not given.compile:
        return network
    compiled = torch.compile(network)

    def model(patches: torch.Tensor) -> torch.Tensor:
        """Always in the memory layout for which it was compiled: a batch of one is a view of the image."""
        return compiled(patches.clone(memory_format=layout))

    for _ in range(2):
        model(torch.zeros(given.batch, channels, *given.patch))
    return model


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene")
    parser.add_argument("output")
    parser.add_argument("--way", choices=["monai", "loop"], default="monai")
    parser.add_argument("--filters", type=int, nargs="+")
    parser.add_argument("--classes", type=int)
    parser.add_argument("--patch", type=int, nargs="+")
    parser.add_argument("--overlap", type=int, nargs="+")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def main() -> None:
    given = asked()
    channels = 1
    if Path(given.scene).suffix == ".tif":
        with rasterio.open(given.scene) as source:
            channels = source.count
    network = ANUNet(len(given.patch), channels, given.classes, given.filters)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=given.bfloat16):
        begun = time.perf_counter()
        model = prepared(given, network, channels)
        start = time.perf_counter()
        {"monai": whole, "loop": loop}[given.way](given, model)
    seconds = time.perf_counter() - start
    parameters = sum(p.numel() for p in network.parameters())
    report = {"seconds": seconds, "compile_s": start - begun, "parameters": parameters}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
