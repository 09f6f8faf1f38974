"""The common names of spectral channels, as STAC has them, with the words that mean the same.

Numbers of bands (``B4``) mean another channel on each sensor, so none is a word here: cards list them as
aliases. Where a file's numbers tell its sensor, ``numbering_of`` says what each is, against aliases of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Common name -> least and greatest centre wavelength in micrometres, and other words for it.
COMMON_NAMES: dict[str, tuple[float, float, tuple[str, ...]]] = {
    "pan": (0.0, 0.0, ("panchromatic",)),  # as wide as many channels: no centre tells it
    "coastal": (0.40, 0.45, ("coastal aerosol", "aerosol", "ultra blue", "coastal blue")),
    "blue": (0.45, 0.51, ("blu",)),
    "green05": (0.51, 0.54, ("green 1", "green i")),
    "green": (0.54, 0.585, ("grn",)),
    "yellow": (0.585, 0.625, ()),
    "red": (0.625, 0.69, ()),
    "rededge": (0.69, 0.76, ("red edge", "vegetation red edge", "vre")),
    "rededge071": (0.69, 0.725, ("red edge 1", "vegetation red edge 1", "re1")),
    "rededge075": (0.725, 0.76, ("red edge 2", "vegetation red edge 2", "re2")),
    "rededge078": (0.76, 0.79, ("red edge 3", "vegetation red edge 3", "re3")),
    "nir": (0.79, 0.93, ("near infrared", "near infra red", "near ir", "nir broad", "nir wide")),
    "nir08": (0.84, 0.89, ("nir narrow", "narrow nir", "red edge 4", "vegetation red edge 4")),
    "nir09": (0.93, 0.96, ("water vapour", "water vapor")),
    "cirrus": (1.35, 1.40, ()),
    "swir": (0.0, 0.0, ("shortwave infrared", "short wave infrared")),
    "swir16": (1.55, 1.75, ("swir 1", "shortwave infrared 1", "short wave infrared 1")),
    "swir22": (2.05, 2.35, ("swir 2", "shortwave infrared 2", "short wave infrared 2")),
    "lwir": (8.0, 13.0, ("tir", "thermal", "thermal infrared", "longwave infrared")),
    "lwir11": (10.4, 11.5, ("tir 1", "tirs 1", "thermal infrared 1")),
    "lwir12": (11.5, 12.6, ("tir 2", "tirs 2", "thermal infrared 2")),
    # No wavelength tells these: polarisations, indices, quality, elevation.
    **dict.fromkeys(("vv", "vh", "hh", "hv", "ndvi", "evi", "ndwi", "scl"), (0.0, 0.0, ())),
    "qa": (0.0, 0.0, ("qa pixel", "qa 60", "quality")),
    "elevation": (0.0, 0.0, ("dem", "dsm", "dtm")),
}
# A general name, and those that it may stand for.
_KIN = {
    "nir": {"nir08"},
    "rededge": {"rededge071", "rededge075", "rededge078"},
    "lwir": {"lwir11", "lwir12"},
    "swir": {"swir16", "swir22"},
    "green": {"green05"},
}
_IDLE = {"band", "channel", "layer", "reflectance", "refl", "radiance", "toa", "boa", "surface", "sr", "sur"}  # fmt: skip
_PARTS = re.compile(r"[()\[\],;:|/=]+|\s+[-–—]\s+")
_WITH_NUMBER = re.compile(r"(b0*\d+a?)[ _-]+(\D.*)|(.*\D)[ _-]+(b0*\d+a?)", re.IGNORECASE)
_NUMBERED = re.compile(
    r"(?P<word>band|channel|layer|ch|c|b)?[ _-]*0*(?P<number>\d+)", re.IGNORECASE
)
_LENGTH = re.compile(
    r"(\d+(?:\.\d+)?)(?:\s*[-–]\s*(\d+(?:\.\d+)?))?\s*(nm|nanomet\w*|um|[µμ]m|micromet\w*|microns?)\b",
    re.IGNORECASE,
)  # fmt: skip


def spelling(text: str) -> str:
    """What spellings of one name have in common: ``B08``, ``b8`` and ``Band 8`` are one."""
    words = _words(text)
    if len(words) == 2 and words[0] == "band" and words[1].isdecimal():
        words[0] = "b"
    return "".join(words)


def _words(text: str) -> list[str]:
    words = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    return [word.lstrip("0") or "0" if word.isdecimal() else word for word in words]


def spellings_in(text: str) -> Iterator[str]:
    """Of all names that a text may hold: ``Band 4 - Red`` holds two, ``SR_B4`` one."""
    parts = [text, *_PARTS.split(text)]
    for part in parts:
        if both := _WITH_NUMBER.fullmatch(part.strip()):
            parts += filter(None, both.groups())
    for part in parts:
        yield spelling(part)
        kept = [word for word in _words(part) if word not in _IDLE]
        if not all(word.isdecimal() for word in kept):
            yield "".join(kept)


def numbered(text: str) -> tuple[str, int] | None:
    """The word and the number of a name that is but these: ``("b", 4)``; None for another."""
    match = _NUMBERED.fullmatch(text.strip())
    return None if match is None else ((match["word"] or "").lower(), int(match["number"]))


def wavelength_in(text: str) -> float | None:
    """The centre wavelength in micrometres that a text names with its unit."""
    match = _LENGTH.search(text)
    if match is None:
        return None
    ends = [float(number) for number in match.groups()[:2] if number]
    return sum(ends) / len(ends) / (1000 if match[3].lower().startswith("n") else 1)


WORDS = {
    spelling(word): name for name, (_, _, others) in COMMON_NAMES.items() for word in (name, *others)
}  # fmt: skip
_OF = {name: {word for word, other in WORDS.items() if other == name} for name in COMMON_NAMES}


def common_names(spellings: set[str]) -> set[str]:
    return {WORDS[word] for word in spellings if word in WORDS}


def letters_of(spellings: set[str]) -> dict[str, str]:
    """What ``r``, ``g`` and ``b`` mean where all three are there; alone, each may be anything."""
    letters = {"r": "red", "g": "green", "b": "blue"}
    return letters if letters.keys() <= spellings else {}


def words_of(names: set[str]) -> set[str]:
    """All spellings of these common names."""
    return {word for name in names for word in _OF[name]}


def akin(a: set[str], b: set[str]) -> bool:
    """Whether a common name of one is among those that one of the other may stand for."""
    return any(y in _KIN.get(x, ()) or x in _KIN.get(y, ()) or x == y for x in a for y in b)


def names_at(wavelength_um: float) -> set[str]:
    """The common names of channels with this centre."""
    return {name for name, (low, high, _) in COMMON_NAMES.items() if low <= wavelength_um < high}


_SENTINEL_2 = {
    "b1": "coastal", "b2": "blue", "b3": "green", "b4": "red", "b5": "rededge071", "b6": "rededge075",
    "b7": "rededge078", "b8": "nir", "b8a": "nir08", "b9": "nir09", "b10": "cirrus", "b11": "swir16",
    "b12": "swir22",
}  # fmt: skip
_LANDSAT_7 = {
    "b1": "blue", "b2": "green", "b3": "red", "b4": "nir", "b5": "swir16", "b7": "swir22",
}  # fmt: skip


def numbering_of(spellings: set[str]) -> dict[str, str]:
    """The common names of the numbers of a file's bands, where together they tell the sensor; else empty."""
    if "b8a" in spellings:
        return _SENTINEL_2
    numbers = {word for word in spellings if re.fullmatch(r"b\d+", word)}
    return _LANDSAT_7 if numbers == _LANDSAT_7.keys() else {}
