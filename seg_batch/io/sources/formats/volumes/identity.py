"""The identity of a volume: of its header, and of the files with its voxels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seg_batch.io.sources.identity import file_identity

_NAMED = 4  # files of which each is listed


def volume_identity(path: Path, files: Iterable[Path]) -> dict[str, Any]:
    """``file_identity`` of the header; of files beside it one each under ``side_files``, of many a digest."""
    beside = {file.name: file_identity(file) for file in files if file != path}
    if len(beside) > _NAMED:
        digest = hashlib.sha256(json.dumps(beside, sort_keys=True).encode()).hexdigest()
        beside = {"its files of voxels": {"count": len(beside), "sha256": digest}}
    return {**file_identity(path), **({"side_files": beside} if beside else {})}
