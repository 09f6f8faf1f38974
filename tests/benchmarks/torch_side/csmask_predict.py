"""The other side of csmask.py, run by the benchmarks' own environment (ukis-csmask, onnxruntime, rasterio): a scene
to clouds and their shadows, from GeoTIFF to GeoTIFF, as its manual has it. Prints one JSON object.

``seconds`` has the reading and the writing in it, and no imports.
"""

import json
import sys
import time

import numpy as np
import rasterio
from ukis_csmask.mask import CSmask


def main(scene: str, output: str) -> None:
    start = time.perf_counter()
    with rasterio.open(scene) as source:
        bands, place = source.read(out_dtype=np.float32), source.profile
        scale, offset = (
            np.array(values, np.float32)[:, None, None]
            for values in (source.scales, source.offsets)
        )
        names = list(source.descriptions)
    bands *= scale
    bands += offset
    mask = CSmask(np.moveaxis(bands, 0, -1), band_order=names, product_level="l1c")
    place |= {"count": 1, "dtype": "uint8"}
    with rasterio.open(output, "w", **place) as file:
        file.write(mask.csm[..., 0], 1)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(*sys.argv[1:])
