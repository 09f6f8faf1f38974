"""Edges and distances against scipy and a slow search."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from seg_batch.nn.losses.boundary import chessboard, distance, edge
from seg_batch.nn.losses.voxelwise import cross_entropy

SHAPES = [(23,), (14, 17), (7, 9, 8)]


def value(loss: object) -> float:
    return float(np.asarray(loss))


def blobs(shape: tuple[int, ...], classes: int, seed: int) -> np.ndarray:
    """Labels with borders some voxels apart."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), 2.0) for _ in range(classes)]
    return np.argmax(fields, axis=0)[None]


def noise(shape: tuple[int, ...], classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), (1, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [1, 3, 40])
def test_chessboard_distance_is_that_of_scipy(shape: tuple[int, ...], limit: int) -> None:
    seeds = np.random.default_rng(0).random((1, *shape, 1)) < 0.02
    seeds[(0, *(s // 3 for s in shape), 0)] = True
    ours = np.asarray(chessboard(seeds.astype(np.float32), limit))
    theirs = ndimage.distance_transform_cdt(~seeds[0, ..., 0], metric="chessboard")
    np.testing.assert_array_equal(ours[0, ..., 0], np.minimum(theirs, limit))


def test_without_a_seed_everything_is_far() -> None:
    assert np.all(np.asarray(chessboard(np.zeros((1, 5, 5, 1), np.float32), 4)) == 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_is_the_mean_of_signed_distance_times_error(shape: tuple[int, ...]) -> None:
    truth, p, reach = blobs(shape, 3, 1), noise(shape, 3, 2), 4
    expected = []
    for k in np.unique(truth):
        inside = truth[0] == k
        to_class, to_rest = (
            ndimage.distance_transform_cdt(mask, metric="chessboard") for mask in (~inside, inside)
        )
        phi = np.minimum(to_class, reach) - 0.5
        phi[inside] = 0.5 - np.minimum(to_rest, reach)[inside]
        expected.append((phi / reach * (p[0, ..., k] - inside)).mean())
    found = value(distance(truth, p, reach=reach, background=True))
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


def test_far_errors_cost_more_than_near_ones() -> None:
    truth = np.array([[1, 1, 0, 0, 0, 0, 0]])
    costs = []
    for wrong in range(2, 7):
        p = np.eye(2, dtype=np.float32)[truth]
        p[0, wrong] = (0.0, 1.0)
        costs.append(value(distance(truth, p, reach=4)))
    # one voxel of seven, at 1/2, 3/2, 5/2, 7/2 and (cut) 7/2 of 4
    np.testing.assert_allclose(costs, np.array([0.5, 1.5, 2.5, 3.5, 3.5]) / 4 / 7, atol=1e-6)


def near_a_border(truth: np.ndarray, valid: np.ndarray, reach: int) -> np.ndarray:
    """By search: closer than `reach` to a valid voxel that has another class beside it."""
    near = np.zeros(truth.shape, bool)
    for place in np.argwhere(valid):
        for axis, step in itertools.product(range(truth.ndim), (-1, 1)):
            beside = place.copy()
            beside[axis] += step
            if not 0 <= beside[axis] < truth.shape[axis] or not valid[tuple(beside)]:
                continue
            if truth[tuple(beside)] != truth[tuple(place)]:
                near[tuple(slice(max(v - reach + 1, 0), v + reach) for v in place)] = True
    return near


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [1, 3])
def test_edge_is_cross_entropy_weighted_near_borders(shape: tuple[int, ...], reach: int) -> None:
    truth, p = blobs(shape, 3, 5), noise(shape, 3, 6)
    valid = np.random.default_rng(7).random(truth.shape) < 0.9
    near = near_a_border(truth[0], valid[0], reach)[None]
    assert near.any()
    assert not near.all()
    weights = valid * np.where(near, 4.0, 1.0)
    expected = cross_entropy(truth, p, weights)
    assert value(edge(truth, p, valid, boost=3.0, reach=reach)) == pytest.approx(
        value(expected), abs=1e-5
    )


def test_edge_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1, 1]])
    q = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    p = np.stack([np.where(truth[0] == 0, q, 1 - q), np.where(truth[0] == 1, q, 1 - q)], -1)
    logs = [-math.log(x) for x in q]
    by_hand = (logs[0] + logs[1] + 3 * (logs[2] + logs[3]) + logs[4]) / 9
    found = edge(truth, p[None].astype(np.float32), boost=2.0, reach=1)
    assert value(found) == pytest.approx(by_hand, abs=1e-5)


def test_no_border_without_two_classes() -> None:
    p = noise((6, 6), 3, 0)
    truth = np.ones((1, 6, 6), np.int32)
    assert value(edge(truth, p)) == pytest.approx(value(cross_entropy(truth, p)), abs=1e-6)
