"""The inputs that a workflow names, each with the output that will be made of it.

Each is looked at only as far as its first bytes. What can't be an input is refused with the
reason; it never stops the others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from seg_batch.batch.inputs.expand import gathered
from seg_batch.batch.inputs.tables import Wish
from seg_batch.config.workflow.output_names import is_ours, named
from seg_batch.config.workflow.parts import Outputs
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core.errors import InputError, OutputError, SegbatchError
from seg_batch.core.registry.formats import FORMATS, holds_probabilities, split
from seg_batch.core.run_files import PROBABILITIES
from seg_batch.io.sources import open_source
from seg_batch.io.sources.detect import detect


@dataclass(frozen=True)
class Entry:
    """One input. ``key``: its path, with ``#volume`` where one of a 4-D file was named; unique.
    ``model``: its own, where the manifest gives one."""

    key: str
    path: str
    output: str
    volume: int | None = None
    model: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Refused:
    """What was named and can't be an input, with the reason in one line; ``key`` is unique, too."""

    key: str
    error: str


@dataclass(frozen=True)
class Listing:
    """All that a workflow names, in its order."""

    entries: tuple[Entry, ...]
    refused: tuple[Refused, ...] = ()


def listed(workflow: Workflow) -> Listing:
    """The inputs of a workflow without steps. WorkflowError where its manifest or list can't be read;
    a faulty input is among those refused. An input named twice in the same words counts once."""
    if workflow.inputs is None:
        raise InputError(f"{workflow.name} is a workflow of steps: list the inputs of one of them")
    wishes: dict[object, Wish] = {}
    for wish in gathered(workflow.inputs):
        wishes.setdefault(wish.asked, wish)
    found = _Listed(workflow)
    for index, wish in enumerate(wishes.values(), start=1):
        found.take(wish, index)
    return found.apart()


class _Listed:
    """Entries and refusals as they come, by key."""

    def __init__(self, workflow: Workflow) -> None:
        self.outputs = workflow.outputs
        self.probabilities = workflow.plan_options().probabilities
        self.entries: dict[str, Entry] = {}
        self.refused: dict[str, str] = {}

    def take(self, wish: Wish, index: int) -> None:
        try:
            if wish.error:
                raise InputError(wish.error)
            if wish.key in self.entries:
                raise InputError(
                    f"{wish.where}: {wish.path} is named twice, with another output or model: name "
                    "it once"
                )
            self.entries[wish.key] = Entry(
                key=wish.key,
                path=os.path.abspath(wish.path),
                output=output_of(wish, index, self.outputs),
                volume=wish.volume,
                model=wish.model,
            )
        except SegbatchError as error:
            self.refuse(wish.key, wish.where, error.message)

    def refuse(self, key: str, where: str, why: str) -> None:
        """Under its key, or a longer one where that is taken."""
        taken = self.entries.keys() | self.refused.keys()
        name = key if key not in taken else f"{key} ({where})"
        while name in taken:
            name += "'"
        self.refused[name] = why

    def apart(self) -> Listing:
        """Without those whose output is an input, or the output of an earlier one."""
        inputs = {entry.path for entry in self.entries.values()}
        owners: dict[str, str] = {}
        for key, entry in tuple(self.entries.items()):
            written = self.written(entry)
            if lost := next((path for path in written if path in inputs), None):
                why = f"its output {lost} is an input, which would be lost: choose another folder"
            elif twice := next((path for path in written if path in owners), None):
                why = (
                    f"its output {twice} is also that of {owners[twice]}: tell them apart with "
                    "{parent} or {index} in outputs.pattern"
                )
            else:
                owners |= dict.fromkeys(written, key)
                continue
            del self.entries[key]
            self.refused[key] = f"{key}: {why}"
        refused = tuple(Refused(key, error) for key, error in self.refused.items())
        return Listing(tuple(self.entries.values()), refused)

    def written(self, entry: Entry) -> list[str]:
        """The files that the input becomes."""
        stem, ending = split(entry.output)
        beside = self.probabilities and not holds_probabilities(entry.output)
        return [entry.output, *([f"{stem}{PROBABILITIES}{ending}"] if beside else [])]


def output_of(wish: Wish, index: int, outputs: Outputs) -> str:
    """The path of the product; InputError for what is no image, OutputError for a name that leads
    out of the folder."""
    if "\0" in wish.path:
        raise InputError(f"{wish.where}: a path can't hold a zero byte: mend it")
    ending = f".{getattr(outputs.formats, _kind(wish))}"
    name = wish.output or named(outputs.pattern, wish.path, index)
    if not (wish.output and split(name)[1]):
        name += ending
    folder = os.path.abspath(outputs.folder)
    path = os.path.normpath(os.path.join(folder, name))
    if not path.startswith(os.path.join(folder, "")):
        raise OutputError(f"{wish.where}: the output {name[:80]!r} is not in {folder}: rename it")
    if is_ours(os.path.relpath(path, folder)):
        raise OutputError(
            f"{wish.where}: {name[:80]!r} is the name of something that segbatch makes on the way: "
            "rename it"
        )
    return path


def _kind(wish: Wish) -> str:
    """Whether it is a raster or a volume; the header is read only where the format does not tell."""
    if kind := FORMATS[detect(wish.path)].kind:
        return kind
    source = open_source(wish.path, volume=wish.volume)
    kind = source.info.kind
    source.close()
    return kind
