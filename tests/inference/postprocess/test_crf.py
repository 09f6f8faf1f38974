"""The random field: equal to its equations, and the same bits whatever the blocks."""

import tracemalloc

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.config.postprocess import CrfStep
from seg_batch.core.geometry import Blocks, Box
from seg_batch.inference.postprocess import crf, crf_kernels
from seg_batch.inference.postprocess.array_chain import run_chain
from seg_batch.inference.postprocess.crf import halo, prepare_crf, refine, working_bytes
from seg_batch.inference.postprocess.label_context import LabelContext
from tests.support.postprocess.crf_reference import marginals

TIE = 1e-4  # probabilities closer than this may win in either order

STEPS = st.builds(
    CrfStep,
    iterations=st.integers(1, 3),
    radius=st.integers(1, 3),
    smooth=st.sampled_from([0, 0.5, 4]),
    sigma=st.floats(0.4, 3),
    bilateral=st.sampled_from([0, 1, 7]),
    reach=st.floats(0.4, 5),
    contrast=st.floats(0.05, 2),
)


def extents(most: int) -> st.SearchStrategy[tuple[int, ...]]:
    def small(shape: tuple[int, ...]) -> bool:
        return int(np.prod(shape)) <= most

    return hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=most).filter(small)


def made(
    shape: tuple[int, ...], classes: int = 3, channels: int = 2, seed: int = 0
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Probabilities as stored, an image with edges and an address in every value, some holes."""
    rng = np.random.default_rng([seed, *shape])
    raw = rng.gamma(0.7, size=(classes, *shape)) + 1e-3
    stored = np.rint(raw / raw.sum(axis=0) * 255).astype(np.uint8)
    address = np.arange(np.prod(shape)).reshape(*shape, 1) * np.arange(1, channels + 1)
    image = np.sin(address / 7) + rng.integers(0, 2, (*shape, 1))
    return stored, image.astype(np.float32), rng.random(shape) > 0.15


def logits(
    probabilities: npt.NDArray,
    image: npt.NDArray,
    valid: npt.NDArray,
    step: CrfStep,
    spacing: tuple[float, ...],
    core: Box | None = None,
) -> npt.NDArray:
    """What the fast path computes in ``core`` from the core and its halo alone."""
    shape = valid.shape
    core = core or Box.whole(shape)
    held = core.grown((halo(step),) * len(shape)).intersection(Box.whole(shape))
    at, inner = held.slices(), core.slices(held.start)
    part, belief = prepare_crf(probabilities[:, *at], image[at], valid[at], step, spacing)
    found = part.infer(belief, step.iterations, core.shift(tuple(-a for a in held.start)))
    return part.flat.take(found)[:, *inner]


@given(st.data(), extents(40), st.integers(2, 4), st.integers(1, 3), STEPS, st.booleans())
def test_it_is_what_the_equations_say(
    data: st.DataObject,
    shape: tuple[int, ...],
    classes: int,
    channels: int,
    step: CrfStep,
    stored: bool,
) -> None:
    spacing = tuple(data.draw(st.sampled_from([1.0, 1.6, 2.5]), label="side") for _ in shape)
    spacing = tuple(s / min(spacing) for s in spacing)
    probabilities, image, valid = made(shape, classes, channels, data.draw(st.integers(0, 99)))
    if not stored:
        probabilities = probabilities / np.float32(255)
    slow = marginals(probabilities, image, valid, step, spacing)
    fast = np.exp(logits(probabilities, image, valid, step, spacing).astype(float))
    fast /= fast.sum(axis=0)
    np.testing.assert_allclose(fast, slow, atol=1e-4)
    first, second = np.sort(slow, axis=0)[-1], np.sort(slow, axis=0)[-2]
    clear = first - second > TIE
    labels = refine(probabilities, image, valid, step, spacing=spacing, threads=1)
    assert (labels == slow.argmax(axis=0))[clear].all()


@given(st.data(), extents(600), STEPS)
def test_a_box_with_its_halo_gives_the_bits_of_the_whole(
    data: st.DataObject, shape: tuple[int, ...], step: CrfStep
) -> None:
    spacing = (1.3, *(1.0,) * (len(shape) - 1)) if len(shape) > 1 else (1.0,)
    start = tuple(data.draw(st.integers(0, n - 1), label="start") for n in shape)
    stop = tuple(
        data.draw(st.integers(a + 1, n), label="stop") for a, n in zip(start, shape, strict=True)
    )
    core = Box(start, stop)
    inputs = made(shape, seed=data.draw(st.integers(0, 9)))
    whole = logits(*inputs, step, spacing)[:, *core.slices()]
    assert logits(*inputs, step, spacing, core).tobytes() == whole.tobytes()


@pytest.mark.full
@pytest.mark.parametrize(
    ("shape", "sides"),
    [((231, 187), [(64, 187), (50, 33), (7, 101)]), ((40, 45, 38), [(40, 20, 38), (13, 16, 11)])],
)
def test_any_blocks_and_any_threads_give_the_bytes_of_the_whole(
    shape: tuple[int, ...], sides: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = CrfStep(iterations=3, radius=2, smooth=2, sigma=1.2, bilateral=4, contrast=0.4)
    inputs = made(shape, classes=5, channels=3)
    spacing = (1.0,) * len(shape)
    whole = logits(*inputs, step, spacing)
    labels = refine(*inputs, step, threads=1)
    assert (labels == whole.argmax(axis=0)).all()
    for side in sides:
        for block in Blocks(shape, side):
            alone = logits(*inputs, step, spacing, block.box)
            assert alone.tobytes() == whole[:, *block.box.slices()].tobytes()
    monkeypatch.setattr(crf, "PART_BYTES", 1 << 20)
    for threads in (1, 3):
        assert (refine(*inputs, step, threads=threads) == labels).all()


def test_any_number_of_voxels_in_hand_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many classes: NumPy sums eight or more in another order where they lie side by side."""
    inputs = made((5, 7), classes=19)
    step = CrfStep(iterations=2, radius=1)
    whole = logits(*inputs, step, (1.0, 1.0)).tobytes()
    for elements in (1, 100, 1000):
        monkeypatch.setattr(crf_kernels, "CHUNK_ELEMENTS", elements)
        assert logits(*inputs, step, (1.0, 1.0)).tobytes() == whole


@pytest.mark.parametrize("function", [np.exp, np.log])
def test_numpy_gives_a_value_the_same_bits_wherever_it_lies(function: np.ufunc) -> None:
    """The premise of exactness: the vector loop and its remainder are one function."""
    x = np.random.default_rng(3).uniform(1e-3, 40, 300).astype(np.float32)
    whole = function(x)
    wide = np.zeros((3, 90), np.float32)
    for start in range(20):
        for n in range(1, 70):
            wide[:, start : start + n] = x[start : start + n]
            rows = wide[:, start : start + n]
            function(rows, out=rows)
            expected = whole[start : start + n].tobytes()
            assert function(x[start : start + n]).tobytes() == expected
            assert all(row.tobytes() == expected for row in rows)


def test_the_halo_is_what_a_voxel_depends_on_and_no_more() -> None:
    step = CrfStep(iterations=3, radius=2, smooth=9, sigma=3, bilateral=9, reach=3, contrast=9)
    probabilities, image, _ = made((1, 40), classes=2, channels=1)
    valid, far = np.ones((1, 40), bool), halo(step)
    before = logits(probabilities, image, valid, step, (1.0, 1.0))[:, 0, 20]
    seen = []
    for distance in range(far + 4):
        other = probabilities.copy()
        other[:, 0, 20 + distance] = 255 - other[:, 0, 20 + distance]
        seen.append((logits(other, image, valid, step, (1.0, 1.0))[:, 0, 20] != before).any())
    assert seen == [True] * (far + 1) + [False] * 3


def test_what_is_not_valid_keeps_its_winner_and_is_not_heard() -> None:
    step = CrfStep(smooth=3, bilateral=3)
    probabilities, image, valid = made((20, 21))
    labels = refine(probabilities, image, valid, step)
    own = probabilities.argmax(axis=0)
    assert (labels[~valid] == own[~valid]).all()
    assert (labels != own).any()
    stored, nan = probabilities / np.float32(255), image.copy()
    nan[~valid, 0] = np.nan  # says as much as the mask
    assert (refine(stored, nan, None, step) == labels).all()
    stored[:, ~valid], nan[~valid] = np.nan, np.inf
    assert (refine(stored, nan, valid, step) == labels)[valid].all()


def test_it_follows_the_edges_of_the_image() -> None:
    """A line one voxel wide that the image shows stays; the same line unseen is speckle and goes."""
    truth = np.zeros((30, 30), int)
    truth[:, 12] = 1
    truth[20:, 20:] = 1
    probabilities = np.stack([0.6 - 0.2 * truth, 0.4 + 0.2 * truth]).astype(np.float32)
    step = CrfStep(iterations=5, smooth=1, sigma=1, bilateral=4, reach=3, contrast=0.2)
    seen = truth[..., None].astype(np.float32)
    assert (refine(probabilities, seen, None, step) == truth).all()
    blind = refine(probabilities, np.zeros_like(seen), None, step)
    assert not blind[2:18, 12].any()
    assert blind[23:, 23:].all()  # a region stays all the same


def test_without_weights_nothing_changes() -> None:
    probabilities, image, valid = made((4, 5, 6), classes=4)
    step = CrfStep(smooth=0, bilateral=0)
    assert (refine(probabilities, image, valid, step) == probabilities.argmax(axis=0)).all()


def test_extremes_stay_finite() -> None:
    probabilities, image, valid = made((9, 9), classes=2)
    image[3, 3], image[4, 4] = 3e38, -3e38
    probabilities[:, 5, 5] = 0
    for contrast in (0.001, 1000):
        step = CrfStep(
            iterations=20, smooth=20, sigma=0.1, bilateral=20, reach=0.1, contrast=contrast
        )
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(logits(probabilities, image, valid, step, (1.0, 1.0))).all()


def test_slices_too_far_apart_do_not_speak() -> None:
    step = CrfStep(radius=2, smooth=5, bilateral=5)
    probabilities, image, valid = made((4, 6, 7))
    together = refine(probabilities, image, valid, step, spacing=(5.0, 2.0, 2.0))
    alone = [refine(probabilities[:, z], image[z], valid[z], step) for z in range(4)]
    assert (together == alone).all()
    assert (refine(probabilities, image, valid, step) != alone).any()


@pytest.mark.parametrize(("extent", "classes"), [((4096, 4096), 8), ((700, 90000), 20)])
def test_parts_keep_to_their_memory(extent: tuple[int, int], classes: int) -> None:
    held = working_bytes(extent, classes, 4, CrfStep(), None, threads=3)
    assert crf.PART_BYTES / 4 < held / 3 <= crf.PART_BYTES


@pytest.mark.parametrize(
    ("shape", "classes", "channels"), [((300, 280), 4, 3), ((300, 280), 9, 1), ((40, 30, 50), 3, 2)]
)
def test_it_holds_no_more_than_it_says(
    shape: tuple[int, ...], classes: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crf, "PART_BYTES", 10 << 20)
    step = CrfStep(iterations=2, radius=2)
    probabilities, image, valid = made(shape, classes, channels)
    tracemalloc.start()
    try:
        refine(probabilities, image, valid, step, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = working_bytes(shape, classes, channels, step, None, threads=2)
    assert said / 3 < peak < said + (5 << 20)  # chunks in hand


@given(st.data(), extents(300))
def test_a_core_is_cut_from_the_whole(data: st.DataObject, shape: tuple[int, ...]) -> None:
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    core = Box(
        start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    )
    step, inputs = CrfStep(iterations=2, radius=2, smooth=3), made(shape)
    found = refine(*inputs, step, core=core, threads=1)
    assert (found == refine(*inputs, step, threads=1)[core.slices()]).all()


@pytest.mark.parametrize("block", [(4, 9, 31), (3, 4, 5)])
def test_as_a_step_of_the_chain_it_is_the_same_on_blocks(block: tuple[int, ...]) -> None:
    probabilities, image, valid = made((7, 18, 31))
    step, ids, sides = CrfStep(iterations=2, radius=2, smooth=4), (3, 5, 9), (2.0, 1.5, 1.5)
    labels = np.array(ids, np.uint8)[probabilities.argmax(axis=0)]
    known = valid & probabilities.any(axis=0)
    index = refine(probabilities, image, known, step, spacing=sides)
    expected = np.where(known, np.array(ids)[index], labels)
    assert (expected != labels).any()
    setting = LabelContext(dict(zip("abc", ids, strict=True)), None, 255)
    run_chain(
        [step],
        labels,
        setting,
        block=block,
        probabilities=probabilities,
        image=lambda box: (image[box.slices()], valid[box.slices()]),
        spacing=sides,
    )
    assert (labels == expected).all()


def test_what_a_header_rounds_puts_no_neighbour_out_of_reach() -> None:
    inputs = made((9, 30), classes=2)
    step = CrfStep(smooth=6, sigma=3)
    assert (refine(*inputs, step, spacing=(0.5, 0.50000003)) == refine(*inputs, step)).all()
    assert (refine(*inputs, step, spacing=(0.5, 0.51)) != refine(*inputs, step)).any()


def test_an_image_of_another_shape_or_another_scale_is_refused() -> None:
    probabilities, image, valid = made((6, 7))
    with pytest.raises(ValueError, match=r"\(6, 7\)"):
        refine(probabilities, image[:5], valid, CrfStep())
    with pytest.raises(ValueError, match="uint16"):
        refine(probabilities.astype(np.uint16), image, valid, CrfStep())
