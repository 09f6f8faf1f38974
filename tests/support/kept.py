"""Data that an earlier version made, unpacked as if it had been made where the test runs.

Each set lies in ``kept/NAME.zip`` (``kept/README.md`` says what they are; ``make_kept`` made them).
Within, ``@ROOT@`` stands for the folder that it was made in, and every input has one modification time.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

from tests.support.record_inputs import TIME_NS

KEPT = Path(__file__).resolve().parent / "kept"
ROOT = "@ROOT@"
MADE_OF = ("model", "options", "post", "outputs", "steps")


def unpack(name: str, folder: Path) -> Path:
    """The set as a new folder ``folder/name``."""
    root = folder / name
    with zipfile.ZipFile(KEPT / f"{name}.zip") as archive:
        archive.extractall(root)
    for path in root.rglob("*"):
        if path.is_file():
            replace_text(path, ROOT, str(root))
            os.utime(path, ns=(TIME_NS, TIME_NS))
    for path in root.glob("**/.segbatch/*/workflow.json"):
        _say_fingerprint(path)
    return root


def replace_text(path: Path, before: str, after: str) -> None:
    """In a file that holds text; ``after`` as JSON and YAML write it, without the quotes."""
    data = path.read_bytes()
    if b"\0" not in data and before.encode() in data:
        path.write_bytes(data.replace(before.encode(), after.encode()))


def _say_fingerprint(path: Path) -> None:
    """A workflow goes by a digest of what its products are made of, in which the path of the
    output folder is. The rule is written down here once more: it may not change."""
    told = json.loads(path.read_text("utf-8"))
    told["fingerprint"] = fingerprint_of(told)
    path.write_text(json.dumps(told), encoding="utf-8")


def fingerprint_of(workflow: dict[str, Any]) -> str:
    made_of = json.dumps({key: workflow[key] for key in MADE_OF}, sort_keys=True)
    return hashlib.sha256(made_of.encode()).hexdigest()


def pack(folder: Path, name: str) -> None:
    """The folder as ``kept/NAME.zip``, compressed, members sorted and without times."""
    with zipfile.ZipFile(KEPT / f"{name}.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                replace_text(path, str(folder), ROOT)
                replace_text(path, f'"{socket.gethostname()}:', '"nighthost:')
                member = zipfile.ZipInfo(str(path.relative_to(folder)))
                member.external_attr = 0o644 << 16
                archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
