"""Ranges of bytes: joined where little lies between them, parted where one is long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Range = tuple[int, int]  # start <= byte < stop

GAP_BYTES = 64 << 10  # reading so many more costs less than another request
MOST_BYTES = 4 << 20  # of one request


def merged(ranges: Iterable[Range], size: int, gap: int = GAP_BYTES) -> list[Range]:
    """Ranges in order that hold all the given ones, as far as they lie in a file of this size. Two with at most
    ``gap`` bytes between them are one."""
    whole = list[Range]()
    for start, stop in sorted((max(0, a), min(b, size)) for a, b in ranges):
        if start >= stop:
            continue
        if whole and start - whole[-1][1] <= gap:
            whole[-1] = (whole[-1][0], max(whole[-1][1], stop))
        else:
            whole.append((start, stop))
    return whole


def parted(whole: Range, most: int = MOST_BYTES) -> Iterator[Range]:
    """A range in pieces of at most so many bytes, of about one size."""
    start, stop = whole
    count = max(1, -(-(stop - start) // most))
    step = -(-(stop - start) // count)
    for at in range(start, stop, step):
        yield at, min(at + step, stop)
