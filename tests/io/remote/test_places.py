"""Addresses: what is one, how it is told, and which may be read."""

import pickle

import pytest

from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import Address, absolute, is_remote, name_in, shown
from seg_batch.io.remote.places import Place, place_of, require_allowed, require_scheme


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://Host.ORG:8443/a/B.tif?sig=1#x", Place("https", "host.org:8443", "a/B.tif")),
        ("HTTP://127.0.0.1/a", Place("http", "127.0.0.1", "a")),
        ("s3://Bucket/a b/c+d.tif".replace(" ", "%20"), Place("s3", "Bucket", "a%20b/c+d.tif")),
        ("az://c/k", Place("az", "c", "k")),
    ],
)
def test_the_place_of_an_address(text: str, place: Place) -> None:
    assert is_remote(text)
    assert place_of(text) == place


@pytest.mark.parametrize("text", ["/a/b.tif", "s3:/a/b.tif", "ftp://host/a", "./https://x", "/vsicurl/https://x", "host:/a", "file:" + "//" + "/a"])  # fmt: skip
def test_no_address_of_an_input(text: str) -> None:
    assert not is_remote(text)
    assert shown(text) == text


@pytest.mark.parametrize("text", ["https:///a", "https://h:99999999/a", "https://h /a", "https://h\\@evil/a", "https://h/a\n", "s3://b/k?versionId=1", "s3://b/../other/k", "az://b/a/./k", "gs://b/a/..", "https://[::1/a"])  # fmt: skip
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        place_of(text)
    assert "\n" not in caught.value.message
    assert "versionId" not in caught.value.message


def test_a_password_is_refused_and_not_told() -> None:
    with pytest.raises(InputError, match="environment") as caught:
        place_of("https://user:geheim@host/a.tif?sig=auch")
    assert "geheim" not in caught.value.message
    assert "auch" not in caught.value.message


def test_what_is_told_has_no_secrets() -> None:
    url = "https://user:geheim@host:8/a%20b/c.tif?X-Amz-Signature=auch#mehr"
    assert shown(url) == "https://host:8/a%20b/c.tif" == absolute(shown(url))
    assert name_in(url) == "c.tif"
    assert name_in("https://h/x%2F..%2Fc%20d.tif") == "c d.tif"
    assert repr((Address(url),)) == "('https://host:8/a%20b/c.tif',)"
    again = pickle.loads(pickle.dumps(Address(url)))
    assert str.__eq__(again, url)
    assert repr(again) == repr(Address(url))


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("HOST.org", "https://host.org/a"),
        ("https://host.org/folder", "https://host.org/a"),
        ("http://host.org:81", "http://host.org:81/a"),
        ("s3://bucket", "s3://bucket/a"),
    ],
)
def test_what_is_named_may_be_read(allowed: str, url: str) -> None:
    require_allowed(place_of(url), ("other", allowed))
    require_scheme(place_of(url), (allowed,))


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("host.org", "https://host.org.evil/a"),
        ("host.org", "https://a.host.org/a"),
        ("host.org", "https://host.org:444/a"),
        ("host.org", "http://host.org/a"),
        ("s3://bucket", "gs://bucket/a"),
        ("s3://bucket", "s3://Bucket/a"),
        ("bucket", "s3://bucket/a"),
    ],
)
def test_what_is_not_named_may_not(allowed: str, url: str) -> None:
    place = place_of(url)
    with pytest.raises(InputError, match=f"--allow {place.name}"):
        require_allowed(place, (allowed,))


def test_plain_http_is_for_this_machine_and_for_what_is_named_so() -> None:
    require_scheme(place_of("http://localhost:8/a"), ())
    require_scheme(place_of("http://[::1]:8/a"), ())
    with pytest.raises(InputError, match="not encrypted"):
        require_scheme(place_of("http://host/a"), ("host",))
    with pytest.raises(InputError, match="not encrypted"):
        require_scheme(place_of("http://127.0.0.1.evil/a"), ())
