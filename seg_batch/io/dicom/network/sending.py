"""Sending of one DICOM file to another application entity (C-STORE), or to a DICOMweb server (STOW-RS)."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread, read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import build_context

from seg_batch.config.workflow.dicom_addresses import Destination, DicomAddress, WebAddress

TOKEN = "SEGBATCH_STOW_TOKEN"
TITLE = "SEGBATCH"  # by which we call
_DUPLICATE = 0x0111
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_TIMEOUT_S = 60.0
_CONNECT_S = 15.0
_ANSWER_BYTES = 1 << 20
_CHUNK = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # of HTTP


class SendError(Exception):
    """A file was not taken. ``passes``: another try may succeed."""

    def __init__(self, why: str, *, passes: bool) -> None:
        super().__init__(why)
        self.why, self.passes = why, passes


@dataclass(frozen=True)
class Sender:
    """``tls``: for DICOM, and for https in place of the machine's authorities; ``title``: by which we call."""

    tls: ssl.SSLContext | None = None
    web_tls: ssl.SSLContext | None = None
    title: str = TITLE

    def send(self, path: Path, to: Destination) -> None:
        """``SendError`` where it was not taken. An instance that the other side has already counts as taken."""
        if isinstance(to, WebAddress):
            _stow(path, to, self.web_tls or ssl.create_default_context())
        else:
            _c_store(path, to, self)


def sop_uid_of(path: Path) -> str | None:
    """The SOP instance of a DICOM file; None where it is none."""
    meta = _meta_of(path)
    return None if meta is None else str(meta.get("MediaStorageSOPInstanceUID", "")) or None


def _meta_of(path: Path) -> FileMetaDataset | None:
    try:
        return read_file_meta_info(path)
    except Exception:  # whatever a damaged file makes of the parser
        return None


def _c_store(path: Path, to: DicomAddress, sender: Sender) -> None:
    meta = _meta_of(path)
    if meta is None:
        raise SendError("it is no DICOM file", passes=False)
    _config.STORE_SEND_CHUNKED_DATASET = True  # piece by piece, as it lies there
    _config.LOG_HANDLER_LEVEL = "none"
    kind, syntax = meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID
    association = _associated(to, sender, [(kind, [syntax]), (kind, list(_PLAIN))])
    try:
        as_it_is = any(each.transfer_syntax == [syntax] for each in association.accepted_contexts)
        status = association.send_c_store(path if as_it_is else _decompressed(path))
    except ValueError:
        what = f"{kind.name} in {syntax.name}"
        raise SendError(f"it takes no {what}", passes=False) from None
    except (OSError, RuntimeError) as error:
        raise SendError(f"the association broke off ({error})", passes=True) from None
    finally:
        if association.is_established:
            association.release()
    _require_taken(status)


def _associated(
    to: DicomAddress, sender: Sender, contexts: list[tuple[UID, list[str | UID]]]
) -> Any:
    entity = ApplicationEntity(sender.title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    entity.connection_timeout = _CONNECT_S
    asked = [build_context(kind, syntaxes) for kind, syntaxes in contexts]
    tls = (sender.tls, to.host) if sender.tls else None
    try:
        association = entity.associate(
            to.host,
            to.port,
            asked,
            ae_title=to.title,
            tls_args=tls,  # type: ignore[arg-type]
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise SendError(f"no association ({error})", passes=True) from None
    if not association.is_established:
        raise _not_established(association)
    return association


def _decompressed(path: Path) -> Dataset:
    """For those who take no compressed objects of this kind."""
    data = dcmread(path)
    if data.file_meta.TransferSyntaxUID.is_compressed:
        data.decompress(generate_instance_uid=False)
    return data


def _not_established(association: Any) -> SendError:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return SendError(f"it rejects the association: {answer.reason_str}", passes=True)
    if association.rejected_contexts:
        why = "it takes no such objects, or not in this transfer syntax; older archives take no label maps, but --seg binary"
        return SendError(why, passes=False)
    return SendError("it can't be reached", passes=True)


def _require_taken(status: Any) -> None:
    """PS3.4 Table B.2-1: warnings are of what was stored."""
    if "Status" not in status:
        raise SendError("the association broke off", passes=True)
    code = int(status.Status)
    if code in (0x0000, _DUPLICATE) or code >> 12 == 0xB:
        return
    raise SendError(f"it answers with status {code:04X}", passes=code >> 8 == 0xA7)


def _stow(path: Path, to: WebAddress, context: ssl.SSLContext) -> None:
    """PS3.18 10.5: one instance in a request."""
    parts = urlsplit(to.url)
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    try:
        size = len(head) + path.stat().st_size + len(tail)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {
            "Content-Type": kind,
            "Content-Length": str(size),
            "Accept": "application/dicom+json",
        }
        headers |= _authorisation()
        host, port = parts.hostname or "", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=_TIMEOUT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.request(
                "POST", parts.path or "/", body=_body(head, path, tail), headers=headers
            )
            answer = connection.getresponse()
            body = answer.read(_ANSWER_BYTES)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        raise SendError(
            f"its certificate is not trusted ({error.verify_message})", passes=False
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise SendError(
            f"it can't be reached ({type(error).__name__}: {error})", passes=True
        ) from None
    _require_stored(answer.status, body)


def _body(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    yield tail


def _authorisation() -> dict[str, str]:
    """Of the token in the environment, which nothing shows; with a space in it, it is the whole value."""
    if not (token := os.environ.get(TOKEN, "").strip()):
        return {}
    if not (token.isascii() and token.isprintable()):
        raise SendError(f"{TOKEN} holds what no header may: set it anew", passes=False)
    return {"Authorization": token if " " in token else f"Bearer {token}"}


def _require_stored(status: int, body: bytes) -> None:
    """Also of a success the answer may tell of an instance that was not stored (PS3.18 10.5.3)."""
    failed = _failures(body)
    if failed and failed != {_DUPLICATE}:
        codes = ", ".join(f"{code:04X}" for code in sorted(failed))
        raise SendError(
            f"it did not store it (reason {codes})", passes=any(c >> 8 == 0xA7 for c in failed)
        )
    if status in (200, 202) or failed:
        return
    if status in (401, 403):
        raise SendError(f"it refuses us (HTTP {status}): see {TOKEN}", passes=False)
    raise SendError(f"it answers with HTTP {status}", passes=status in _PASSING)


def _failures(body: bytes) -> set[int]:
    """Failure Reason (0008,1197) of each item of Failed SOP Sequence (0008,1198)."""
    try:
        told = json.loads(body)
        told = told[0] if isinstance(told, list) and told else told
        items = told.get("00081198", {}).get("Value", [])
        return {int(item["00081197"]["Value"][0]) for item in items}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return set()
