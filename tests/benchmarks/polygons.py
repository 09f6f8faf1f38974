"""Polygons of one block against ``rasterio.features.shapes``, in processor time per pixel: smooth fields, ragged ones, noise.

Both sides end with geometries: ours as well-known binary, the other's as coordinates. ``--rows N``: instead, what N rows of 100 000 pixels hold.

``python tests/benchmarks/polygons.py [--side 2048] [--rows N] [--simplify METRES]``
"""

import argparse
import time

import numpy as np
from rasterio.features import shapes
from scipy.ndimage import gaussian_filter

from seg_batch.core.outlines.polygoniser import Polygoniser, Simplify

PLAIN = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
WIDTH, STRIP, CLASSES = 100_000, 16, 9


def smooth(side: int, sigma: float) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(0).random((side, side)), sigma)
    return np.digitize(field, np.quantile(field, np.linspace(0, 1, 9)[1:-1])).astype(np.uint8)


def ragged(first: int, count: int) -> np.ndarray:
    """Rows of objects of some 1000 pixels with wavy borders."""
    x, y = np.arange(WIDTH), np.arange(first, first + count)[:, None]
    u = (x + 7 * np.sin(y / 9)).astype(np.int64) // 32
    v = (y + (5 * np.sin(x / 11)).astype(np.int64)) // 32
    return ((u * 7919 + v * 104_729 + u * v % 13) % CLASSES).astype(np.uint8)


def ours(labels: np.ndarray, simplify: Simplify | None) -> int:
    polygoniser = Polygoniser(labels.shape[1], list(range(CLASSES)), PLAIN, simplify)
    strips = (labels[y : y + 512] for y in range(0, len(labels), 512))
    count = sum(len(part) for strip in strips for part in polygoniser.add(strip))
    return count + sum(map(len, polygoniser.end()))


def block(side: int, simplify: Simplify | None) -> None:
    noise = np.random.default_rng(1).integers(0, 8, (side, side)).astype(np.uint8)
    ours(noise[:64, :64], simplify)  # compiled
    for name, labels in (
        ("smooth", smooth(side, 6)),
        ("ragged", smooth(side, 2)),
        ("noise", noise),
    ):
        start = time.process_time()
        count = ours(labels, simplify)
        middle = time.process_time()
        others = sum(1 for _ in shapes(labels))
        end = time.process_time()
        assert count == others
        each = [1e9 * seconds / labels.size for seconds in (middle - start, end - middle)]
        print(f"{name}: {count} polygons, {each[0]:.0f} ns per pixel, rasterio {each[1]:.0f}")


def scene(rows: int, simplify: Simplify | None) -> None:
    polygoniser = Polygoniser(WIDTH, list(range(CLASSES)), PLAIN, simplify)
    count = most = 0
    took = 0.0
    for y in range(0, rows, STRIP):
        strip = ragged(y, min(STRIP, rows - y))
        start = time.process_time()
        count += sum(map(len, polygoniser.add(strip)))
        took += time.process_time() - start
        most = max(most, polygoniser.held_bytes)
    count += sum(map(len, polygoniser.end()))
    each = 1e9 * took / (rows * WIDTH)
    print(f"{rows} rows: {count} polygons, {each:.1f} ns per pixel, {most / 2**20:.0f} MiB held")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--simplify", type=float)
    given = parser.parse_args()
    chosen = None if given.simplify is None else Simplify(given.simplify, (1, 0, 0, 1))
    if given.rows:
        scene(given.rows, chosen)
    else:
        block(given.side, chosen)
