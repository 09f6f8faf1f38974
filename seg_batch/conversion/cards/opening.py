"""Which world the card of a model is from, and what it says: folders, zip files, and the documents themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg_batch.conversion.cards.archive import unpacked
from seg_batch.conversion.cards.bioimageio import reading as bioimageio
from seg_batch.conversion.cards.entry import document, is_text_of
from seg_batch.conversion.cards.foreign import Foreign, Reader
from seg_batch.conversion.cards.monai import reading as monai
from seg_batch.conversion.cards.stac import reading as stac
from seg_batch.core import files
from seg_batch.core.errors import InputError
from seg_batch.core.run_files import CARD
from seg_batch.core.text import either

_MOST_FILES = 200  # of a folder that are looked at


@contextmanager
def opened(path: Path) -> Iterator[Foreign | None]:
    """What the card of another world at ``path`` says; None where there is none.

    ``path``: a folder or a zip file that holds such a card with its model, or the document itself. The model of a zip
    file is there as long as the context lasts. InputError where a card asks for what can't be done, or where there are
    several.
    """
    with unpacked(path) as place:
        documents = documents_at(place)
        if len(documents) > 1:
            names = [str(p.relative_to(place)) for p in documents]
            raise InputError(
                f"{path} holds the cards of several worlds, which may say different things: name {either(names)}"
            )
        if not documents and place != path:
            raise InputError(
                f"{path} holds no rdf.yaml, no configs/{monai.METADATA} and no STAC item of a model: name the model itself"
            )
        foreign = next((read(document) for document, read in documents.items()), None)
        if foreign and foreign.sha256 and files.sha256(foreign.model) != foreign.sha256.lower():
            raise InputError(
                f"{foreign.model} does not match the hash in {foreign.document.name}: it is another file, or damaged; "
                "fetch both again"
            )
        yield foreign


def documents_at(path: Path) -> dict[Path, Reader]:
    """The documents of worlds in a folder, or the file itself where it is one, with what reads them."""
    if path.is_file():
        reader = _reader_of(path)
        return {} if reader is None else {path: reader}
    if not path.is_dir():
        return {}
    places = [path / name for name in bioimageio.NAMES]
    places += [path / monai.FOLDER / monai.METADATA]
    places += sorted(p for p in path.glob("*.json") if p.name != CARD)[:_MOST_FILES]
    readers = {place: _reader_of(place) for place in places if place.is_file()}
    return {place: reader for place, reader in readers.items() if reader is not None}


def _reader_of(path: Path) -> Reader | None:
    ending = path.suffix.lower()
    if ending in (".yaml", ".yml"):
        named = path.name in bioimageio.NAMES or path.name.endswith(".rdf.yaml")
        described = named or is_text_of(path, "format_version", "inputs", "weights")
        return bioimageio.read if described and bioimageio.is_description(document(path)) else None
    if ending != ".json":
        return None
    if path.name == monai.METADATA and is_text_of(path, "network_data_format"):
        return monai.read
    if is_text_of(path, '"mlm:input"') and stac.is_item(document(path)):
        return stac.read
    return None
