"""The loop of a watch where time and the folder play tricks, with an engine that does next to nothing."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.arrivals import ArrivalLog, glance_at
from seg_batch.batch.watch.loop import ArrivalRules, HotFolder
from seg_batch.batch.watch.service import Service
from seg_batch.config.workflow import Workflow
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from tests.support.patience import PATIENCE_S, until

RULES = ArrivalRules(settle_s=0.02, every_s=0.005)
Trick = Callable[[dict[str, Path]], None]


class Engine:
    """Tells that each input is done, after the next of its tricks; None: it tells nothing."""

    def __init__(self, *tricks: Trick | None, status: str = "complete") -> None:
        self._tricks, self._status = list(tricks), status
        self.calls: list[tuple[list[str], bool]] = []

    def segment(self, inputs: dict[str, Path], callback: Callback, *, overwrite: bool) -> None:
        self.calls.append((sorted(inputs), overwrite))
        trick = self._tricks.pop(0) if self._tricks else lambda _: None
        if trick is not None:
            trick(inputs)
            for key in inputs:
                failures = [{"error": "rows 5 to 9 can't be read"}] * (self._status == "partial")
                result = {"status": self._status, "output": "x", "failures": failures}
                callback.on(events.InputDone(key, result))


class Running:
    def __init__(self, folder: Path, engine: Engine, rules: ArrivalRules = RULES) -> None:
        self.said: list[str] = []
        self.arrival_log = ArrivalLog(folder.parent / "book")
        self.stop = threading.Event()
        watch = HotFolder(
            Archive(folder), rules, engine, self.arrival_log, Callback(), self.said.append
        )
        self._thread = threading.Thread(target=watch.run, args=(self.stop,))
        self._thread.start()

    def until(self, true: Callable[[], Any]) -> None:
        until(true)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.arrival_log.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_text("first")
    running: list[Running] = []

    def start(engine: Engine, rules: ArrivalRules = RULES) -> Running:
        running.append(Running(tmp_path / "in", engine, rules))
        return running[-1]

    yield start
    for one in running:
        one.close()


def arrive(path: Path, text: str) -> None:
    """Whole, at one moment."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.rename(path)


def grow(inputs: dict[str, Path]) -> None:
    for path in inputs.values():
        path.write_text("second, longer")


def test_what_changes_in_hand_is_done_again_over_the_mixture(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    engine = Engine(grow)
    running = watched(engine)
    path = str(tmp_path / "in" / "a.tif")
    running.until(lambda: (tmp_path / "in" / "a.tif.segbatch-done").exists())
    assert engine.calls == [([path], False), ([f"{path} (2)"], True)]
    assert "changed while" in running.said[0]


def test_what_is_not_told_of_comes_again(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    engine = Engine(None, None)
    running = watched(engine)
    running.until(lambda: (tmp_path / "in" / "a.tif.segbatch-done").exists())
    assert len(engine.calls) == 3


def test_a_watch_that_looks_once_takes_what_lies_there_however_long_a_look_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scandir = tmp_path / "in", os.scandir

    def slowly(path: Any) -> Any:
        time.sleep(3 * RULES.settle_s)
        return scandir(path)

    folder.mkdir()
    (folder / "a.tif").write_text("first")
    monkeypatch.setattr(os, "scandir", slowly)
    engine, rules = Engine(), ArrivalRules(RULES.settle_s, RULES.every_s, once=True)
    arrival_log = ArrivalLog(tmp_path / "book")
    watch = HotFolder(Archive(folder), rules, engine, arrival_log, Callback(), lambda _: None)
    assert watch.run(threading.Event()) == 0
    assert engine.calls == [([str(folder / "a.tif")], False)]
    arrival_log.close()


def test_a_folder_that_goes_away_may_come_back(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    engine = Engine()
    running = watched(engine)
    running.until(lambda: (tmp_path / "in" / "a.tif.segbatch-done").exists())
    (tmp_path / "in").rename(tmp_path / "away")
    running.until(lambda: running.said)
    (tmp_path / "away" / "b.tif").write_text("new")
    (tmp_path / "away").rename(tmp_path / "in")
    running.until(lambda: (tmp_path / "in" / "b.tif.segbatch-done").exists())
    assert [key for keys, _ in engine.calls for key in keys] == [
        str(tmp_path / "in" / name) for name in ("a.tif", "b.tif")
    ]
    assert len(running.said) == 1
    assert "can't be listed" in running.said[0]


def test_what_goes_away_before_anyone_began_is_forgotten(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    def take_away(inputs: dict[str, Path]) -> None:
        (tmp_path / "in" / "a.tif").unlink(missing_ok=True)

    engine = Engine(take_away)
    running = watched(engine)
    running.until(lambda: engine.calls)
    arrive(tmp_path / "in" / "b.tif", "b")
    running.until(lambda: (tmp_path / "in" / "b.tif.segbatch-done").exists())
    assert [len(keys) for keys, _ in engine.calls] == [1, 1]


def test_what_changes_before_its_turn_must_settle_again(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    """An arrival that changed in hand is taken after those that did not."""
    hot, at = tmp_path / "in", list[float]()

    def write(name: str) -> Trick:
        def trick(inputs: dict[str, Path]) -> None:
            (hot / name).write_text(f"{name} after {sorted(inputs)}")
            at.append(time.monotonic())

        return trick

    def both(inputs: dict[str, Path]) -> None:
        write("a.tif")(inputs)
        write("b.tif")(inputs)

    engine = Engine(both, write("a.tif"), lambda _: at.append(time.monotonic()))
    running = watched(engine)
    running.until(lambda: (hot / "a.tif.segbatch-done").exists())
    assert [[Path(key).name for key in keys] for keys, _ in engine.calls] == [
        ["a.tif"],
        ["b.tif"],
        ["a.tif (2)"],
    ]
    assert at[3] - at[2] >= RULES.settle_s


def test_the_marker_of_the_one_before_declares_nothing(
    watched: Callable[..., Running], tmp_path: Path
) -> None:
    image, marker = tmp_path / "in" / "a.tif", tmp_path / "in" / "a.tif.ok"
    done = tmp_path / "in" / "a.tif.segbatch-done"
    marker.touch()
    engine = Engine()
    running = watched(engine, ArrivalRules(settle_s=0.02, every_s=0.005, marker=".ok"))
    running.until(done.exists)
    image.write_text("half of the second")
    running.until(lambda: running.said)
    assert "a.tif has come again, and only the .ok of the one before" in running.said[0]
    assert len(engine.calls) == 1
    image.write_text("the whole of the second")
    marker.write_text("again")
    running.until(lambda: running.arrival_log.of("a.tif", glance_at(image)))
    assert engine.calls[-1] == ([f"{image} (2)"], False)
    assert len(engine.calls) == 2


def test_no_mark_of_an_earlier_arrival_stays(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    marks = [tmp_path / "in" / f"a.tif.segbatch-{fate}" for fate in ("done", "failed")]
    for mark in marks:
        mark.write_text("of an earlier one")
    running = watched(Engine(status="partial"))
    running.until(lambda: marks[1].exists() and "rows 5 to 9" in marks[1].read_text())
    assert not marks[0].exists()


def test_a_folder_that_fails_while_a_fate_is_noted_ends_nothing(
    watched: Callable[[Engine], Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = tmp_path / "in"

    def refuse(path: Any) -> Any:
        raise OSError(errno.ESTALE, "Stale file handle")

    def go_stale(inputs: dict[str, Path]) -> None:
        (hot / ".a.tif.segbatch-done.part").mkdir()  # no mark can be written
        monkeypatch.setattr(os, "scandir", refuse)

    running = watched(Engine(go_stale))
    running.until(lambda: len(running.said) > 1)
    assert "a.tif is done and stays where it is" in running.said[0]
    assert "can't be listed" in running.said[1]
    monkeypatch.undo()
    (hot / ".a.tif.segbatch-done.part").rmdir()
    running.until(lambda: (hot / "a.tif.segbatch-done").exists())


def test_a_partial_product_is_no_success(
    watched: Callable[[Engine], Running], tmp_path: Path
) -> None:
    running = watched(Engine(status="partial"))
    running.until(lambda: (tmp_path / "in" / "a.tif.segbatch-failed").exists())
    fate = running.arrival_log.last("a.tif")
    assert fate is not None
    assert (fate.fate, fate.output) == ("failed", "x")
    assert fate.why == "the product is partial: rows 5 to 9 can't be read"


def test_folders_of_one_name_have_books_of_their_own(tmp_path: Path) -> None:
    workflow = Workflow.model_validate(
        {"name": "w", "inputs": "x", "outputs": str(tmp_path / "out")}
    )
    (tmp_path / "b" / "in").mkdir(parents=True)
    (tmp_path / "a").symlink_to("b")
    one, same, other = (
        Service(Archive(tmp_path / name / "in"), ArrivalRules(), workflow).run for name in "bac"
    )
    assert one == same != other
    assert {one.parent, other.parent} == {tmp_path / "out" / ".segbatch"}
