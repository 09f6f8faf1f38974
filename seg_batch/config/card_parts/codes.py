"""What a class is in the words of a terminology, as DICOM says it (PS3.3 C.8.20.4, PS3.16 CID 7150 and 7151)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from seg_batch.config.validation import CheckedValue

# Scheme (SCT for SNOMED CT), value and meaning (PS3.3 8.8): SCT 10200004 Liver.
Code = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]{1,16} [!-\[\]-~]{1,16} [^\\\x00-\x1f]{1,64}$")
]


class SegmentCode(CheckedValue):
    """What a class is: its ``category`` (a tissue, an organ, a lesion), its ``type`` (the liver), and the ``modifier`` of that
    (left, right)."""

    category: Code
    type: Code
    modifier: Code | None = None


def parts_of(code: str) -> tuple[str, str, str]:
    """Scheme, value and meaning."""
    scheme, value, meaning = code.split(" ", 2)
    return scheme, value, meaning
