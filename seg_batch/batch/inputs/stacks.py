"""Images of several files, by patterns: ``{id}_t1c.nii.gz`` and ``{id}_flair.nii.gz`` are two channels of one.

A file that several patterns match is the channel of the one that says most about its name: ``p7_flair.nii``
is no ``{id}.nii`` where ``{id}_flair.nii`` is another channel.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from seg_batch.config.workflow.parts import ID

_GAP = re.compile(re.escape(ID) + r"|\*|\?|\[[^\]]*\]")


@dataclass
class StackedCase:
    """The files of one ``{id}``, by the number of their pattern."""

    id: str
    files: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def in_order(self, count: int) -> tuple[str, ...] | None:
        """One file for each of the patterns; None where it is not whole."""
        rows = [self.files.get(n, []) for n in range(count)]
        return tuple(row[0] for row in rows) if all(len(row) == 1 for row in rows) else None

    def fault(self, patterns: Sequence[str]) -> str:
        """Why it is not whole, and what to do."""
        lacks = [filled(p, self.id) for n, p in enumerate(patterns) if not self.files.get(n)]
        if lacks:
            return f"{self.id}: there is no {' and no '.join(lacks)}, and a case needs all its files: add it"
        both = next(row for row in self.files.values() if len(row) > 1)
        return f"{self.id}: {' and '.join(sorted(both))} are the same channel: write a pattern that tells them apart"


def filled(pattern: str, name: str) -> str:
    return pattern.replace(ID, name)


def as_glob(pattern: str) -> str:
    return pattern.replace(ID, "*")


def stacked_cases(
    patterns: Sequence[str], paths_of: Mapping[str, Iterable[str]]
) -> list[StackedCase]:
    """The cases among ``paths_of`` each pattern, sorted by ``{id}``, whole or not."""
    specific = sorted(range(len(patterns)), key=lambda n: -len(_GAP.sub("", patterns[n])))
    cases: dict[str, StackedCase] = {}
    taken: set[str] = set()
    for n in specific:
        matched = matcher(patterns[n])
        for path in sorted(set(paths_of[patterns[n]]) - taken):
            if (name := matched(path)) is not None:
                taken.add(path)
                cases.setdefault(name, StackedCase(name)).files[n].append(path)
    return [cases[name] for name in sorted(cases)]


def matcher(pattern: str) -> Callable[[str], str | None]:
    """What ``{id}`` is in a path that matches the pattern; None for one that does not."""
    steps, known = list[str](), False
    for step in pattern.split("/"):
        if step == "**":
            steps.append(r"(?:[^/]+/)*")
            continue
        text = ""
        for n, part in enumerate(step.split(ID)):
            if n:
                text += "(?P=id)" if known else "(?P<id>[^/]+)"
                known = True
            text += _translated(part)
        steps.append(text + "/")
    whole = re.compile("".join(steps).removesuffix("/"), re.DOTALL)

    def matched(path: str) -> str | None:
        match = whole.fullmatch(path)
        return match["id"] if match else None

    return matched


def _translated(part: str) -> str:
    """A pattern within one folder, as a regular expression."""
    signs = {"*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*|\?|\[!?\]?[^\]]*\])", part)
    classes = {p: fnmatch.translate(p)[4:-3] for p in pieces[1::2] if p not in signs}
    return "".join(
        {**signs, **classes}[piece] if n % 2 else re.escape(piece) for n, piece in enumerate(pieces)
    )
