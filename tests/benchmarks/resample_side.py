"""The other side of resample.py, run by the benchmark's own environment (torch, numpy): prints one
JSON object, and leaves every 16th voxel of the result for comparison.

``resample_side.py sample.npy channels threads side_in side_out``
"""

import json
import sys
import time

import numpy as np
import torch
from torch.nn.functional import interpolate


def main(sample: str, channels: int, threads: int, side_in: int, side_out: int) -> None:
    torch.set_num_threads(threads)
    values = np.random.default_rng(7).random((*(side_in,) * 3, channels), np.float32)
    image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 0)))[None]
    seconds = []
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            result = interpolate(image, size=(side_out,) * 3, mode="trilinear", align_corners=False)
            seconds.append(time.perf_counter() - start)
    np.save(sample, np.moveaxis(result[0, :, ::16, ::16, ::16].numpy(), 0, -1))
    print(json.dumps({"seconds": min(seconds)}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
