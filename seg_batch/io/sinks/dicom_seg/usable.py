"""What of a source's header may stand in a file that is made of it.

Scanners and archives write much that no writer takes: values of another kind than their element, bytes that are no text. A scan
is segmented all the same: such an element is left empty, and only what a reader needs is asked for.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydicom.charset import convert_encodings, decode_element
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag

from seg_batch.core.errors import OutputError, SegbatchError

UTF8 = "ISO_IR 192"
_LOSSY = "LossyImageCompression"  # said of what is derived from such, too
_LAST_GROUP = 0x20  # the groups behind are of pixels
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)  # with leading zeros, which many write
_CHOICES = {"PatientSex": ("M", "F", "O")}  # enumerated (PS3.3 C.7.1.1)


def is_uid(text: str) -> bool:
    return bool(_UID.fullmatch(text))


def usable(header: Dataset) -> Dataset:
    """The elements of patient, study, series and place, of the standard alone, each as it may be written."""
    made = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encodings = convert_encodings(_text(header, "SpecificCharacterSet") or None)
        for tag in sorted(header.keys()):
            with suppress(KeyError):  # private ones have no kind that is known
                kind = dictionary_VR(tag)
                if tag.group <= _LAST_GROUP or _is_lossy(tag):
                    made.add(_element(header, tag, kind, encodings))
    made.pop("SpecificCharacterSet", None)  # texts are decoded
    return made


def _is_lossy(tag: BaseTag) -> bool:
    return tag.group == 0x28 and DataElement(tag, "UN", None).keyword.startswith(_LOSSY)


def _text(header: Dataset, keyword: str) -> Any:
    try:
        return header.get(keyword)
    except Exception:  # pydicom converts a value as it is asked for
        return None


def _element(header: Dataset, tag: BaseTag, kind: str, encodings: list[str]) -> DataElement:
    """The element, empty where its value can't be written as what the standard says that it is."""
    try:
        there = header[tag]
        decode_element(there, encodings)
        if there.VR not in kind.split(" or "):
            raise ValueError(there.VR)
        made = DataElement(tag, there.VR, there.value, validation_mode=RAISE)
        if made.value not in _CHOICES.get(made.keyword, (made.value,)):
            raise ValueError(made.value)
        alone = Dataset()
        alone.add(made)
        into = DicomBytesIO()
        into.is_little_endian, into.is_implicit_VR = True, False
        write_dataset(into, alone, UTF8)
        return made
    except Exception:  # as many kinds as there are writers
        return DataElement(tag, kind.split(" or ")[0], None)


@contextmanager
def refusing(path: str, ending: str) -> Iterator[None]:
    """OutputError for what the libraries that make a file of a header raise over it."""
    try:
        with warnings.catch_warnings():  # of names of patients that are as they are
            warnings.simplefilter("ignore", UserWarning)
            yield
    except (SegbatchError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise OutputError(
            f"{path}: its headers can't be taken into a {ending} ({reason}): use another ending, or have "
            "the series exported again"
        ) from error
