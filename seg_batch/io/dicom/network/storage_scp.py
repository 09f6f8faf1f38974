"""A storage SCP: instances that others send by C-STORE come into a hot folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import _config, evt
from pynetdicom.pdu import A_RELEASE_RQ

from seg_batch.config.workflow.dicom_addresses import AllowedPeer, DicomAddress
from seg_batch.core.errors import OutputError
from seg_batch.io.dicom.network.accepted import add_contexts
from seg_batch.io.dicom.network.guard import (
    PDU_BYTES,
    GuardedEntity,
    GuardedHandler,
    GuardedServer,
    GuardedSocket,
    ReceiveLimits,
)
from seg_batch.io.dicom.network.inbox import NO_RESOURCES, NOT_AUTHORISED, Inbox, Instance

_STOPPING_S = 30.0


class StorageSCP:
    """What listens at ``address`` and writes into ``folder`` until it is closed. ``allowed``: who may send; empty:
    anyone who can connect. ``say``: gets messages for the user."""

    def __init__(
        self,
        address: DicomAddress,
        folder: Path,
        allowed: Sequence[AllowedPeer] = (),
        *,
        limits: ReceiveLimits = ReceiveLimits(),  # noqa: B008 - frozen
        tls: SSLContext | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.inbox = Inbox(folder, limits)
        self._address, self._allowed, self._say = address, tuple(allowed), say
        self._limits, self._tls = limits, tls
        self._storing, self._closing = threading.Lock(), False
        self._in_hand, self._done = 0, threading.Condition(self._storing)
        self._refused: set[int] = set()
        self._heard: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._server: GuardedServer | None = None
        self._entity = self._make_entity()

    def _make_entity(self) -> Any:
        entity = GuardedEntity(self._address.title)
        entity.require_called_aet = True
        entity.require_calling_aet = sorted({one.title for one in self._allowed if one.title})
        if any(not one.title for one in self._allowed):
            entity.require_calling_aet = []
        entity.maximum_associations = self._limits.associations
        entity.maximum_pdu_size = PDU_BYTES
        entity.acse_timeout = entity.dimse_timeout = self._limits.pdu_s
        entity.network_timeout = self._limits.idle_s
        add_contexts(entity)
        return entity

    def start(self) -> None:
        """``OutputError`` where the port can't be had."""
        _config.LOG_HANDLER_LEVEL = "none"  # else each PDU is put into words
        handlers: Any = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_PDU_RECV, self._on_pdu),
            (evt.EVT_RELEASED, self._on_released),
            (evt.EVT_ABORTED, self._on_end),
            (evt.EVT_CONN_CLOSE, self._on_end),
        ]
        try:
            self._server = self._entity.make_server(
                (self._address.host, self._address.port),
                ae_title=self._address.title,
                ssl_context=self._tls,
                evt_handlers=handlers,
                server_class=GuardedServer,
                request_handler=GuardedHandler,
            )
        except OSError as error:
            raise OutputError(
                f"can't listen at {self._address} ({error.strerror or error}): name a free port of this machine"
            ) from None
        self._server.limit(self._limits, self._is_known)
        self._entity._servers.append(self._server)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop: the instances in hand are finished and acknowledged, then all associations are aborted."""
        if (server := self._server) is None:
            return
        with self._done:
            self._closing = True
            self._done.wait_for(lambda: not self._in_hand, _STOPPING_S)
        self._server = None
        self._entity.shutdown()
        server.server_close()
        self.inbox.close()

    def _is_known(self, host: str) -> bool:
        return not self._allowed or any(one.host in ("", host) for one in self._allowed)

    def _is_allowed(self, association: Any) -> bool:
        title, host = association.requestor.ae_title.strip(), association.requestor.address
        fits = (one.title in ("", title) and one.host in ("", host) for one in self._allowed)
        return not self._allowed or any(fits)

    def _on_echo(self, event: Any) -> int:
        self._taken(event, 0)
        return 0x0000 if self._is_allowed(event.assoc) else NOT_AUTHORISED

    def _on_store(self, event: Any) -> int:
        with self._storing:
            if self._closing:
                return NO_RESOURCES
            self._in_hand += 1
        size = event.request.DataSet.getbuffer().nbytes if event.request.DataSet else 0
        try:
            status = self._stored(event)
        finally:
            event.request.DataSet = None
            self._taken(event, size)
            with self._done:
                self._in_hand -= 1
                self._done.notify_all()
        if status and status not in self._refused:
            self._refused.add(status)
            self._say(f"an instance was refused by status {status:04X}{_MEANING.get(status, '')}")
        return status

    def _stored(self, event: Any) -> int:
        if not self._is_allowed(event.assoc):
            return NOT_AUTHORISED
        request = event.request
        instance = Instance(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            request.DataSet,
        )
        return self.inbox.store(event.assoc, instance)

    def _taken(self, event: Any, size: int) -> None:
        if isinstance(connection := event.assoc.dul.socket, GuardedSocket):
            connection.taken(size)

    def _on_pdu(self, event: Any) -> None:
        """A release is told here, too: after the answer to it the connection may end before that is told."""
        self._heard[event.assoc] = time.monotonic()
        if isinstance(event.pdu, A_RELEASE_RQ):
            self.inbox.released(event.assoc)

    def _on_released(self, event: Any) -> None:
        self.inbox.released(event.assoc)

    def _on_end(self, event: Any) -> None:
        """Nothing is left to end where it was released before."""
        self.inbox.cut(event.assoc, self._heard.get(event.assoc, 0.0))


_MEANING = {
    0x0111: ": another one with its UID is there already",
    NOT_AUTHORISED: ": its sender is not among those allowed (--allow)",
    NO_RESOURCES: ": the disk is full, or a limit is reached",
    0xA900: ": it is not what its sender says",
    0xC000: ": it can't be read",
}
