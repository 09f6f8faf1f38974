"""What nnU-Net does to images and scores, as a card says it."""

from __future__ import annotations

from typing import Any

import pytest

from seg_batch.config.card import ModelCard
from seg_batch.conversion.nnunet.card import card_of, not_held
from seg_batch.conversion.nnunet.reading import Dataset, Fingerprint, Plans, checked, configuration
from seg_batch.core.errors import InputError
from tests.support import nnunet_results as small

CHANNELS = {"0": "CT", "1": "PET", "2": "T1"}
PARTS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


def card(
    plans: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    mirroring: tuple[int, ...] = (),
    spacings: tuple[tuple[float, ...], ...] = (),
) -> ModelCard:
    read = checked(plans or small.plans(), Plans, "plans.json")
    return card_of(
        read,
        configuration(read, small.CONFIGURATION, "plans.json"),
        checked(dataset or small.dataset(), Dataset, "dataset.json"),
        checked({"spacings": spacings}, Fingerprint, "dataset_fingerprint.json"),
        mirroring,
        name="n",
    )


def schemes(*names: str, masked: tuple[bool, ...] = (), **changed: Any) -> ModelCard:
    masks = masked or (False,) * len(names)
    of_it = small.configuration(normalization_schemes=names, use_mask_for_norm=masks)
    intensities = {str(k): small.CT for k in range(len(names))}
    channels = dict(list(CHANNELS.items())[: len(names)])
    return card(
        small.plans(of_it, foreground_intensity_properties_per_channel=intensities),
        small.dataset(channel_names=channels, **changed),
    )


def test_tiles_and_sums_are_those_of_nnunet() -> None:
    made = card()
    assert (made.patch, made.overlap) == ((16, 8, 12), (8, 4, 6))
    assert (made.tiles, made.taper, made.padding, made.crop) == (
        "even",
        "nnunet",
        "zero",
        "nonzero",
    )
    assert (made.output.gives, made.output.blend, made.output.rule) == (
        "logits",
        "logits",
        "largest",
    )
    assert made.orientation == "stored"
    assert (made.spacing_mm, made.images) == ((2, 1, 0.5), 7)
    assert made.why_fixed is not None


@pytest.mark.parametrize(
    ("axes", "rank", "views"),
    [
        ((), 3, "none"),
        ((0, 1, 2), 3, "flips"),
        ((0, 1), 3, "flips:z,y"),
        ((2,), 3, "flips:x"),
        ((0, 1), 2, "flips"),
        ((0,), 2, "flips:y"),
    ],
)
def test_axes_of_mirroring_are_views(axes: tuple[int, ...], rank: int, views: str) -> None:
    assert card(small.plans(small.configuration(rank)), mirroring=axes).tta == views


def test_an_axis_of_mirroring_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="is 2-D"):
        card(small.plans(small.configuration(2)), mirroring=(0, 1, 2))


@pytest.mark.parametrize(
    ("reader", "order", "orientation"),
    [
        ("SimpleITKIO", [0, 1, 2], "stored"),
        ("NibabelIO", [2, 0, 1], "stored:2,0,1"),
        ("NibabelIOWithReorient", [0, 1, 2], "RAS"),
        (
            "NibabelIOWithReorient",
            [1, 0, 2],
            "RSA",
        ),  # y, z, x of the image are z, y, x of the model
        ("NibabelIOWithReorient", [2, 0, 1], "ASR"),
    ],
)
def test_axes_are_those_of_the_reader_transposed(
    reader: str, order: list[int], orientation: str
) -> None:
    plans = small.plans(image_reader_writer=reader, transpose_forward=order)
    assert card(plans).orientation == orientation


def test_ranges_of_voxels_are_in_the_axes_of_the_model() -> None:
    plans = small.plans(transpose_forward=[2, 0, 1])
    made = card(plans, spacings=((3, 1, 0.5), (2, 1, 0.7)))
    assert made.spacing_range_mm == ((0.5, 2), (1, 3), (0.5, 1))
    assert made.images == 2


def test_a_2d_configuration_keeps_slices() -> None:
    made = card(small.plans(small.configuration(2)), spacings=((3, 1, 0.5),))
    assert (made.kind, made.rank, made.patch, made.spacing_mm) == ("volume", 2, (16, 8), (1, 0.5))
    assert made.spacing_range_mm == ((3, 3), (1, 1), (0.5, 0.5))


def test_pictures_are_rasters_without_a_size() -> None:
    plans = small.plans(small.configuration(2), image_reader_writer="NaturalImage2DIO")
    made = card(plans)
    assert (made.kind, made.spacing_mm, made.pixel_m) == ("raster", None, None)
    with pytest.raises(InputError, match="import 2d"):
        card(small.plans(image_reader_writer="NaturalImage2DIO"))


def test_ct_is_clipped_to_the_fingerprint() -> None:
    made = schemes("CTNormalization")
    rule = made.normalisation
    assert (rule.kind, rule.mean, rule.std, rule.low, rule.high) == (
        *("card", (40.5,), (20,)),
        *((-100,), (300,)),
    )
    assert made.modality == "CT"
    assert made.channels is not None
    assert made.channels[0].quantity == "HU"


@pytest.mark.parametrize(
    ("scheme", "masked", "kind"),
    [
        ("ZScoreNormalization", False, "source"),
        ("ZScoreNormalization", True, "nonzero"),
        ("RescaleTo01Normalization", True, "range"),
        ("NoNormalization", True, "identity"),
        ("RGBTo01Normalization", False, "card"),
    ],
)
def test_a_scheme_of_all_channels_is_that_of_the_card(scheme: str, masked: bool, kind: str) -> None:
    rule = schemes(scheme, scheme, masked=(masked, masked)).normalisation
    assert rule.kind == kind
    assert rule.std == ((255, 255) if kind == "card" else ())


def test_schemes_of_several_kinds_are_said_for_each_channel() -> None:
    rule = schemes(
        "CTNormalization",
        "RGBTo01Normalization",
        "ZScoreNormalization",
        masked=(True, False, True),
    ).normalisation
    assert rule.kind == "mixed"
    assert rule.kinds == ("card", "card", "nonzero")
    assert (rule.mean, rule.std) == ((40.5, 0, 0), (20, 255, 1))
    assert (rule.low, rule.high) == ((-100, None, None), (300, None, None))


def test_ct_without_numbers_is_refused() -> None:
    of_it = small.configuration(normalization_schemes=["CTNormalization"])
    lacking = small.plans(of_it, foreground_intensity_properties_per_channel={})
    with pytest.raises(InputError, match="lacks the intensities of channel 0"):
        card(lacking)


def test_channels_that_plans_do_not_count_are_refused() -> None:
    with pytest.raises(InputError, match=r"has 3 channels and plans\.json normalises 1"):
        card(dataset=small.dataset(channel_names=CHANNELS))


def test_channels_of_one_name_are_told_apart() -> None:
    of_it = small.configuration(
        normalization_schemes=["ZScoreNormalization"] * 2, use_mask_for_norm=[False, False]
    )
    made = card(small.plans(of_it), small.dataset(channel_names={"0": "MRI", "1": "mri"}))
    assert made.channel_names == ("MRI_0", "mri_1")


def test_regions_are_independent_and_the_last_counts() -> None:
    made = card(dataset=small.dataset(labels=PARTS, regions_class_order=[1, 2, 3]))
    assert [(c.id, c.name) for c in made.classes] == [
        *((0, "background"), (1, "whole")),
        *((2, "core"), (3, "enhancing")),
    ]
    assert (made.output.classes, made.output.rule, made.output.threshold) == (
        *("independent", "last"),
        0.5,
    )
    assert made.background == 0


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (None, "0 values for 3"),
        ([1, 2], "2 values for 3"),
        ([1, 1, 3], "one label"),
        ([0, 1, 2], "one label"),
    ],
)
def test_an_order_of_regions_that_is_none_is_refused(order: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        card(dataset=small.dataset(labels=PARTS, regions_class_order=order))


@pytest.mark.parametrize(
    ("data", "back", "seen"),
    [
        ({}, {}, ("cubic", "nearest", 3)),
        ({"order": 1, "order_z": 1}, {}, ("linear", "linear", 3)),
        ({"order": 0}, {}, ("nearest", "nearest", 3)),
        ({"force_separate_z": False}, {"force_separate_z": False}, ("cubic", "nearest", 1e9)),
        ({"force_separate_z": True}, {"force_separate_z": True}, ("cubic", "nearest", 1)),
    ],
)
def test_rules_of_resampling(data: dict[str, Any], back: dict[str, Any], seen: Any) -> None:
    made = resampled(data, back).resampling
    assert (made.up, made.thick, made.thick_ratio) == seen
    assert made.down == made.up
    assert made.tolerance == 0
    assert made.normalised


@pytest.mark.parametrize(
    ("data", "back", "words"),
    [
        ({"order": 2}, {}, "splines of order 2"),
        ({}, {"order": 3}, "scores are resampled by cubic"),
        ({}, {"order_z": 1}, "linear and nearest alone"),
        ({"force_separate_z": False}, {}, "scores are resampled"),
    ],
)
def test_rules_that_a_card_can_not_hold_are_refused(
    data: dict[str, Any], back: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        resampled(data, back)


def resampled(data: dict[str, Any], back: dict[str, Any]) -> ModelCard:
    return card(
        small.plans(
            small.configuration(
                resampling_fn_data_kwargs={**small.RESIZE, **data},
                resampling_fn_probabilities_kwargs={**small.RESIZE, "order": 1, **back},
            )
        )
    )


def test_torch_resamples_linearly() -> None:
    name = {"resampling_fn_data": "resample_torch_fornnunet"}
    name |= {"resampling_fn_probabilities": "resample_torch_fornnunet"}
    kwargs = {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False}
    of_it = small.configuration(
        **name, resampling_fn_data_kwargs=kwargs, resampling_fn_probabilities_kwargs=kwargs
    )
    assert card(small.plans(of_it)).resampling.up == "linear"


def test_what_is_not_resampled_has_no_size() -> None:
    both = {f"resampling_fn_{what}": "no_resampling_hack" for what in ("data", "probabilities")}
    assert card(small.plans(small.configuration(**both))).spacing_mm is None
    one = small.plans(small.configuration(resampling_fn_data="no_resampling_hack"))
    with pytest.raises(InputError, match="images alone or scores alone"):
        card(one)


@pytest.mark.parametrize(
    ("scheme", "masked", "told"),
    [
        ("ZScoreNormalization", True, 1),
        ("ZScoreNormalization", False, 0),
        ("NoNormalization", True, 0),
    ],
)
def test_holes_in_masks_are_told(scheme: str, masked: bool, told: int) -> None:
    of_it = small.configuration(normalization_schemes=[scheme], use_mask_for_norm=[masked])
    read = checked(small.plans(of_it), Plans, "plans.json")
    assert len(not_held(configuration(read, small.CONFIGURATION, "plans.json"))) == told
