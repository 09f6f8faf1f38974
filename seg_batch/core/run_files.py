"""Names of the files and folders that segbatch writes beside products and in run folders.

A name that several modules use is spelled only here. The names inside a work store are in
``io.sinks.store_folder``.
"""

from __future__ import annotations

from pathlib import Path

# Suffixes beside a product.
REPORT = ".json"
STORE = ".work.zarr"
STAGED = ".staged"  # uncompressed copies that the blocks of one input share
PART = ".part"  # a folder in which the product is being made
PARTIAL = ".partial"  # a file that is being written, in any folder
WORK = ".work"  # of a training, or of a patch dataset
PROBABILITIES = "_probabilities"  # after its stem
ATTEMPT = "try-"  # prefix of an attempt
INTERMEDIATE = (STORE, STAGED)  # suffixes of intermediate results

# In an output folder, and in a hot folder.
RUNS = ".segbatch"  # the run folders of an output folder; also a prefix of other names
PROBE = f"{RUNS}-probe-"  # pid, host and a unique name follow
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

# In the folder of a bundle, of a running training, of an evaluation.
CARD = "card.json"
CHECKPOINT = "checkpoint-"
EVALUATION, EVALUATION_PAGE = "evaluation.json", "index.html"


def path_beside(path: Path, ending: str) -> Path:
    """``x.tif`` and ``.json``: ``x.tif.json``."""
    return path.with_name(path.name + ending)


def kept_journal(until: str | int) -> str:
    """The name of a journal that a newer one has replaced."""
    return f"journal-until-{until}.jsonl"
