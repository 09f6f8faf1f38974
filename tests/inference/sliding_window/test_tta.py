"""Views of a patch: groups of exact permutations, averaged over, against np.rot90 and np.flip."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from seg_batch.core.errors import PlanError
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.inference.sliding_window.tta import average_views, symmetries

CASES = [
    ("none", (6, 8), 1),
    ("flips", (6, 8), 4),
    ("flips", (4, 6, 8), 8),
    ("flips:x", (6, 8), 2),
    ("flips:y,x", (6, 8), 4),
    ("flips:z", (4, 6, 8), 2),
    ("flips:z,x", (4, 6, 8), 4),
    ("d4", (6, 6), 8),
    ("d4", (4, 6, 6), 8),
    ("d4z", (4, 6, 6), 16),
]
NAMED = pytest.mark.parametrize(("tta", "patch", "count"), CASES)


def addresses(patch: tuple[int, ...], n: int = 1, channels: int = 1) -> np.ndarray:
    """``(n, *patch, channels)``: every voxel another number; no symmetry."""
    shape = (n, *patch, channels)
    return np.random.default_rng(3).permutation(np.prod(shape)).reshape(shape).astype(np.float32)


def by_hand(tta: str, patch: tuple[int, ...]) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Each view of one patch ``(*patch, k)``, in numpy's own words."""
    rank = len(patch)
    if tta == "none" or tta.startswith("flips"):
        names = "" if tta == "none" else tta.partition(":")[2] or "zyx"
        along = [axis for axis, name in enumerate("zyx"[3 - rank :]) if name in names]
        chosen = [c for n in range(len(along) + 1) for c in itertools.combinations(along, n)]
        return [lambda x, axes=tuple(axes): np.flip(x, axes) for axes in chosen]
    turns = itertools.product(range(4), (False, True), (False, True) if tta == "d4z" else (False,))

    def view(x: np.ndarray, k: int, mirrored: bool, upside_down: bool) -> np.ndarray:
        turned = np.rot90(x, k, axes=(rank - 2, rank - 1))
        turned = np.flip(turned, rank - 1) if mirrored else turned
        return np.flip(turned, 0) if upside_down else turned

    return [lambda x, turn=turn: view(x, *turn) for turn in turns]


@NAMED
def test_the_views_are_those_of_numpy(tta: str, patch: tuple[int, ...], count: int) -> None:
    x = addresses(patch, channels=2)
    found = {s.of(x)[0].tobytes() for s in symmetries(tta, patch)}
    assert len(found) == count == len(symmetries(tta, patch))
    assert found == {np.ascontiguousarray(view(x[0])).tobytes() for view in by_hand(tta, patch)}
    assert np.array_equal(symmetries(tta, patch)[0].of(x), x)


@NAMED
def test_the_views_are_a_group(tta: str, patch: tuple[int, ...], count: int) -> None:
    """Closed under composition; ``back`` undoes ``of`` from either side."""
    x = addresses(patch)
    views = symmetries(tta, patch)
    seen = {s.of(x).tobytes() for s in views}
    for first, second in itertools.product(views, repeat=2):
        assert second.of(first.of(x)).tobytes() in seen
    for s in views:
        assert np.array_equal(s.back(s.of(x)), x)
        assert np.array_equal(s.of(s.back(x)), x)


def softened(patches: np.ndarray) -> np.ndarray:
    """Equivariant under everything: each voxel by its own value. Mantissas are full."""
    p = 1 / (1 + np.exp(-patches[..., :1] / 37))
    return np.concatenate([p, 1 - p], -1).astype(np.float32)


def placed(patches: np.ndarray) -> np.ndarray:
    """Depends on the position in the patch, and on what lies beside it."""
    ramp = addresses(patches.shape[1:-1])[0] / patches[0].size
    beside = np.roll(patches[..., :1], 1, axis=-2) / patches[0].size
    p = ((ramp + 0.3 * beside) % 1).astype(np.float32)
    return np.concatenate([p, 1 - p], -1)


@NAMED
def test_what_is_equivariant_is_not_changed_by_a_bit(
    tta: str, patch: tuple[int, ...], count: int
) -> None:
    x = addresses(patch, n=3)
    assert np.array_equal(average_views(softened, tta)(x), softened(x))


@NAMED
def test_what_depends_on_the_place_is_averaged_over_all_views(
    tta: str, patch: tuple[int, ...], count: int
) -> None:
    """Undone by hand: a view of the voxels' numbers says where each result belongs."""
    x = addresses(patch, n=2)
    found = average_views(placed, tta)(x)
    total = np.zeros((2, *patch, 2))
    numbers = np.arange(np.prod(patch)).reshape((*patch, 1))
    for view, one in itertools.product(by_hand(tta, patch), range(2)):
        result = placed(np.ascontiguousarray(view(x[one]))[None])[0]
        total[one].reshape(-1, 2)[view(numbers).ravel()] += result.reshape(-1, 2)
    assert found.dtype == np.float32
    assert np.allclose(found, total / count, atol=1e-6, rtol=0)
    assert tta == "none" or not np.allclose(found, placed(x), atol=0.01)


@NAMED
def test_the_average_commutes_with_its_symmetries(
    tta: str, patch: tuple[int, ...], count: int
) -> None:
    """What averaging over a group is for."""
    x = addresses(patch)
    predict = average_views(placed, tta)
    for s in symmetries(tta, patch):
        assert np.allclose(s.back(predict(s.of(x))), predict(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("tta", ["flips", "d4"])
def test_neighbours_in_a_batch_change_nothing(tta: str) -> None:
    x = addresses((6, 6), n=5)
    predict = average_views(placed, tta)
    alone = np.concatenate([predict(x[i : i + 1]) for i in range(5)])
    assert np.array_equal(predict(x), alone)
    assert np.array_equal(predict(x[::-1])[::-1], alone)


def test_one_call_per_view_with_all_patches() -> None:
    shapes = []

    def told(patches: np.ndarray) -> np.ndarray:
        assert patches.flags.c_contiguous
        shapes.append(patches.shape)
        return softened(patches)

    average_views(told, "d4z")(addresses((4, 6, 6), n=3))
    assert shapes == [(3, 4, 6, 6, 1)] * 16
    plain: Predictor = told
    assert average_views(plain, "none") is plain


@pytest.mark.parametrize(
    ("tta", "patch", "said"),
    [
        ("d4", (6, 8), "patch is 6 x 8"),
        ("d4z", (4, 6, 8), "patch is 4 x 6 x 8"),
        ("d4z", (6, 6), "the model is 2-D: use --tta d4"),
        ("flip", (6, 6), "did you mean flips?"),
        ("flips:x,y", (6, 6), "did you mean flips:"),
        ("flips:z,y", (6, 6), "mirrors z, and the model is 2-D"),
        ("D4Z", (4, 6, 6), "did you mean d4z?"),
    ],
)
def test_what_a_patch_can_not_is_refused(tta: str, patch: tuple[int, ...], said: str) -> None:
    with pytest.raises(PlanError, match=said) as refused:
        symmetries(tta, patch)
    assert "\n" not in refused.value.message
