"""``report.xml``: one JUnit test case per input, for CI systems.

``failure``: the input has no whole product for a reason of its own (refused, partial).
``error``: the run broke on it (failed, unfinished). ``skipped``: it was not begun. Only complete
inputs count as passed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from seg_batch.batch.report.history import MEANING
from seg_batch.batch.report.rows import RunReport
from seg_batch.core.units import shown

VERDICT = {
    "refused": "failure",
    "partial": "failure",
    "failed": "error",
    "unfinished": "error",
    "waiting": "skipped",
}
COUNTED = {"failure": "failures", "error": "errors", "skipped": "skipped"}
# The case of a run without any input, which fails.
NO_INPUT: dict[str, Any] = {
    **{"input": "inputs", "status": "failed", "error": "the journal tells of no input"},
    **{"warnings": [], "review": [], "seconds": None},
}


def junit(facts: RunReport) -> bytes:
    """The XML as UTF-8."""
    rows: list[Any] = [*facts["inputs"]] or [NO_INPUT]
    total = dict.fromkeys(COUNTED.values(), 0)
    for row in rows:
        if (verdict := VERDICT.get(row["status"])) is not None:
            total[COUNTED[verdict]] += 1
    numbers = {"tests": len(rows), **total, "time": f"{facts['totals']['seconds']:.3f}"}
    counted = {key: str(value) for key, value in numbers.items()}
    name = shown(facts["name"])
    root = Element("testsuites", {"name": name, **counted})
    suite = SubElement(root, "testsuite", {"name": name, **counted, **_when(facts)})
    for row in rows:
        _case(suite, name, row)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _when(facts: RunReport) -> dict[str, str]:
    if not facts["sessions"]:
        return {}
    first = facts["sessions"][0]
    begun = datetime.fromtimestamp(first["begun"], UTC)
    return {"timestamp": begun.strftime("%Y-%m-%dT%H:%M:%S"), "hostname": shown(first["host"])}


def _case(suite: Element, name: str, row: dict[str, Any]) -> None:
    seconds = f"{row['seconds'] or 0:.3f}"
    attributes = {"classname": name, "name": shown(row["input"]), "time": seconds}
    case = SubElement(suite, "testcase", attributes)
    verdict = VERDICT.get(row["status"])
    if verdict is not None:
        why = shown(row["error"] or MEANING[row["status"]])
        element = SubElement(case, verdict, {"message": why})
        if verdict != "skipped":
            element.set("type", row["status"])
            element.text = why
    lines = [*(f"to review: {reason}" for reason in row["review"]), *row["warnings"]]
    if lines:
        SubElement(case, "system-out").text = "\n".join(map(shown, lines))
