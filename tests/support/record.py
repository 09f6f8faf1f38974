"""The record: digests of a product of every kind, to be the same before and after code is moved.

    python -m tests.support.record                  compare with record.json; status 1 where differs
    python -m tests.support.record --write          write record.json anew
    python -m tests.support.record --keep FOLDER    leave products and their normal forms there
    python -m tests.support.record --strict FILE    compare bytes, too, with FILE; write it where missing

``record.json`` holds what is the same on every machine. ``--strict`` serves one machine only: it
compares the bytes of files and of trained weights with an earlier run there; keep FILE elsewhere.
Where something differs, two ``--keep`` folders can be compared by ``diff -r A/normal B/normal``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support import record_products as products
from tests.support.digests import Form, normal, sha256
from tests.support.record_inputs import write_inputs

HERE = Path(__file__).resolve().parent
RECORD = HERE / "record.json"
BUNDLES = HERE / "kept" / "bundles"

# Set before TensorFlow is loaded, which the first product does that needs it.
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "1",
}

Digests = dict[str, dict[str, str]]


def normal_forms(root: Path, name: str, *, strict: bool) -> Iterator[tuple[str, str]]:
    """``(file, text)`` of every file of a product that was made."""
    folder = root / "products" / name
    roots = {str(root): "ROOT", str(BUNDLES): "BUNDLES"}
    form = Form(strict, roots, products.UNSETTLED.get(name, frozenset()))
    for path in products.files(folder):
        yield str(path.relative_to(folder)), normal(path, form)


def make_all(root: Path, tell: Callable[[str], None] = lambda name: None) -> None:
    """Inputs and all products, below ``root``."""
    write_inputs(root / "inputs", BUNDLES)
    for name in products.PRODUCTS:
        tell(name)
        products.make(name, root, BUNDLES)


def digests(root: Path, *, strict: bool = False) -> Digests:
    """Of everything that ``make_all`` made, by product and file."""
    return {
        name: {
            file: sha256(text.encode()) for file, text in normal_forms(root, name, strict=strict)
        }
        for name in products.PRODUCTS
    }


def differences(before: Digests, after: Digests) -> list[str]:
    """One line for each file that is not the same."""
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, {}), after.get(name, {})
        for file in sorted({*old, *new}):
            if old.get(file) != new.get(file):
                what = "new" if file not in old else "gone" if file not in new else "differs"
                found.append(f"{name}/{file}: {what}")
    return found


def write(path: Path, record: Digests) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Digests:
    found: Digests = json.loads(path.read_text(encoding="utf-8"))
    return found


def keep_forms(root: Path) -> None:
    """The normal forms as files, for ``diff``."""
    for name in products.PRODUCTS:
        for file, text in normal_forms(root, name, strict=False):
            path = root / "normal" / name / f"{file}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")


def _compared(asked: argparse.Namespace, root: Path) -> list[str]:
    record, found = digests(root), []
    if asked.write:
        write(RECORD, record)
    else:
        found = differences(read(RECORD), record)
    if asked.strict:
        strict = digests(root, strict=True)
        if asked.strict.exists():
            found += [f"strict: {line}" for line in differences(read(asked.strict), strict)]
        else:
            write(asked.strict, strict)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.record")
    parser.add_argument("--write", action="store_true", help="write record.json anew")
    parser.add_argument("--keep", type=Path, help="an empty folder to leave the products in")
    parser.add_argument("--strict", type=Path, help="digests of bytes, of this machine alone")
    asked = parser.parse_args(arguments)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory() as temporary:
        root = (asked.keep or Path(temporary)).resolve()
        make_all(root, lambda name: print(f"making {name}", file=sys.stderr, flush=True))
        if asked.keep:
            keep_forms(root)
        found = _compared(asked, root)
    print("\n".join(found) or "all products are the same")
    return 1 if found else 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # threads of libraries may linger
