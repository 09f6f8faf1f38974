"""Killed anywhere and run again, a training leaves what it would have left uninterrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import InputError, OutputError, StoreError
from seg_batch.nn.training.checkpoint import Checkpoint, Checkpoints, mark
from seg_batch.nn.training.fit import FitResult
from tests.support.nn.squares import OnRow, assert_same, dice, recipe, trained

ROOT = Path(__file__).resolve().parents[3]
# Plateau and patience go by the history, RNG by the number of the sample.
HOW = recipe(
    optimiser={"name": "adamw", "accumulate": 2},
    schedule={"name": "plateau", "patience": 1},
    fit={"steps": 12, "validate_every": 3, "checkpoint_every": 2, "patience": 4},
)
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.nn.training.test_checkpoint import HOW
from tests.support.nn.squares import OnRow, trained
left = [int(sys.argv[2])]
def watch(event, arguments):
    if event == "os.rename":
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
trained(Path(sys.argv[1]), HOW)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return trained(tmp_path_factory.mktemp("whole"), HOW)


@pytest.mark.slow
def test_killed_where_files_are_moved_and_run_again_it_is_the_same(
    tmp_path: Path, whole: FitResult
) -> None:
    """Each process dies at its n-th move of a file: between arrays and JSON, model and checkpoint."""
    for n in (5, 4, 10):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(n)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert max(c.stem for c in tmp_path.glob("checkpoint-*")) > "checkpoint-00000004"
    assert_same(trained(tmp_path, HOW), whole)


@pytest.mark.full
def test_stopped_by_signal_it_goes_on_from_that_very_step(tmp_path: Path, whole: FitResult) -> None:
    def stopping(predict):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGTERM)
        return dice(predict)

    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt):  # within the validation of step 3
        trained(tmp_path, HOW, validate=stopping)
    assert (tmp_path / "checkpoint-00000003.json").exists()
    with pytest.raises(KeyboardInterrupt):  # between two steps
        trained(tmp_path, HOW, callback=OnRow(lambda row: os.kill(os.getpid(), signal.SIGINT)))
    assert handlers == [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    assert_same(trained(tmp_path, HOW), whole)


@pytest.mark.full
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, whole: FitResult
) -> None:
    class DeathError(Exception):
        pass

    def dies(row):  # type: ignore[no-untyped-def]
        if row.step == 9:
            raise DeathError

    with pytest.raises(DeathError):
        trained(tmp_path, HOW, callback=OnRow(dies))
    arrays = sorted(tmp_path.glob("checkpoint-*.npz"))
    assert [path.stem for path in arrays] == ["checkpoint-00000006", "checkpoint-00000008"]
    content = bytearray(arrays[1].read_bytes())
    content[len(content) // 2] ^= 1
    arrays[1].write_bytes(content)
    with pytest.warns(UserWarning, match="checkpoint-00000008.json is damaged"):
        assert_same(trained(tmp_path, HOW), whole)


@pytest.mark.full
def test_another_training_is_refused_and_told_what_differs(
    tmp_path: Path, whole: FitResult
) -> None:
    work = whole.path.parent
    other = recipe(optimiser={"learning_rate": 1.0})
    with pytest.raises(StoreError, match=r"another recipe, so .*remove the folder"):
        trained(work, other)
    with pytest.raises(StoreError, match="another start"):
        trained(work, HOW, model=whole.model)
    # what has no bearing on the weights may change
    free = HOW.changed(fit={"checkpoint_every": 7}, card={"licence": "MIT"})
    assert_same(trained(work, free), whole)


# --- the files -------------------------------------------------------------------------------------

VALUES = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]


def store(folder: Path) -> Checkpoints:
    found = Checkpoints(folder, {"recipe": mark({"a": 1}), "dataset": mark([1, 2])})
    (folder / "best-a.keras").write_bytes(b"model")
    for step in (10, 20, 30):
        sha256 = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"
        state = {"seconds": 0.1 + step, "files": {"best-a.keras": sha256}}
        found.write(step, state, [VALUES[0] * step, VALUES[1]])
    return found


def read(found: Checkpoints) -> Checkpoint:
    checkpoint = found.read()
    assert checkpoint is not None
    return checkpoint


def test_what_is_written_is_read_and_two_are_kept(tmp_path: Path) -> None:
    found = store(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-a.keras",
        *(f"checkpoint-000000{n}.{kind}" for n in (20, 30) for kind in ("json", "npz")),
    ]
    checkpoint = read(found)
    assert (checkpoint.step, checkpoint.state["seconds"]) == (30, 30.1)
    np.testing.assert_array_equal(checkpoint.values[0], VALUES[0] * 30)
    assert checkpoint.values[1].dtype == np.int64


@pytest.mark.parametrize("name", ["checkpoint-00000030.npz", "checkpoint-00000030.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_any_damage_is_found(tmp_path: Path, name: str, damage: str) -> None:
    found, path = store(tmp_path), tmp_path / name
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    left = {"flip": bytes(flipped), "cut": content[:-9], "empty": b"", "gone": None}[damage]
    path.unlink() if left is None else path.write_bytes(left)
    if damage == "gone" and name.endswith("json"):  # never was: the JSON is what makes it one
        assert read(found).step == 20
        return
    with pytest.warns(UserWarning, match="00000030.json is damaged"):
        assert read(found).step == 20
    found.write(25, {}, VALUES)  # overtakes the damaged one, which goes
    assert read(found).step == 25
    assert not path.exists()


def test_all_damaged_is_refused_with_a_remedy_and_none_is_none(tmp_path: Path) -> None:
    found = store(tmp_path / "a")
    (tmp_path / "a" / "best-a.keras").write_bytes(b"another model")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(InputError, match="train from the start"),
    ):
        found.read()
    assert Checkpoints(tmp_path / "b", {}).read() is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write"):
        Checkpoints(tmp_path / "file" / "work", {})


def test_pickles_are_never_read(tmp_path: Path) -> None:
    found = store(tmp_path)
    with pytest.raises(ValueError, match="pickle"):
        found.write(40, {}, [np.array([{}], object)])
