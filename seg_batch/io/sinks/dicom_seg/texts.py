"""Texts and UIDs of a DICOM file that depend on nothing but what it holds."""

from __future__ import annotations

import hashlib
import uuid

_LONG = 64  # characters of an LO (PS3.5 6.2)


def cut(text: str, most: int = _LONG) -> str:
    """As it may stand in a text of DICOM: without backslashes and control characters."""
    plain = "".join(c if c.isprintable() and c != "\\" else " " for c in text)
    return plain.strip()[:most].strip()


def hashed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def uid_of(*parts: str) -> str:
    """A UID made of a UUID (PS3.5 B.2), equal for equal parts."""
    number = uuid.UUID(bytes=bytes.fromhex(hashed(*parts))[:16], version=5).int
    return f"2.25.{number}"
