"""Where products are made that go into a bucket: in a folder here that follows from their place there."""

from __future__ import annotations

import os
from pathlib import Path

from seg_batch.core.run_files import BUCKETS
from seg_batch.io.remote.objects import require_bucket

SCRATCH = (
    "SEGBATCH_SCRATCH"  # the folder below which they are made, by default in the current folder
)


def made_here(output: str, *, many: bool) -> tuple[str, str]:
    """The output here for one in a bucket, and the folder of the bucket. OutputError where nothing is written there."""
    place = require_bucket(output)
    here = (
        Path(os.environ.get(SCRATCH) or BUCKETS).absolute() / place.scheme / place.host / place.key
    )
    if many or output.endswith("/"):
        return f"{here}/", output
    return str(here), output.rpartition("/")[0]
