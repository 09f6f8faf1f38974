"""Pairing predictions with truth, and with images, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.core.files import require_local_input
from seg_batch.core.registry.formats import image_endings, names_folder
from seg_batch.core.run_files import PART, PROBABILITIES, STORE
from seg_batch.inference.outputs import split_output

ENDING_OF_LABELS = ("_labels", "_label")


@dataclass(frozen=True)
class Match:
    """One case: the paths of its prediction, of its truth, and of its image if known."""

    case: str
    prediction: Path
    truth: Path
    image: Path | None = None


@dataclass(frozen=True)
class Matches:
    """The cases, sorted by name, and the files without a partner."""

    cases: list[Match]
    only_predictions: list[Path]
    only_truth: list[Path]


def match(predictions: str | Path, truth: str | Path, images: str | Path | None = None) -> Matches:
    """Pair files by their stem, less ``_labels``; one file is paired with one file of any name.

    InputError: a path that is missing, a folder where a file is needed to fit the other, two files
    of one folder with the same stem, or nothing that matches.
    """
    left, right = _listed(Path(predictions)), _listed(Path(truth))
    if _is_file(Path(predictions)) and _is_file(Path(truth)):
        (name,) = left
        pairs = {name: (left[name], next(iter(right.values())))}
    else:
        pairs = {name: (left[name], right[name]) for name in left if name in right}
    if not pairs:
        some = [", ".join(list(names)[:3]) for names in (left, right)]
        raise InputError(
            f"no file of {predictions} ({some[0]}) is called like one of {truth} ({some[1]}): name "
            "them alike (an ending _labels does not count), or give two files"
        )
    pictures = _pictures(images, list(pairs))
    used = {path for pair in pairs.values() for path in pair}
    return Matches(
        [Match(n, a, b, pictures.get(n)) for n, (a, b) in sorted(pairs.items())],
        [p for p in left.values() if p not in used],
        [p for p in right.values() if p not in used],
    )


def _pictures(images: str | Path | None, cases: list[str]) -> dict[str, Path]:
    if images is None:
        return {}
    listed = _listed(Path(images))
    if _is_file(Path(images)) and len(cases) == 1:
        return {cases[0]: next(iter(listed.values()))}
    return listed


def _is_file(path: Path) -> bool:
    """A file, or a Zarr product, which is a folder."""
    return path.is_file() or names_folder(path.name.lower())


def _listed(path: Path) -> dict[str, Path]:
    """Rasters and volumes by their stem."""
    require_local_input(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a label image, or a folder of them")
    if _is_file(path):
        return {stem(path): path}
    named: dict[str, Path] = {}
    for file in filter(_is_product, sorted(path.iterdir())):
        other = named.setdefault(stem(file), file)
        if other != file:
            raise InputError(f"{other} and {file} are both called {stem(file)}: keep one of them")
    if not named:
        raise InputError(f"{path} holds no raster and no volume ({', '.join(image_endings())})")
    return named


def _is_product(file: Path) -> bool:
    """A raster or volume, not a work store, an unfinished file or probabilities."""
    name = file.name.lower()
    working = name.endswith((STORE, PART)) or split_output(file)[0].endswith(PROBABILITIES)
    return not name.startswith(".") and name.endswith(image_endings()) and not working


def stem(path: Path) -> str:
    """``scene_labels.tif -> scene``."""
    name = split_output(path)[0]
    for ending in ENDING_OF_LABELS:
        if name.endswith(ending) and name != ending:
            return name[: -len(ending)]
    return name
