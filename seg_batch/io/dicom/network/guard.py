"""Limits of what strangers can make a DICOM port do: connections, sizes and times, before anything is decoded.

pynetdicom reads a PDU of any length that a peer announces into memory, and waits for it without limit.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

PDU_BYTES = 1 << 17  # the longest that a peer is asked to send
_LONGEST = (
    1 << 20
)  # what one may have nevertheless, an association request with all its contexts included
_CHUNK = 1 << 16
_SPARE = 16  # connections that may wait to be told that there are too many


@dataclass(frozen=True)
class ReceiveLimits:
    """``associations``: at a time; ``instance_bytes``: of one, ``held_bytes``: of all that are being received, in
    memory; ``series_files`` and ``series_bytes``: of one series; ``hour_files`` and ``hour_bytes``: of any hour;
    ``free_bytes``: that stay free on the disk; ``pdu_s``: for a PDU to come whole; ``idle_s``: without one."""

    associations: int = 8
    instance_bytes: int = 1 << 30
    held_bytes: int = 2 << 30
    series_files: int = 20_000
    series_bytes: int = 32 << 30
    hour_files: int = 500_000
    hour_bytes: int = 1 << 40
    free_bytes: int = 256 << 20
    pdu_s: float = 20.0
    idle_s: float = 60.0


class Held:
    """The bytes that all connections hold in memory."""

    def __init__(self, limit: int) -> None:
        self._limit, self._lock, self._bytes = limit, threading.Lock(), 0

    def take(self, size: int) -> None:
        """``OSError`` where they would be too many."""
        with self._lock:
            if self._bytes + size > self._limit:
                raise OSError("too much is being received at once")
            self._bytes += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


class GuardedSocket(AssociationSocket):
    """The socket of an association. What it has received since ``taken`` is held in memory."""

    limits: ReceiveLimits
    held: Held
    since: int

    def guard(self, limits: ReceiveLimits, held: Held) -> None:
        self.limits, self.held, self.since = limits, held, 0
        if self.socket is not None:
            self.socket.settimeout(limits.pdu_s)

    def recv(self, nr_bytes: int) -> bytearray:
        """All of the bytes, or those before the end; ``OSError`` beyond the limits, which ends the association."""
        if nr_bytes > _LONGEST:
            raise OSError("the peer announces a PDU that is longer than any")
        if self.since + nr_bytes > self.limits.instance_bytes + _LONGEST:
            raise OSError("the instance is larger than allowed")
        if (connection := self.socket) is None:
            return bytearray()
        self.held.take(nr_bytes)
        self.since += nr_bytes
        data, until = bytearray(), time.monotonic() + self.limits.pdu_s
        while len(data) < nr_bytes:
            chunk = connection.recv(min(_CHUNK, nr_bytes - len(data)))
            if not chunk:
                break
            data += chunk
            if time.monotonic() > until:
                raise OSError("the peer sends too slowly")
        return data

    def taken(self, size: int) -> None:
        """So many bytes of what was received are no longer in memory; all, where nothing more has come."""
        messages = self.assoc.dimse
        waits = messages.message is not None or not messages.msg_queue.empty()
        gone = min(size, self.since) if waits else self.since
        self.held.give_back(gone)
        self.since -= gone

    def close(self) -> None:
        if (connection := self.socket) is not None and self._is_connected:
            super().close()
            connection.close()  # also where the peer was gone, and could not be told
        else:
            super().close()
        gone, self.since = self.since, 0
        self.held.give_back(gone)


class GuardedEntity(ApplicationEntity):
    """An entity of which a connection is an association once it has requested one: its thread waits for that long after
    the peer is gone, and would else keep others out."""

    @property
    def active_associations(self) -> list[Any]:
        return [one for one in super().active_associations if one.requestor.primitive is not None]


class GuardedHandler(RequestHandler):
    server: GuardedServer

    def _create_association(self) -> Any:
        association = super()._create_association()
        plain: Any = association.dul.socket
        # Its maker names the class, and has announced the connection.
        plain.__class__ = GuardedSocket
        plain.guard(self.server.limits, self.server.held)
        return association


class GuardedServer(ThreadedAssociationServer):
    """A server that takes few connections, from known hosts. A handshake is made by the thread of its connection."""

    daemon_threads = True
    request_queue_size = 64
    limits = ReceiveLimits()

    def limit(self, limits: ReceiveLimits, is_known: Callable[[str], bool]) -> None:
        """To be called before it serves."""
        self.limits, self.held, self._is_known = limits, Held(limits.held_bytes), is_known
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def get_request(self) -> tuple[socket.socket, Any]:
        assert self.socket is not None
        connection, address = self.socket.accept()
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is kept; else it is closed at once."""
        active = [one for one in list(self._open) if one.fileno() != -1]
        if len(active) >= self.limits.associations + _SPARE:
            return False
        if not self._is_known(client_address[0]):
            return False
        self._open.add(request)
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A fault of one connection ends that one, and is nobody's to read on the terminal."""
