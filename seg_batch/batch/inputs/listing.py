"""The list of inputs that a workflow names, each with the path of its output.

Only the first bytes of a file are read. A file that can't be an input is refused with the reason,
and does not stop the others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from seg_batch.batch.inputs.expand import expand_inputs, with_probabilities
from seg_batch.batch.inputs.tables import InputSpec
from seg_batch.config.card_parts.channels import Channels
from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.config.workflow.output_names import is_ours, output_name
from seg_batch.config.workflow.parts import OutputSettings
from seg_batch.config.workflow.schema import Workflow
from seg_batch.core.errors import InputError, OutputError, SegbatchError
from seg_batch.core.files import require_local_output
from seg_batch.core.privacy.addresses import absolute, shown
from seg_batch.core.privacy.table import SourceOf, pseudonyms, read_table
from seg_batch.core.registry.formats import FORMATS, STAC_ENDING, holds_probabilities, split
from seg_batch.core.run_files import named
from seg_batch.inference.deidentified.codes import require_untold
from seg_batch.inference.loading.named import named_model
from seg_batch.inference.outputs import also_paths
from seg_batch.io.sources.detect import detect
from seg_batch.io.sources.naming.stack_names import image_stem, mosaic_stem
from seg_batch.io.sources.views.image_spec import ImageSpec


@dataclass(frozen=True)
class Listing:
    """The inputs of a workflow, in its order. ``specs``: with absolute paths and unique keys;
    ``refused``: the reason in one line by key. ``left_out``: a line for each series and for the files
    that are no inputs, nor refused."""

    specs: tuple[InputSpec, ...]
    refused: dict[str, str]
    left_out: tuple[str, ...] = ()


def list_inputs(workflow: Workflow, *, is_dry: bool = False) -> Listing:
    """The inputs of a workflow without steps. WorkflowError where its manifest or list can't be read; a
    faulty input is refused. An input named twice with the same output, volume, model and bands counts once.
    ``is_dry``: nothing is written, no table of codes."""
    if workflow.inputs is None:
        raise InputError(f"{workflow.name} is a workflow of steps: list the inputs of one of them")
    specs: dict[object, InputSpec] = {}
    left_out = list[InputSpec]()
    allow = workflow.plan_options().allow
    for spec in expand_inputs(workflow.inputs, allow, _channels(workflow)):
        if spec.left_out:
            left_out.append(spec)
        else:
            specs.setdefault(spec.identity, spec)
    listing = _Listed(workflow)
    every = with_codes(workflow, [*specs.values(), *left_out], is_dry=is_dry)
    known, left_out = every[: len(specs)], every[len(specs) :]
    for index, spec in enumerate(known, start=1):
        listing.take(spec, index)
    lines = dict.fromkeys(map(left_out_line, left_out))
    return replace(listing.apart(), left_out=tuple(lines))


def _channels(workflow: Workflow) -> Channels | None:
    """The channels by which assets of STAC items are chosen: those of the model, where it is named and they are."""
    if workflow.inputs is None or workflow.inputs.stac is None or not workflow.model:
        return None
    names = workflow.model
    model = named_model(names[0] if len(names) == 1 else [*names])
    return model.card.channels


def also_of(outputs: OutputSettings, spec: InputSpec) -> tuple[str, ...]:
    """The names of the further products of an input: beside each of a STAC item there is one."""
    also = outputs.also
    if spec.item is None or any(name.endswith(STAC_ENDING) for name in also):
        return also
    return (*also, STAC_ENDING)


def left_out_line(spec: InputSpec) -> str:
    """``archive: series 4 (...65422118, MR, 1 slice): one slice``."""
    hidden, line = spec.pseudonym, f"{shown(spec.path)}: {spec.left_out}"
    return hidden.told(line) if hidden else line


def with_codes(
    workflow: Workflow, specs: list[InputSpec], *, is_dry: bool = False
) -> list[InputSpec]:
    """The inputs with what stands for each, where the workflow says that they are not to be known. A code in the place of
    a path, as ``set-aside.txt`` has them, is led back to its input."""
    outputs = workflow.outputs
    if outputs.deidentify is None:
        return specs
    folder = os.path.abspath(outputs.folder)
    public = (folder, outputs.folder, *(workflow.model or ()))
    specs = _led_back(outputs.deidentify, specs)
    sources = [SourceOf.at(spec.files, spec.series, spec.volume) for spec in specs]
    made = pseudonyms(outputs.deidentify, sources, public, is_dry=is_dry)
    return [replace(spec, pseudonym=each) for spec, each in zip(specs, made, strict=True)]


def _led_back(table: str, specs: list[InputSpec]) -> list[InputSpec]:
    known = read_table(table) if os.path.exists(table) else None
    back = list[InputSpec]()
    for spec in specs:
        source = (
            known and not os.path.lexists(spec.path) and known.source(os.path.basename(spec.path))
        )
        if source:
            path, *more = source.files
            spec = replace(
                spec, path=path, more=tuple(more), volume=source.volume, series=source.series
            )
        back.append(spec)
    return back


class _Listed:
    """Inputs and refusals as they come, by key."""

    def __init__(self, workflow: Workflow) -> None:
        self.outputs = workflow.outputs
        options = workflow.plan_options()
        self.probabilities, self.scene = options.probabilities, options.scene
        self.specs: dict[str, InputSpec] = {}
        self.refused: dict[str, str] = {}

    def take(self, spec: InputSpec, index: int) -> None:
        try:
            if spec.error:
                raise InputError(spec.error)
            if spec.key in self.specs and spec.item is not None:
                raise InputError(
                    f"{shown(spec.path)}: its item is called {spec.key}, as another with other files is: give each by itself"
                )
            if spec.key in self.specs:
                raise InputError(
                    f"{spec.where}: {shown(spec.path)} is named twice, with another output, model or "
                    "bands: name it once"
                )
            if spec.output and spec.pseudonym:
                require_untold(spec.files, spec.output)
            output = output_of(spec, index, self.outputs, self.scene)
            path, *more = map(absolute, spec.files)
            self.specs[spec.key] = replace(spec, path=path, more=tuple(more), output=output)
        except SegbatchError as error:
            hidden = spec.pseudonym
            where, why = spec.where, error.message
            where, why = (hidden.told(where), hidden.told(why)) if hidden else (where, why)
            self.refuse(spec.key, where, why)

    def refuse(self, key: str, where: str, why: str) -> None:
        """Add a refusal under its key, or a longer one where that is taken."""
        taken = self.specs.keys() | self.refused.keys()
        name = key if key not in taken else f"{key} ({where})"
        while name in taken:
            name += "'"
        self.refused[name] = why

    def apart(self) -> Listing:
        """The listing; refuses inputs whose output is an input, or that of an earlier one."""
        inputs = {path for spec in self.specs.values() for path in spec.files}
        owners: dict[str, str] = {}
        for key, spec in tuple(self.specs.items()):
            written = self.written(spec)
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
            del self.specs[key]
            hidden = spec.pseudonym
            self.refused[key] = f"{key}: {hidden.told(why) if hidden else why}"
        return Listing(tuple(self.specs.values()), self.refused)

    def written(self, spec: InputSpec) -> list[str]:
        """The paths of the products of an input."""
        output = spec.output or ""
        beside = self.probabilities and not holds_probabilities(output)
        stem = spec.stem or (mosaic_stem if spec.mosaic else image_stem)(spec.files)
        also = also_paths(also_of(self.outputs, spec), Path(output), stem)
        return [output, *([with_probabilities(output)] if beside else []), *map(str, also)]


def output_of(
    spec: InputSpec, index: int, outputs: OutputSettings, scene: SceneOptions = AS_FILES
) -> str:
    """The path of the product; InputError for a file that is no image, OutputError for a name that
    leads out of the output folder."""
    if any("\0" in path for path in spec.files):
        raise InputError(f"{spec.where}: a path can't hold a zero byte: mend it")
    if spec.output:
        require_local_output(spec.output)
    ending = f".{getattr(outputs.formats, _kind(spec, scene))}"
    name = spec.output or output_name(outputs.pattern, spec.named, index, ending)
    if not (spec.output and split(name)[1]):
        name = os.path.join(os.path.dirname(name), named(os.path.basename(name), ending))
    folder = os.path.abspath(outputs.folder)
    path = os.path.normpath(os.path.join(folder, name))
    if not path.startswith(os.path.join(folder, "")):
        raise OutputError(f"{spec.where}: the output {name[:80]!r} is not in {folder}: rename it")
    if is_ours(os.path.relpath(path, folder)):
        raise OutputError(
            f"{spec.where}: {name[:80]!r} is the name of something that segbatch makes on the way: "
            "rename it"
        )
    return path


def _kind(spec: InputSpec, scene: SceneOptions) -> str:
    """``raster`` or ``volume``; the header is read only where the format may be either."""
    if spec.series_files:
        return "volume"
    if spec.item is not None:
        return "raster"
    if kind := FORMATS[detect(spec.path, scene)].kind:
        return kind
    source = ImageSpec((spec.path,), spec.volume, channels_last_axis=True).open()
    kind = source.info.kind
    source.close()
    return kind
