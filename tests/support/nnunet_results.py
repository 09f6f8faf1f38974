"""Results folders of nnU-Net, as small JSON: plans of several releases, a dataset, and folds whose checkpoints are
written by ``small_checkpoint`` in a Python with torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIGURATION = "3d_fullres"
RESIZE = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
CT = {"mean": 40.5, "std": 20.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0, "max": 9.0}


def architecture(rank: int = 3, **changed: Any) -> dict[str, Any]:
    """As nnU-Net 2.4 and later write it."""
    kwargs = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{rank}d",
        "kernel_sizes": [[3] * rank] * 3,
        "strides": [[1] * rank, [2] * rank, [2] * rank],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{rank}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {k: v for k, v in {**kwargs, **changed}.items() if v != "left out"},
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def before(rank: int = 3) -> dict[str, Any]:
    """The same network as plans of 2.0 to 2.3 have it."""
    return {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "num_pool_per_axis": [2] * rank,
        "pool_op_kernel_sizes": [[1] * rank, [2] * rank, [2] * rank],
        "conv_kernel_sizes": [[3] * rank] * 3,
    }


def configuration(rank: int = 3, **changed: Any) -> dict[str, Any]:
    made = {
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 8, 12][:rank],
        "spacing": [2.0, 1.0, 0.5][-rank:],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": RESIZE,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**RESIZE, "order": 1},
        "architecture": architecture(rank),
    }
    return {k: v for k, v in {**made, **changed}.items() if v != "left out"}


def plans(*configurations: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """``configurations``: the first is that of the checkpoints; none: the usual one."""
    names = (CONFIGURATION, "second", "third")
    made = {
        "dataset_name": "Dataset900_Small",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": CT},
        "configurations": dict(zip(names, configurations or (configuration(),), strict=False)),
    }
    return {k: v for k, v in {**made, **changed}.items() if v != "left out"}


def dataset(**changed: Any) -> dict[str, Any]:
    made = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "liver": 1, "tumour": 2},
        "numTraining": 7,
        "file_ending": ".nii.gz",
    }
    return {k: v for k, v in {**made, **changed}.items() if v != "left out"}


def results(
    folder: Path, of: Any = None, data: Any = None, folds: tuple[str, ...] = ("0",)
) -> Path:
    """The folder of a trained configuration whose checkpoints are empty files."""
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans() if of is None else of))
    (folder / "dataset.json").write_text(json.dumps(dataset() if data is None else data))
    for fold in folds:
        (folder / f"fold_{fold}").mkdir()
        (folder / f"fold_{fold}" / "checkpoint_final.pth").touch()
    return folder
