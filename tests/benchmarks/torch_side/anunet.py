"""ANU-Net in torch, for images and volumes: the wiring of seg_batch.nn.networks.anunet with the last head only.
The benchmarks compare the counts of parameters."""

import itertools

import torch
from torch import nn

Tensor = torch.Tensor
CONV = {2: nn.Conv2d, 3: nn.Conv3d}
LIFT = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


def conv_unit(rank: int, inputs: int, filters: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in (inputs, filters):
        layers += [CONV[rank](n, filters, 3, padding=1), NORM[rank](filters), nn.ReLU()]
    return nn.Sequential(*layers)


def one(rank: int, inputs: int, filters: int) -> nn.Sequential:
    return nn.Sequential(CONV[rank](inputs, filters, 1), NORM[rank](filters))


class Gate(nn.Module):
    def __init__(self, rank: int, filters: int, inner: int) -> None:
        super().__init__()
        self.f, self.g = one(rank, filters, inner), one(rank, filters, inner)
        self.t = one(rank, inner, 1)

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        return f * torch.sigmoid(self.t(torch.relu(self.f(f) + self.g(g))))


class ANUNet(nn.Module):
    """``(B, channels, *s)`` to probabilities ``(B, classes, *s)``."""

    def __init__(self, rank: int, channels: int, classes: int, filters: list[int]) -> None:
        super().__init__()
        self.depth, self.pool = len(filters) - 1, POOL[rank](2)
        inputs = [channels, *filters]
        self.encoder = nn.ModuleList(conv_unit(rank, a, b) for a, b in itertools.pairwise(inputs))
        self.ups = nn.ModuleList(
            nn.Sequential(LIFT[rank](b, a, 2, 2), NORM[rank](a), nn.ReLU())
            for a, b in itertools.pairwise(filters)
        )
        self.gates, self.units = nn.ModuleDict(), nn.ModuleDict()
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                self.gates[f"{i}_{j - 1}"] = Gate(rank, filters[i], filters[max(i - 1, 0)])
                self.units[f"{i}_{j}"] = conv_unit(rank, filters[i] * (j + 1), filters[i])
        self.head = CONV[rank](filters[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        column = []
        for i, unit in enumerate(self.encoder):
            x = unit(x if i == 0 else self.pool(x))
            column.append(x)
        gated: list[list[Tensor]] = [[] for _ in column]
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                lifted = self.ups[i](column[i + 1])
                gated[i].append(self.gates[f"{i}_{j - 1}"](column[i], lifted))
                column[i] = self.units[f"{i}_{j}"](torch.cat([*gated[i], lifted], 1))
        return torch.softmax(self.head(column[0]), 1)
