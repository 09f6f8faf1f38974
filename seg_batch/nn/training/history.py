"""The history of a training, row by row, in a file that survives a kill."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from seg_batch.core.files import translate_os_errors, write_text

type Scores = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the history.

    `loss`: mean since the row before. `lr`: learning rate of the next step. `seconds`: of training
    so far, over all runs. `wait`: share of the time since the row before that was spent waiting for
    data. `scores`: only after a validation; the "score" among them decides.
    """

    step: int
    loss: float
    lr: float
    seconds: float
    wait: float = 0.0
    scores: Scores | None = None


class History:
    """The rows so far and their file, one JSON object per line."""

    def __init__(self, path: Path, rows: Iterable[Row] = ()) -> None:
        """`rows` replace the file's content, whose later rows are of steps that will run again."""
        self.path, self.rows = path, list(rows)
        with translate_os_errors(path):
            write_text(path, "".join(map(_line, self.rows)))

    def add(self, row: Row) -> None:
        self.rows.append(row)
        with translate_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def scores(self) -> list[float]:
        """The deciding score of each validation."""
        return [row.scores["score"] for row in self.rows if row.scores]

    def has(self, step: int, *, scored: bool = False) -> bool:
        last = self.rows[-1] if self.rows else None
        return last is not None and last.step == step and (last.scores is not None or not scored)


def _line(row: Row) -> str:
    return json.dumps(asdict(row)) + "\n"
