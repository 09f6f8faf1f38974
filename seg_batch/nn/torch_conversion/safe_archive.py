"""Which kind of file of PyTorch it is, and a copy of it that does arithmetic alone.

To open TorchScript or a ``.pt2`` file is to run parts of it: a ``.pt2`` file names functions of Python, and holds expressions
that are evaluated, pickles and libraries; TorchScript can write files. So both are read here first, without torch, and torch opens
a new archive with the members that were read: readers of archives differ in which member a name means.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from seg_batch.core import units
from seg_batch.core.errors import InputError
from seg_batch.nn.torch_conversion.safe_program import require_plain, require_script, unsafe

MOST_TEXT: Final = 256 << 20  # bytes of one program
HOW: Final = (
    "a bundle needs both, so export the network with torch.jit.trace(model, patch).save('model.pt'), torch.export.save "
    "or torch.onnx.export, and import that"
)
_LEGACY: Final = "serialized_exported_program.json"
_BOTH: Final = r"version|byteorder|\.data/\w+"
_TAKEN: Final = {
    "exported": re.compile(
        rf"{_BOTH}|models/model\.json|data/(?:weights|constants|sample_inputs)/(?!custom_obj|opaque_obj)[\w.-]+"
        r"|archive_(?:format|version)|serialized_(?:exported_program\.json|(?:state_dict|constants|example_inputs)\.(?:pt|json))"
    ),
    "torchscript": re.compile(
        rf"{_BOTH}|code/(?:[\w-]+/)*[\w-]+\.py|(?:data|constants)\.pkl|(?:data|constants)/[\w.-]+"
    ),
}
# What torch writes beside a program and needs for none: it is left out.
_LEFT: Final = re.compile(
    r"code/.*\.debug_pkl|extra/.*|traced_inputs/\w+|(?:traced_inputs|attributes|bytecode|mobile_debug_handles).*\.pkl"
)


def kind_of(path: Path) -> str:
    """``torchscript``, ``exported`` (by torch.export) or ``pickle``, by the names in the file alone."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file of the model")
    if not path.is_file():
        raise InputError(
            f"there is no file {path}: name a model of PyTorch, as TorchScript or .pt2"
        )
    if path.suffix.lower() == ".safetensors":
        raise InputError(f"{path} holds weights and no network: {HOW}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.lower() for name, _ in _members(archive)]
    except (zipfile.BadZipFile, OSError):
        return "pickle"
    if any(name.startswith("models/") or name == _LEGACY for name in names):
        return "exported"
    return "torchscript" if any(name.startswith("code/") for name in names) else "pickle"


def copy_safe(path: Path, kind: str, place: Path) -> None:
    """Write to ``place`` what is known and harmless of the ``torchscript`` or ``exported`` file ``path``.

    InputError, naming what it is, where opening or running the file could do more than arithmetic, or it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(place, "w") as copy:
            folder = "" if _LEGACY in archive.namelist() else "m/"
            for name, item in _known(path, kind, archive):
                if name.endswith((".py", ".json", ".pkl")):
                    copy.writestr(folder + name, _checked(path, kind, name, archive, item))
                elif item.file_size > path.stat().st_size:
                    raise zipfile.BadZipFile(f"{name} is larger than the file")
                else:
                    target = copy.open(folder + name, "w", force_zip64=True)
                    with target, archive.open(item) as source:
                        shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is damaged ({error}): export it again") from None


def _known(
    path: Path, kind: str, archive: zipfile.ZipFile
) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The members that torch needs; InputError for a name that is none of its own, or means two."""
    seen: dict[str, str] = {}
    for name, item in _members(archive):
        if other := seen.get(name.lower()):
            raise unsafe(path, f"it has both {units.shown(other)} and {units.shown(name)}")
        seen[name.lower()] = name
        if _TAKEN[kind].fullmatch(name):
            yield name, item
        elif not _LEFT.fullmatch(name):
            raise unsafe(path, f"it has {units.shown(name)}, which is no part of a network")


def _checked(
    path: Path, kind: str, name: str, archive: zipfile.ZipFile, item: zipfile.ZipInfo
) -> bytes:
    """A member that torch reads as more than numbers; InputError where it does more than arithmetic."""
    if item.file_size > MOST_TEXT:
        raise InputError(
            f"{path}: {name} has {units.show_bytes(item.file_size)}, more than any network: it is damaged"
        )
    try:
        content = archive.read(item)
    except Exception as error:  # of many types: what is packed may be anything
        words = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is damaged ({name}: {words}): export it again") from None
    (require_script if kind == "torchscript" else require_plain)(path, name, content)
    return content


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The names in an archive, without its own folder.

    Its directory is read whole: ``io.archive`` bounds that for archives from the net, and is of no lower layer than this.
    A file that torch opens lies here already, and torch, too, reads its directory whole.
    """
    for item in archive.infolist():
        yield item.filename.partition("/")[2] or item.filename, item
