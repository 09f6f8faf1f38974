"""Files to be listed as inputs, and what became of them."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

from seg_batch.batch.inputs.listing import Listing
from seg_batch.config.workflow import Workflow, read

TIFF = b"II*\0" + bytes(60)
NIFTI = bytes(344) + b"n+1\0"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(9)


def put(folder: Path, *names: str) -> None:
    """Files whose first bytes are those of their ending, and no more."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = PNG if name.endswith(".png") else NIFTI if ".nii" in name else TIFF
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)


def made(folder: Path, inputs: Any, **more: Any) -> Workflow:
    text = json.dumps({"inputs": inputs, "outputs": {"folder": "out"}, **more})
    (folder / "night.yaml").write_text(text)
    return read(folder / "night.yaml", env={})


def names(found: Listing, folder: Path) -> dict[str, str]:
    """Inputs below the folder, and their outputs below ``out``."""
    return {
        os.path.relpath(one.path, folder): os.path.relpath(one.output, folder / "out")
        for one in found.specs
    }


def reasons(found: Listing) -> list[str]:
    return list(found.refused.values())
