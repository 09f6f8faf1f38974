"""What a look says: findings, and the outcome that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["fits", "unusual", "does not fit"]
ORDER: tuple[Outcome, ...] = ("fits", "unusual", "does not fit")


@dataclass(frozen=True)
class Finding:
    """One thing that does not agree with the card. ``measure``: what was looked at, and what it is; ``remedy``:
    what to try."""

    outcome: Outcome
    measure: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.measure}: {self.remedy}" if self.remedy else self.measure


@dataclass(frozen=True)
class Verdict:
    """The findings of a look, the gravest first."""

    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Verdict:
        gravest = sorted(findings, key=lambda each: -ORDER.index(each.outcome))
        return cls(tuple(gravest))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        return cls(tuple(Finding(**each) for each in data["findings"]))

    @property
    def outcome(self) -> Outcome:
        return self.findings[0].outcome if self.findings else "fits"

    @property
    def refusals(self) -> list[str]:
        """What only ``--force`` goes on in spite of."""
        return [line for line in self.lines if line.startswith("does not fit")]

    @property
    def reasons(self) -> list[str]:
        """What each finding measured, without what to try."""
        return [each.measure for each in self.findings]

    @property
    def lines(self) -> list[str]:
        """Each finding, with what to try."""
        return [f"{each.outcome}: {each}" for each in self.findings]

    @property
    def line(self) -> str:
        """The gravest finding, and how many others there are."""
        if not self.findings:
            return "fits"
        others = len(self.findings) - 1
        return f"{self.findings[0]}{f' (and {others} more)' if others else ''}"

    def to_json(self) -> dict[str, Any]:
        findings = [{**vars(each)} for each in self.findings]
        return {"outcome": self.outcome, "findings": findings}
