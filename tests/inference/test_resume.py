"""Real runs, really killed: the same command goes on, and the bytes are those of one clean run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import StoreError
from seg_batch.core.normalise import Normaliser
from seg_batch.inference import worker
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.resume import clean_unused, leaving_nothing_behind, open_store
from seg_batch.inference.verify import verify_product
from tests.support.files import address_raster, write_raster
from tests.support.patience import PATIENCE_S, Gate, until

pytestmark = pytest.mark.full  # whole commands in processes of their own

BLOCK = ("--block", "1024,1024")


def labels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Twelve blocks of 1024; the one pixel of 255 lies in the middle of block 1.1."""
    values = address_raster((3000, 4000), 1, "uint8")
    values[0, 1536, 1536] = 255
    return write_raster(tmp_path / "wide.tif", values)


def command(scene: Path, out: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "seg_batch", "predict", str(scene), "-o", str(out)]
    return [*start, "--model", "probe", *BLOCK, "--json", *more]


def markers(out: Path) -> int:
    return len(list(Path(f"{out}.work.zarr").glob("done/*.*.json")))


@contextmanager
def standing_after(
    n: int, arguments: list[str], folder: Path, **streams: Any
) -> Iterator[tuple[subprocess.Popen[str], Gate]]:
    """The command in a process that stands still once ``n`` blocks are done, in each process that
    does some."""
    gate = Gate(folder, "*.work.zarr/done/*.*.json", after=n)
    process = subprocess.Popen(
        arguments, text=True, env={**os.environ, **gate.environment}, **streams
    )
    try:
        gate.wait(process)
        yield process, gate
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def killed_after(n: int, arguments: list[str], out: Path, how: int) -> int:
    """Start the command, send the signal once ``n`` blocks are done; returns its exit status."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with standing_after(n, arguments, out.parent, **quiet) as (process, gate):
        until(lambda: markers(out) >= n)
        process.send_signal(how)
        gate.open()  # what is in hand ends, if anything does
        return process.wait(PATIENCE_S)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_resumes(wide: Path, tmp_path: Path, run: Any, how: int) -> None:
    out = tmp_path / "out.tif"
    status = killed_after(3, command(wide, out), out, how)
    assert status == (-9 if how == signal.SIGKILL else 130)
    assert not out.exists()
    before = markers(out)
    assert 3 <= before < 12
    again = run(*command(wide, out)[3:])
    assert again.status == 0, again.err
    assert again.json["blocks"] == {"total": 12, "done": 12, "failed": 0, "resumed": before}
    assert np.array_equal(labels_of(out), labels_of(wide) % 8)
    assert not Path(f"{out}.work.zarr").exists()


def test_a_finished_run_is_not_done_again(wide: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.tif"
    run(*command(wide, out)[3:])
    stamp = out.stat().st_mtime_ns
    again = run(*command(wide, out)[3:])
    assert (again.status, again.json["blocks"]["resumed"]) == (0, 12)
    assert out.stat().st_mtime_ns == stamp


def test_another_plan_into_the_same_store_is_refused(wide: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.tif"
    killed_after(2, command(wide, out), out, signal.SIGKILL)
    other = run(*command(wide, out, "--overlap", "32")[3:])
    assert other.status == 2
    assert "overlap: [64, 64] became [32, 32]" in other.err
    assert other.err.count("\n") == 1
    assert markers(out) >= 2, "the refused run must not harm the other"
    assert run(*command(wide, out, "--overlap", "32", "--overwrite")[3:]).status == 0


def test_blocks_of_the_first_run_are_taken_over(wide: Path, tmp_path: Path, run: Any) -> None:
    """Another --memory or --block must not lose work: the bytes do not depend on it."""
    out = tmp_path / "out.tif"
    killed_after(3, command(wide, out), out, signal.SIGKILL)
    base = [a for a in command(wide, out)[3:] if a not in BLOCK]
    again = run(*base)
    assert again.status == 0, again.err
    assert again.json["blocks"]["total"] == 12
    assert again.json["blocks"]["resumed"] >= 3


def test_two_runs_at_once_are_refused(wide: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.tif"
    with standing_after(1, command(wide, out), tmp_path, stdout=subprocess.DEVNULL) as running:
        first, gate = running
        second = run(*command(wide, out)[3:])
        gate.open()
        assert first.wait(PATIENCE_S) == 0
    assert second.status == 2
    assert "another segbatch run" in second.err


def test_overwrite_does_a_damaged_block_again(wide: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.tif"
    killed_after(3, command(wide, out), out, signal.SIGKILL)
    store = Path(f"{out}.work.zarr")
    name = min(path.stem for path in store.glob("done/*.*.json"))
    chunk = store / "labels" / "c" / name.replace(".", "/")
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 8
    chunk.write_bytes(damaged)
    refused = run(*command(wide, out)[3:])
    assert refused.status == 1
    assert "--overwrite" in refused.err
    again = run(*command(wide, out, "--overwrite")[3:])
    assert again.status == 0, again.err
    assert again.json["blocks"]["resumed"] == 11
    assert np.array_equal(labels_of(out), labels_of(wide) % 8)


@pytest.mark.parametrize("again", ["finished", "anew"])
def test_what_a_late_worker_wrote_where_the_store_was_is_removed(
    scene: Path, tmp_path: Path, again: str
) -> None:
    out = tmp_path / "out.tif"
    request = Request(str(scene), str(out), model="probe")
    whole = predict_one(request)
    chunk = tmp_path / "out.tif.work.zarr/labels/c/0/0"
    chunk.parent.mkdir(parents=True)
    chunk.touch()
    if again == "anew":
        out.unlink()
    assert predict_one(request)["product"]["sha256"] == whole["product"]["sha256"]
    assert not chunk.exists()
    assert not list(tmp_path.glob("*.work.zarr"))


KILLED_CLEANING = """
import os, shutil, signal, sys
from pathlib import Path
from seg_batch.inference.api.predict import predict

removed = shutil.rmtree

def killed(path, **_):
    if (Path(path) / "done" / "lock").exists():
        removed(Path(path) / "done")
        os.kill(os.getpid(), signal.SIGKILL)

shutil.rmtree = killed
predict(sys.argv[1], sys.argv[2], model="probe")
"""


def test_killed_as_it_cleans_up_a_run_is_still_finished(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    command = [sys.executable, "-c", KILLED_CLEANING, str(scene), str(out)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.work.zarr"))
    again = predict_one(Request(str(scene), str(out), model="probe"))
    assert (again["status"], again["blocks"]["resumed"]) == ("complete", 1)
    assert not list(tmp_path.glob("*.work.zarr"))


def test_a_refused_run_leaves_the_store_of_a_running_one(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    draft = prepare(Request(str(scene), str(out), model="probe"))
    prepared = draft.by(draft.plan.with_normaliser(Normaliser()))
    with ExitStack() as running:

        def refused_meanwhile() -> None:
            with leaving_nothing_behind(prepared.outputs):
                running.enter_context(open_store(prepared, None).lock())
                raise StoreError("refused")

        with pytest.raises(StoreError, match="refused"):
            refused_meanwhile()
        assert prepared.outputs.store.exists()
    clean_unused(prepared.outputs)
    assert not prepared.outputs.store.exists()


def test_lost_probabilities_are_made_again(scene: Path, tmp_path: Path) -> None:
    options = PredictOptions(probabilities=True)
    request = Request(str(scene), str(tmp_path / "out.tif"), model="probe", options=options)
    predict_one(request)
    assert verify_product(tmp_path / "out.tif")["ok"]
    lost = tmp_path / "out_probabilities.tif"
    lost.unlink()
    assert not verify_product(tmp_path / "out.tif")["ok"]
    assert predict_one(request)["status"] == "complete"
    assert lost.exists()


def test_jobs_share_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs on one cluster: neither closes the other's input while a block of it runs."""

    class Fake:
        def __init__(self, job: Any) -> None:
            self.closed = False
            if job.key == "slow":
                opening.set()
                assert go_on.wait(PATIENCE_S)

        def close(self) -> None:
            self.closed = True

    opening, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(worker, "BlockWorker", Fake)
    one, two, slow = (SimpleNamespace(key=key) for key in ("one", "two", "slow"))

    def work_slowly() -> None:
        with worker.open_job(slow):
            pass

    with worker.open_job(one) as first:
        with worker.open_job(two):
            assert not first.closed
        thread = threading.Thread(target=work_slowly)
        thread.start()
        assert opening.wait(PATIENCE_S)
        with worker.open_job(two):
            go_on.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        with worker.open_job(one) as same:
            assert same is first
    worker.close_job()
    assert first.closed
    assert not worker._open


def test_a_failed_block_is_a_hole_that_the_next_run_fills(wide: Path, tmp_path: Path) -> None:
    """The model fails on one block; the product says partial; then it works again."""
    broken = [True]

    def fragile(patches: np.ndarray) -> np.ndarray:
        if broken[0] and (patches[..., 0] == 255).any():
            raise RuntimeError("the model broke")
        high = (patches[..., 0] > 100).astype(np.float32)
        return np.stack([1 - high, high], -1)

    classes = tuple(ClassInfo(id=i, name=str(i), colour=(i, i, i)) for i in range(2))
    rule = Normalisation(kind="identity")
    card = ModelCard(name="f", kind="raster", rank=2, classes=classes, normalisation=rule)
    out = tmp_path / "out.tif"
    request = Request(
        str(wide), str(out), model=(card, fragile), options=PredictOptions(block=(1024, 1024))
    )
    report = predict_one(request)
    assert report["status"] == "partial"
    assert report["blocks"]["failed"] == 1
    assert report["failures"][0]["block"] == "1.1"
    assert "the model broke" in report["failures"][0]["error"]
    with rasterio.open(out) as file:
        assert file.tags()["SEGBATCH_STATUS"] == "PARTIAL"
    expected = (labels_of(wide) > 100).astype(np.uint8)
    found = labels_of(out)
    assert (found[1024:2048, 1024:2048] == 255).all()
    assert np.array_equal(found[found != 255], expected[found != 255])
    broken[0] = False
    report = predict_one(request)
    assert (report["status"], report["blocks"]["failed"]) == ("complete", 0)
    assert report["blocks"]["resumed"] > 0
    assert np.array_equal(labels_of(out), expected)


@pytest.mark.full
def test_a_local_cluster_survives_the_death_of_a_worker(
    wide: Path, tmp_path: Path, run: Any
) -> None:
    out = tmp_path / "out.tif"
    arguments = command(wide, out, "--cluster", "local", "--workers", "2")
    with standing_after(1, arguments, tmp_path, stdout=subprocess.PIPE) as (process, gate):
        (victim, *_) = gate.standing()
        assert _ancestor(victim, process.pid)
        assert victim != process.pid
        os.kill(victim, signal.SIGKILL)
        gate.open()
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, printed
    assert np.array_equal(labels_of(out), labels_of(wide) % 8)


def _ancestor(pid: int, wanted: int) -> bool:
    while pid > 1:
        if pid == wanted:
            return True
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        pid = int(status.split("PPid:")[1].split()[0])
    return False
