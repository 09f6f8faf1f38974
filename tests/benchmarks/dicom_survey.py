"""What a survey of a tree of DICOM costs: 200 series of 100 slices and 1 000 other files, in one flat folder and in folders
of their own. Each header is read once; memory is that of the survey's own process.

``python tests/benchmarks/dicom_survey.py [--series 200] [--slices 100]``
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import ROOT, show

OTHERS = 1000


def make_tree(root: Path, series: int, slices: int, flat: bool) -> None:
    """Slices of 16 x 16 pixels, whose names say nothing, among other files."""
    sys.path.insert(0, str(ROOT))
    from tests.support.dicom_files import series_of, slice_of

    names, one = list(range(series * slices)), series_of((slices, 16, 16))
    random.Random(3).shuffle(names)
    data = slice_of(one, 0)
    for n in range(series):
        folder = root if flat else root / f"p{n // 10}" / f"s{n}"
        folder.mkdir(parents=True, exist_ok=True)
        data.SeriesInstanceUID, data.SeriesNumber = f"1.2.3.{n}", n + 1
        for k in range(slices):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n}.{k}"
            data.InstanceNumber, data.ImagePositionPatient = k + 1, [0, 0, 2.0 * k]
            data.save_as(folder / f"{names.pop():06d}", enforce_file_format=True)
    for n in range(OTHERS):
        (root / (f"other{n}" if flat else f"p{n % (series // 10)}/other{n}")).write_bytes(
            os.urandom(3000)
        )


def survey(root: str) -> None:
    """In a process of its own: seconds, opened files and memory."""
    from seg_batch.io.dicom import survey as surveys
    from seg_batch.io.dicom.tree import Tree

    opened, plain = list[str](), Tree.open
    Tree.open = lambda tree, name: opened.append(name) or plain(tree, name)  # type: ignore[assignment, func-returns-value, method-assign, return-value]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    seen = surveys.survey_once(root)
    fit = sum(not surveys.why_unfit(one) for one in seen.series)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    assert len(opened) == len(set(opened)), "a header was read twice"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(seconds, cpu_s, grown, fit, len(opened))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--of", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.of:
        survey(asked.of)
        return
    for flat in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            make_tree(Path(folder), asked.series, asked.slices, flat)
            ran = subprocess.run(
                [sys.executable, __file__, "--of", folder],
                check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        seconds, cpu_s, grown, fit, opened = map(float, ran.stdout.split())
        assert fit == asked.series
        assert opened == asked.series * asked.slices + OTHERS
        place = "flat" if flat else "nested"
        show(
            f"dicom_survey {place}",
            f"{asked.series} series of {asked.slices} slices in {seconds:.1f} s ({cpu_s:.1f} processor seconds), "
            f"{grown / 2**20:.0f} MiB more than before",
            seconds=seconds,
            cpu_s=cpu_s,
            grown_bytes=grown,
        )


if __name__ == "__main__":
    main()
