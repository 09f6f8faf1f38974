"""The names of a stack: of the image that several files make up, and of the channel in each.

Files of one image share the beginning of their names, and differ in a word: ``p7_t1c.nii.gz`` and
``p7_flair.nii.gz`` are ``t1c`` and ``flair`` of ``p7``. Where all have one name their folders differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from seg_batch.core.files import split_part
from seg_batch.core.privacy.addresses import absolute, folder_and_name, is_remote, name_in
from seg_batch.core.registry.formats import split

_BETWEEN = "_-. "
_INDEX = "DICOMDIR"
_WORDS = re.compile(f"[{re.escape(_BETWEEN)}]+|[^{re.escape(_BETWEEN)}]+")


def stem_of(path: str) -> str:
    """The name of a file without its ending, or of a folder, which has none; of an index (PS3.10 8.6) that of its folder; of an
    image in a file with the name of that."""
    if is_remote(path):
        return split(name_in(path))[0] or name_in(path)
    whole, part = split_part(path)
    if part:
        words = re.sub(r"[^\w.-]+", "_", part).strip("_")
        return f"{stem_of(whole)}_{words}"
    whole = os.path.abspath(path)
    name = os.path.basename(os.path.dirname(whole) if whole.endswith(f"/{_INDEX}") else whole)
    stem, ending = split(name)
    if ending or whole.endswith(_INDEX) or os.path.isdir(whole):
        return stem
    before, last = os.path.splitext(name)
    return before if any(map(str.isalpha, last)) else name  # UIDs end with numbers


def image_stem(paths: Sequence[str]) -> str:
    """The words with which the names of all files begin, else the name of the first; no ending."""
    return _shared(paths) or stem_of(paths[0])


def mosaic_stem(paths: Sequence[str]) -> str:
    """The same of the pieces of one scene; where their names share no word, the name of the folder of the first: the scene is
    not called as one of them."""
    folder = os.path.basename(folder_and_name(absolute(paths[0]))[0])
    return _shared(paths) or folder or "mosaic"


def _shared(paths: Sequence[str]) -> str:
    words = [_WORDS.findall(stem_of(path)) for path in paths]
    return "".join(words[0][: _same(words)]).strip(_BETWEEN)


def channel_names(paths: Sequence[str]) -> list[str]:
    """A name for the channel of each file: what tells its name from those of the others, at both ends.
    Of several in one file their numbers."""
    if len(paths) > 1 and len(set(paths)) == 1:
        return [f"volume{k}" for k in range(len(paths))]
    stems = [stem_of(path) for path in paths]
    if len(paths) > 1 and len(set(stems)) == 1:
        stems = [os.path.basename(folder_and_name(absolute(path))[0]) for path in paths]
    words = [_WORDS.findall(stem) for stem in stems]
    most = min(map(len, words)) - 1
    if len(set(stems)) < len(stems) or len(stems) == 1 or most < 1:
        return stems
    begin = min(_same(words), most)
    end = min(_same([each[::-1] for each in words]), most - begin)
    kept = ["".join(each[begin : len(each) - end]).strip(_BETWEEN) for each in words]
    return kept if all(kept) and len(set(kept)) == len(kept) else stems


def _same(words: Sequence[Sequence[str]]) -> int:
    """With how many equal words all begin."""
    return next(
        (n for n, column in enumerate(zip(*words, strict=False)) if len(set(column)) > 1),
        min(map(len, words)),
    )
