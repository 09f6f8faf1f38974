"""A STAC API on the loopback interface, beside the files of its items: pages, searches, signatures; its faults can be switched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.remote.range_server import Behaviour, RangeServer, _Handler

CORE = "https://api.stacspec.org/v1.0.0"


class Catalogue(RangeServer):
    """``items``: what searches find, ``page`` at once. ``next_url``: where the next page is said to be, if elsewhere. ``signed``: how
    often something was signed; ``asked``: the bodies of searches."""

    def __init__(self, files: dict[str, bytes], behaviour: Behaviour) -> None:
        super().__init__(files, behaviour)
        self.RequestHandlerClass = _Api
        self.items: list[dict[str, Any]] = []
        self.page, self.next_url, self.signed, self.signs_as = 2, "", 0, ""
        self.asked: list[dict[str, Any]] = []


class _Api(_Handler):
    server: Catalogue

    def do_GET(self) -> None:  # noqa: N802
        place = urlsplit(self.path)
        if place.path == "/sign":
            self._sign(parse_qs(place.query)["href"][0])
        elif place.path in ("/api", "/api/"):
            self._json(self._landing())
        else:
            super().do_GET()

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.behaviour.redirect:
            return self._empty(307, Location=self.server.behaviour.redirect)
        if self.server.behaviour.statuses:
            return self._empty(self.server.behaviour.statuses.pop(0))
        self.server.asked.append(body)
        first = int(body.pop("token", 0))
        last = first + min(self.server.page, body.get("limit", 100))
        found = self.server.items[first:last]
        to = self.server.next_url or f"{self.server.url}/api/search"
        more = {"rel": "next", "href": to, "method": "POST", "body": {**body, "token": last}}
        links = [more] if last < len(self.server.items) else []
        return self._json({"type": "FeatureCollection", "features": found, "links": links})

    def _landing(self) -> dict[str, Any]:
        kinds = ("core", "item-search", "item-search#query", "ogcapi-features")
        links = [
            {"rel": "self", "href": f"{self.server.url}/api"},
            {"rel": "search", "href": f"{self.server.url}/api/search", "method": "POST"},
        ]
        return {
            "type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "of a test", "links": links,
            "conformsTo": [f"{CORE}/{kind}" for kind in kinds],
        }  # fmt: skip

    def _sign(self, href: str) -> None:
        with self.server.lock:
            self.server.signed += 1
        signed = f"{self.server.signs_as or href}?sig={self.server.behaviour.signature}"
        self._json({"href": signed, "msft:expiry": "2030-01-01T00:00:00Z"})

    def _json(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def cataloguing(files: dict[str, bytes], **behaviour: Any) -> Iterator[Catalogue]:
    """A catalogue with these files, by their paths."""
    server = Catalogue(files, Behaviour(**behaviour))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def band(name: str, **more: Any) -> dict[str, Any]:
    """An asset of one band, as a COG with data."""
    return {
        "href": f"./{name}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        **more,
    }


def item(name: str, assets: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A STAC item of a collection ``s2``."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "s2", "geometry": None, "links": [],
        "properties": {"datetime": "2024-06-01T10:00:00Z", **properties}, "assets": assets,
    }  # fmt: skip
