"""The table of every figure, as plain text and as Markdown: this run, the last kept run of a machine of this
kind, the target; a missed target is marked."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from figures import FIGURES, LONG, Figure
from machine import Machine

KEPT = Path(__file__).parent / "kept"
MISSED = "MISSED"
MIB = 1 << 20
type Row = Sequence[str]


@dataclass(frozen=True)
class Lines:
    """What benchmarks have shown; of those of one name the last one counts."""

    by_name: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Lines":
        text = path.read_text() if path.is_file() else ""
        lines = (json.loads(line) for line in text.splitlines())
        return cls({line["benchmark"]: line for line in lines})

    def value(self, figure: Figure) -> float | None:
        """In the unit of the figure."""
        value = self.by_name.get(figure.benchmark, {}).get(figure.key)
        return None if value is None else float(value) * figure.scale

    def sides(self) -> Iterable[tuple[str, str, dict[str, float]]]:
        """``(benchmark, side, costs)`` of all comparisons."""
        for name, line in self.by_name.items():
            for side, costs in line.get("sides", {}).items():
                if "cpu_s" in costs:
                    yield name, side, costs


def kept_file(machine: Machine) -> Path:
    return KEPT / f"{machine.kind}.json"


def kept(machine: Machine) -> dict[str, float]:
    """The last kept figures of machines of this kind, by name."""
    path = kept_file(machine)
    return json.loads(path.read_text())["figures"] if path.is_file() else {}


def keep(lines: Lines, machine: Machine, day: str) -> Path:
    """Write the figures of this run over the kept ones; what was not measured stays."""
    new = {f.name: value for f in FIGURES if (value := lines.value(f)) is not None}
    rounded = {name: float(f"{value:.4g}") for name, value in new.items()}
    figures = dict(sorted((kept(machine) | rounded).items()))
    KEPT.mkdir(exist_ok=True)
    path = kept_file(machine)
    value = {"machine": asdict(machine), "day": day, "figures": figures}
    path.write_text(json.dumps(value, indent=2) + "\n")
    return path


def row(figure: Figure, lines: Lines, last: float | None, machine: Machine) -> Row:
    value, wanted, verdict = lines.value(figure), figure.wanted(machine), ""
    if value is not None:
        shown = figure.shown(value)
        verdict = "" if figure.reached(value, machine) else MISSED
    elif figure.needs and not machine.has(figure.needs):
        shown = f"not run: no {'GPU' if figure.needs == 'gpus' else figure.needs}"
    else:
        shown = "not run"
    return figure.what, shown, figure.shown(last), wanted, verdict


def figures_of(lines: Lines, machine: Machine) -> list[Row]:
    """Figures of ``make bench-long`` are left out where neither this run nor the kept one has them."""
    earlier = kept(machine)
    return [
        row(figure, lines, earlier.get(figure.name), machine)
        for figure in FIGURES
        if figure not in LONG or figure.name in earlier or lines.value(figure) is not None
    ]


def costs_of(lines: Lines) -> list[Row]:
    return [
        (
            name,
            side,
            f"{costs['seconds']:.1f}",
            f"{costs['cpu_s']:.1f}",
            f"{costs['peak_bytes'] / MIB:.0f}",
        )
        for name, side, costs in lines.sides()
    ]


FIGURE_HEAD = ("what", "this run", "last kept", "target", "")
COST_HEAD = ("benchmark", "side", "seconds", "CPU seconds", "peak MiB")


def plain(head: Row, rows: list[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (head, ["-" * width for width in widths], *rows)
    )
    return "\n".join(lines)


def markdown(head: Row, rows: list[Row]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(line.replace(MISSED, "**missed**") for line in lines)


def pages(lines: Lines, machine: Machine, notes: Sequence[str] = ()) -> tuple[str, str]:
    """The whole as plain text, and as Markdown."""
    figures, costs = figures_of(lines, machine), costs_of(lines)
    texts = []
    for draw in (plain, markdown):
        parts = [f"Measured on {machine}.", draw(FIGURE_HEAD, figures)]
        parts += [draw(COST_HEAD, costs)] if costs else []
        texts.append("\n\n".join([*parts, *notes]) + "\n")
    return texts[0], texts[1]
