"""The quarantine file: the inputs that did not come out whole, each with its reason, as a list.

Once what it tells of is mended, it can be given to another workflow: ``inputs: {list: set-aside.txt}``.
"""

from __future__ import annotations

from pathlib import Path

from seg_batch.batch.orders import Orders
from seg_batch.journal import Journal, fold
from seg_batch.journal.events import NAME as JOURNAL
from seg_batch.journal.state import FAILED, PARTIAL, REFUSED
from seg_batch.named import visible
from seg_batch.sinks.disk import write_text

NAME = "set-aside.txt"
REPORTS = (NAME, "report.html", "report.json", "report.xml", "metrics.prom")


def write_aside(orders: Orders) -> None:
    """Make it from the journal; where there is nothing to tell, there is no file."""
    path = orders.folder / NAME
    lines = [
        f"# {one.status}: {visible(one.error or '')}\n{_listed(_path(orders, key))}\n"
        for key, one in fold(Journal.read(orders.folder / JOURNAL)).inputs.items()
        if one.status in (REFUSED, FAILED, PARTIAL)
        and (key in orders.requests or key in orders.refused)
    ]
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def forget_reports(folder: Path) -> None:
    """Remove what tells of a stand that is no more; the journal has all of it."""
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)


def _path(orders: Orders, key: str) -> str:
    return orders.requests[key].input if key in orders.requests else key


def _listed(path: str) -> str:
    """The path, where a list of lines can hold it."""
    if path.splitlines() == [path] and path == path.strip():
        return path
    return f"# can't be listed, so name it by a pattern: {visible(path)}"
