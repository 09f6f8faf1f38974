"""The torch sides of gpu.py: a scene in memory to labels in memory, by one way of predicting. Prints one JSON object.

Ways: ``monai``, sliding_window_inference as a careful user would write it, half precision by autocast, the image and the sums on
the device; ``monai_tuned``, with channels_last, weights in bfloat16 and no autocast; ``nnunet``, nnU-Net's predictor with
its own half precision and Gaussian weights. All with the same ANU-Net, patch and overlap.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from anunet import ANUNet

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GPU = DEVICE.type == "cuda"


def as_input(scene: np.ndarray) -> torch.Tensor:
    """``(H, W, C)`` as stored to ``(C, H, W)`` normalised, on the device."""
    values = torch.from_numpy(scene.astype(np.int32)).to(DEVICE)
    return ((values.float() - 2000) / 1000).permute(2, 0, 1).contiguous()


def monai(given: argparse.Namespace, net: torch.nn.Module, tuned: bool) -> Callable[..., Any]:
    from monai.inferers import sliding_window_inference

    half = torch.bfloat16 if tuned else torch.float32
    if tuned:
        net = net.to(half).to(memory_format=torch.channels_last)

    def predict(scene: np.ndarray) -> np.ndarray:
        image = as_input(scene)[None].to(half)
        if tuned:
            image = image.to(memory_format=torch.channels_last)
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=not tuned and GPU):
            found = sliding_window_inference(
                image, [given.patch] * 2, given.batch, net, given.overlap / given.patch, "gaussian"
            )
        return found.argmax(1)[0].to(torch.uint8).cpu().numpy()

    return predict


def nnunet(given: argparse.Namespace, net: torch.nn.Module) -> Callable[..., Any]:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=1 - given.overlap / given.patch,
        use_mirroring=False,
        perform_everything_on_device=GPU,
        device=DEVICE,
        allow_tqdm=False,
    )
    predictor.network = net
    predictor.configuration_manager = SimpleNamespace(patch_size=[given.patch] * 2)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=given.classes)

    def predict(scene: np.ndarray) -> np.ndarray:
        image = as_input(scene)[:, None]  # one slice of two axes, as its 2d configurations have it
        found = predictor.predict_sliding_window_return_logits(image)
        return found.argmax(0)[0].to(torch.uint8).cpu().numpy()

    return predict


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("monai", "monai_tuned", "nnunet"))
    parser.add_argument("scene", help="a .npy file")
    for name in ("classes", "patch", "overlap", "batch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--least", type=float, required=True)
    parser.add_argument("--filters", type=int, nargs="+", required=True)
    given = parser.parse_args()
    scene = np.load(given.scene)
    torch.manual_seed(0)
    net = ANUNet(2, scene.shape[-1], given.classes, given.filters).to(DEVICE).eval()
    trained = sum(weight.numel() for weight in net.parameters())
    try:
        predict = nnunet(given, net) if given.way == "nnunet" else None
        predict = predict or monai(given, net, given.way == "monai_tuned")
    except ImportError as error:
        print(json.dumps({"missing": f"{error.name} is not installed"}))
        return
    with torch.inference_mode():
        side = min(2 * given.patch, scene.shape[0])
        predict(scene[:side, :side])
        began, runs = time.time(), 0
        while not runs or time.time() - began < given.least:
            labels = predict(scene)
            runs += 1
        ended = time.time()
    assert labels.shape == scene.shape[:2]
    peak = torch.cuda.max_memory_allocated() if GPU else None
    facts = {"seconds": (ended - began) / runs, "began": began, "ended": ended, "bytes": peak}
    print(json.dumps({**facts, "parameters": trained, "libraries": torch.__version__}))


if __name__ == "__main__":
    sys.exit(main())
