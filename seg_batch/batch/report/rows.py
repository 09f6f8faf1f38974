"""The types of ``report.json``, which the page, the XML and the metrics read, too."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from seg_batch.batch.journal.events import ImageFacts, JournalEvent
from seg_batch.inference.report import ClassRow, Failure, ReportSizes

Verdict = Literal["complete", "unfinished", "not complete"]


class SessionRow(TypedDict):
    """The time of one coordinator, in unix seconds: from ``begun`` to its ``last`` event.
    ``status``: its exit status, None where it has not ``ended``."""

    begun: float
    last: float
    ended: bool
    status: int | None
    why: str
    host: str
    segbatch: str


class BlockRow(TypedDict, total=False):
    """Counts of blocks. An input without a result has the first two, one not surveyed has none."""

    total: int
    done: int
    failed: int
    resumed: int
    outside: int
    empty: int


class ProductRow(TypedDict, total=False):
    """The product on disk; ``mtime_ns`` is missing where there is none."""

    bytes: int | None
    sha256: str | None
    mtime_ns: int
    side_files: dict[str, Any]


class OddSize(TypedDict):
    """A class whose volume in this input is far from ``median``, that of the run; both in millilitres."""

    name: str
    millilitres: float
    median: float


class InputRow(TypedDict):
    """One input, or one step of a workflow. Numbers are None where they are unknown. ``seconds``:
    sum over all attempts; ``stopped``: unix seconds; ``odd_sizes``: those to look at."""

    input: str
    status: str
    error: str
    attempts: int
    retries: list[str]
    workers: list[str]
    stopped: float | None
    seconds: float | None
    estimated_s: float | None
    stages_s: dict[str, float]
    kind: str | None
    extent: list[int] | None
    image: ImageFacts
    voxels: int | None
    voxels_per_s: float | None
    tiles: int | None
    tiles_skipped: int | None
    skipped_share: float | None
    blocks: BlockRow
    promised_bytes: int | None
    peak_rss_bytes: int | None
    classes: list[ClassRow]
    background: int | None
    odd_sizes: list[OddSize]
    footprint: list[tuple[float, float]] | None
    seam_index: float | None
    warnings: list[str]
    review: list[str]
    failures: list[Failure]
    model: str | None
    output: str | None
    report: str | None
    product: ProductRow


class StepRow(TypedDict):
    """A step of a workflow, in addition to its ``InputRow``. ``begun``: unix seconds; ``seconds``: of the
    last attempt; ``counts``: inputs of a prediction by status; ``page``: a link to its own report."""

    name: str
    do: str
    status: str
    why: str
    begun: float | None
    seconds: float | None
    counts: dict[str, int]
    output: str
    page: str | None


class ClassTotals(ReportSizes):
    """One class of one model over all inputs; ``inputs``: number of those in which it occurs."""

    model: str | None
    voxels: int
    inputs: int
    id: int
    name: str
    colour: list[int] | None


class ReportTotals(TypedDict):
    """Sums over all inputs with a product; ``seconds``: the time in which a coordinator ran."""

    inputs: int
    seconds: float
    voxels: int
    voxels_per_s: float | None
    tiles: int
    tiles_skipped: int
    blocks: dict[str, float]
    stages_s: dict[str, float]
    promised_bytes: int
    peak_rss_bytes: int
    product_bytes: int
    retries: int
    workers_lost: int
    workers_dropped: int
    stragglers: int
    warnings: int
    to_review: int
    classes: list[ClassTotals]


class IntervalRow(TypedDict):
    """One attempt at one input, in unix seconds."""

    input: str
    start: float
    stop: float
    ended: str


class GoneRow(TypedDict):
    """When a worker was lost or dropped, in unix seconds, and why."""

    t: float
    why: str


class WorkerRow(TypedDict):
    """The intervals of a worker, the sum of their times, and its longest gap between intervals."""

    worker: str
    busy_s: float
    longest_gap_s: float
    gone: GoneRow | None
    spells: list[IntervalRow]


class RunReport(TypedDict):
    """The whole report. ``slowest``: keys of inputs; ``workflow``: settings that the page shows."""

    segbatch: str
    name: str
    verdict: Verdict
    ended: bool
    statuses: dict[str, int]
    sessions: list[SessionRow]
    totals: ReportTotals
    inputs: list[InputRow]
    steps: list[StepRow]
    slowest: list[str]
    workers: list[WorkerRow]
    events: list[JournalEvent]
    workflow: dict[str, Any]
