"""Signed addresses of what lies in buckets: ``s3``, ``gs`` and ``az``, with credentials of the environment alone.

An object is read through an address that is signed for a quarter of an hour, as any other file behind https: so the same
hands hold its version, redirects and retries. Without credentials the address is a plain one, of a public bucket.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from seg_batch.core.errors import InputError
from seg_batch.io.remote.places import Place, is_loopback, place_of

_VALID = timedelta(minutes=15)
# Any of these is a way to credentials. Without one, libraries would ask the machine's own network for some.
_OF_S3 = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
          "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
_OF_GS = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH",
          "GOOGLE_SERVICE_ACCOUNT_KEY")  # fmt: skip
_OF_AZ = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_CLIENT_ID",
)
_SAS = "AZURE_STORAGE_SAS_TOKEN"


def signed(url: str) -> str:
    """The address by which an object of a bucket is read now. InputError, without their values, for credentials that are
    none."""
    place = place_of(url)
    env = {key.upper(): value for key, value in os.environ.items() if value}
    address = plain_address(place, env)
    require_encrypted(place, address, env)
    if not any(env.get(name) for name in CREDENTIALS[place.scheme]):
        return address
    import obstore

    try:
        return str(obstore.sign(store_of(place), "GET", place.key, _VALID))
    except Exception as error:
        raise InputError(
            f"{place}: it can't be signed with the credentials of the environment ({type(error).__name__}): check them"
        ) from None


def plain_address(place: Place, env: Mapping[str, str]) -> str:
    """The address of an object without a signature. InputError where the environment must say more."""
    return _PLAIN[place.scheme](place, env)


def require_encrypted(place: Place, address: str, env: Mapping[str, str]) -> None:
    """InputError for a service that is neither encrypted nor this machine, unless ``AWS_ALLOW_HTTP`` says so."""
    endpoint = place_of(address)
    said = env.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    if endpoint.scheme == "http" and not is_loopback(endpoint.host) and not said:
        raise InputError(
            f"{place}: the service {endpoint.host} is not encrypted: use one with https, or set AWS_ALLOW_HTTP=true"
        )


_stores: dict[tuple[Any, ...], Any] = {}
_lock = threading.Lock()


def store_of(place: Place) -> Any:
    """The bucket as obstore knows it, made once for what the environment says now."""
    key = (place.scheme, place.host, tuple(sorted((k, v) for k, v in os.environ.items() if k[:3] in ("AWS", "GOO", "AZU"))))  # fmt: skip
    with _lock:
        if key not in _stores:
            _stores[key] = _made(place)
        return _stores[key]


def _made(place: Place) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    # Whether a service may be without encryption was asked before.
    options: Any = {"allow_http": True}
    kinds: dict[str, Callable[..., Any]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    return kinds[place.scheme](place.host, client_options=options)


def _s3(place: Place, env: Mapping[str, str]) -> str:
    key = quote(place.key, safe="/~")
    if (
        endpoint := env.get("AWS_ENDPOINT_URL_S3")
        or env.get("AWS_ENDPOINT_URL")
        or env.get("AWS_ENDPOINT")
    ):
        return f"{endpoint.rstrip('/')}/{place.host}/{key}"
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
    if "." in place.host:  # no certificate is of such a name
        return f"https://s3.{region}.amazonaws.com/{place.host}/{key}"
    return f"https://{place.host}.s3.{region}.amazonaws.com/{key}"


def _gs(place: Place, env: Mapping[str, str]) -> str:
    return f"https://storage.googleapis.com/{place.host}/{quote(place.key, safe='/~')}"


def _az(place: Place, env: Mapping[str, str]) -> str:
    account = env.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise InputError(
            f"{place}: the account that the container {place.host} is in is not known: set AZURE_STORAGE_ACCOUNT_NAME"
        )
    endpoint = env.get("AZURE_STORAGE_ENDPOINT") or f"https://{account}.blob.core.windows.net"
    token = env.get(_SAS, "").removeprefix("?")
    address = f"{endpoint.rstrip('/')}/{place.host}/{quote(place.key, safe='/~')}"
    return f"{address}?{token}" if token else address


_PLAIN: dict[str, Callable[[Place, Mapping[str, str]], str]] = {"s3": _s3, "gs": _gs, "az": _az}
CREDENTIALS = {"s3": _OF_S3, "gs": _OF_GS, "az": _OF_AZ}
