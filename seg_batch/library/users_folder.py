"""The folder of the bundles that the user added: which names are free there, what may go, one command at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg_batch.core.errors import BusyError, InputError
from seg_batch.core.files import held_folder, remove
from seg_batch.core.resources import BUNDLES
from seg_batch.core.run_files import ADDING, CARD, PART
from seg_batch.core.text import NAME, NAME_LENGTH, nearest, visible
from seg_batch.inference.bundles import bundle_folders, users_bundles
from seg_batch.inference.probe import PROBE_CARD
from seg_batch.io.sinks.publish import require_writable, restore_and_clean


def is_name(text: str) -> bool:
    return len(text) <= NAME_LENGTH and re.fullmatch(NAME, text) is not None


def require_name(name: str) -> None:
    """InputError for what can't be the name of a bundle."""
    if not is_name(name) or name.endswith(PART):
        raise InputError(
            f"{visible(name[:120])} is no name for a bundle: take up to {NAME_LENGTH} letters, digits, '.', '_' and '-', as in "
            "my-model"
        )
    if name == PROBE_CARD.name:
        raise InputError(f"{name} is what the built-in predictor is called: take another name")


def require_free_name(name: str, overwrite: bool) -> None:
    """InputError for what is no name of a bundle, or where it would replace or hide another unasked."""
    require_name(name)
    path = users_bundles() / name
    if os.path.lexists(path) and not (overwrite and (path / CARD).is_file()):
        raise InputError(
            f"{name} is there already, in {path}: give another --name, or replace it with --overwrite"
        )
    if (BUNDLES / name).is_dir() and not overwrite:
        raise InputError(
            f"segbatch comes with a bundle {name}, which this one would hide: give another --name, or let it be "
            "hidden with --overwrite"
        )


def namesakes(name: str, *, before: bool) -> list[Path]:
    """Other bundles of this name, in folders that are looked into before the user's, or after it."""
    folders, mine = bundle_folders(), users_bundles()
    place = len(folders) - 1 - folders[::-1].index(mine)
    others = folders[:place] if before else folders[place + 1 :]
    return [folder / name for folder in others if folder != mine and (folder / name).is_dir()]


def removable(name: str) -> Path:
    """The folder of that bundle of the user's; InputError where it is not one."""
    folder = users_bundles()
    path = folder / name
    named = is_name(name)
    if named and (path.is_symlink() or (path / CARD).is_file()):
        return path
    if name == PROBE_CARD.name or (named and (BUNDLES / name).is_dir()):
        raise InputError(
            f"{visible(name)} came with segbatch, and stays: only added bundles are removed"
        )
    if named and (elsewhere := namesakes(name, before=True)):
        raise InputError(
            f"{name} lies in {elsewhere[0]}, which SEGBATCH_BUNDLES names and segbatch only reads: remove it there"
        )
    mine = sorted(card.parent.name for card in folder.glob(f"*/{CARD}"))
    hint = nearest(name, mine) if mine else "there is none"
    raise InputError(f"{visible(name)} is no bundle that was added to {folder}: {hint}")


@contextmanager
def staging() -> Iterator[Path]:
    """An empty folder beside the user's bundles, for one command at a time; removed in the end, after a kill by
    the next one. BusyError while another one has it."""
    folder = users_bundles()
    require_writable(folder)
    stage = folder / ADDING
    busy = BusyError(f"another segbatch is adding or removing bundles in {folder}: wait for it")
    with held_folder(stage, busy):
        try:
            for left in stage.iterdir():
                remove(left)
            for part in folder.glob(f"*{PART}"):
                if not (part / CARD).exists():
                    restore_and_clean(part.with_name(part.name.removesuffix(PART)))
            yield stage
        finally:
            remove(stage)
