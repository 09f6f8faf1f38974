"""What was made before code was moved: the same is made after it, and what was left is gone on with.

``tests/support/record.py`` makes a product of every kind and compares digests. ``tests/support/kept``
holds what an earlier version made: a run that was killed, a work store, a dataset, a bundle.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import kept
from tests.support.digests import Form, normal
from tests.support.make_kept import BLOCKS, EXPECTED, PREDICT, contents
from tests.support.record_inputs import TIME_NS
from tests.support.record_products import run

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[1]


def command(folder: Path, words: str) -> str:
    """What ``segbatch WORDS``, run in the folder, prints; it has to end well."""
    with contextlib.chdir(folder):
        status, printed = run(words)
    assert status == 0, printed
    return printed


def settled(path: Path) -> str:
    return normal(path, Form(strict=False, roots={}))


def markers(store: Path) -> dict[str, bytes]:
    """The receipts of the blocks that are done."""
    return {path.name: path.read_bytes() for path in store.glob("done/*.*.json")}


def report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.json").read_bytes())
    return found


def test_every_product_is_that_of_the_record() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.record"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"


def test_a_work_store_made_before_is_resumed(tmp_path: Path) -> None:
    folder, fresh = kept.unpack("store", tmp_path / "a"), kept.unpack("store", tmp_path / "b")
    store = folder / "out.tif.work.zarr"
    before = markers(store)
    assert 0 < len(before) < BLOCKS
    command(folder, f"{PREDICT} --keep-store")
    after = markers(store)
    assert len(after) == BLOCKS
    assert {name: after[name] for name in before} == before, "a block was done again"
    assert report(folder / "out.tif")["blocks"] == {
        "total": BLOCKS,
        "done": BLOCKS,
        "failed": 0,
        "resumed": len(before),
    }
    shutil.rmtree(fresh / "out.tif.work.zarr")
    command(fresh, f"{PREDICT} --patch card --overlap card")
    for name in ("out.tif", "out_probabilities.tif"):
        assert settled(folder / name) == settled(fresh / name)


def test_a_run_that_was_killed_before_goes_on(tmp_path: Path) -> None:
    folder, fresh = kept.unpack("night", tmp_path / "a"), kept.unpack("night", tmp_path / "b")
    maps = folder / "maps"
    done = sorted(maps.glob("*.tif"))
    blocks = markers(maps / "wide_labels.tif.work.zarr")
    told = json.loads(command(folder, "run night.yaml --json"))
    assert (told["inputs"], told["complete"], told["resumed"]) == (7, 7, len(done))
    assert all(path.stat().st_mtime_ns == TIME_NS for path in done), "a product was made again"
    assert report(maps / "wide_labels.tif")["blocks"]["resumed"] == len(blocks)
    shutil.rmtree(fresh / "maps")
    command(fresh, "run night.yaml -q")
    for path in sorted((fresh / "maps").glob("*.tif")):
        assert settled(maps / path.name) == settled(path), path.name
    assert not list(maps.glob("*.work.zarr"))


def test_the_journal_of_a_run_of_before_tells_all_of_it(tmp_path: Path) -> None:
    folder = kept.unpack("night", tmp_path)
    done = len(list((folder / "maps").glob("*.tif")))
    told = command(folder, "report maps/.segbatch/night --json")
    assert json.loads(told)["statuses"]["complete"] == done


def of_before(now: Any, before: Any) -> Any:
    """Without the keys that were added since."""
    if isinstance(before, dict):
        return {key: of_before(now[key], value) for key, value in before.items()}
    if isinstance(before, list):
        return [*map(of_before, now, before)]
    return now


def test_a_dataset_made_before_reads_the_same(tmp_path: Path) -> None:
    found = contents(kept.unpack("patches", tmp_path) / "made.zarr")
    before = json.loads(EXPECTED.read_bytes())["patches"]
    assert of_before(found, before) == before


def test_a_bundle_made_before_predicts(tmp_path: Path) -> None:
    bundle, folder = kept.unpack("trained", tmp_path), kept.unpack("product", tmp_path)
    card = json.loads(command(folder, f"models {bundle} --json"))
    assert card.pop("path") == str(bundle)
    before = json.loads((bundle / "card.json").read_bytes())
    assert of_before(card, before) == {**before, "schema_version": card["schema_version"]}
    assert card["missing"] == "all", "its maps had labels where any channel had data"
    words = f"predict wide.tif -o mine.tif --model {bundle} --engine tensorflow -q"
    command(folder, f"{words} --cluster inline --precision float32")
    assert report(folder / "mine.tif")["status"] == "complete"


def test_a_product_made_before_is_verified(tmp_path: Path) -> None:
    folder = kept.unpack("product", tmp_path)
    checks = json.loads(command(folder, "verify out.tif --json"))["checks"]
    assert {one["name"]: one["ok"] for one in checks} == dict.fromkeys(
        ("complete", "bytes", "beside", "geometry", "counts", "input", "model"), True
    )
    told = json.loads(command(folder, f"{PREDICT.replace(' -q', '')} --json"))
    assert told["blocks"]["resumed"] == told["blocks"]["total"], "a product was made again"
