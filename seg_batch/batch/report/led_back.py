"""Pictures of inputs that are not to be known: their files are found by the table of codes, and not told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from seg_batch.batch.report.picture import Picture
from seg_batch.core.errors import SegbatchError
from seg_batch.core.privacy.pseudonym import Teller
from seg_batch.core.privacy.table import CodeTable, read_table


@dataclass(frozen=True)
class LedBack:
    """``hides``: the run has inputs that are not to be known; ``table``: theirs, if it can be read here."""

    hides: bool = False
    table: CodeTable | None = None

    @classmethod
    def by(cls, path: str | None) -> LedBack:
        if path is None:
            return cls()
        try:
            return cls(True, read_table(path))
        except SegbatchError:
            return cls(True)

    def __call__(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The report beside a product with the files of its input."""
        source = self.table.source(str(report.get("input"))) if self.table else None
        if source is None:
            return dict(report)
        facts = {**report["source"], "files": list(source.files), "series": source.series}
        return {**report, "input": source.files[0], "source": facts}

    def told(self, picture: Picture) -> Picture:
        """The picture with words that may be told."""
        if not self.hides:
            return picture
        source = self.table.source(picture.input) if self.table else None
        teller = Teller(source.files if source else (), code=picture.input)
        views = tuple(replace(view, window=teller.told(view.window)) for view in picture.views)
        return replace(picture, views=views, why=teller.told(picture.why))
