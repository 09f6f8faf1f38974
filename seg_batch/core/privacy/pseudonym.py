"""What stands for an image that is not to be known, and the one gate through which texts about it pass."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import SegbatchError
from seg_batch.core.events import Event
from seg_batch.core.privacy.silence import quiet_libraries
from seg_batch.core.privacy.words import WITHHELD, Gate
from seg_batch.core.registry.formats import split

# Fields of events that hold texts; the others hold numbers, names of workers and blocks, codes.
_TEXTS = frozenset({"why", "text", "error", "warnings", "lines", "receipt", "advice"})
_OF_RECEIPTS = ("unreadable", "fell_back")


@dataclass(frozen=True)
class Teller:
    """Says what may be told. ``paths``: of the sources, as they were named; ``public``: texts that the command itself
    names, such as the folder of its products; ``code``: what stands for the paths, if anything."""

    paths: tuple[str, ...] = field(default=(), repr=False)
    public: tuple[str, ...] = field(default=(), repr=False)
    code: str = ""

    def told(self, text: str) -> str:
        """The text as it may be told; one that may be told stays as it is."""
        return self._gate.told(text)

    def __getstate__(self) -> dict[str, Any]:
        """Without the gate, which each process makes where it needs one."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def _gate(self) -> Gate:
        public = (*self.public, *filter(None, (self.code,)))
        # The folders above a source are withheld; the source itself has its code.
        replaced = dict.fromkeys(_parts(self.paths) - _parts(self.public), WITHHELD)
        whole = {form.casefold(): self.code or WITHHELD for form in _forms(self.paths)}
        return Gate(public, replaced | whole)

    def told_of(self, value: Any) -> Any:
        """A value of JSON with all its texts as they may be told; keys stay."""
        if isinstance(value, str):
            return self.told(value)
        if isinstance(value, Mapping):
            return {key: self.told_of(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.told_of, value))
        return value

    def hushed[E: BaseException](self, error: E) -> E | Exception:
        """The error with what it says as it may be told, and without the errors that led to it. Of the same class, unless
        that has words of its own."""
        error.__cause__ = error.__context__ = None
        error.__suppress_context__ = True
        for name, value in vars(error).items():
            if isinstance(value, str | list | tuple):
                setattr(error, name, self.told_of(value))
        if isinstance(error, SegbatchError):
            error.args = (error.message,)
            return error
        text = str(error)
        if isinstance(error, OSError) and error.errno is not None:
            return OSError(error.errno, self.told(os.strerror(error.errno)))  # of its subclass
        error.args = (self.told(text),) if text else ()
        if (now := str(error)) == self.told(now):
            return error
        return SegbatchError(f"{type(error).__name__}: {self.told(text)}")


@dataclass(frozen=True)
class Pseudonym(Teller):
    """What stands for one source. ``key``: a secret of this source alone; ``folder``: the code of its folder."""

    key: bytes = field(default=b"", repr=False)
    folder: str = ""

    def sealed(self, value: Any) -> dict[str, str]:
        """A digest by which an equal value is known again, by those who have the key: of an identity with its digests and
        dates."""
        plain = json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
        return {"keyed": hmac.new(self.key, plain, hashlib.sha256).hexdigest()}

    def with_public(self, words: Iterable[str]) -> Pseudonym:
        return replace(self, public=(*self.public, *words))


@contextmanager
def hushed(teller: Teller | None) -> Iterator[None]:
    """Errors of this block say only what may be told, and libraries print nothing."""
    try:
        with quiet_libraries(teller is not None):
            yield
    except Exception as error:
        if teller is None:
            raise
        safe = teller.hushed(error)
    else:
        return
    raise safe from None


class Telling(Callback):
    """Sends events on, with what may be told."""

    def __init__(self, teller: Teller, callback: Callback) -> None:
        self._teller, self._callback = teller, callback

    def on(self, event: Event) -> None:
        values = {each.name: getattr(event, each.name) for each in fields(event)}
        told = {name: self._told(name, value) for name, value in values.items() if value}
        self._callback.on(replace(event, **told))

    def _told(self, name: str, value: Any) -> Any:
        if isinstance(value, Exception):
            return self._teller.hushed(value)
        if name == "receipt":
            return told_receipt(self._teller, value)
        return self._teller.told_of(value) if name in _TEXTS else value


def told_receipt(teller: Teller, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt of a block with its texts as they may be told."""
    texts = {name: teller.told_of(receipt[name]) for name in _OF_RECEIPTS if receipt.get(name)}
    return {**receipt, **texts}


def _forms(paths: Iterable[str]) -> set[str]:
    """The ways in which messages may write these paths."""
    plain = {path.rstrip("/") for path in paths if "\0" not in path} - {""}
    ways = (os.path.abspath, os.path.realpath, os.path.relpath)
    files = {os.path.basename(path) for path in plain if split(path)[1]}
    return plain | files | {way(path) for path in plain for way in ways}


def _parts(paths: Iterable[str]) -> set[str]:
    """The names of files and folders in paths and their words, with and without endings, in small letters."""
    parts = {part.casefold() for path in _forms(paths) for part in path.split("/")}
    names = parts.union(*(part.split() for part in parts))
    return {part for name in names for part in (name, split(name)[0]) if len(part) > 1}
