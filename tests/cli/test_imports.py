"""A command imports what it needs, and no more: most of the time of ``inspect`` and ``plan`` is imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from seg_batch.core.resources import SAMPLES

COMMANDS = """
import sys
from seg_batch.cli.main import app

for command in ("inspect", "plan"):
    app([command, sys.argv[1]], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""
PLACES = {"obstore", "pyarrow", "pyogrio", "pystac", "pystac_client", "shapely", "xarray"}
NOWHERE = PLACES | {
    "asyncio", "dask", "distributed", "jinja2", "keras", "matplotlib", "numba", "numcodecs", "openvino",
    "rich", "tensorflow", "yaml", "zarr",
    "seg_batch.batch", "seg_batch.cli.train", "seg_batch.cli.watch", "seg_batch.config.recipe",
    "seg_batch.config.workflow", "seg_batch.datasets", "seg_batch.evaluation", "seg_batch.executors.scheduler",
    "seg_batch.training",
}  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "others"),
    [("zion_landsat8.tif", {"nibabel", "scipy"}), ("hippocampus_143.nii.gz", {"rasterio"})],
)
def test_inspect_and_plan_import_the_reader_of_the_file_and_nothing_that_works(
    sample: str, others: set[str]
) -> None:
    command = [sys.executable, "-c", COMMANDS, str(SAMPLES / sample)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "blocks " in ran.stdout
    imported = set(ran.stderr.splitlines()[-1].split())
    assert {"typer", "numpy", "pydantic"} <= imported
    assert not (NOWHERE | others) & imported


PREDICT = """
import sys
from seg_batch.cli.main import app

app(["predict", *sys.argv[1:3], "--model", "probe"], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


def test_a_volume_is_predicted_without_what_places_and_catalogues_need(tmp_path: Path) -> None:
    volume, output = SAMPLES / "hippocampus_143.nii.gz", tmp_path / "a.nii.gz"
    command = [sys.executable, "-c", PREDICT, str(volume), f"-o{output}"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    imported = set(ran.stderr.splitlines()[-1].split())
    assert output.exists()
    assert not imported & {"rasterio", "boto3", "tensorflow", *PLACES}
