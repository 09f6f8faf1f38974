"""The index of a mosaic: the box of each piece on the common grid, in compact arrays that a file holds."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.files import write_bytes
from seg_batch.core.geometry import Box
from seg_batch.core.georef import Georef, georef_from_json
from seg_batch.core.privacy.addresses import shown
from seg_batch.io.sources.protocol import SourceInfo

_ENDING = ".mosaic.npz"
_MARK = 16  # bytes of the digest of a piece


@dataclass(frozen=True, eq=False)
class MosaicIndex:
    """The pieces, in the order in which they count where they overlap.

    ``paths``: of the pieces; ``boxes``: ``(pieces, 4)`` int64, top, left, bottom and right on the common grid; ``brought``: bool,
    those that lie off it and are brought over; ``marks``: ``(pieces, 16)`` uint8, digests of their identities. ``named``: the
    numbers of the pieces in the order in which they were named. ``whole``: what is known of the mosaic besides, as JSON.
    """

    paths: tuple[str, ...]
    boxes: np.ndarray
    brought: np.ndarray
    marks: np.ndarray
    named: np.ndarray
    whole: dict[str, Any]

    @property
    def georef(self) -> Georef:
        return georef_from_json(self.whole["georef"])

    @property
    def extent(self) -> tuple[int, int]:
        height, width = self.whole["extent"]
        return height, width

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a resumed run compares: a digest of all pieces, of their places and their order."""
        total = hashlib.sha256()
        for array in (self.marks, self.boxes.astype("<i8"), self.brought):
            total.update(np.ascontiguousarray(array).tobytes())
        said = {key: self.whole[key] for key in ("extent", "georef", "order", "align", "dtype")}
        total.update(json.dumps(said, sort_keys=True).encode())
        brought = {"align": self.whole["align"]} if self.brought.any() else {}
        return {
            "pieces": len(self.paths),
            "sha256": total.hexdigest(),
            "order": self.whole["order"],
            **brought,
        }

    def box(self, number: int) -> Box:
        top, left, bottom, right = self.boxes[number].tolist()
        return Box((top, left), (bottom, right))

    @cached_property
    def _by_top(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Numbers and tops of the pieces from north to south, and the greatest height."""
        at = np.argsort(self.boxes[:, 0], kind="stable")
        heights = self.boxes[:, 2] - self.boxes[:, 0]
        return at, self.boxes[at, 0], int(heights.max(initial=0))

    def find(self, box: Box) -> list[int]:
        """The numbers of the pieces that touch a box, the one first that counts before the others."""
        at, tops, highest = self._by_top
        begin, end = np.searchsorted(tops, (box.start[0] - highest, box.stop[0]))
        near = at[begin:end]
        _, left, bottom, right = self.boxes[near].T
        touch = (left < box.stop[1]) & (right > box.start[1]) & (bottom > box.start[0])
        return sorted(near[touch].tolist())

    def info_with(self, first: SourceInfo) -> SourceInfo:
        """What is known of the mosaic; ``first``: of its first piece."""
        count = len(self.paths)
        return replace(
            first,
            path=f"{first.path} and {count - 1} more" if count > 1 else first.path,
            extent=self.extent,
            georef=self.georef,
            dtype=self.whole["dtype"],
            chunk=tuple(min(c, n) for c, n in zip(first.chunk, self.extent, strict=True)),
            nodata=tuple(self.whole["nodata"]),
            identity=self.identity,
            warnings=tuple(self.whole["warnings"]),
            facts={
                **{
                    k: v
                    for k, v in first.facts.items()
                    if k not in ("overviews", "masks", "layout")
                },
                "mosaic": count,
                "block_bytes": self.whole["block_bytes"],
                "held_bytes": self.whole["held_bytes"],
            },
            pieces=self.paths_as_named,
        )

    @cached_property
    def paths_as_named(self) -> tuple[str, ...]:
        """As they may be told."""
        paths = [""] * len(self.paths)
        for path, at in zip(self.paths, self.named.tolist(), strict=True):
            paths[at] = shown(path)
        return tuple(paths)

    def with_paths(self, named: Sequence[str]) -> MosaicIndex:
        """The same, read at these addresses, in the order in which they were named: those of signed ones differ from run to
        run, and none is in a file of ``write_index``."""
        return replace(self, paths=tuple(named[at] for at in self.named.tolist()))


def mark_of(identity: dict[str, Any]) -> bytes:
    """The digest of the identity of a piece."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:_MARK]


def write_index(index: MosaicIndex, folder: Path) -> Path:
    """The file of an index in ``folder``, which is made; ``OutputError`` where the disk refuses."""
    path, held = folder / f"index-{index.identity['sha256'][:20]}{_ENDING}", io.BytesIO()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        held,
        boxes=index.boxes,
        brought=index.brought,
        marks=index.marks,
        named=index.named,
        paths=_bytes("\0".join(map(shown, index.paths))),
        whole=_bytes(json.dumps(index.whole)),
    )
    write_bytes(path, held.getvalue())
    return path


def read_index(path: Path) -> MosaicIndex:
    """The index in a file of ``write_index``; ``InputError`` where it is none."""
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in ("boxes", "brought", "marks", "named")}
            paths = tuple(_text(held["paths"]).split("\0"))
            return MosaicIndex(paths, **arrays, whole=json.loads(_text(held["whole"])))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: the index of the mosaic can't be read ({error}): run the same command again"
        ) from None


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _text(array: np.ndarray) -> str:
    return array.tobytes().decode("utf-8", "surrogateescape")
