"""One owner, always: real processes race for run folders that are free, held, or left by the dead."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from seg_batch.batch.journal import Journal, acquire, open_run
from seg_batch.batch.journal import lease as locks
from seg_batch.batch.journal.lease import LeaseState, Owner, holder
from seg_batch.core.errors import BusyError, StoreError
from seg_batch.core.run_files import JOURNAL
from tests.support.batch.journal import BEGUN, Holder
from tests.support.patience import PATIENCE_S, until

RACES, RACERS = 100, 4
LONG_S = 600.0  # a limit that no stall of the machine reaches


def left(folder: Path, owner: Owner, age_s: float = 0.0) -> Path:
    """A lock as ``owner`` would have left it."""
    path = folder / "lock" / "3.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(owner)))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


ELSEWHERE = Owner("other-host", 7, "another boot", "1", "token")
BEFORE = replace(ELSEWHERE, host=os.uname().nodename)  # of this host, before it was started anew


def test_a_second_one_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with acquire(tmp_path) as lease:
        assert lease.taken_over is None
        with pytest.raises(BusyError, match=rf"pid {os.getpid()} on .*, heard of \d+ s ago"):
            acquire(tmp_path).__enter__()
    with acquire(tmp_path) as lease:
        assert (lease.number, lease.taken_over) == (2, None)
    assert [path.name for path in (tmp_path / "lock").iterdir()] == ["2.json"]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a heartbeat looks often, however long it would wait."""
    monkeypatch.setattr(locks, "LOOKS", 100 * LONG_S)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("owner", [ELSEWHERE, BEFORE], ids=["other host", "other boot"])
def test_who_can_not_be_seen_is_alive_if_it_is_heard(tmp_path: Path, owner: Owner) -> None:
    path, lines = left(tmp_path, owner, age_s=5), list[str]()

    def heard(line: str) -> None:
        lines.append(line)
        os.utime(path)

    with pytest.raises(BusyError, match=rf"pid 7 on {owner.host}, heard of \d+ s ago"):
        acquire(tmp_path, limit_s=LONG_S, say=heard).__enter__()
    (told,) = re.findall(r"heard of (\d+) s ago: .* next heartbeat, (\d+) s at most", lines[0])
    assert int(told[0]) >= 5
    assert int(told[0]) + int(told[1]) == pytest.approx(LONG_S, abs=1)


@pytest.mark.parametrize("owner", [ELSEWHERE, BEFORE], ids=["other host", "other boot"])
def test_who_can_not_be_seen_is_dead_once_it_is_silent_for_too_long(
    tmp_path: Path, owner: Owner
) -> None:
    beat = left(tmp_path, owner).stat().st_mtime
    with acquire(tmp_path, limit_s=0.2) as lease:
        assert time.time() - beat > 0.2
        assert (lease.number, lease.taken_over) == (4, owner)


@pytest.mark.usefixtures("often")
def test_who_lets_go_while_it_is_waited_for_is_not_taken_over(tmp_path: Path) -> None:
    path = left(tmp_path, ELSEWHERE)
    free = json.dumps(asdict(replace(ELSEWHERE, released=True)))
    with acquire(tmp_path, limit_s=LONG_S, say=lambda _: path.write_text(free)) as lease:
        assert (lease.number, lease.taken_over) == (4, None)


def test_another_host_is_taken_over_when_its_heartbeat_is_old(tmp_path: Path) -> None:
    left(tmp_path, ELSEWHERE, age_s=61)
    lines: list[str] = []
    with open_run(tmp_path, say=lines.append):
        pass
    (line,) = lines
    said = "taking over this run from pid 7 on other-host: it was last heard of "
    assert int(line.removeprefix(said).removesuffix(" s ago")) >= 61
    (event,) = Journal.read(tmp_path / JOURNAL)
    assert (event["event"], event["from_host"], event["from_pid"]) == (
        "taken_over",
        "other-host",
        7,
    )


def test_a_pid_that_was_given_to_another_process_is_not_its_owner(tmp_path: Path) -> None:
    left(tmp_path, replace(Owner.here(), started="1"))
    with acquire(tmp_path) as lease:
        assert lease.why == "its process is gone"


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1, "what": 2}'])
def test_a_lock_that_does_not_read_counts_by_its_age(tmp_path: Path, text: str) -> None:
    """Its writer is about to fill it, or was killed before it did."""
    path = left(tmp_path, ELSEWHERE)
    path.write_text(text)
    with pytest.raises(BusyError, match="left no name"):
        acquire(tmp_path, limit_s=LONG_S, say=lambda _: path.touch()).__enter__()
    os.utime(path, (0, 0))
    with acquire(tmp_path) as lease:
        assert lease.number == 4


@pytest.mark.parametrize("links", [True, False])
def test_the_file_of_a_tenure_is_whole_and_is_created_once(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path, owners = tmp_path / "1.json", [Owner.here(), Owner.here()]
    os.close(locks._create_file(path, owners[0]))
    with pytest.raises(FileExistsError):
        locks._create_file(path, owners[1])
    assert json.loads(path.read_text()) == asdict(owners[0])
    assert list(tmp_path.iterdir()) == [path]


def refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_numbers_go_on_when_the_lock_folder_was_removed(tmp_path: Path) -> None:
    for key in ("a", "b", "c"):
        with open_run(tmp_path) as journal:
            journal.append("refused", key, error='a quote: "tenure":99')
        if key == "b":
            shutil.rmtree(tmp_path / "lock")
    assert [event["input"] for event in Journal.read(tmp_path / JOURNAL)] == ["a", "b", "c"]
    assert [path.name for path in (tmp_path / "lock").iterdir()] == ["3.json"]


def test_who_looked_too_long_ago_withdraws(tmp_path: Path) -> None:
    """It found tenure 3 dead; since then 4 came and went, and 5 holds the run."""
    earlier = LeaseState(3, ELSEWHERE, 100.0)
    left(tmp_path, ELSEWHERE).rename(tmp_path / "lock" / "5.json")
    with pytest.raises(BusyError):
        locks._create(tmp_path / "lock", earlier, "old")
    assert [path.name for path in (tmp_path / "lock").iterdir()] == ["5.json"]


def test_a_run_folder_that_is_removed_is_no_longer_ours(tmp_path: Path) -> None:
    with open_run(tmp_path) as journal:
        next((tmp_path / "lock").iterdir()).unlink()
        with pytest.raises(StoreError, match="was removed"):
            journal.append("begun", **BEGUN)
    assert holder(tmp_path) is None


def test_a_heartbeat_keeps_a_run(tmp_path: Path) -> None:
    """It is heard of again, though it seemed to be silent for too long."""
    with acquire(tmp_path, limit_s=0.5):
        path = tmp_path / "lock" / "1.json"
        for _ in range(3):
            os.utime(path, (0, 0))
            until(lambda: path.stat().st_mtime > 0, "a heartbeat")
        with pytest.raises(BusyError):
            acquire(tmp_path, limit_s=LONG_S).__enter__()


@pytest.mark.full
@pytest.mark.parametrize("dead", [False, True])
def test_of_many_racers_exactly_one_wins(tmp_path: Path, dead: bool) -> None:
    """100 races of four processes for a folder that is free, or whose owner was killed."""
    with ExitStack() as stack:
        racers = [stack.enter_context(Holder()) for _ in range(RACERS)]
        for race in range(RACES):
            folder = tmp_path / str(race)
            if dead:
                assert racers[race % RACERS].ask("die", folder) == "ok"
            for racer in racers:
                racer.tell("take", folder)
            heard = [racer.hear() for racer in racers]
            won = [i for i, text in enumerate(heard) if text.startswith("ok")]
            assert len(won) == 1, heard
            assert ("taking over" in heard[won[0]]) == dead
            assert sum("belongs to another segbatch run" in text for text in heard) == RACERS - 1
            assert racers[won[0]].ask("release") == "ok"
            events = [event["event"] for event in Journal.read(folder / JOURNAL)]
            assert events == ["taken_over"] * dead


@pytest.mark.full
def test_who_was_suspended_too_long_writes_nothing_more(tmp_path: Path) -> None:
    with Holder(limit_s=1.0) as first, Holder(limit_s=LONG_S) as second:
        first.tell("loop", tmp_path)
        for _ in range(5):
            first.hear()
        first.process.send_signal(signal.SIGSTOP)
        assert "belongs to another" in second.ask("take", tmp_path)
        time.sleep(1.5)  # for longer than it may take the run to be its own without a look
        os.utime(tmp_path / "lock" / "1.json", (time.time() - 2 * LONG_S,) * 2)
        assert "taking over this run" in second.ask("take", tmp_path)
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(PATIENCE_S) == 2
        assert "has taken over this run" in (first.process.stderr.read())  # type: ignore[union-attr]
        assert second.ask("append", "mine") == "ok"
        events = [(event["event"], event["input"]) for event in Journal.read(tmp_path / JOURNAL)]
        assert events[-2:] == [("taken_over", None), ("refused", "mine")]
        lines = (tmp_path / JOURNAL).read_text().splitlines()  # all of them, also those not read
        tenures = [json.loads(line)["tenure"] for line in lines]
        assert tenures.count(2) == 2
        late = tenures[tenures.index(2) :].count(1)
        assert late <= 1, "at most the line that it was about to write when it was suspended"
        assert second.ask("release") == "ok"
