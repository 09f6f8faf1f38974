"""The path of a GPU, on the CPU: the labels of today's path, the same bytes for any blocks, and what faults give."""

import hashlib
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.core.errors import BundleError, SegbatchError
from seg_batch.core.geometry import Blocks, Box, Grid, Shape
from seg_batch.core.normalise import MaskedNormaliser, Normaliser, Pixels
from seg_batch.core.taper import Taper
from seg_batch.inference.on_device.block import predict_on_device
from seg_batch.inference.sliding_window.block import BlockResult, predict_block
from seg_batch.inference.sliding_window.empty import EmptyRule
from seg_batch.inference.sliding_window.stitch import Stitcher
from seg_batch.io.sources.views.open_view import Seen
from seg_batch.nn.backend import keras, tf
from seg_batch.nn.engines.batched import ModelPredictor
from seg_batch.nn.engines.device import DEVICES, Device
from seg_batch.nn.engines.device.programs import DevicePrograms
from seg_batch.nn.engines.tensorflow import KerasPredictor

pytestmark = pytest.mark.full

CLASSES = 3
IDS = np.array([0, 2, 7], np.uint8)
Result = tuple[np.ndarray, np.ndarray, BlockResult]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], ModelPredictor]:
    """By rank: two convolutions, of which neighbours are seen."""

    @cache
    def made(rank: int) -> ModelPredictor:
        keras.utils.set_random_seed(rank)
        conv = keras.layers.Conv2D if rank == 2 else keras.layers.Conv3D
        x = keras.Input((*(None,) * rank, 2))
        y = conv(6, 3, padding="same", activation="tanh")(x)
        model = keras.Model(x, conv(CLASSES, 3, padding="same", activation="softmax")(y))
        path = tmp_path_factory.mktemp("network") / f"{rank}.keras"
        model.save(path)
        return KerasPredictor(path)

    return made


def image(extent: Shape, dtype: str) -> Pixels:
    """Two channels with a gradient and noise; a corner without data, and single voxels in one channel."""
    rng = np.random.default_rng(len(extent))
    values = rng.normal(120, 40, (*extent, 2)).clip(0, 255)
    values += np.arange(extent[-1])[:, None] * 0.2
    valid = rng.random(values.shape) > 0.02
    valid[tuple(slice(0, n // 2) for n in extent)] = False
    return Pixels(values.astype(dtype), valid, (1.0, 2.0), (0.0, 5.0))


AFFINE = Normaliser((120.0, 245.0), (40.0, 80.0))


def stitcher(predictor: ModelPredictor, grid: Grid, normaliser: Normaliser = AFFINE) -> Stitcher:
    empty = EmptyRule(9, below=30.0, below_label=2)
    return Stitcher(
        grid, Taper(grid), normaliser, predictor, CLASSES, predictor.rank, batch=1, empty=empty
    )


def labelled(work: Stitcher, pixels: Pixels, block: Shape, device: Device | None) -> Result:
    """Labels and probabilities of all blocks, and the last of their results with the sum of all seams."""
    labels = np.zeros(work.grid.extent, np.uint8)
    shares = np.zeros((CLASSES, *work.grid.extent), np.uint8)
    seams: Any = None
    last: Any = None

    def read(window: Box, box: Box) -> Seen:
        return Seen(pixels[window.slices()], pixels[box.slices()], [])

    for each in Blocks(work.grid.extent, block):
        out = np.empty((CLASSES, *each.box.shape), np.uint8)
        if device is None:
            last = predict_block(work, read, each.box, IDS, probabilities=out)
        else:
            last = predict_on_device(work, device, read, each.box, IDS, probabilities=out)
        labels[each.box.slices()], shares[:, *each.box.slices()] = last.labels, out
        seams = last.seams if seams is None else seams + last.seams
    return labels, shares, replace(last, seams=seams)


GRIDS = {
    2: (Grid((75, 90), (32, 24), (8, 8), (2, 3)), (75, 90), (40, 50)),
    3: (Grid((9, 33, 20), (8, 16, 24), (2, 4, 4), (1, 2, 2)), (9, 33, 20), (4, 20, 20)),
}
CLIPPED = Normaliser((120.0, 245.0), (40.0, 80.0), (20.0, 90.0), (200.0, 400.0))
MASKED = MaskedNormaliser((120.0, 245.0), (40.0, 80.0))


@pytest.mark.parametrize(
    ("rank", "dtype", "normaliser"),
    [(2, "uint8", AFFINE), (2, "uint16", CLIPPED), (2, "float64", MASKED), (3, ">i2", AFFINE)],
)
def test_labels_are_those_of_the_cpu_for_any_blocks(
    rank: int, dtype: str, normaliser: Normaliser, networks: Callable[[int], ModelPredictor]
) -> None:
    grid, *blocks = GRIDS[rank]
    work = stitcher(networks(rank), grid, normaliser)
    pixels, device = image(grid.extent, dtype), DEVICES.of(networks(rank), grid.patch, 1)
    first = None
    for block in blocks:
        labels, shares, result = labelled(work, pixels, block, device)
        expected, expected_shares, today = labelled(work, pixels, block, None)
        assert not result.fell_back
        assert (labels != expected).mean() < 1e-3
        assert np.abs(shares.astype(int) - expected_shares).max() <= 1
        assert (result.tiles, result.skipped) == (today.tiles, today.skipped)
        np.testing.assert_array_equal(result.seams.pairs, today.seams.pairs)
        np.testing.assert_allclose(result.seams.flips, today.seams.flips, atol=2)
        np.testing.assert_allclose(result.seams.jumps, today.seams.jumps, rtol=1e-4, atol=1e-3)
        first = labels if first is None else first
        np.testing.assert_array_equal(labels, first)


@pytest.mark.parametrize(
    "grid",
    [
        Grid((2, 33, 20), (1, 16, 24), (0, 4, 4), (0, 2, 2)),  # slices of a volume
        Grid((33, 1), (16, 1), (4, 0), (2, 0)),
        Grid((1, 33), (1, 16), (0, 4), (0, 2)),
    ],
)
def test_a_model_of_two_axes_sees_patches_of_side_1(
    grid: Grid, networks: Callable[[int], ModelPredictor]
) -> None:
    work, pixels = stitcher(networks(2), grid), image(grid.extent, "int16")
    device, block = Device(networks(2), grid.patch, 4), (1, *grid.extent[1:])
    labels, _, result = labelled(work, pixels, block, device)
    expected, _, today = labelled(work, pixels, block, None)
    assert not result.fell_back
    assert (labels != expected).mean() < 1e-3
    np.testing.assert_allclose(result.seams.jumps, today.seams.jumps, rtol=1e-4, atol=1e-3)


class Faulty(DevicePrograms):
    """Programs that do not fit, or whose network fails, from a size of batch on, or gives what is not finite."""

    fits, most, error, nan = 99, 99, MemoryError, False

    def empty_batch(self) -> Any:
        if self.batch > self.fits:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return super().empty_batch()

    def compute(self, batch: Any) -> Any:
        if self.batch > self.most:
            raise self.error
        result = super().compute(batch)
        return result * np.float32("nan") if self.nan else result


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def made(**facts: Any) -> None:
        programs = type("Programs", (Faulty,), facts)
        monkeypatch.setattr("seg_batch.nn.engines.device.devices.DevicePrograms", programs)

    return made


@pytest.fixture
def scene(networks: Callable[[int], ModelPredictor]) -> tuple[Stitcher, Pixels, np.ndarray]:
    """A stitcher, an image, and its labels by the CPU."""
    grid = GRIDS[2][0]
    work, pixels = stitcher(networks(2), grid), image(grid.extent, "uint8")
    return work, pixels, labelled(work, pixels, (75, 90), None)[0]


@pytest.mark.parametrize("facts", [{"most": 2}, {"fits": 2}])
def test_memory_that_runs_out_halves_the_batch(
    scene: tuple[Stitcher, Pixels, np.ndarray], faulty: Callable[..., None], facts: dict[str, Any]
) -> None:
    work, pixels, expected = scene
    faulty(**facts)
    device = Device(work.predictor, work.grid.patch, 4)  # type: ignore[arg-type]
    labels, _, result = labelled(work, pixels, (75, 90), device)
    assert device.shared().programs.batch == 2
    assert not result.fell_back
    assert (labels != expected).mean() < 1e-3


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"most": 0}, "too little memory for a single patch"),
        ({"fits": 0}, "too little memory for a single patch"),
        (
            {"most": 0, "error": tf.errors.InternalError(None, None, "device lost")},
            "the GPU stopped working",
        ),
        ({"nan": True}, "not finite"),
    ],
)
def test_what_a_device_can_not_do_the_cpu_does_and_a_line_says_so(
    scene: tuple[Stitcher, Pixels, np.ndarray],
    faulty: Callable[..., None],
    facts: dict[str, Any],
    words: str,
) -> None:
    work, pixels, expected = scene
    faulty(**facts)
    device = Device(work.predictor, work.grid.patch, 2)  # type: ignore[arg-type]
    labels, _, result = labelled(work, pixels, (75, 90), device)
    assert words in result.fell_back
    np.testing.assert_array_equal(labels, expected)


def test_a_mistake_in_a_program_is_no_lost_device(
    scene: tuple[Stitcher, Pixels, np.ndarray], faulty: Callable[..., None]
) -> None:
    work, pixels, _ = scene
    error = tf.errors.InvalidArgumentError(None, None, "indices[0] = 2 is not in [0, 2)")
    faulty(most=0, error=error)
    device = Device(work.predictor, work.grid.patch, 2)  # type: ignore[arg-type]
    with pytest.raises(tf.errors.InvalidArgumentError):
        labelled(work, pixels, (75, 90), device)


def test_the_cpu_goes_on_with_the_weights_of_the_device_only(
    tmp_path: Path, networks: Callable[[int], ModelPredictor]
) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(networks(2).weights.read_bytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    device = Device(KerasPredictor(path, sha256=digest), (16, 16), 1)
    path.write_bytes(networks(3).weights.read_bytes())
    with pytest.raises(BundleError, match=r"model\.keras"):
        device.on_cpu(np.zeros((1, 16, 16, 2), np.float32))


def test_the_devices_used_last_are_kept(networks: Callable[[int], ModelPredictor]) -> None:
    def device(batch: int) -> weakref.ref[Device]:
        return weakref.ref(DEVICES.of(networks(2), (8, 8), batch))

    first, second = device(1), device(2)
    assert device(1)() is first()
    device(3)
    assert first() is not None
    assert second() is None


def test_a_model_that_gives_nothing_finite_anywhere_fails_the_block(
    tmp_path: Path, networks: Callable[[int], ModelPredictor]
) -> None:
    model = keras.models.load_model(networks(2).weights)
    model.layers[-1].set_weights([w * np.float32("nan") for w in model.layers[-1].get_weights()])
    model.save(tmp_path / "damaged.keras")
    damaged, grid = KerasPredictor(tmp_path / "damaged.keras"), GRIDS[2][0]
    device = Device(damaged, grid.patch, 1)
    with pytest.raises(SegbatchError, match="not finite"):
        labelled(stitcher(damaged, grid), image(grid.extent, "uint8"), (75, 90), device)


def test_tiles_of_several_inputs_share_a_batch(networks: Callable[[int], ModelPredictor]) -> None:
    device = Device(networks(2), (16, 16), 4)
    shared = device.shared()
    places = []
    for n in range(3):
        slab = shared.programs.upload(np.full((16, 16, 2), n, np.float32), None, [])
        places += shared.take(slab, np.zeros((1, 2), np.int32))
    assert [place.batch for place in places] == [None] * 3
    for place in places:
        shared.flush(place)
    assert shared.calls == 1
    for n, place in enumerate(places):
        alone = networks(2)(np.full((1, 16, 16, 2), n, np.float32))[0]
        np.testing.assert_allclose(place.batch[place.index], alone, atol=1e-6)
