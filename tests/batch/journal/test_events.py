"""Whatever dies in the middle of whatever write, the journal tells what was told before, and more."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_batch.batch.journal.events import Journal
from seg_batch.core.errors import DamagedError, StoreError
from seg_batch.core.run_files import JOURNAL
from tests.support.batch.journal import BEGUN, Holder
from tests.support.patience import PATIENCE_S

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())  # fmt: skip
VALUES = st.recursive(PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v))
KEYS = st.text(st.characters(codec=None))  # also what no encoding has: file names are bytes


def written(path: Path, keys: list[str]) -> None:
    journal = Journal(path)
    for key in keys:
        journal.append("refused", key, error="é\n\x18")
    journal.close()


def keys(path: Path) -> list[str]:
    return [event["input"] for event in Journal.read(path)]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=VALUES, key=KEYS)
def test_what_is_read_is_what_was_told(tmp_path: Path, facts: object, key: str) -> None:
    path = tmp_path / JOURNAL
    path.unlink(missing_ok=True)
    assert Journal.read(path) == []
    journal = Journal(path)
    told = journal.append("surveyed", key, facts=facts, more=facts)
    journal.close()
    assert Journal.read(path) == [told]
    assert (told["input"], told["facts"], told["more"]) == (key, facts, facts)


def test_a_tail_torn_anywhere_is_dropped_and_never_glued_to_what_comes_next(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    written(path, ["a", "b", "c"])
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        whole = ["a", "b", "c"][: sum(end <= cut for end in ends)]
        path.write_bytes(data[:cut])
        assert keys(path) == whole, cut
        if cut % 5 == 0 or cut in ends or cut + 1 in ends:
            written(path, ["d"])
            assert keys(path) == [*whole, "d"], cut
            with path.open("ab") as file:
                file.write(data[:cut][-7:].replace(b"\n", b""))  # and torn again
            written(path, ["e"])
            assert keys(path) == [*whole, "d", "e"], cut


def test_a_tail_of_zeros_after_a_power_cut_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    for tail in (b"\0" * 100, b"\0" * 100 + b"\n", b'{"t":1,"ev\0\0\0\0\0}\n'):
        path.unlink(missing_ok=True)
        written(path, ["a"])
        with path.open("ab") as file:
            file.write(tail)
        assert keys(path) == ["a"]
        written(path, ["b"])
        assert keys(path) == ["a", "b"]


def test_damage_in_the_middle_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    written(path, ["a", "b", "c"])
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-1], lines[2], b""]))
    with pytest.raises(DamagedError, match=rf"{JOURNAL}:2 does not read"):
        Journal.read(path)


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    journal = Journal(path)
    with pytest.raises(ValueError, match="no event is called 'finished'"):
        journal.append("finished", "a")
    with pytest.raises(ValueError, match="does not tell error"):
        journal.append("refused", "a")
    with pytest.raises(ValueError, match="needs an input"):
        journal.append("refused", error="")
    with pytest.raises(ValueError, match="has no input"):
        journal.append("begun", "a", **BEGUN)
    with pytest.raises(ValueError, match="nan"):
        journal.append("refused", "a", error=float("nan"))
    journal.close()
    assert path.read_bytes() == b""
    path.write_text('{"t": 1, "event": "paused", "input": null}\n{"t": 1, "event": "x"}\n')
    with pytest.raises(DamagedError, match=rf"{JOURNAL}:1: event 'paused' is unknown"):
        Journal.read(path)


def test_threads_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    journal = Journal(path)
    together = threading.Barrier(8)

    def append(name: int) -> None:
        together.wait()
        for n in range(10):
            journal.append("refused", f"{name}.{n}", error="x" * 3000)

    threads = [threading.Thread(target=append, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = keys(path)
    assert sorted(found) == sorted(f"{name}.{n}" for name in range(8) for n in range(10))
    for name in range(8):  # and each thread's in its order
        own = [key for key in found if key.startswith(f"{name}.")]
        assert own == [f"{name}.{n}" for n in range(10)]


def test_the_word_of_an_earlier_tenure_is_not_read(tmp_path: Path) -> None:
    """It was checked while the run was held, and written after it was taken over."""
    path = tmp_path / JOURNAL
    first, second = (
        Journal(path, SimpleNamespace(number=n, check=lambda: None))  # type: ignore[arg-type]
        for n in (1, 2)
    )
    first.append("refused", "before", error="")
    second.append("refused", "after", error="")
    first.append("refused", "too late", error="")
    second.append("refused", "last", error="")
    assert keys(path) == ["before", "after", "last"]
    first.close()
    second.close()


def test_what_is_told_after_the_end_goes_into_no_other_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / JOURNAL)
    journal.close()
    with (tmp_path / "product").open("wb"):  # gets the number of the file that was closed
        with pytest.raises(StoreError, match="is closed"):
            journal.append("refused", "a", error="")
        journal.close()
    assert (tmp_path / "product").read_bytes() == b""


@pytest.mark.full
def test_what_was_told_is_there_after_a_kill(tmp_path: Path) -> None:
    """Ten writers, each killed as it writes: every append that returned is read, in order."""
    told = []
    for _ in range(10):
        with Holder() as writer:
            writer.tell("loop", tmp_path)
            heard = [writer.hear() for _ in range(20)]
            writer.process.send_signal(signal.SIGKILL)
            assert writer.process.stdout is not None
            heard += writer.process.stdout.read().split()  # what was buffered, too
        found = [e["input"] for e in Journal.read(tmp_path / JOURNAL) if e["event"] == "refused"]
        mine = found[len(told) :]
        assert found[: len(told)] == told
        assert mine[: len(heard)] == heard
        assert len(mine) <= len(heard) + 1, "one may have been written and not told of yet"
        told = found


FULL = """
import resource, sys
from pathlib import Path
from seg_batch.core.errors import OutputError
from seg_batch.batch.journal import Journal

journal = Journal(Path(sys.argv[1]))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
told = refused = 0
for n in range(20):
    try:
        journal.append("refused", str(n), error="x" * 30)
        print(n)
    except OutputError as error:
        assert "can't write" in error.message and "resume" in error.message
        refused += 1
assert refused > 5
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
journal.append("refused", "room again", error="")
"""


@pytest.mark.full
def test_a_disk_that_takes_no_more_is_told_and_nothing_is_glued(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert keys(path) == [*done.stdout.split(), "room again"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
