"""Spellings of names of channels, and what words mean."""

from __future__ import annotations

import pytest

from seg_batch.config.common_names import (
    COMMON_NAMES,
    akin,
    common_names,
    names_at,
    numbered,
    spelling,
    spellings_in,
    wavelength_in,
)


@pytest.mark.parametrize(
    "spellings",
    [
        ("B08", "b8", "Band 8", "band_08", "B 8"),
        ("Near-Infrared", "near infrared", "NEAR_INFRARED", "NearInfrared"),
        ("nir08", "NIR 8", "nir_8"),
        ("B8A", "b08a"),
    ],
)
def test_case_punctuation_and_leading_zeros_make_no_other_name(spellings: tuple[str, ...]) -> None:
    assert len({*map(spelling, spellings)}) == 1


def test_other_names_stay_apart() -> None:
    names = ("B8", "B8A", "B18", "B80", "nir", "nir08", "nir09", "red", "red edge", "band", "8")
    assert len({*map(spelling, names)}) == len(names)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("Band 4 - Red", {"b4", "red"}),
        ("SR_B4", {"b4"}),
        ("Surface reflectance, NIR", {"nir"}),
        ("Red (B04)", {"red", "b4"}),
        ("B04_red", {"b4", "red"}),
        ("toa reflectance swir16", {"swir16"}),
    ],
)
def test_names_are_seen_among_other_words(text: str, held: set[str]) -> None:
    assert held <= {*spellings_in(text)}


def test_a_part_of_a_word_is_no_name() -> None:
    texts = ("red edge 1", "red_edge", "infrared", "coloured", "greenness", "band 4", "reflectance")
    assert not any({"red", "green", "4", ""} & {*spellings_in(text)} for text in texts)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("near infrared", "nir"),
        ("Red Edge", "rededge"),
        ("SWIR-1", "swir16"),
        ("Panchromatic", "pan"),
        ("Vegetation Red Edge 2", "rededge075"),
        ("Coastal Aerosol", "coastal"),
    ],
)
def test_plain_words_are_common_names(words: str, name: str) -> None:
    assert common_names({*spellings_in(words)}) == {name}


def test_numbers_of_bands_are_no_common_names() -> None:
    assert not common_names({f"b{k}" for k in range(30)} | {"b8a", "1", "band1"})


def test_general_names_stand_for_the_narrow_ones_and_not_for_others() -> None:
    assert akin({"nir"}, {"nir08"})
    assert akin({"rededge071"}, {"rededge"})
    for a, b in (("nir08", "nir09"), ("nir", "nir09"), ("red", "rededge"), ("swir16", "swir22")):
        assert not akin({a}, {b})


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("B4, central wavelength 665 nm", 0.665),
        ("SWIR (1.57 - 1.65 µm)", 1.61),
        ("0.86 micrometers", 0.86),
        ("665", None),
        ("B10", None),
        ("5 m", None),
    ],
)
def test_wavelengths_come_with_their_unit(text: str, length: float | None) -> None:
    assert wavelength_in(text) == (None if length is None else pytest.approx(length))


def test_centres_of_well_known_sensors_have_their_names() -> None:
    sentinel = {0.4927: "blue", 0.5598: "green", 0.6646: "red", 0.7041: "rededge071",
                0.7405: "rededge075", 0.7828: "rededge078", 0.8328: "nir", 0.8647: "nir08",
                0.9451: "nir09", 1.3735: "cirrus", 1.6137: "swir16", 2.2024: "swir22"}  # fmt: skip
    landsat = {0.443: "coastal", 0.482: "blue", 0.561: "green", 0.655: "red", 0.865: "nir08",
               1.609: "swir16", 2.201: "swir22", 10.895: "lwir11", 12.005: "lwir12"}  # fmt: skip
    for length, name in {**sentinel, **landsat}.items():
        assert name in names_at(length)
        assert all(akin({name}, {other}) for other in names_at(length))
    assert names_at(5.0) == set()
    assert all(
        not names_at(low) or name in names_at(low) for name, (low, _, _) in COMMON_NAMES.items()
    )


def test_a_count_is_told_from_a_name() -> None:
    assert numbered("Band 04") == ("band", 4)
    assert numbered("b12") == ("b", 12)
    assert numbered("7") == ("", 7)
    assert [*map(numbered, ("B8A", "red 4", "", "B4 red"))] == [None] * 4
