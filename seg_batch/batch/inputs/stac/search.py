"""A search of a STAC API: its pages are read from the host of the API alone."""

from __future__ import annotations

import json
import warnings
from typing import Any
from urllib.parse import urlencode

from seg_batch.batch.inputs.stac.items import FoundItem, own_place
from seg_batch.config.workflow.stac import StacSettings
from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.privacy.addresses import shown
from seg_batch.io.remote.documents import Documents

MOST_FOUND = 100_000
_PAGE = 250  # items
_BODIES = ("POST", "PUT", "PATCH")


def found_by(settings: StacSettings, documents: Documents) -> tuple[list[FoundItem], bool]:
    """The items that a search finds, and whether there are more than its limit. InputError where the API can't be searched."""
    api = settings.api or ""
    most = settings.limit or MOST_FOUND
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the API does not say that it can
            items = _searched(settings, documents, most + 1)
    except SegbatchError:
        raise
    except Exception as error:  # of pystac, and of whatever a faulty answer makes it raise
        raise InputError(
            f"{shown(api)}: the search failed ({type(error).__name__}): check that it is a STAC API, and what is asked of it"
        ) from None
    if len(items) > MOST_FOUND:
        raise InputError(
            f"{shown(api)}: the search finds more than {MOST_FOUND} items: ask for fewer, or give a limit"
        )
    return [FoundItem(own_place(each, api), each) for each in items[:most]], len(items) > most


def _searched(settings: StacSettings, documents: Documents, most: int) -> list[dict[str, Any]]:
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO

    class OnOneHost(StacApiIO):
        """What the library asks for, through a reader that knows what may be read."""

        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            if (method or "GET").upper() in _BODIES:
                return documents.post(href, parameters or {}, method or "POST").decode()
            if parameters:
                href += ("&" if "?" in href else "?") + urlencode(parameters, doseq=True)
            return json.dumps(documents.read(href))

    client: Any = Client.open(settings.api or "", stac_io=OnOneHost(max_retries=None))
    search = client.search(
        collections=list(settings.collections) or None,
        bbox=list(settings.bbox) if settings.bbox else None,
        datetime=settings.datetime,
        query=settings.query or None,
        limit=min(_PAGE, most),
        max_items=most,
    )
    return [item for item in search.items_as_dicts() if isinstance(item, dict)]
