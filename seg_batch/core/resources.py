"""The folders of the files that are installed with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PACKAGE = Path(str(files("seg_batch"))).resolve()
DOCS = PACKAGE / "docs"
BUNDLES = PACKAGE / "data" / "bundles"
PAGES = PACKAGE / "data" / "pages"
SAMPLES = PACKAGE / "data" / "samples"
