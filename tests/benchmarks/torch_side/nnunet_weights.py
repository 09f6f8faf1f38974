"""Weights of an nnU-Net checkpoint as NumPy arrays, by the names that torch gives them: checkpoint.pth to
weights.npz. Run by the benchmarks' own environment. Prints one JSON object."""

import json
import sys

import numpy as np
import torch


def main() -> None:
    checkpoint, output = sys.argv[1:]
    weights = torch.load(checkpoint, map_location="cpu", weights_only=False)["network_weights"]
    arrays = {name: value.numpy() for name, value in weights.items()}
    np.savez(output, **arrays)
    print(json.dumps({"arrays": len(arrays)}))


if __name__ == "__main__":
    main()
