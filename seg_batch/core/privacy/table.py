"""The table of codes: the one file that leads from a code back to its source.

It is JSON with a random key and an entry for each code, readable by its owner alone. A code is the beginning of an
HMAC-SHA256 of the source's path, its series and its volume under the key. So a source gets its code again, with the same
table, and a code says nothing to those who do not have it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seg_batch.core.errors import BusyError, InputError, OutputError, PlanError
from seg_batch.core.files import file_lock, flush, require_local_output, translate_os_errors
from seg_batch.core.privacy.addresses import absolute, shown
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.run_files import PARTIAL, hidden_beside, shortened

CODE_LETTERS = 16
WAIT_S = 30.0  # for another process that writes the table
_KIND = "segbatch codes"


@dataclass(frozen=True)
class SourceOf:
    """What a code stands for. ``files``: absolute paths; ``series`` and ``volume`` as they were chosen."""

    files: tuple[str, ...]
    series: str | None = None
    volume: int | None = None

    @classmethod
    def at(
        cls, files: Sequence[str], series: str | None = None, volume: int | None = None
    ) -> SourceOf:
        return cls(tuple(map(_absolute, files)), series, volume)

    @property
    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class CodeTable:
    """The content of the file. ``key``: hex."""

    path: Path
    key: str
    codes: dict[str, dict[str, Any]]

    def pseudonym(self, source: SourceOf, public: Sequence[str] = ()) -> Pseudonym:
        """``public``: see ``Teller``."""
        code, folder = self._code(source.text), self._code(os.path.dirname(source.files[0]))
        key = hmac.new(bytes.fromhex(self.key), f"of {code}".encode(), hashlib.sha256).digest()
        return Pseudonym(source.files, (*public, folder), code, key, folder)

    def source(self, code: str) -> SourceOf | None:
        """What a code stands for; None where the table has no such code."""
        if (entry := self.codes.get(code)) is None or "files" not in entry:
            return None
        return SourceOf(tuple(entry["files"]), entry.get("series"), entry.get("volume"))

    def _code(self, text: str) -> str:
        message = text.encode("utf-8", "surrogateescape")
        return hmac.new(bytes.fromhex(self.key), message, hashlib.sha256).hexdigest()[:CODE_LETTERS]


def pseudonyms(
    path: str | Path,
    sources: Sequence[SourceOf],
    public: Sequence[str] = (),
    *,
    is_dry: bool = False,
) -> list[Pseudonym]:
    """What stands for each source, by the table at ``path``, which gets an entry for each that it has not. ``is_dry``: nothing
    is written. ``public``: texts that may be told, the folder of the products first. PlanError where the table would
    lie among the products; InputError for a file that is no table."""
    path = Path(path).absolute()
    require_apart(path, public[:1])
    if is_dry:
        table = read_table(path) if path.exists() else CodeTable(path, secrets.token_hex(32), {})
        return [table.pseudonym(source, public) for source in sources]
    if path.exists():
        read_table(path)  # one that is refused gets no lock beside it
    with _held(path):
        table = read_table(path) if path.exists() else CodeTable(path, secrets.token_hex(32), {})
        made = [table.pseudonym(source, public) for source in sources]
        new = _new_entries(table, made, sources)
        if new or not path.exists():
            _write(path, {**asdict(table), "codes": table.codes | new})
    return made


def codes_in(text: str) -> list[str]:
    """What in a text may be codes."""
    return re.findall(rf"(?<![0-9a-f])[0-9a-f]{{{CODE_LETTERS}}}(?![0-9a-f])", text)


def read_table(path: str | Path) -> CodeTable:
    """InputError where the file is missing, no table of codes, or open to everybody."""
    path = Path(path).absolute()
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no table of codes at {path}: name the one of --deidentify"
        ) from None
    except (OSError, ValueError):
        plain = None
    ours = isinstance(plain, dict) and plain.get("kind") == _KIND
    if not ours or not isinstance(plain.get("codes"), dict) or len(str(plain.get("key"))) != 64:
        raise InputError(
            f"{path} is no table of codes, and would be lost: name a new file, or the table of an earlier run"
        )
    if path.stat().st_mode & 0o007:
        raise InputError(
            f"{path} is open to everybody on this machine, and it leads to the names: make it yours alone (chmod 600)"
        )
    return CodeTable(path, str(plain["key"]), plain["codes"])


def require_apart(table: Path, folders: Sequence[str]) -> None:
    """PlanError for a table in the folder of the products, with which it would be given away."""
    for folder in map(os.path.realpath, folders):
        if os.path.realpath(table).startswith(os.path.join(folder, "")):
            raise PlanError(
                f"the table of codes {table} lies in the folder of the products, {folder}, and who gets those would get "
                "the names, too: name a file elsewhere"
            )


def _new_entries(
    table: CodeTable, made: Sequence[Pseudonym], sources: Sequence[SourceOf]
) -> dict[str, dict[str, Any]]:
    when, new = time.strftime("%Y-%m-%dT%H:%M:%S"), dict[str, dict[str, Any]]()
    for pseudonym, source in zip(made, sources, strict=True):
        known = table.source(pseudonym.code)
        if known not in (None, source):
            raise OutputError(
                f"the code {pseudonym.code} stands for two inputs, so one product would be taken for the other's: use another "
                "table for this run"
            )
        if known is None:
            new[pseudonym.code] = {**asdict(source), "when": when}
            folder = {"folder": os.path.dirname(source.files[0]), "when": when}
            new.update({} if pseudonym.folder in table.codes else {pseudonym.folder: folder})
    return new


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """The table for this process alone."""
    require_local_output(path)
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + WAIT_S
    busy = BusyError(f"{path} is being written by another process: run the same command again")
    while True:
        try:
            with file_lock(hidden_beside(path, ".lock"), busy):
                yield
            return
        except BusyError as error:
            if error is not busy or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _write(path: Path, plain: dict[str, Any]) -> None:
    """Atomic replace by a file that its owner alone may read."""
    content = {"kind": _KIND, "key": plain["key"], "codes": plain["codes"]}
    with translate_os_errors(path):
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=shortened(f".{path.name}", 24), suffix=PARTIAL
        )  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        flush(path.parent)


def _absolute(path: str) -> str:
    return path if "\0" in path else shown(absolute(path))
