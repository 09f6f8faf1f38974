"""Products that are made while blocks come in, by one thread of the coordinator: what is left at the end is little.

Nothing of them is in place before the end, and nothing is lost with them: what is not made by then, because a block
failed, or making it did, is made from the store as ever.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from seg_batch.core.geometry import Block, Box, Shape
from seg_batch.core.spells import spell


class EarlyProduct[R: Callable[[Box], Any]]:
    """``begun``: see ``ProductFormat.begin``; ``read``: gives a box of it once its ``blocks`` are done."""

    def __init__(self, begun: Any, read: R, blocks: Iterable[Block]) -> None:
        self.begun, self.read = begun, read
        self._waiting_for = Counter(index for block in blocks for index in self._touched(block))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segbatch-product")

    def _touched(self, block: Block) -> Iterator[Shape]:
        """The boxes that a block is part of, by their indices."""
        sides = zip(block.box.start, block.box.stop, self.begun.boxes.shape, strict=True)
        return itertools.product(*(range(a // side, -(-b // side)) for a, b, side in sides))

    def block_done(self, block: Block) -> None:
        """The block is in the store, and stays as it is. To be called once for each."""
        for index in self._touched(block):
            self._waiting_for[index] -= 1
            if not self._waiting_for[index]:
                box = self.begun.boxes.block(index).box
                self._thread.submit(copy_context().run, self._make, box)

    @spell("product")
    def _make(self, box: Box) -> None:
        self.begun.add(box, self.read(box))

    def end(self) -> None:
        """After it nothing is made."""
        self._thread.shutdown(cancel_futures=True)

    def close(self) -> None:
        self.end()
        self.begun.close()
