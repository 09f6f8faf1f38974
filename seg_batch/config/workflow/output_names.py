"""Names of outputs, made of those of their inputs: ``{stem}``, ``{parent}``, ``{name}``, ``{index}``."""

from __future__ import annotations

import os
import re
import string
from pathlib import PurePath

from seg_batch.config.predict_options import STEM, is_ending
from seg_batch.core.files import why_not_local
from seg_batch.core.registry.formats import PRODUCTS, product_ending, split, stem_of
from seg_batch.core.run_files import (
    ATTEMPT,
    INTERMEDIATE,
    NAME_BYTES,
    PART,
    PARTIAL,
    RUNS,
    shortened,
)
from seg_batch.core.text import nearest

_ENDINGS = "|".join(map(re.escape, (*INTERMEDIATE, PART, PARTIAL)))
_ON_THE_WAY = re.compile(rf"({_ENDINGS})(/|$)|\.{ATTEMPT}|(^|/){re.escape(RUNS)}")
FIELDS = ("stem", "parent", "name", "index")


def check_pattern(pattern: str) -> str:
    """The pattern; ValueError with what a pattern may hold where it is none."""
    if not pattern or "\0" in pattern:
        raise ValueError("the pattern is empty: write one like {stem}_labels")
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(
            f"{pattern!r} is no pattern ({error}): write one like {{stem}}_labels"
        ) from None
    for _, name, spec, conversion in parts:
        if name is not None:
            _check_field(name, spec or "", conversion)
    if why := why_not_local(pattern):
        raise ValueError(why)
    steps = PurePath(pattern).parts
    if pattern.startswith("/") or pattern.endswith("/") or ".." in steps:
        raise ValueError(f"{pattern!r} leaves the output folder, or names none in it: name a file")
    if ending := split(pattern)[1]:
        raise ValueError(
            f"{pattern!r} ends in {ending}, and endings follow from formats: leave it out here"
        )
    return pattern


def check_also(names: tuple[str, ...]) -> None:
    """ValueError unless these can name further products of any input."""
    every = [e for form in PRODUCTS.values() for e in (*form.endings, *form.aliases)]
    for name in names:
        if (STEM in name) == is_ending(name):
            raise ValueError(
                f"{name[:80]!r} would be one file for all inputs: give an ending like .csv, or a name with {STEM}"
            )
        if name.startswith("/") or ".." in PurePath(name).parts or why_not_local(name):
            raise ValueError(f"{name[:80]!r} leaves the output folder: name a file")
        if not product_ending(name):
            raise ValueError(
                f"{name[:80]!r} is no ending of a product: use {', '.join(sorted(every))}"
            )
        if names.count(name) > 1:
            raise ValueError(f"{name[:80]!r} is named twice: name it once")


def is_ours(name: str) -> bool:
    """Whether this name, below the output folder, could be that of one of the run's own files."""
    return _ON_THE_WAY.search(name) is not None


def _check_field(name: str, spec: str, conversion: str | None) -> None:
    if name not in FIELDS:
        raise ValueError(f"there is no {{{name[:40]}}}: {nearest(name, FIELDS)}")
    if conversion or (spec and name != "index") or not re.fullmatch(r"(0[1-9])?", spec):
        raise ValueError(f"{{{name}}} takes no format; {{index:04}} pads with zeros to four digits")


def output_name(pattern: str, path: str, index: int, ending: str = "") -> str:
    """The name, below the output folder and without its ending, of the product of ``path``, the
    ``index``-th input counted from 1. A stem with which it would be too long is shortened."""
    parent = os.path.basename(os.path.dirname(path))
    name = os.path.basename(path)
    stem = stem_of(name)
    text = pattern.format(stem=stem, parent=parent, name=name, index=index)
    around = len(os.fsencode(os.path.basename(text) + ending)) - len(os.fsencode(stem))
    if "{stem}" in pattern and 0 <= around < NAME_BYTES // 2:
        stem = shortened(stem, around)
    return pattern.format(stem=stem, parent=parent, name=name, index=index)
