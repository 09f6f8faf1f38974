"""Label maps of awkward shapes, how they may be cut into blocks, and a scorer that takes them so."""

import itertools

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

from seg_batch.core.geometry import Box, Shape
from seg_batch.evaluation.metrics.case import CaseScorer, CaseScores

SPACINGS = st.sampled_from([0.3, 1.0, 2.5])


@st.composite
def extents(draw: st.DrawFn, longest: dict[int, int] | None = None) -> Shape:
    rank = draw(st.sampled_from([2, 3]))
    side = st.integers(1, (longest or {2: 14, 3: 7})[rank])
    return tuple(draw(side) for _ in range(rank))


@st.composite
def pairs(draw: st.DrawFn, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction and validity: noise, or smooth regions that agree in part."""
    shape = draw(extents())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = rng.random((2, *shape))
    if draw(st.booleans()):
        noise[1] = 0.8 * noise[0] + 0.2 * noise[1]
        noise = np.stack([ndimage.gaussian_filter(n, 1.5) for n in noise])
        noise = (noise - noise.min()) / (np.ptp(noise) or 1)
    truth, found = np.minimum(noise * classes, classes - 1).astype(np.uint8)
    valid = rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))
    return truth, found, valid


@st.composite
def cuts(draw: st.DrawFn, extent: Shape) -> list[Box]:
    """Boxes that tile the extent, cut anywhere, in any order."""
    ends = [sorted(draw(st.sets(st.integers(1, n), max_size=3)) | {0, n}) for n in extent]
    spans = itertools.product(*(itertools.pairwise(e) for e in ends))
    boxes = [Box(tuple(a for a, _ in s), tuple(b for _, b in s)) for s in spans]
    return draw(st.permutations(boxes))


def blob(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """A mask of a few smooth lumps, away from the border."""
    noise = ndimage.gaussian_filter(rng.random(shape), 2.0)
    inner = np.zeros(shape, bool)
    inner[(slice(2, -2),) * len(shape)] = True
    return inner & (noise > np.quantile(noise, 0.7))


def scored(
    truth: np.ndarray,
    found: np.ndarray,
    valid: np.ndarray | None = None,
    boxes: list[Box] | None = None,
    **options,
) -> CaseScores:
    """The pair through a scorer; as one block, or as these."""
    region = Box.whole(truth.shape)
    scorer = CaseScorer(options.pop("classes", 3), region, **options)
    for box in boxes or [region]:
        window = scorer.window(box)
        at = window.slices()
        scorer.add(box, window, truth[at], found[at], None if valid is None else valid[at])
    return scorer.finish()
