"""plans.json and dataset.json of every release become the same values; what can't be carried over is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seg_batch.conversion.nnunet.network import Design
from seg_batch.conversion.nnunet.reading import (
    Dataset,
    Plans,
    checked,
    configuration,
    read,
)
from seg_batch.conversion.nnunet.trainers import keeps_network
from seg_batch.core.errors import InputError
from tests.support import nnunet_results as small


def chosen(plans: dict[str, Any], name: str = small.CONFIGURATION) -> Any:
    return configuration(checked(plans, Plans, "plans.json"), name, "plans.json")


@pytest.mark.parametrize("rank", [2, 3])
def test_plans_of_before_2_4_are_the_network_of_today(rank: int) -> None:
    """dropout is given as null there and not at all here."""
    old = small.configuration(rank, architecture="left out", **small.before(rank))
    new = small.configuration(rank)
    assert chosen(small.plans(old)) == chosen(small.plans(new))


def test_residual_networks_of_before_are_read() -> None:
    old = small.before() | {"UNet_class_name": "ResidualEncoderUNet"}
    design = chosen(small.plans(small.configuration(architecture="left out", **old))).architecture
    assert design.as_job()["class"] == "ResidualEncoderUNet"
    assert design.as_job()["kwargs"]["n_blocks_per_stage"] == [1, 1, 1]
    assert "n_conv_per_stage" not in design.as_job()["kwargs"]


def test_numbers_that_stand_for_all_stages_are_those_of_each() -> None:
    short = small.architecture(kernel_sizes=3, n_conv_per_stage=1, n_conv_per_stage_decoder=1)
    plans = small.plans(small.configuration(architecture=short))
    assert chosen(plans) == chosen(small.plans())


def test_a_configuration_has_what_it_inherits() -> None:
    plans = small.plans(
        {"inherits_from": "second", "spacing": [4, 4, 4]},
        {"inherits_from": "third", "patch_size": [32, 32, 32]},
        small.configuration(),
    )
    seen = chosen(plans)
    assert (seen.spacing, seen.patch_size) == ((4, 4, 4), (32, 32, 32))
    assert seen.normalization_schemes == ("ZScoreNormalization",)


def test_numbers_of_channels_have_had_two_names() -> None:
    by_modality = {"foreground_intensity_properties_by_modality": {"0": small.CT}}
    old = small.plans(foreground_intensity_properties_per_channel="left out", **by_modality)
    assert checked(old, Plans, "") == checked(small.plans(), Plans, "")


def test_channels_were_modality_first() -> None:
    old = small.dataset(channel_names="left out", modality={"0": "MRI"})
    assert checked(old, Dataset, "").channels == ("MRI",)


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        (
            small.plans({"inherits_from": "second"}, {"inherits_from": small.CONFIGURATION}),
            "circle",
        ),
        (small.plans({"inherits_from": "nowhere"}), "no configuration 'nowhere'"),
        (small.plans({"inherits_from": ["x"]}), "no configuration"),
        (small.plans(small.configuration(previous_stage="3d_lowres")), "is a cascade"),
        (small.plans(small.configuration(preprocessor_name="Mine")), "prepares images by Mine"),
        (small.plans(small.configuration(normalization_schemes=["Mine"])), "not 'Mine'"),
        (small.plans(small.configuration(resampling_fn_data="mine")), "not 'mine'"),
        (small.plans(small.configuration(patch_size=[16, 8, 13])), "does not fit its patch"),
        (small.plans(small.configuration(patch_size=[16, 8])), "do not have one rank"),
        (small.plans(small.configuration(spacing=[1, 1, 0])), "spacing.2"),
        (small.plans(small.configuration(spacing="left out")), "spacing"),
        (small.plans(image_reader_writer="Tiff3DIO"), "not 'Tiff3DIO'"),
        (small.plans(label_manager="Mine"), "not 'Mine'"),
        (small.plans(transpose_forward=[0, 0, 1]), "no order of three axes"),
        (small.plans(configurations=[]), "configurations"),
    ],
)
def test_what_plans_can_not_have_is_named(plans: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refusal:
        chosen(plans)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"conv_op": "os.system"}, "conv_op"),
        ({"conv_op": "torch.nn.modules.conv.Conv3d.__init__"}, "conv_op"),
        ({"nonlin": "torch.hub.load"}, "nonlin"),
        ({"nonlin": "torch.nn.modules.activation.../../x"}, "nonlin"),
        ({"norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d"}, "layers are 3-D"),
        ({"n_stages": 10**9}, "n_stages"),
        ({"n_stages": 4}, "of 4 stages"),
        ({"features_per_stage": [1 << 30] * 3}, "features_per_stage"),
        ({"kernel_sizes": [[3, 3]] * 3}, "strides are 3-D"),
        ({"strides": [[0, 1, 1]] * 3}, "strides"),
        ({"norm_op_kwargs": {"__class__": 1}}, "norm_op_kwargs"),
        ({"block": "x"}, "block"),
        (
            {"n_conv_per_stage": "left out", "n_blocks_per_stage": [1, 1, 1]},
            "convolutions per stage",
        ),
    ],
)
def test_a_network_from_elsewhere_is_no_network(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(small.architecture(**changed), Design, "plans.json")


@pytest.mark.parametrize(
    "name", ["os.system", "dynamic_network_architectures.architectures.primus.Primus", "", None, 3]
)
def test_classes_come_from_a_list(name: Any) -> None:
    with pytest.raises(InputError, match="name: "):
        checked({**small.architecture(), "network_class_name": name}, Design, "plans.json")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": {"liver": 1}}, "no background"),
        ({"labels": {"background": 1, "liver": 2}}, "no background"),
        ({"labels": {"background": 0, "liver": 2}}, "do not count from 0"),
        ({"labels": {"background": 0, "a": 1, "ignore": [1, 2]}}, "ignore is a value"),
        ({"labels": {"background": 0, "a": -1}}, "labels"),
        ({"labels": "x"}, "labels"),
        ({"channel_names": {"1": "MRI"}}, "numbered from 0"),
        ({"channel_names": "left out"}, "channel_names"),
    ],
)
def test_what_a_dataset_can_not_have_is_named(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(small.dataset(**changed), Dataset, "dataset.json")


def test_ignore_has_no_output_and_regions_have_one_each() -> None:
    plain = checked(small.dataset(labels={"background": 0, "a": 1, "ignore": 2}), Dataset, "")
    assert (plain.outputs, plain.has_regions) == (2, False)
    parts = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    regions = checked(small.dataset(labels=parts, regions_class_order=[1, 2]), Dataset, "")
    assert (regions.outputs, regions.regions) == (2, ("whole", "core"))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff", '"plans"', "[1]", "NaN"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plans.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"plans\.json"):
        read(tmp_path / "plans.json", Plans)


def test_only_trainers_that_keep_the_network_are_taken() -> None:
    kept = "nnUNetTrainer nnUNetTrainer_5epochs nnUNetTrainer_250epochs_NoMirroring nnUNetTrainer_1epoch"
    kept += " nnUNetTrainerDA5_10epochs nnUNetTrainer_onlyMirror01_1500ep nnUNetTrainerBN nnUNetTrainerAdam3en4"
    other = "nnUNetTrainerMedNeXt nnUNet_Primus_S_Trainer nnUNetTrainerUMambaBot MyTrainer nnUNetTrainer5 nnUNetTrainer_5epochs_Mine"
    assert all(map(keeps_network, kept.split()))
    assert not any(map(keeps_network, [*other.split(), "", "nnUNetTrainer\n", " nnUNetTrainer"]))
