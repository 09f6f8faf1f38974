"""Every step over blocks equals the same step on the whole array, done the slow and obvious way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seg_batch.config.postprocess import parse_step
from seg_batch.core.geometry import Blocks
from seg_batch.inference.postprocess.array_chain import ArrayLabels, run_chain
from seg_batch.inference.postprocess.components import components
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.postprocess.run import run_step
from tests.support.postprocess import slow

pytestmark = pytest.mark.full

NODATA = 255
NAMES = ("none", "liver", "spleen", "kidney")


@st.composite
def maps(draw, classes=4):
    """A label map of rank 2 or 3 in patches of a few voxels, some without data, and a block shape."""
    rank = draw(st.sampled_from([2, 2, 3]))
    shape = tuple(draw(st.integers(1, 13 if rank == 2 else 7)) for _ in range(rank))
    block = tuple(draw(st.integers(1, n + 1)) for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    noise = rng.random((classes + 1, *shape))
    sigma = draw(st.sampled_from([0.0, 0.5, 1.0]))
    smooth = ndimage.gaussian_filter(noise, (0, *(sigma,) * rank))
    smooth[0] += draw(st.sampled_from([0.0, 0.1]))
    smooth[-1] -= draw(st.sampled_from([0.1, 9.0]))
    labels = smooth.argmax(0).astype(np.uint8)
    labels[labels == classes] = NODATA
    return labels, block


def setting(background):
    return LabelContext(dict(zip(NAMES, range(4), strict=True)), background, NODATA)


def done(text, labels, block, where, **more):
    result = labels.copy()
    (found,) = run_chain([parse_step(text)], result, where, block=block, **more)
    assert found.voxels == (result != labels).sum()
    return result, found


@given(maps())
def test_components_are_those_of_scipy(case):
    labels, _ = case
    found = components(labels)
    assert found.first.tolist() == sorted(found.first.tolist())
    seen = np.zeros(len(found.labels), bool)
    for label, mask in slow.objects(labels):
        (k,) = np.unique(found.ids[mask])
        assert not seen[k]
        seen[k] = True
        told = found.labels[k], found.sizes[k], found.first[k]
        assert told == (label, mask.sum(), np.flatnonzero(mask)[0])
    assert seen.all()


@given(maps(), st.sampled_from([0, None]), st.integers(1, 9))
def test_min_size_over_blocks_is_that_of_the_whole(case, background, least):
    labels, block = case
    where = setting(background)
    expected = slow.min_size(labels, dict.fromkeys(range(4), least), where)
    result, found = done(f"min_size:{least}", labels, block, where)
    np.testing.assert_array_equal(result, expected)
    gone = [mask for _, mask in slow.objects(labels) if (labels != expected)[mask].all()]
    assert found.objects == len(gone)


@given(maps(), st.sampled_from([0, None]))
def test_sizes_of_their_own(case, background):
    labels, block = case
    where = setting(background)
    expected = slow.min_size(labels, {1: 9, 2: 3, 3: 3}, where)
    if background is None:
        expected = slow.min_size(labels, {0: 3, 1: 9, 2: 3, 3: 3}, where)
    result, _ = done("min_size:3,liver=9", labels, block, where)
    np.testing.assert_array_equal(result, expected)


@given(maps(), st.sampled_from([0, None]), st.sampled_from([(), (1,), (3, 1)]))
def test_largest_over_blocks_is_that_of_the_whole(case, background, wanted):
    labels, block = case
    where = setting(background)
    every = [i for i in range(4) if i != background]
    expected = slow.largest(labels, wanted or every, where)
    result, _ = done("largest:" + ",".join(NAMES[k] for k in wanted), labels, block, where)
    np.testing.assert_array_equal(result, expected)


@given(maps(classes=2), st.sampled_from([(), (1,), (2,)]))
def test_holes_filled_over_blocks_are_those_of_the_whole(case, wanted):
    labels, block = case
    where = setting(0)
    expected = slow.fill_holes(labels, wanted or (1, 2, 3), where)
    result, _ = done("fill_holes:" + ",".join(NAMES[k] for k in wanted), labels, block, where)
    np.testing.assert_array_equal(result, expected)


@given(maps(classes=2))
def test_of_one_class_holes_are_those_of_scipy(case):
    labels, block = case
    labels = np.where(labels == 1, 1, 0).astype(np.uint8)
    result, _ = done("fill_holes", labels, block, setting(0))
    np.testing.assert_array_equal(result == 1, ndimage.binary_fill_holes(labels == 1))


@given(maps(), st.sampled_from([3, 5]))
@settings(max_examples=60)
def test_majority_over_blocks_is_that_of_the_whole(case, side):
    labels, block = case
    expected = slow.majority(labels, side, setting(0))
    result, found = done(f"majority:{side}", labels, block, setting(0))
    np.testing.assert_array_equal(result, expected)
    assert found.objects is None


@given(maps(), st.data())
@settings(max_examples=60)
def test_thresholds_over_blocks_are_those_of_the_whole(case, data):
    labels, block = case
    limits = data.draw(
        st.lists(st.sampled_from([None, 0.1, 0.3, 0.5, 1.0]), min_size=4, max_size=4)
    )
    if limits == [None] * 4:
        limits[0] = 0.5
    rng = np.random.default_rng(labels.size)
    q = rng.integers(0, 5, (4, *labels.shape)) * 64 // 2
    q = np.where(labels == NODATA, 0, q).astype(np.uint8)
    background = data.draw(st.sampled_from([0, None]))
    text = ",".join(f"{n}={t}" for n, t in zip(NAMES, limits, strict=True) if t is not None)
    expected = slow.threshold(labels, q, limits, setting(background))
    result, _ = done(f"threshold:{text}", labels, block, setting(background), probabilities=q)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("block", [(7, 40), (16, 16), (31, 5)])
def test_a_random_field_over_blocks_is_that_of_the_whole(block):
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 4, (31, 40)).astype(np.uint8)
    labels[10:14, 20:] = NODATA
    q = np.where(labels == NODATA, 0, rng.integers(1, 90, (4, *labels.shape))).astype(np.uint8)
    pixels = rng.normal(size=(*labels.shape, 2)).astype(np.float32)
    dark = rng.random(labels.shape) < 0.05

    def image(box):
        return pixels[box.slices()], ~dark[box.slices()]

    text = "crf:iterations=2,radius=2,contrast=3"
    more = {"probabilities": q, "image": image}
    expected, _ = done(text, labels, None, setting(0), **more)
    result, _ = done(text, labels, block, setting(0), **more)
    np.testing.assert_array_equal(result, expected)
    still = dark | (labels == NODATA)
    np.testing.assert_array_equal(result[still], labels[still])
    assert (result != labels).any()


def test_with_two_classes_a_threshold_is_the_usual_one():
    q = np.arange(256, dtype=np.uint8)[None, :]
    stored = np.stack([255 - q, q])
    where = LabelContext({"none": 0, "liver": 1}, 0, NODATA)
    for t in (0.2, 0.5, 0.9):
        labels = (q > 127).astype(np.uint8)
        run_chain([parse_step(f"threshold:liver={t}")], labels, where, probabilities=stored)
        np.testing.assert_array_equal(labels == 1, q >= 255 * t)


@pytest.mark.parametrize("text", ["min_size:9", "largest:liver", "fill_holes", "majority:3"])
def test_wide_labels_are_treated_alike(text):
    rng = np.random.default_rng(7)
    labels = (rng.random((31, 33)) < 0.6).astype(np.uint8)
    labels[4:9, 20:] = NODATA
    wide = np.choose(labels // 255 * 2 + labels % 255 % 2, [0, 300, 65535]).astype(np.uint16)
    narrow, _ = done(text, labels, (8, 9), setting(0))
    where = LabelContext({"none": 0, "liver": 300}, 0, 65535)
    result, _ = done(text, wide, (8, 9), where)
    for a, b in ((0, 0), (1, 300), (NODATA, 65535)):
        np.testing.assert_array_equal(narrow == a, result == b)
    assert (narrow != labels).any()


def test_a_snake_through_every_block_is_one_object():
    labels = np.zeros((24, 24), np.uint8)
    labels[::4] = 1
    labels[2::4, :] = 0
    for k, row in enumerate(range(0, 20, 4)):
        labels[row : row + 4, 23 if k % 2 == 0 else 0] = 1
    labels[2, 5:8] = 2
    expected, _ = done("largest", labels, None, setting(0))
    assert (expected == labels).all()
    for block in [(1, 1), (5, 7), (24, 2), (3, 24)]:
        result, found = done("largest", labels, block, setting(0))
        assert (result == labels).all()
        assert found.objects == 0


@pytest.mark.parametrize("text", ["min_size:4", "largest:liver", "fill_holes"])
def test_the_order_in_which_blocks_end_is_nothing(text):
    rng = np.random.default_rng(5)
    labels = (rng.random((40, 40)) < 0.6).astype(np.uint8)
    expected, _ = done(text, labels, (7, 9), setting(0))

    def shuffled(function, items):
        items = list(items)
        rng.shuffle(items)
        return map(function, items)

    after = np.empty_like(labels)
    board = ArrayLabels(labels, after, (1.0, 1.0))
    run_step(parse_step(text), board, setting(0), Blocks(labels.shape, (7, 9)), shuffled)
    np.testing.assert_array_equal(after, expected)
