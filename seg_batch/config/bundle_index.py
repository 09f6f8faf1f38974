"""The index of a library: a JSON file by which a group publishes bundles, each by address and hash."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, PositiveInt, ValidationError, model_validator

from seg_batch.config.validation import CheckedValue, first_problem
from seg_batch.core.errors import InputError
from seg_batch.core.text import NAME, NAME_LENGTH

SCHEMA = 1
BundleName = Annotated[str, Field(pattern=rf"^{NAME}$", max_length=NAME_LENGTH)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CardSummary(CheckedValue):
    """What a list tells of a bundle; the card in it says the rest. ``networks``: the folds that are averaged;
    ``scores``: by held-out part, overall."""

    kind: str
    rank: int | None = None
    modality: str | None = None
    format: str
    networks: PositiveInt = 1
    channels: tuple[str, ...] = ()
    classes: tuple[str, ...]
    licence: str = ""
    description: str = ""
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)


class IndexEntry(CheckedValue):
    """One bundle: ``url`` of its archive, absolute or from the place of the index, and the hash of it."""

    name: BundleName
    version: str = ""
    url: str = Field(min_length=1)
    sha256: Hash
    bytes: PositiveInt
    card: CardSummary


class BundleIndex(CheckedValue):
    schema_version: int = Field(default=SCHEMA, ge=1, le=SCHEMA, strict=True)
    name: str = ""
    bundles: tuple[IndexEntry, ...]

    @model_validator(mode="after")
    def _each_once(self) -> BundleIndex:
        names = [entry.name for entry in self.bundles]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two bundles are called {twice[0]}")
        return self


def parse_index(text: bytes, where: str) -> BundleIndex:
    """The index in ``text``; InputError where it holds none."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no index of bundles ({error}): it is not JSON") from None
    if not isinstance(data, dict) or "bundles" not in data:
        raise InputError(
            f"{where} is no index of bundles: make one with segbatch models index FOLDER"
        )
    version = data.get("schema_version", SCHEMA)
    if isinstance(version, int) and version > SCHEMA:
        raise InputError(
            f"{where} has schema version {version}, this segbatch reads up to {SCHEMA}: upgrade segbatch"
        )
    try:
        return BundleIndex.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{where}: {first_problem(error, 'index')}: fetch it again") from None
