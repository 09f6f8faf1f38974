"""What a run needs to go on is in its journal before anybody else hears of it."""

from __future__ import annotations

from typing import Any

from seg_batch.batch.outcomes import Outcomes
from seg_batch.core import events
from seg_batch.core.callbacks import Callback


class Paper:
    """A journal, and whoever is told after it: both write down here."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, event: str, key: str | None = None, **fields: Any) -> None:
        words = [event, *([key] if key else []), *(f"{k}={v}" for k, v in fields.items())]
        self.lines.append(" ".join(words))


class After(Callback):
    def __init__(self, paper: Paper) -> None:
        self.paper = paper

    def on(self, event: events.Event) -> None:
        self.paper.lines.append(type(event).__name__)


def test_events_are_in_the_journal_with_these_fields_and_then_sent_on() -> None:
    paper = Paper()
    outcomes = Outcomes(paper, After(paper))  # type: ignore[arg-type]
    outcomes.open(inputs=4, resumed=1)
    for event in (
        events.Surveyed(1, 1),
        events.InputStarted("a", {"blocks": 1}, 2),
        events.InputRetried("a", "it stumbled", 4.0, "", 2),
        events.InputWithdrawn("a"),
        events.InputDone("b", {"status": "partial"}),
        events.InputFailed("c", "no image", 2, "h:1"),
        events.InputFailed("d", "it stumbled", 3, "", 4),
        events.WorkerTrouble("lost", "h:1", "it died"),
        events.WorkerTrouble("retried", "h:1", "0.1: it stumbled"),
        events.Stopping("SIGINT received"),
        events.RunEnded(130, "SIGINT received"),
        events.Stopping("too late"),
    ):
        outcomes.on(event)
    assert paper.lines == [
        "Surveyed",
        *("started a attempt=2 worker=None", "InputStarted"),
        *("retried a attempt=2 error=it stumbled wait_s=4.0 worker=None", "InputRetried"),
        *("withdrawn a", "InputWithdrawn"),
        *("done b outcome={'status': 'partial'}", "InputDone"),
        *("refused c error=no image worker=h:1", "InputFailed"),
        *("failed d error=it stumbled status=3 worker=None attempts=4", "InputFailed"),
        *("worker_lost worker=h:1 why=it died", "WorkerTrouble"),
        "WorkerTrouble",
        *("stopping why=SIGINT received", "Stopping"),
        *("ended status=130 why=SIGINT received", "RunEnded"),
        "Stopping",
    ]
    assert (
        outcomes.counts["failed"] == outcomes.counts["refused"] == outcomes.counts["partial"] == 1
    )
    assert (outcomes.quarantined, outcomes.left) == (3, 0)
