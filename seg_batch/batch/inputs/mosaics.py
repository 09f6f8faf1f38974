"""A mosaic in a workflow: its patterns make one input, however many files they match."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from seg_batch.batch.inputs.no_match import why_no_image
from seg_batch.batch.inputs.tables import STACKED, InputSpec
from seg_batch.core.files import why_not_local
from seg_batch.core.run_files import TILES
from seg_batch.inference.products.tiles import rows_of

_MOST_TEXTS = 4  # in a key
WHERE = "inputs.mosaic"


def mosaic_of(
    texts: Sequence[str],
    images_of: Callable[[str], list[str]],
    is_excluded: Callable[[str], bool],
    matching: Callable[[str], Iterable[str]],
) -> InputSpec:
    """The one input. ``texts``: files, folders and patterns; ``images_of``: the sorted images of one; ``matching``: all that a
    pattern matches. Pieces come in the order of the texts, each once; an error where a text gives none."""
    key, paths = _key(texts), dict[str, None]()
    for text in texts:
        if why := why_not_local(text):
            return InputSpec(text, WHERE, error=why, mosaic=True, name=key)
        try:
            found = images_of(text)
        except OSError as error:
            why = f"{text}: can't be read ({error.strerror}): check it"
            return InputSpec(text, WHERE, error=why, mosaic=True, name=key)
        if not found:
            why = f"{text}: no image there: {why_no_image(text, [], matching)}"
            return InputSpec(text, WHERE, error=why, mosaic=True, name=key)
        paths |= dict.fromkeys(path for path in found if not is_excluded(path))
    if not paths:
        why = f"{texts[0]}: inputs.exclude leaves no piece of the mosaic: mend it"
        return InputSpec(texts[0], WHERE, error=why, mosaic=True, name=key)
    first, *more = paths
    return InputSpec(first, WHERE, more=tuple(more), mosaic=True, name=key)


def maps_of_pieces(folder: str) -> set[str]:
    """The names of the maps of pieces that a run wrote into a folder."""
    return {str(row["file"]) for row in rows_of(Path(folder or ".") / TILES)}


def _key(texts: Sequence[str]) -> str:
    """The name of the input in a run, by what the workflow says: pieces may come and go."""
    named = [os.path.abspath(text) for text in texts]
    if len(named) <= _MOST_TEXTS:
        return f"{STACKED.join(named)}#mosaic"
    digest = hashlib.sha256("\0".join(named).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{named[0]} and {len(named) - 1} more#mosaic-{digest[:12]}"
