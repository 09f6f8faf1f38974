"""The hold-out split: whole cases if there are enough, else strips with representative classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from seg_batch.core.units import share_roughly
from seg_batch.training.autoconfig.dataset_stats import DatasetFacts, StripStats, total
from seg_batch.training.autoconfig.patch_size import FEW_CASES, PatchSizes
from seg_batch.training.autoconfig.reasons import Reason

TEST_EVERY = 5
MANY_CASES = 20
STRIPS = 20
_TEST, _VALIDATION = 4, 2  # strips each
SCARCE = 0.05
_KEPT = 0.5  # least share of the voxels for training beside a gap of a whole predicted patch
_LEAST = 0.15  # the same beside a narrower gap


type Span = tuple[int, int]


def choose_hold_out(facts: DatasetFacts, sizes: PatchSizes) -> list[Reason]:
    if facts.split_given:
        return _validation(facts.free)
    if len(facts.cases) < FEW_CASES:
        return [] if facts.strips is None else _strips(facts.strips, sizes)
    return _slices(facts) if _neighbours(facts) else _cases(facts)


def _validation(free: tuple[str, ...]) -> list[Reason]:
    """A validation part beside a test part that is given; nothing where a single case is free."""
    names = free[2 % len(free) :: TEST_EVERY] if len(free) > 1 else ()
    if not names:
        return []
    why = f"the manifest names none, and {len(names)} of the {len(free)} other cases choose the checkpoint"
    return [Reason("hold_out.validation", {"cases": [*names]}, why, shown=", ".join(names))]


def _cases(facts: DatasetFacts) -> list[Reason]:
    n = len(facts.cases)
    every = TEST_EVERY if n < MANY_CASES else 2 * TEST_EVERY
    return [
        Reason("hold_out.test", {"every": TEST_EVERY, "first": 0}, f"{n} cases: one in five is scored at the end, and never seen"),
        Reason("hold_out.validation", {"every": every, "first": 2}, f"{n} cases: one in {every} chooses the checkpoint"),
    ]  # fmt: skip


def _neighbours(facts: DatasetFacts) -> bool:
    """Numbered images of one extent without georeference: most likely slices of one stack."""
    same_extent = len({case.extent for case in facts.cases}) == 1
    numbered = all(case.spacing is None and case.case.isdigit() for case in facts.cases)
    return facts.kind == "raster" and same_extent and numbered


def _slices(facts: DatasetFacts) -> list[Reason]:
    names = [case.case for case in facts.cases]
    few, many = max(1, len(names) // 10), max(1, len(names) // TEST_EVERY)
    why = "numbered pictures of one size may be slices of a stack, where neighbours are alike"
    test, validation = names[-many:], names[:few]
    return [
        Reason("hold_out.test", {"cases": test}, f"{why}: the last fifth is scored", shown=", ".join(test)),
        Reason("hold_out.validation", {"cases": validation}, f"{why}: the first tenth chooses the checkpoint", shown=", ".join(validation)),
    ]  # fmt: skip


def _strips(strips: StripStats, sizes: PatchSizes) -> list[Reason]:
    """The pair of strips whose classes are most like the whole, at the least loss to training."""
    axis = sizes.order.index(strips.axis)
    inner = axis - (
        len(sizes.order) - sizes.rank
    )  # below 0: across slices, where patches are 1 thick
    side = 1 if inner < 0 else sizes.cut[inner]
    gaps = [sizes.card, *(tuple(n // part for n in sizes.fit) for part in (1, 2, 4))]
    options = [_best(strips, side, 0 if inner < 0 else gap[inner]) for gap in gaps]
    lefts = [_share(strips, free) for _, free in options]
    roomy = lefts[0] >= _KEPT
    chosen = 0 if roomy else _narrowed(lefts)
    ((test, validation), free), left = options[chosen], lefts[chosen]
    names = "zyx"[-len(sizes.order) :]

    def shown(span: Span) -> str:
        a, b = (strips.edges[k] for k in span)
        return f"{names[axis]} from {a} to {b} of {strips.edges[-1]}"

    reasons = [
        Reason("hold_out.test", {"boxes": [_box(strips, sizes, test)]}, "too few cases to hold one out; of all strips the one whose classes are most like those of all", shown=shown(test)),
        Reason("hold_out.validation", {"boxes": [_box(strips, sizes, validation)]}, f"a second strip chooses the checkpoint; {share_roughly(left)} are left to train on", shown=shown(validation)),
    ]  # fmt: skip
    if not roomy:
        why = f"a whole predicted patch of gap would leave {share_roughly(lefts[0])} to train on"
        lead = [1] * (len(sizes.order) - sizes.rank)
        gap = ("", "a", "half a", "a quarter of a")[chosen]
        reasons.append(
            Reason("hold_out.gap", [*lead, *gaps[chosen]], f"{gap} training patch: {why}")
        )
    return reasons + _missing(strips, (test, validation), free)


def _narrowed(lefts: list[float]) -> int:
    """The index of the widest gap, up to a training patch, that leaves enough to train on."""
    enough = (k for k, left in enumerate(lefts) if k > 0 and left >= _LEAST)
    return next(enough, max(range(1, len(lefts)), key=lambda k: lefts[k]))


def _best(strips: StripStats, side: int, gap: int) -> tuple[tuple[Span, Span], list[Span]]:
    """The strips for test and validation, and the stretches that training tiles can be cut from."""
    options = [(held, _stretches(strips, held, side, gap)) for held in _pairs(len(strips.voxels))]
    return min(options, key=lambda option: _cost(strips, *option))


def _pairs(n: int) -> Iterator[tuple[Span, Span]]:
    for t in range(n - _TEST + 1):
        for v in range(n - _VALIDATION + 1):
            if v + _VALIDATION < t or t + _TEST < v:  # never side by side
                yield (t, t + _TEST), (v, v + _VALIDATION)


def _share(strips: StripStats, free: list[Span]) -> float:
    return sum(last - first for first, last in free) / strips.edges[-1]


def _cost(strips: StripStats, held: tuple[Span, Span], free: list[Span]) -> float:
    """The cost of a pair: class distributions unlike the whole, loss to training, and classes with
    less than a quarter of their expected share in one of the three parts."""
    n, left = len(strips.voxels), _share(strips, free)
    whole = _counts(strips, (0, n))
    test, validation = (_counts(strips, span) for span in held)
    parts = [
        (test, _TEST / n, 1.0),
        (validation, _VALIDATION / n, 0.5),
        (_seen(strips, free), left, 2.0),
    ]
    short = sum(
        weight * max(0.0, 1 - part[k] / (0.25 * share * whole[k]))
        for part, share, weight in parts
        for k in whole
        if share and whole[k]
    )
    unlike = _unlike(test, whole) + 0.5 * _unlike(validation, whole)
    return unlike + short + 2 * (1 - left) + (0 if left else 2 * len(whole))


def _seen(strips: StripStats, free: list[Span]) -> Counter[int]:
    """Voxels per label value for training: of the strips that lie wholly in a stretch."""
    parts = zip(pairwise(strips.edges), strips.voxels, strict=True)
    return total(
        voxels
        for (start, stop), voxels in parts
        if any(first <= start and stop <= last for first, last in free)
    )


def _unlike(part: Mapping[int, int], whole: Mapping[int, int]) -> float:
    """The total variation distance of class shares: 0 for equal, 1 for disjoint."""
    a, b = max(1, sum(part.values())), max(1, sum(whole.values()))
    return sum(abs(part.get(k, 0) / a - n / b) for k, n in whole.items()) / 2


def _counts(strips: StripStats, span: tuple[int, int | None]) -> Counter[int]:
    return total(strips.voxels[slice(*span)])


def _stretches(strips: StripStats, held: tuple[Span, Span], side: int, gap: int) -> list[Span]:
    """Stretches, in voxels, between held-out strips and their gaps that hold a tile at any offset."""
    edges, length = strips.edges, strips.edges[-1]
    shut = sorted((edges[a] - gap, edges[b] + gap) for a, b in held)
    ends = [(0, 0), *shut, (length, length)]
    free = ((max(0, a[1]), min(length, b[0])) for a, b in pairwise(ends))
    return [(first, last) for first, last in free if last - first >= 1.5 * side]


def _box(strips: StripStats, sizes: PatchSizes, span: Span) -> list[list[int]]:
    """The strip as a box across the whole of all other axes, in the recipe's orientation."""
    start, stop = [0] * len(sizes.order), [strips.reach[a] for a in sizes.order]
    axis = sizes.order.index(strips.axis)
    start[axis], stop[axis] = strips.edges[span[0]], strips.edges[span[1]]
    if span[1] == len(strips.voxels):
        stop[axis] = strips.reach[strips.axis]
    return [start, stop]


def _missing(strips: StripStats, held: tuple[Span, Span], free: list[Span]) -> list[Reason]:
    """A warning for each part with less than ``SCARCE`` of a class."""
    whole, test, validation = (_counts(strips, span) for span in ((0, None), *held))
    warnings = []
    for name, part, use in (
        ("hold_out", _seen(strips, free), "learnt"),
        ("hold_out.test", test, "scored well"),
        ("hold_out.validation", validation, "counted in choosing"),
    ):
        if scarce := [str(k) for k, n in whole.items() if part[k] < SCARCE * n]:
            why = f"less than {share_roughly(SCARCE)} of class {', '.join(scarce)} lies there, where it can't be {use}"
            warnings.append(Reason(name, None, why, warning=True))
    return warnings
