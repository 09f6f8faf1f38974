"""What to hold out: whole cases where there are enough, else strips that look like the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from seg_batch.advice.facts import Facts, Reason, Strips, percent
from seg_batch.advice.sizes import FEW_CASES, Sizes

TEST_EVERY = 5
MANY_CASES = 20
STRIPS = 20
_TEST, _VALIDATION = 4, 2  # strips each
_KEPT = 0.5  # of the voxels that a gap of a whole predicted patch must leave to training


def choose_hold_out(facts: Facts, sizes: Sizes) -> list[Reason]:
    if facts.split_given:
        return []
    if len(facts.cases) < FEW_CASES:
        return [] if facts.strips is None else _strips(facts.strips, sizes)
    return _slices(facts) if _neighbours(facts) else _cases(facts)


def _cases(facts: Facts) -> list[Reason]:
    n = len(facts.cases)
    every = TEST_EVERY if n < MANY_CASES else 2 * TEST_EVERY
    return [
        Reason("hold_out.test", {"every": TEST_EVERY, "first": 0}, f"{n} cases: one in five is scored at the end, and never seen"),
        Reason("hold_out.validation", {"every": every, "first": 2}, f"{n} cases: one in {every} chooses the checkpoint"),
    ]  # fmt: skip


def _neighbours(facts: Facts) -> bool:
    """Numbered pictures of one extent and no place on Earth: most likely slices of one stack."""
    alike = len({case.extent for case in facts.cases}) == 1
    plain = all(case.spacing is None and case.case.isdigit() for case in facts.cases)
    return facts.kind == "raster" and alike and plain


def _slices(facts: Facts) -> list[Reason]:
    names = [case.case for case in facts.cases]
    few, many = max(1, len(names) // 10), max(1, len(names) // TEST_EVERY)
    why = "numbered pictures of one size may be slices of a stack, where neighbours are alike"
    test, validation = names[-many:], names[:few]
    return [
        Reason("hold_out.test", {"cases": test}, f"{why}: the last fifth is scored", shown=", ".join(test)),
        Reason("hold_out.validation", {"cases": validation}, f"{why}: the first tenth chooses the checkpoint", shown=", ".join(validation)),
    ]  # fmt: skip


def _strips(strips: Strips, sizes: Sizes) -> list[Reason]:
    """The pair of strips whose classes are most like those of all, at least loss to training."""
    axis = sizes.order.index(strips.axis)
    inner = axis - (len(sizes.order) - sizes.rank)  # below 0: slices, which no patch reaches across
    side = 1 if inner < 0 else sizes.cut[inner]
    gaps = [0 if inner < 0 else p[inner] for p in (sizes.card, sizes.fit)]
    options = [(*_best(strips, side, gap), gap) for gap in gaps]
    roomy = options[0][1] >= _KEPT
    (test, validation), left, _ = options[0] if roomy else options[1]
    names = "zyx"[-len(sizes.order) :]

    def shown(span: Span) -> str:
        a, b = (strips.edges[k] for k in span)
        return f"{names[axis]} from {a} to {b} of {strips.edges[-1]}"

    found = [
        Reason("hold_out.test", {"boxes": [_box(strips, sizes, test)]}, "too few cases to hold one out; of all strips the one whose classes are most like those of all", shown=shown(test)),
        Reason("hold_out.validation", {"boxes": [_box(strips, sizes, validation)]}, f"a second strip chooses the checkpoint; {percent(left)} are left to train on", shown=shown(validation)),
    ]  # fmt: skip
    if not roomy:
        why = f"a whole predicted patch of gap would leave {percent(options[0][1])} to train on"
        lead = [1] * (len(sizes.order) - sizes.rank)
        found.append(Reason("hold_out.gap", [*lead, *sizes.fit], f"a training patch: {why}"))
    return found + _missing(strips, test, validation)


type Span = tuple[int, int]


def _best(strips: Strips, side: int, gap: int) -> tuple[tuple[Span, Span], float]:
    """The strips to test and validate on, and the share of voxels that tiles can be cut from."""
    pairs = [(t, v, _left(strips, t, v, side, gap)) for t, v in _pairs(len(strips.voxels))]
    test, validation, left = min(pairs, key=lambda p: _cost(strips, *p))
    return (test, validation), left


def _pairs(n: int) -> Iterator[tuple[Span, Span]]:
    for t in range(n - _TEST + 1):
        for v in range(n - _VALIDATION + 1):
            if v + _VALIDATION < t or t + _TEST < v:  # never side by side
                yield (t, t + _TEST), (v, v + _VALIDATION)


def _cost(strips: Strips, test: Span, validation: Span, left: float) -> float:
    """How unlike the whole the two are, and what is lost to training; classes that are gone from
    any part cost most."""
    whole = _counts(strips, (0, len(strips.voxels)))
    rest = whole - _counts(strips, test) - _counts(strips, validation)
    parts = {"test": _counts(strips, test), "validation": _counts(strips, validation)}
    unlike = _unlike(parts["test"], whole) + 0.5 * _unlike(parts["validation"], whole)
    gone = sum(2 * (not parts["test"][k]) + (not parts["validation"][k]) for k in whole)
    starved = sum(rest[k] < 0.4 * n for k, n in whole.items())
    return unlike + 2 * (1 - left) + gone + 2 * starved


def _unlike(part: Mapping[int, int], whole: Mapping[int, int]) -> float:
    """Half the sum of differences between shares of classes: 0 alike, 1 nothing in common."""
    a, b = max(1, sum(part.values())), max(1, sum(whole.values()))
    return sum(abs(part.get(k, 0) / a - n / b) for k, n in whole.items()) / 2


def _counts(strips: Strips, span: Span) -> Counter[int]:
    total: Counter[int] = Counter()
    for voxels in strips.voxels[slice(*span)]:
        total.update(voxels)
    return total


def _left(strips: Strips, test: Span, validation: Span, side: int, gap: int) -> float:
    """Share of the axis that is covered by stretches a tile fits in, between what is held out."""
    edges, length = strips.edges, strips.edges[-1]
    held = sorted((edges[a] - gap, edges[b] + gap) for a, b in (test, validation))
    stops = [(0, 0), *held, (length, length)]
    stretches = (max(0, b[0]) - min(length, a[1]) for a, b in pairwise(stops))
    return sum(n for n in stretches if n >= 1.5 * side) / length


def _box(strips: Strips, sizes: Sizes, span: Span) -> list[list[int]]:
    """The strip across all other axes, whatever their length, in the recipe's view."""
    start, stop = [0] * len(sizes.order), [strips.reach[a] for a in sizes.order]
    axis = sizes.order.index(strips.axis)
    start[axis], stop[axis] = strips.edges[span[0]], strips.edges[span[1]]
    if span[1] == len(strips.voxels):
        stop[axis] = strips.reach[strips.axis]
    return [start, stop]


def _missing(strips: Strips, test: Span, validation: Span) -> list[Reason]:
    whole = _counts(strips, (0, len(strips.voxels)))
    out = []
    for name, span in (("test", test), ("validation", validation)):
        gone = [str(k) for k in whole if not _counts(strips, span)[k]]
        if gone:
            why = f"class {', '.join(gone)} does not occur in it, so it is not scored there"
            out.append(Reason(f"hold_out.{name}", None, why, warning=True))
    return out
