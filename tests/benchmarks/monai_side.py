"""The other side of monai.py, run by the benchmark's own environment (torch, monai, rasterio):
ANU-Net in torch, sliding_window_inference, GeoTIFF to GeoTIFF. Prints one JSON object.

As a careful user of MONAI would write it: inference mode, all cores, the whole scene in memory.
"""

import argparse
import itertools
import json
import time

import numpy as np
import rasterio
import torch
from monai.inferers import sliding_window_inference
from torch import nn

Tensor = torch.Tensor


def conv_unit(inputs: int, filters: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in (inputs, filters):
        layers += [nn.Conv2d(n, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
    return nn.Sequential(*layers)


def one(inputs: int, filters: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, filters, 1), nn.BatchNorm2d(filters))


class Gate(nn.Module):
    def __init__(self, filters: int, inner: int) -> None:
        super().__init__()
        self.f, self.g, self.t = one(filters, inner), one(filters, inner), one(inner, 1)

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        return f * torch.sigmoid(self.t(torch.relu(self.f(f) + self.g(g))))


class ANUNet(nn.Module):
    """The wiring of seg_batch.nn.networks.anunet with the last head only; the benchmark compares the counts
    of parameters."""

    def __init__(self, channels: int, classes: int, filters: list[int]) -> None:
        super().__init__()
        self.depth = len(filters) - 1
        inputs = [channels, *filters]
        self.encoder = nn.ModuleList(map(conv_unit, inputs, filters))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(b, a, 2, 2), nn.BatchNorm2d(a), nn.ReLU())
            for a, b in itertools.pairwise(filters)
        )
        self.gates, self.units = nn.ModuleDict(), nn.ModuleDict()
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                self.gates[f"{i}_{j - 1}"] = Gate(filters[i], filters[max(i - 1, 0)])
                self.units[f"{i}_{j}"] = conv_unit(filters[i] * (j + 1), filters[i])
        self.head = nn.Conv2d(filters[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        column = []
        for i, unit in enumerate(self.encoder):
            x = unit(x if i == 0 else torch.max_pool2d(x, 2))
            column.append(x)
        gated: list[list[Tensor]] = [[] for _ in column]
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                lifted = self.ups[i](column[i + 1])
                gated[i].append(self.gates[f"{i}_{j - 1}"](column[i], lifted))
                column[i] = self.units[f"{i}_{j}"](torch.cat([*gated[i], lifted], 1))
        return torch.softmax(self.head(column[0]), 1)


def segment(
    scene: str, output: str, model: nn.Module, patch: int, overlap: int, fast: bool
) -> None:
    with rasterio.open(scene) as source:
        profile, values = source.profile, source.read()
    image = torch.from_numpy((values.astype(np.float32) - 2000) / 1000)[None]
    if fast:
        image = image.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = sliding_window_inference(
            image, (patch, patch), 4, model, overlap=overlap / patch, mode="gaussian"
        )
    labels = found.argmax(1)[0].numpy().astype(np.uint8)
    profile |= {"count": 1, "dtype": "uint8", "compress": "deflate"}
    with rasterio.open(output, "w", **profile) as file:
        file.write(labels, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene")
    parser.add_argument("output")
    parser.add_argument("--filters", type=int, nargs="+")
    parser.add_argument("--classes", type=int)
    parser.add_argument("--patch", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--mode", choices=["plain", "channels_last", "bfloat16"])
    given = parser.parse_args()
    with rasterio.open(given.scene) as source:
        channels = source.count
    model = ANUNet(channels, given.classes, given.filters).eval()
    if fast := given.mode != "plain":
        model = model.to(memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=given.mode == "bfloat16"):
        segment(given.scene, given.output, model, given.patch, given.overlap, fast)
    seconds = time.perf_counter() - start
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"seconds": seconds, "parameters": parameters}))


if __name__ == "__main__":
    main()
