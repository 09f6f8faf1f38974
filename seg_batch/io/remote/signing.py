"""Addresses that are signed for a time, by what a template names: Planetary Computer's is the model.

The answer is JSON with the signed address in ``href``. A signer is a plain value, so that each worker signs anew when a
signature has expired. No signature is kept, told, or part of an identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from seg_batch.config.image_options.scene import HREF
from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import Address
from seg_batch.io.remote.documents import Documents
from seg_batch.io.remote.places import BUCKETS, place_of, shown


@dataclass(frozen=True)
class Signer:
    """Signs addresses of http and https. ``template``: with ``{href}``, where the address goes; ``allow``: see ``Documents``."""

    template: Address
    allow: tuple[str, ...] = ()

    def __call__(self, url: str) -> str:
        """The address with its signature. InputError where there is none, or it is of another host."""
        if place_of(url).scheme in BUCKETS:
            return url
        asked = str.replace(self.template, HREF, quote(url, safe=""))
        called, place = shown(url), place_of(url)
        signed = Documents(allow=self.allow).naming(asked).read(asked).get("href")
        if not isinstance(signed, str):
            raise InputError(
                f"{called}: {place_of(asked).host} gives no signed address (href) for it: check --sign"
            )
        after = place_of(signed)
        if (after.name, after.key) != (place.name, place.key):
            raise InputError(
                f"{called}: {place_of(asked).host} signs {shown(signed)} instead, which is another file: check --sign"
            )
        return signed


def signer_of(template: str | None, allow: tuple[str, ...]) -> Signer | None:
    """None where nothing has to be signed."""
    return None if template is None else Signer(Address(template), allow)
