"""Why a folder or a pattern gives no image, in words with a remedy."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice

from seg_batch.core.registry.formats import image_endings, split

_LOOKED_AT = 10_000  # names; a hint need not be complete


def why_no_image(text: str, found: list[str], matching: Callable[[str], Iterable[str]]) -> str:
    """The reason and the remedy. ``found``: what the folder holds or the pattern matches, none of it an
    image that counts; ``matching``: the paths that match a pattern."""
    if images := [path for path in found if split(path)[1] and not _is_hidden(path)]:
        return _set_aside(images)
    if found:
        hidden = " (names that begin with a dot do not count)" * any(map(_is_hidden, found))
        return (
            f"what is there has other endings: {_kinds(found)}{hidden}; images end with "
            f"{', '.join(image_endings())}"
        )
    if os.path.isdir(text):
        only = "holds folders only" if os.listdir(text) else "is empty"
        return f"the folder {only}: check the path"
    return _of_pattern(text, matching)


def _kinds(paths: Iterable[str]) -> str:
    kinds = Counter(os.path.splitext(path)[1] or "no ending" for path in paths)
    return ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common(4))


def _set_aside(images: list[str]) -> str:
    some = ", ".join(sorted(map(os.path.basename, images))[:3])
    return (
        f"{some} can't be inputs: products of segbatch, unfinished files, folders and parts of Zarr stores "
        "do not count"
    )


def _of_pattern(text: str, matching: Callable[[str], Iterable[str]]) -> str:
    head, slash, tail = text.rpartition("/")
    for escaped in (_escaped(text), f"{_escaped(head)}{slash}{tail}"):
        if escaped != text and _any(matching(escaped)):
            return f"[...] stands for one letter of several; for the brackets of a name write {escaped}"
    if "$" in text:
        return "$NAME is not replaced here: write ${NAME}"
    folder = _before_magic(text)
    if folder and not os.path.isdir(folder):
        what = "a file and no folder" if os.path.exists(folder) else "not there"
        return f"{folder} is {what}: check the path"
    in_any_case = re.sub(r"(?<!\[)[^\W\d_](?![^\[]*\])", _either_case, text)
    if other := _any(matching(in_any_case)):
        return f"{other} differs in capitals, which count: write the pattern as names are written"
    if hidden := _any(glob.iglob(text, include_hidden=True, recursive=True)):
        return f"{hidden} begins with a dot, which * does not match: rename it, or write the dot"
    deeper = f"{head or '.'}/**/{tail}"
    if "**" not in text and (below := _any(matching(deeper))):
        return f"{below} lies deeper: write {deeper}"
    others = islice(glob.iglob(f"{head}{slash}*"), _LOOKED_AT)
    kinds = _kinds(path for path in others if not os.path.isdir(path))
    held = f"; {head or 'the folder'} holds {kinds}" if kinds else ""
    return f"nothing matches it{held}: check the path"


def _escaped(pattern: str) -> str:
    """The pattern with its brackets as letters of a name."""
    return pattern.replace("[", "[[]")


def _before_magic(text: str) -> str:
    """The folder that the parts without a pattern name."""
    parts = text.split("/")[:-1]
    plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:plain])


def _either_case(letter: re.Match[str]) -> str:
    return f"[{letter[0].lower()}{letter[0].upper()}]"


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith(".")


def _any(paths: Iterable[str]) -> str | None:
    return next(islice(filter(lambda path: not path.endswith("/"), paths), _LOOKED_AT), None)
