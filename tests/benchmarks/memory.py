"""Memory does not grow with the scene: peak resident memory of the run on 32768 x 32768 over that
on 8192 x 8192, same options, probe; never more than the plan promised, and by how much less."""

import sys
import tempfile
from pathlib import Path

from figures import target
from timing import Ran, make_scene, predict, show

SMALL, LARGE = 8192, 32768
MIB = 1 << 20


def measure(work: Path, side: int) -> tuple[Ran, int]:
    """One run and its peak: what the process says of itself or what the system saw, if more."""
    packed = {"compress": "zstd", "zstd_level": 1, "num_threads": 2}
    scene = make_scene(work / "scene.tif", side, speckle=0, **packed)
    ran = predict(scene, work / "map.tif", "--model", "probe")
    scene.unlink()
    peak = max(ran.rss_bytes, ran.report["peak_rss_bytes"])
    promised = ran.report["promised_bytes"]
    print(
        f"{side} x {side}: peak {peak / MIB:.0f} MiB, promised {promised / MIB:.0f} MiB, "
        f"{side**2 / ran.report['seconds'] / 1e6:.1f} million pixels per second",
        flush=True,
    )
    return ran, peak


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (small, small_peak), (large, large_peak) = (
            measure(Path(folder), side) for side in (SMALL, LARGE)
        )
    kept = all(
        peak <= ran.report["promised_bytes"]
        for ran, peak in ((small, small_peak), (large, large_peak))
    )
    ratio, wanted = large_peak / small_peak, target("memory", "ratio")
    promise = large.report["promised_bytes"] / large_peak
    show(
        "memory",
        f"x{ratio:.3f} for 16 times the pixels (target x{wanted}), "
        f"promise {'kept' if kept else 'BROKEN'}, x{promise:.2f} the peak of the larger one "
        f"(target x{target('memory', 'promise')})",
        ratio=ratio,
        promise=promise,
        sides={"8192": small.costs, "32768": large.costs},
        promise_kept=kept,
        peaks=[small_peak, large_peak],
        promises=[small.report["promised_bytes"], large.report["promised_bytes"]],
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
