"""What files and folders are called that segbatch leaves beside products and in run folders.

A name that several modules know is spelled here and nowhere else. What is in a work store only
``io.sinks.store_folder`` knows.
"""

from __future__ import annotations

from pathlib import Path

# Beside a product, after its name.
REPORT = ".json"
STORE = ".work.zarr"
STAGED = ".staged"  # uncompressed copies that the blocks of one input share
PART = ".part"  # what is being made there
PARTIAL = ".partial"  # a file that is being written, anywhere
WORK = ".work"  # of a training, or of a patch dataset
PROBABILITIES = "_probabilities"  # after its stem
ATTEMPT = "try-"  # how the name of an attempt begins
ON_THE_WAY = (STORE, STAGED)  # how the names end of what is no product

# In an output folder, and in a hot one.
RUNS = ".segbatch"  # where an output folder keeps its runs; other names begin alike
PROBE = f"{RUNS}-probe-"  # pid, host and a name of its own follow
MARKED_DONE, MARKED_FAILED = f"{RUNS}-done", f"{RUNS}-failed"
MOVING, RESERVED = f"{RUNS}-moving", f"{RUNS}-reserved"

# In a run folder.
JOURNAL = "journal.jsonl"
LOG = "log.jsonl"
ARRIVALS = "arrivals.jsonl"
WORKFLOW = "workflow.json"
SET_ASIDE = "set-aside.txt"
PAGE, FACTS = "report.html", "report.json"
JUNIT, METRICS = "report.xml", "metrics.prom"

# In the folder of a bundle, of a training at work, of an evaluation.
CARD = "card.json"
CHECKPOINT = "checkpoint-"
EVALUATION, EVALUATION_PAGE = "evaluation.json", "index.html"


def path_beside(path: Path, ending: str) -> Path:
    """``x.tif`` and ``.json``: ``x.tif.json``."""
    return path.with_name(path.name + ending)


def kept_journal(until: str | int) -> str:
    """What a journal is called that was put aside."""
    return f"journal-until-{until}.jsonl"
