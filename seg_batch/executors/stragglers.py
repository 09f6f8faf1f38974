"""Which items in flight take so much longer than the others that they are begun elsewhere, too."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Hashable, Mapping

LATE = 3.0  # times the median
LEAST_DONE = 8  # items, before their median says anything
LEAST_S = 2.0  # that an item may always take: what is over in a moment is not worth a copy


def late[K: Hashable](
    now: float, begun: Mapping[K, float], seconds: Collection[float], least_s: float = LEAST_S
) -> list[K]:
    """Keys of ``begun`` (when each was submitted) that are late, the longest in flight first.

    ``seconds``: how long finished ones were in flight. ``now`` and ``begun`` are of one clock.
    """
    if len(seconds) < LEAST_DONE or not begun:
        return []
    limit = max(least_s, LATE * statistics.median(seconds))
    return sorted((k for k, at in begun.items() if now - at > limit), key=lambda k: begun[k])
