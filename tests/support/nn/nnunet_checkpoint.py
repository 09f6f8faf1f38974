"""Writes a checkpoint as nnU-Net's trainers do, of random weights: run by a Python with torch.

Arguments: the checkpoint to write, and JSON with ``plans``, ``dataset`` and, where they are not the usual ones, ``configuration``,
``trainer``, ``mirroring``, ``seed``, ``outputs``, ``batch_norm``, ``prefix`` and ``evil``, a path that the pickle would write to. Beside it lies
``expected.npz``: a patch and what the network makes of it.
"""

import json
import pathlib
import pydoc
import sys

import numpy as np
import torch


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return pathlib.Path.touch, (pathlib.Path(self.path),)


def main(path: str, job: dict) -> None:
    torch.manual_seed(job.get("seed", 0))
    name = job.get("configuration", "3d_fullres")
    plan = job["plans"]["configurations"][name]
    network = built(plan["architecture"], job)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    network.eval()
    network.decoder.deep_supervision = False
    patch = torch.randn(1, len(job["dataset"]["channel_names"]), *plan["patch_size"])
    with torch.no_grad():
        expected = network(patch)
    np.savez(
        pathlib.Path(path).with_name("expected.npz"),
        input=patch.numpy(),
        output=expected.numpy(),
    )
    prefix = job.get("prefix", "")
    checkpoint = {
        "network_weights": {prefix + k: v for k, v in network.state_dict().items()},
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(0.1)]},
        "_best_ema": np.float32(0.5),
        "current_epoch": 5,
        "init_args": {
            "plans": job["plans"],
            "configuration": name,
            "fold": 0,
            "dataset_json": job["dataset"],
            "device": torch.device("cpu"),
        },
        "trainer_name": job.get("trainer", "nnUNetTrainer"),
        "inference_allowed_mirroring_axes": job.get("mirroring", (0, 1, 2)),
    }
    if "evil" in job:
        checkpoint["logging"]["evil"] = Evil(job["evil"])
    torch.save(checkpoint, path)


def built(architecture: dict, job: dict) -> torch.nn.Module:
    """As nnU-Net builds it: whatever the plans name is imported."""
    kwargs = dict(architecture["arch_kwargs"])
    for name in architecture["_kw_requires_import"]:
        kwargs[name] = kwargs[name] and pydoc.locate(kwargs[name])
    if job.get("batch_norm"):
        kwargs["norm_op"] = torch.nn.BatchNorm3d
    network = pydoc.locate(architecture["network_class_name"])
    return network(
        input_channels=len(job["dataset"]["channel_names"]),
        num_classes=job.get("outputs", 3),
        deep_supervision=True,
        **kwargs,
    )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
