"""What the first bytes of a file say: whether it is DICOM, and whether it is an index of others.

Some exports lack the preamble of 128 bytes with ``DICM`` after it (PS3.10 7.1), or the meta header too. Those begin
with a data element of group 0002 or 0008, and more of them follow in rising order.
"""

from __future__ import annotations

import re
import struct

HEAD_BYTES = 1024
_PREAMBLE = 128
_FIRST_GROUPS = (0x0002, 0x0008)
_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR"}
_VR = re.compile(rb"AE|AS|AT|CS|DA|DS|DT|FL|FD|IS|LO|LT|OB|OW|PN|SH|SL|SQ|SS|ST|TM|UI|UL|UN|US|UT")
_MOST_BYTES = 4096  # of the first element's value
# MediaStorageSOPClassUID (0002,0002) of a DICOMDIR: Media Storage Directory Storage.
_INDEX = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"


def begins_dicom(head: bytes) -> bool:
    """Whether a file with these first bytes is DICOM, with or without a preamble."""
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return True
    return any(_elements(head, order) for order in "<>")


def is_index(head: bytes) -> bool:
    """Whether it is a DICOMDIR."""
    return head[_PREAMBLE : _PREAMBLE + 4] == b"DICM" and _INDEX in head


def _elements(head: bytes, order: str) -> bool:
    """Whether two data elements stand at its beginning, the first of group 0002 or 0008."""
    first = _element(head, 0, order)
    if first is None or first[0][0] not in _FIRST_GROUPS or first[0][1] > 0x0100:
        return False
    second = _element(head, first[1], order)
    return second is not None and first[0] < second[0] and second[0][0] in _FIRST_GROUPS


def _element(head: bytes, at: int, order: str) -> tuple[tuple[int, int], int] | None:
    """The tag of the element there, and where the next one begins."""
    if len(head) < at + 8:
        return None
    group, number = struct.unpack_from(f"{order}HH", head, at)
    kind = head[at + 4 : at + 6]
    if _VR.fullmatch(kind):
        long = kind in _LONG
        if long and len(head) < at + 12:
            return None
        length = struct.unpack_from(f"{order}{'I' if long else 'H'}", head, at + (8 if long else 6))
        value = at + (12 if long else 8)
    else:
        length, value = struct.unpack_from(f"{order}I", head, at + 4), at + 8
    return ((group, number), value + length[0]) if length[0] <= _MOST_BYTES else None
