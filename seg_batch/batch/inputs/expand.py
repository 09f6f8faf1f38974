"""Expansion of a workflow's ``inputs`` into paths, before any file is opened."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from heapq import heappop, heappush
from itertools import dropwhile, islice, takewhile
from typing import Any

from seg_batch.batch.inputs.dicom import Place, is_dicom, places, slices_among, specs_of, together
from seg_batch.batch.inputs.mosaics import maps_of_pieces, mosaic_of
from seg_batch.batch.inputs.no_match import why_no_image
from seg_batch.batch.inputs.stac.specs import specs_of_items
from seg_batch.batch.inputs.stacks import as_glob, filled, stacked_cases
from seg_batch.batch.inputs.tables import InputSpec, rows_of_list, rows_of_manifest
from seg_batch.config.card_parts.channels import Channels
from seg_batch.config.workflow.parts import InputSettings
from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import is_remote, shown, why_no_input
from seg_batch.core.registry.formats import (
    names_folder,
    probabilities_ending,
    shared_endings,
    split,
)
from seg_batch.core.run_files import (
    ATTEMPT,
    ATTEMPT_BYTES,
    INTERMEDIATE,
    NAME_BYTES,
    PART,
    PROBABILITIES,
    REPORT,
    STORE,
    TILES,
    named,
    shortened,
)
from seg_batch.io.sources.detect import detect

_UNFINISHED = (*INTERMEDIATE, PART)
_MARK = f".{ATTEMPT}"


def expand_inputs(
    inputs: InputSettings, allow: tuple[str, ...] = (), channels: Channels | None = None
) -> list[InputSpec]:
    """All inputs in the order of the workflow; those of a pattern or folder are sorted by name.

    Patterns and folders give images only, by the ending of their names. They leave out products of
    segbatch: where outputs are beside inputs, a second run would take the products of the first as
    inputs. A pattern without a match gives one input with an error. Files of DICOM series are taken together, as the inputs
    that they make. ``allow`` and ``channels``: see ``specs_of_items``.
    """
    products_in = cache(products)  # each folder is listed once
    specs: list[InputSpec] = []
    asked = Place("", "inputs.paths", inputs.volume, inputs.series)
    for text in inputs.paths:
        specs += _named_by(text, asked, products_in)
    specs += _of_places(inputs.dicom, replace(asked, where="inputs.dicom"))
    if inputs.stack:
        specs += _stacks(inputs.stack, inputs.volume, products_in)
    if inputs.mosaic:
        left_out = partial(is_excluded, patterns=inputs.exclude)
        pieces = partial(_pieces, products_in=products_in)
        specs.append(mosaic_of(inputs.mosaic, pieces, left_out, _matching))
    for case in inputs.cases:
        path, *more = case.image
        specs.append(
            InputSpec(
                path,
                "inputs.cases",
                volume=inputs.volume,
                series=inputs.series,
                more=tuple(more),
                id=case.id,
            )
        )
    if inputs.stac:
        specs += specs_of_items(inputs.stac, allow, channels)
    if inputs.manifest:
        specs += rows_of_manifest(inputs.manifest, inputs.volume, inputs.series)
    if inputs.list:
        specs += rows_of_list(inputs.list, inputs.volume, inputs.series)
    kept = [spec for spec in specs if spec.error or not _is_left_out(spec, inputs.exclude)]
    return _of_either(kept) if inputs.dicom and inputs.paths else kept


def _of_either(specs: list[InputSpec]) -> list[InputSpec]:
    """Where DICOM and files are asked for alike a place may hold either: what is empty is left out, unless all is."""
    if not any(not spec.left_out and spec.error is None for spec in specs):
        return specs
    return [
        replace(spec, error=None, left_out=(spec.error or "").removeprefix(f"{spec.path}: "))
        if spec.is_empty
        else spec
        for spec in specs
    ]


def _of_places(texts: Sequence[str], asked: Place) -> Iterator[InputSpec]:
    """The inputs of ``inputs.dicom``; those of a place in another come once."""
    keys, asked = set[str](), replace(asked, beside=len(texts) > 1)
    for text in texts:
        found = places(text, asked, _matching)
        if not found:
            why = why_no_image(text, [], _matching)
            yield InputSpec(text, asked.where, error=f"{text}: no DICOM there: {why}")
        for spec in (spec for place in found for spec in specs_of(place)):
            if spec.left_out or spec.error or spec.key not in keys:
                yield spec
            keys |= set() if spec.left_out else {spec.key}


def _is_left_out(spec: InputSpec, patterns: Sequence[str]) -> bool:
    if spec.mosaic:
        return False  # its pieces were left out, one by one
    if spec.series_files:
        return all(is_excluded(f"{spec.path}/{name}", patterns) for name in spec.series_files)
    return any(is_excluded(shown(path), patterns) for path in spec.files)


def is_excluded(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches the last parts of the path, as many as the pattern has. A pattern
    that ends with a slash matches folders anywhere in the path."""
    parts = path.split("/")
    for pattern in patterns:
        wanted = pattern.strip("/").split("/")
        ends = range(1, len(parts)) if pattern.endswith("/") else range(len(parts), len(parts) + 1)
        if any(_matches(parts[:end][-len(wanted) :], wanted) for end in ends):
            return True
    return False


def _matches(parts: list[str], wanted: list[str]) -> bool:
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _named_by(text: str, asked: Place, products_in: Callable[[str], set[str]]) -> list[InputSpec]:
    """The inputs of one of ``paths``: a file or store, the images in a folder, or matches; of DICOM, the series."""
    where, volume = asked.where, asked.volume
    if why := why_no_input(text):
        return [InputSpec(shown(text), where, volume=volume, error=why)]
    if is_remote(text):
        why = _no_pattern(text)
        return [InputSpec(text, where, volume=volume, series=asked.series, error=why)]
    if os.path.isdir(text) and not names_folder(text.rstrip("/").lower()):
        paths: Callable[[], Iterable[str]] = partial(_entries, text)
    elif os.path.lexists(text) or not glob.has_magic(text):
        if is_dicom(text):
            return specs_of(replace(asked, path=text))
        return [InputSpec(text, where, volume=volume, series=asked.series)]
    else:
        paths = partial(_matching, text)
    try:
        found = [*set(paths())]
        slices = slices_among(found)
        images = _images(set(found) - set(slices), products_in)
    except OSError as error:
        return [InputSpec(text, where, error=f"{text}: can't be read ({error.strerror}): check it")]
    series = [spec for place in together(slices, asked) for spec in specs_of(place)]
    if images or series:
        return [*(InputSpec(path, where, volume=volume) for path in images), *series]
    deeper = f", or write {text.rstrip('/')}/**/* for those in folders below" * _has_folders(text)
    why = why_no_image(text, [path for path in found if not os.path.isdir(path)], _matching)
    hint = "; for DICOM series in folders below, write it under inputs.dicom" * _has_folders(text)
    line = f"{text}: no image there: {why}{deeper}{hint}"
    return [InputSpec(text, where, error=line, is_empty=_is_there(text))]


def _no_pattern(address: str) -> str | None:
    """Why an address is no input; None where it may be one."""
    if "*" not in address.partition("?")[0]:
        return None
    return f"{shown(address)}: what a host or bucket holds is not listed, so patterns match nothing there: name the files, a list of them, or a STAC catalogue"


def _stacks(
    patterns: tuple[str, ...], volume: int | None, products_in: Callable[[str], set[str]]
) -> list[InputSpec]:
    """An image for each ``{id}`` that has a file for every pattern, an error for each that lacks one."""
    where = "inputs.stack"
    try:
        paths = {text: _images(_matching(as_glob(text)), products_in) for text in patterns}
    except OSError as error:
        return [InputSpec(patterns[0], where, error=f"{patterns[0]}: can't be read ({error.strerror}): check it")]  # fmt: skip
    specs = list[InputSpec]()
    for case in stacked_cases(patterns, paths):
        if (files := case.in_order(len(patterns))) is None:
            first, *more = (filled(pattern, case.id) for pattern in patterns)
            why = case.fault(patterns)
            specs.append(InputSpec(first, where, error=why, more=tuple(more), id=case.id))
        else:
            specs.append(InputSpec(files[0], where, volume=volume, more=files[1:], id=case.id))
    if specs:
        return specs
    why = why_no_image(as_glob(patterns[0]), [], _matching)
    return [InputSpec(patterns[0], where, error=f"{patterns[0]}: no image there: {why}")]


def _pieces(text: str, products_in: Callable[[str], set[str]]) -> list[str]:
    """The images of one text of a mosaic: in a folder, or matches; or the file itself."""
    if os.path.isdir(text) and not names_folder(text.rstrip("/").lower()):
        return _images(_entries(text), products_in)
    if os.path.lexists(text) or not glob.has_magic(text):
        return [text]
    return _images(_matching(text), products_in)


def _images(paths: Iterable[str], products_in: Callable[[str], set[str]]) -> list[str]:
    """The images among the paths, sorted, without products of segbatch."""
    return sorted(
        path
        for path in set(paths)
        if _is_image(path) and os.path.basename(path) not in products_in(os.path.dirname(path))
    )


def _entries(folder: str) -> Iterator[str]:
    return (entry.path for entry in os.scandir(folder))


def _is_there(pattern: str) -> bool:
    """Whether the folder is there that a pattern begins with; False for a path that is no pattern."""
    head = list(takewhile(lambda part: not glob.has_magic(part), pattern.split("/")))
    return glob.has_magic(pattern) and os.path.isdir("/".join([*head, ""]) or ".")


def _has_folders(text: str) -> bool:
    return os.path.isdir(text) and len(list(islice(_folders([os.path.join(text, "")]), 2))) > 1


def _matching(pattern: str) -> Iterator[str]:
    """As ``glob``, but ``**`` enters each folder behind symbolic links only once: a link may lead
    to a folder above it."""
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    head, tail = parts[:at], list(dropwhile("**".__eq__, parts[at:]))
    for folder in _folders(glob.iglob("/".join([*head, ""])) if head else [""]):
        yield from _matching(glob.escape(folder) + ("/".join(tail) or "*"))


def _folders(first: Iterable[str]) -> Iterator[str]:
    """These folders and all below, each with a slash at its end, without hidden ones and Zarr
    stores. Of several paths to one folder, the one without a link counts."""
    seen: set[tuple[int, int]] = set()
    plain: list[str] = []
    links: list[str] = []
    for folder in first:
        heappush(links if os.path.islink(folder.rstrip("/")) else plain, folder)
    while plain or links:
        folder = heappop(plain or links)
        try:
            info = os.stat(folder or ".")
            names = [entry.name for entry in os.scandir(folder or ".") if os.path.isdir(entry.path)]
        except OSError:  # skipped, as ``glob`` does
            continue
        if (info.st_dev, info.st_ino) in seen:
            continue
        seen.add((info.st_dev, info.st_ino))
        yield folder
        for name in names:
            if not name.startswith(".") and not names_folder(name.lower()):
                path = os.path.join(folder, name)
                heappush(links if os.path.islink(path) else plain, f"{path}/")


def _is_one_inside(path: str) -> bool:
    """Whether the first bytes of a file are those of an image: other kinds of files have its ending, too."""
    with suppress(InputError):
        return bool(detect(path))
    return False


def _is_image(path: str) -> bool:
    """Whether its name is that of an image: a file, or a Zarr store, and not a part of one. A file
    that can't be opened, like a dangling link, counts as an image, which will be refused."""
    name = os.path.basename(path)
    if name.startswith(".") or name.endswith(_UNFINISHED):
        return False
    if not split(name)[1] and not (names_folder(name.lower()) and os.path.isdir(path)):
        return name.lower().endswith(shared_endings()) and _is_one_inside(path)
    if any(names_folder(part.lower()) for part in path.split("/")[:-1]):
        return False
    return names_folder(name.lower()) or not os.path.isdir(path)


def products(folder: str) -> set[str]:
    """Names of the products of segbatch in a folder. Beside a product is its report, which names further
    ones, or the work store of a run that has not written the report yet."""
    names = set(os.listdir(folder or "."))
    made = {name.partition(_MARK)[0] for name in names if _MARK in name}
    made |= {name.removesuffix(STORE) for name in names if name.endswith(STORE)}
    further = set[str]()
    for name in names:
        product = name.removesuffix(REPORT)
        if product != name and (ours := _report(os.path.join(folder, name))):
            made |= {product} & names
            further |= _also_in(ours, folder)
    # Of long names, those beside are shortened.
    for name in (name for name in names if len(os.fsencode(name)) + ATTEMPT_BYTES > NAME_BYTES):
        report = named(name, REPORT)
        if {named(name, STORE), shortened(name, ATTEMPT_BYTES)} & (names | made) or (
            report in names and _report(os.path.join(folder, report))
        ):
            made.add(name)
    further |= maps_of_pieces(folder) if TILES in names else set()
    return made | further | {with_probabilities(product) for product in made}


def _also_in(report: dict[str, Any], folder: str) -> set[str]:
    """The names of the further products that lay beside the report's product, where ``folder`` is now."""
    rows = report.get("also") or ()
    paths = [str(row["path"]) for row in rows if isinstance(row, dict) and "path" in row]
    here = {os.path.dirname(str(report.get("output"))), os.path.abspath(folder or ".")}
    return {os.path.basename(path) for path in paths if os.path.dirname(path) in here}


def with_probabilities(product: str) -> str:
    """The path of the probabilities beside a product."""
    folder, name = os.path.split(product)
    stem, ending = split(name)
    return os.path.join(folder, named(stem, PROBABILITIES + probabilities_ending(ending)))


def _report(path: str) -> dict[str, Any] | None:
    """The report of a product; None where the file is none."""
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(report, dict) and report.keys() >= {"segbatch", "status", "plan", "product"}
    return report if ours else None
