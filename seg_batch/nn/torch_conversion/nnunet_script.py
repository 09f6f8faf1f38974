"""Networks of nnU-Net as ONNX files in the working folder. Runs in a Python with torch and
dynamic_network_architectures.

Argument: a JSON file with ``checkpoints`` (paths, one per fold), ``networks`` (by configuration: ``class``, ``kwargs``, ``patch``),
``trainers``, a pattern of those that keep the network, ``batch_norm``, the one that exchanges its norm, and how many ``inputs``
and ``outputs`` there are. Answers what each checkpoint says of itself; networks are written only where one is known for
the configuration and the trainer of the first: ``model.onnx``, ``model_1.onnx`` ..., and ``raw.npz``, a patch with
the mean of what torch makes of it.

Names in the job were checked against lists by who wrote it, and are looked up here in lists again: nothing is imported by name.
"""

import json
import re
import zipfile

import numpy as np
import torch
from torch import nn

OPSET = 18
SEED = 20
MOST_CHARACTERS = 16 << 20  # characters that a checkpoint says of itself
MODULES = {
    cls.__name__: cls
    for cls in (
        *(
            nn.Conv2d,
            nn.Conv3d,
            nn.InstanceNorm2d,
            nn.InstanceNorm3d,
            nn.BatchNorm2d,
            nn.BatchNorm3d,
        ),
        *(nn.Dropout2d, nn.Dropout3d, nn.LeakyReLU, nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.ELU),
    )
}
NORMS = {"Conv2d": "BatchNorm2d", "Conv3d": "BatchNorm3d"}
PREFIXES = ("module.", "_orig_mod.")


def main(arguments: list) -> dict:
    with open(arguments[0], encoding="utf-8") as file:
        job = json.load(file)
    torch.manual_seed(SEED)
    folds, weights = [], []
    for path in job["checkpoints"]:
        checkpoint = opened(path)
        folds.append(said(checkpoint, path))
        weights.append(checkpoint["network_weights"])
    design = job["networks"].get(folds[0]["configuration"])
    if design is not None and re.fullmatch(job["trainers"], folds[0]["trainer"]):
        if folds[0]["trainer"] == job["batch_norm"]:
            design["kwargs"]["norm_op"] = NORMS[design["kwargs"]["conv_op"]]
            design["kwargs"]["norm_op_kwargs"] = {"eps": 1e-5, "affine": True}
        write(design, job, weights)
    return {"folds": folds, "torch": torch.__version__, "opset": OPSET}


def opened(path: str) -> dict:
    """The checkpoint, of weights and plain values alone; ValueError otherwise."""
    torch.serialization.add_safe_globals(plain_scalars())
    try:
        held = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:
        reason = next(
            (line for line in str(error).splitlines() if "Unsupported" in line or "GLOBAL" in line),
            "",
        )
        reason = reason or (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} holds more than weights and plain values, or is damaged, so it was not opened ({reason[:160]})"
        ) from None
    weights = held.get("network_weights") if isinstance(held, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(v, torch.Tensor) for v in weights.values()
    ):
        raise ValueError(f"{path} is no checkpoint of nnU-Net: it has no network_weights")
    return held


def plain_scalars() -> list:
    """NumPy's numbers, which nnU-Net logs; by the names of NumPy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [
        type(np.dtype(kind))
        for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
    ]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [np.dtype, *kinds, *names]


def said(checkpoint: dict, path: str) -> dict:
    begun = checkpoint.get("init_args")
    begun = begun if isinstance(begun, dict) else {}
    facts = {
        "trainer": checkpoint.get("trainer_name"),
        "configuration": begun.get("configuration"),
        "mirroring": checkpoint.get("inference_allowed_mirroring_axes"),
        "epoch": checkpoint.get("current_epoch"),
        "plans": begun.get("plans"),
        "dataset": begun.get("dataset_json"),
    }
    for name in ("trainer", "configuration"):
        if not isinstance(facts[name], str):
            raise ValueError(f"{path} does not say its {name}: it is no checkpoint of nnU-Net v2")
    text = json.dumps(facts, default=str)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"{path} holds {len(text)} characters beside its weights: it is no checkpoint of nnU-Net"
        )
    return json.loads(text)


def write(design: dict, job: dict, folds: list) -> None:
    """One file per fold, and the mean of their outputs for one patch."""
    patch = torch.randn(1, job["inputs"], *design["patch"])
    total = torch.zeros(1, job["outputs"], *design["patch"], dtype=torch.float64)
    for k, weights in enumerate(folds):
        network = loaded(design, job, weights, job["checkpoints"][k])
        with torch.no_grad():
            y = network(patch)
            export(network, patch, f"model_{k}.onnx" if k else "model.onnx")
        if y.shape != total.shape:
            raise ValueError(
                f"the network makes {tuple(y.shape)} of a patch of {tuple(patch.shape)}"
            )
        total += y
    np.savez("raw.npz", input=patch.numpy(), output=(total / len(folds)).float().numpy())


def loaded(design: dict, job: dict, weights: dict, path: str) -> nn.Module:
    """The network with these weights. It is built without memory, which the checkpoint brings, so no plan can ask for more."""
    from dynamic_network_architectures.architectures.unet import (
        PlainConvUNet,
        ResidualEncoderUNet,
    )

    classes = {"PlainConvUNet": PlainConvUNet, "ResidualEncoderUNet": ResidualEncoderUNet}
    kwargs = dict(design["kwargs"])
    for name in ("conv_op", "norm_op", "dropout_op", "nonlin"):
        kwargs[name] = None if kwargs.get(name) is None else MODULES[kwargs[name]]
    sizes = {"input_channels": job["inputs"], "num_classes": job["outputs"]}
    with torch.device("meta"):
        network = classes[design["class"]](**sizes, **kwargs, deep_supervision=False)
    try:
        network.load_state_dict(
            {bare(name): w.float() if w.is_floating_point() else w for name, w in weights.items()},
            assign=True,
        )
    except RuntimeError as error:
        first = (str(error).strip().splitlines() or [""])[:2]
        raise ValueError(
            f"{path} has other weights than the network of its plans ({' '.join(first)[:240]}): its trainer built another network"
        ) from None
    return network.eval()


def bare(name: str) -> str:
    """The name of a weight without what parallel and compiled training put before it."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def export(network: nn.Module, patch: torch.Tensor, path: str) -> None:
    torch.onnx.export(
        network,
        (patch,),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )
