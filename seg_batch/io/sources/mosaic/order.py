"""Which piece of a mosaic counts where several overlap."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from seg_batch.config.image_options.scene import Order
from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import folder_and_name, shown

_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?:[T_]?(\d{6}))?(?!\d)"
)
# Tags that hold the time of taking, the surer ones first.
_TAGS = ("ACQUISITION_DATE", "DATE_ACQUIRED", "datetime", "SENSING_TIME", "TIFFTAG_DATETIME")


def ranks(paths: Sequence[str], order: Order, tags: Callable[[str], dict[str, str]]) -> list[int]:
    """The numbers of the pieces, the one first that counts before all others: in the ``first`` order as they are named, else
    the newest first; of equal ones the first that is named. ``tags``: the metadata of a file. ``InputError`` for a piece without
    a date where dates decide."""
    numbers = list(range(len(paths)))
    if order == "first":
        return numbers
    keys = [_name(p) if order == "name" else date_of(p, tags) for p in paths]
    return sorted(
        numbers, key=keys.__getitem__, reverse=True
    )  # which keeps the order of equal ones


def _name(path: str) -> str:
    """Of the file; what signs an address has a date of its own."""
    return folder_and_name(path)[1]


def date_of(path: str, tags: Callable[[str], dict[str, str]]) -> str:
    """``yyyymmdd`` with the time behind it where one is known: of the file's name, else of its metadata."""
    found = _DATE.search(_name(path)) or next(
        (match for text in _dates(tags(path)) if (match := _DATE.search(text))), None
    )
    if found is None:
        raise InputError(
            f"{shown(path)}: neither its name nor its metadata holds a date like 20240513, so which file is the newest is not "
            "known: rename it, or use --order first or name"
        )
    year, _, month, day, time = found.groups()
    return f"{year}{month}{day}{time or ''}"


def _dates(tags: dict[str, str]) -> list[str]:
    """The texts of the tags with a date, as names have them."""
    low = {key.lower(): text for key, text in tags.items()}
    texts = [low[name.lower()] for name in _TAGS if name.lower() in low]
    return [re.sub(r"(?<=\d)[: ](?=\d)", "", text) for text in texts]
