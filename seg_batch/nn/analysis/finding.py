"""A layer whose results depend on the whole patch; without Keras."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A layer by name, its `kind`, and `why` its result depends on the whole patch."""

    layer: str
    kind: str
    why: str

    @property
    def line(self) -> str:
        return f"{self.layer} ({self.kind}): {self.why}"
