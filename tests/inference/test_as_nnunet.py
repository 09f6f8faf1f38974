"""An image as an nnU-Net model sees it, and its labels on the way back, against a plain reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.card_parts.network import Output
from seg_batch.config.card_parts.resampling import Resampling
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.geometry import Box
from seg_batch.inference.api.predict import predict
from seg_batch.io.sources.tolerant_read import read_strictly
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import open_view
from tests.support.files import write_volume
from tests.support.nnunet import Channel, Preprocessed, preprocess

pytestmark = pytest.mark.full  # many networks or whole runs

AS_NNUNET = Resampling(up="cubic", down="cubic", thick="nearest", tolerance=0, normalised=True)
CT = Channel("ct", 40.0, 90.0, -120.0, 260.0)
RULES = {
    "ct": Normalisation(kind="card", mean=(40,), std=(90,), low=(-120,), high=(260,)),
    "zscore": Normalisation(kind="source"),
    "masked": Normalisation(kind="nonzero"),
    "rescale": Normalisation(kind="range"),
    "none": Normalisation(kind="identity"),
}


def bins(values: np.ndarray) -> np.ndarray:
    """Scores of three classes, voxel by voxel: ``(..., channels) -> (..., 3)``."""
    value = values.sum(-1)
    scores = [np.zeros_like(value), 1.2 * value - 0.3, 2 * value - 1.13]
    return np.stack(scores, -1).astype(np.float32)


def images(shape: tuple[int, int, int], count: int, seed: int = 3) -> np.ndarray:
    """``(C, z, y, x)`` int16, smooth and noisy, in a frame of 0 that is not the same on all sides; no 0 within."""
    noise = np.random.default_rng(seed)
    z, y, x = np.indices(shape) / np.array(shape).reshape(3, 1, 1, 1)
    out = []
    for c in range(count):
        wave = 300 * np.sin(5 * x + c) * np.cos(4 * y) + 250 * np.sin(6 * z + c)
        values = (wave + noise.normal(0, 60, shape)).astype(np.int16)
        values[values == 0] = 1
        out.append(values)
    data = np.stack(out)
    data[:, :2], data[:, -1:], data[:, :, :3], data[:, :, :, -4:] = 0, 0, 0, 0
    return data


@dataclass(frozen=True)
class Case:
    spacing: tuple[float, ...]
    wanted: tuple[float, ...]
    channels: tuple[Channel, ...] = (Channel("zscore"),)
    transpose: tuple[int, ...] = (0, 1, 2)
    shape: tuple[int, int, int] = (18, 30, 27)

    @property
    def card(self) -> ModelCard:
        schemes = [channel.scheme for channel in self.channels]
        rule = RULES[schemes[0]]
        if len(schemes) > 1:
            rule = Normalisation(
                kind="mixed",
                kinds=tuple(RULES[scheme].kind for scheme in schemes),
                mean=tuple(channel.mean for channel in self.channels),
                std=tuple(channel.std for channel in self.channels),
                low=tuple(c.low if c.scheme == "ct" else None for c in self.channels),
                high=tuple(c.high if c.scheme == "ct" else None for c in self.channels),
            )
        rank = len(self.wanted)
        return ModelCard(
            name="nn",
            kind="volume",
            rank=rank,
            channels=tuple(f"c{n}" for n in range(len(schemes))),
            classes=tuple(ClassInfo(id=n, name=f"k{n}") for n in range(3)),
            normalisation=rule,
            patch=(16,) * rank,
            overlap=(8,) * rank,
            spacing_mm=self.wanted,
            resampling=AS_NNUNET,
            orientation="stored:" + ",".join(map(str, self.transpose)),
            crop="nonzero",
        )

    def files(self, folder: Path) -> tuple[list[Path], Preprocessed]:
        """Turned and shifted in space, which stored axes know nothing of."""
        data = images(self.shape, len(self.channels))
        affine = np.zeros((4, 4))
        affine[[1, 0, 2], [0, 1, 2]] = np.array(self.spacing[::-1]) * (-1, 1, -1)
        affine[:, 3] = (4, -7, 9, 1)
        paths = [
            write_volume(folder / f"scan_{n:04}.nii", values.transpose(2, 1, 0), affine)
            for n, values in enumerate(data)
        ]
        return paths, preprocess(data, self.spacing, self.wanted, self.channels, self.transpose)


CASES = {
    "finer": Case((2.0, 1.5, 1.2), (1.0, 1.0, 1.0)),
    "coarser, clipped": Case((1.0, 0.8, 0.8), (1.3, 1.5, 1.1), (CT,)),
    "thick slices of the image": Case((5.0, 1.0, 1.1), (2.0, 1.3, 0.7), (CT,)),
    "thick slices of the model": Case((1.5, 1.0, 1.0), (5.0, 1.2, 1.2)),
    "thick along another axis": Case((1.0, 1.0, 4.0), (1.2, 0.8, 4.0), (CT,)),
    "thick along two axes in turn": Case((1.0, 1.1, 4.0), (4.5, 1.0, 1.2), (CT,)),
    "two long sides": Case((0.3, 1.25, 1.25), (0.5, 1.0, 1.0)),
    "masked": Case((2.0, 1.5, 1.2), (1.2, 1.0, 1.6), (Channel("masked"),)),
    "CT and PET": Case((3.0, 1.4, 1.2), (2.0, 1.0, 1.0), (CT, Channel("zscore"))),
    "all kinds": Case(
        (1.6, 1.4, 1.2),
        (1.0, 1.1, 1.3),
        (Channel("none"), Channel("rescale"), Channel("masked"), CT),
    ),
    "transposed": Case((1.0, 4.0, 1.2), (3.0, 1.1, 1.3), (CT,), (1, 0, 2)),
    "slices": Case((1.0, 1.2, 2.0), (1.5, 1.0), (CT,), (2, 1, 0)),
    "as it is": Case((1.0, 1.0, 1.0), (1.0, 1.0, 1.01), (CT,)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param("finer", marks=pytest.mark.full), *[name for name in CASES if name != "finer"]],
)
def test_a_model_sees_what_nnunet_sees(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    paths, expected = case.files(tmp_path)
    spec = ImageSpec(tuple(map(str, paths)), grid=GridOptions(), crop="find")
    with open_view(spec, case.card) as view:
        rest = view.normalised_first(view.numbers(case.card.normalisation))
        extent = view.model.info.extent
        window, box = Box.whole(extent), Box.whole(view.info.extent)
        seen = rest(view.read_with(window, box, read_strictly).window)
        assert extent == expected.data.shape[1:]
        for mine, theirs in zip(np.moveaxis(seen, -1, 0), expected.data, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())
        part = Box(tuple(n // 4 for n in extent), tuple(n - 1 for n in extent))
        alone = rest(view.read_with(part, box, read_strictly).window)
        assert np.array_equal(alone, seen[part.slices()])


@pytest.mark.parametrize(
    "name",
    [
        "finer",
        "thick along two axes in turn",
        "thick slices of the image",
        pytest.param("CT and PET", marks=pytest.mark.full),
        "transposed",
        "slices",
        "as it is",
    ],
)
def test_labels_come_back_as_those_of_nnunet(tmp_path: Path, name: str) -> None:
    case, out = CASES[name], tmp_path / "out.nii"
    paths, seen = case.files(tmp_path)
    predict([*map(str, paths)], out, model=(case.card, bins))
    expected = seen.exported(np.moveaxis(bins(np.moveaxis(seen.data, 0, -1)), -1, 0))
    found = np.asarray(nibabel.load(out).dataobj).transpose(2, 1, 0)
    assert (found == expected).mean() > 0.9999
    assert np.unique(expected).size == 3


def crooked(patches: np.ndarray) -> np.ndarray:
    """Logits of all but two voxels a side, of a model that sees the whole patch, and where in it it is."""
    place = sum((k + 1) * i for k, i in enumerate(np.indices(patches.shape[1:-1])))
    whole = patches.mean(tuple(range(1, patches.ndim)))[:, None, None, None]
    value = np.sin((patches.sum(-1) + whole) * 2 + place / 9).astype(np.float32)
    scores = np.stack([np.zeros_like(value), 6 * value, 9 * np.cos(5 * value) - 1], -1)
    return scores[:, 2:-2, 2:-2, 2:-2]


def test_any_blocks_workers_and_batches_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that a card may ask for: a crop, two normalisations, valid convolutions among zeros, even tiles, views,
    and the last of independent classes by blended logits."""
    monkeypatch.setattr("seg_batch.inference.costs.CHUNK", {2: 64, 3: 16})
    case = CASES["CT and PET"]
    output = Output(
        gives="logits", blend="logits", classes="independent", rule="last", shrink=(2, 2, 2)
    )
    asked = {
        "output": output,
        "padding": "zero",
        "tiles": "even",
        "taper": "nnunet",
        "tta": "flips:y",
    }
    card = ModelCard(**{**dict(case.card), **asked})
    paths, seen = case.files(tmp_path)
    ways: list[dict[str, Any]] = [
        {},
        {"block": (16, 16, 16), "workers": 2},
        {"block": (16, 32, 16), "batch": 3},
    ]
    reports: list[Any] = [
        predict(
            *([*map(str, paths)], tmp_path / f"{n}.nii"),
            model=(card, crooked),
            probabilities=True,
            **way,
        )
        for n, way in enumerate(ways)
    ]
    assert len({report["blocks"]["total"] for report in reports}) == 3
    assert len({report["product"]["sha256"] for report in reports}) == 1
    assert len({report["probabilities"]["sha256"] for report in reports}) == 1
    found = np.asarray(nibabel.load(tmp_path / "1.nii").dataobj).transpose(2, 1, 0)
    assert np.unique(found[seen.box]).size == 3
    outside = np.ones(found.shape, bool)
    outside[seen.box] = False
    assert not found[outside].any()
