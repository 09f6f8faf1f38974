"""A results folder of nnU-Net: what is in it, and which folds and checkpoints are taken.

``nnUNetTrainer__nnUNetPlans__3d_fullres/`` with ``plans.json``, ``dataset.json`` and ``fold_0/checkpoint_final.pth`` ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from seg_batch.conversion.nnunet.reading import DATASET, PLANS
from seg_batch.core.errors import InputError

Checkpoint = Literal["final", "best"]
ALL: Final = "all"
POSTPROCESSING = "postprocessing.pkl"
_FOLD = re.compile(r"fold_(\d{1,3}|all)")


@dataclass(frozen=True)
class Folds:
    """The folds that are taken, by number or ``all``, and their checkpoints."""

    names: tuple[str, ...]
    checkpoints: tuple[Path, ...]


def is_results(path: Path) -> bool:
    """Whether a folder looks like what nnU-Net's training left, perhaps in part: of a configuration, of several, or a fold."""
    here = any((path / name).is_file() for name in (PLANS, DATASET))
    return here or _is_fold(path) or bool(_trained_in(path))


def require_trained(folder: Path) -> None:
    """InputError unless this is the folder of one trained configuration, without a pickle that changes predictions."""
    if not ((folder / PLANS).is_file() and (folder / DATASET).is_file()):
        if inside := _trained_in(folder):
            raise InputError(
                f"{folder} holds {len(inside)} trained configurations: name one of them, like {inside[0]}"
            )
        if _is_fold(folder):
            raise InputError(
                f"{folder} is one fold: name {folder.resolve().parent}, and the fold by --fold"
            )
        raise InputError(
            f"{folder} has no {PLANS} and {DATASET}: name a results folder of nnU-Net v2, like "
            "Dataset004_X/nnUNetTrainer__nnUNetPlans__3d_fullres"
        )
    if (folder / POSTPROCESSING).exists():
        raise InputError(
            f"{folder / POSTPROCESSING} is a pickle, which may hold code and is not opened, and predictions without it would "
            "be others: move it away to import the network alone, and say what follows by --post of predict"
        )


def left_out(folder: Path) -> list[str]:
    """What of the folder is not carried over, in words."""
    advised = sorted(folder.glob(f"crossval_results*/{POSTPROCESSING}"))
    return [
        f"{path.relative_to(folder)} was not opened: predictions are those of nnUNetv2_predict, and what "
        "nnUNetv2_apply_postprocessing would do after them is said by --post"
        for path in advised
    ]


def folds_of(folder: Path, fold: str | None, checkpoint: Checkpoint) -> Folds:
    """The folds of ``0,1``, ``all`` (``fold_all``; where there is none, every fold), or None: every numbered one that has the
    checkpoint, else ``fold_all``. InputError for what is not there."""
    file = f"checkpoint_{checkpoint}.pth"
    present = sorted((m[1] for p in folder.iterdir() if (m := _FOLD.fullmatch(p.name))), key=_place)
    trained = [name for name in present if (folder / f"fold_{name}" / file).is_file()]
    numbered = [name for name in trained if name != ALL]
    if fold is None or (fold == ALL and ALL not in present):
        names = numbered or trained
    else:
        names = list(dict.fromkeys(name.strip().removeprefix("fold_") for name in fold.split(",")))
    for name in names:
        if name not in present:
            known = ", ".join(present) or "none"
            raise InputError(f"{folder} has no fold {name[:20]!r}: --fold takes some of {known}")
        if name not in trained:
            raise InputError(
                f"{folder / f'fold_{name}'} has no {file}: {_other(folder, name, checkpoint)}"
            )
    if not names:
        verb = "s {} have" if len(present) > 1 else " {} has"
        known = (
            f"fold{verb.format(', '.join(present))} no {file}" if present else "there is no fold"
        )
        raise InputError(
            f"{folder}: {known}: {_other(folder, present[0] if present else '', checkpoint)}"
        )
    return Folds(tuple(names), tuple(folder / f"fold_{name}" / file for name in names))


def _other(folder: Path, fold: str, checkpoint: Checkpoint) -> str:
    """What to do where a checkpoint is missing."""
    other = "best" if checkpoint == "final" else "final"
    if fold and (folder / f"fold_{fold}" / f"checkpoint_{other}.pth").is_file():
        return f"there is one of --checkpoint {other}"
    return "train it to its end, or copy the results folder again"


def _place(name: str) -> tuple[bool, int]:
    return (True, 0) if name == ALL else (False, int(name))


def _is_fold(path: Path) -> bool:
    path = path.resolve()
    return _FOLD.fullmatch(path.name) is not None and (path.parent / PLANS).is_file()


def _trained_in(folder: Path) -> list[Path]:
    """The trained configurations in the folder of a dataset."""
    return sorted(path.parent for path in folder.glob(f"*/{PLANS}")) if folder.is_dir() else []
