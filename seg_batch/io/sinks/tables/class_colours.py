"""Names and colours of classes, as ITK-SNAP and 3D Slicer load them for a label map of any format."""

from __future__ import annotations

import re
from pathlib import Path

from seg_batch.config.card import ClassInfo
from seg_batch.core.text import visible
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sinks.tables.text import write_checked

_CLEAR = ClassInfo(id=0, name="Clear Label", colour=(0, 0, 0))
_SNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def write_itk_snap(part: Path, spec: ProductSpec) -> None:
    """The label description file of ITK-SNAP. A name ends at the next quotation mark, which nothing escapes,
    so those in names become apostrophes. The background is clear, as is the 0 that ITK-SNAP always has."""
    lines = []
    for c in _with_zero(spec):
        shown = int(not _is_clear(c, spec))
        red, green, blue = c.colour
        name = _name(c).replace('"', "'")
        lines.append(
            f'{c.id:>5}   {red:>3}  {green:>3}  {blue:>3}  {shown:>7}  {shown}  {shown}    "{name}"\n'
        )
    write_checked(part, _SNAP_HEAD + "".join(lines))


def write_slicer(part: Path, spec: ProductSpec) -> None:
    """The colour table of 3D Slicer. Its columns are parted by blanks, and it shows ``_`` in a name as a blank."""
    rows = _with_zero(spec)
    lines = [f"# Color table file\n# {len(rows)} values\n"]
    for c in rows:
        opacity = 0 if _is_clear(c, spec) else 255
        lines.append(
            f"{c.id} {re.sub(r'\s+', '_', _name(c))} {' '.join(map(str, c.colour))} {opacity}\n"
        )
    write_checked(part, "".join(lines))


def _with_zero(spec: ProductSpec) -> list[ClassInfo]:
    """The classes by their ids; both viewers take 0 for what has no label."""
    rows = sorted(spec.classes, key=lambda c: c.id)
    return rows if rows[0].id == 0 else [_CLEAR, *rows]


def _is_clear(c: ClassInfo, spec: ProductSpec) -> bool:
    return c is _CLEAR or c.id == spec.background


def _name(c: ClassInfo) -> str:
    """The name in one line; one that is empty is that of its number, since both need a word."""
    return " ".join(visible(c.name).split()) or f"class {c.id}"
