"""What of a watch goes over the network: series that are received, products that are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import SSLContext

from seg_batch.batch.watch.archive import Archive
from seg_batch.batch.watch.outbox import Outbox
from seg_batch.batch.watch.series_arrivals import SeriesArrivals
from seg_batch.config.workflow.pacs import PacsSettings
from seg_batch.core.errors import ClusterError
from seg_batch.core.units import parse_bytes
from seg_batch.executors.cluster.certificates import require_sound
from seg_batch.io.dicom.network.guard import ReceiveLimits
from seg_batch.io.dicom.network.sending import Sender
from seg_batch.io.dicom.network.storage_scp import StorageSCP
from seg_batch.io.dicom.network.tls import client_context, server_context, web_context

_LISTENS, _CALLS = "scheduler", "client"  # roles of a set of certificates


def open_outbox(settings: PacsSettings | None, folder: Path, say: Callable[[str], None]) -> Outbox:
    """The outbox of a watch with this folder."""
    if settings is None:
        return Outbox(folder, (), Sender().send, say)
    sender = Sender()
    if settings.tls:
        files = _files(Path(settings.tls), _CALLS)
        sender = Sender(client_context(*files), web_context(*files))
    return Outbox(folder, settings.places, sender.send, say)


@contextmanager
def receiving(
    archive: Archive, settings: PacsSettings | None, say: Callable[[str], None]
) -> Iterator[StorageSCP | None]:
    """Receive series into the hot folder meanwhile, where that is asked for."""
    if settings is None or settings.address is None:
        yield None
        return
    tls: SSLContext | None = None
    if settings.tls:
        tls = server_context(*_files(Path(settings.tls), _LISTENS))
    limits = settings.limits
    scp = StorageSCP(
        settings.address,
        archive.folder,
        settings.allowed,
        limits=ReceiveLimits(
            associations=limits.associations,
            instance_bytes=parse_bytes(limits.instance),
            held_bytes=2 * parse_bytes(limits.instance),
            series_bytes=parse_bytes(limits.series),
            hour_bytes=parse_bytes(limits.hour),
        ),
        tls=tls,
        say=say,
    )
    scp.start()
    if isinstance(archive.stack, SeriesArrivals):
        archive.stack.holds = scp.inbox.holds
    say(f"receiving as {settings.address}" + (" with certificates" if tls else ""))
    try:
        yield scp
    finally:
        scp.close()


def _files(folder: Path, role: str) -> tuple[str, str, str]:
    """Certificate, key and authority of a role. ``ClusterError`` where they are not sound."""
    require_sound(folder)
    names = (f"{role}.pem", f"{role}-key.pem", "ca.pem")
    if lacking := next((name for name in names if not (folder / name).is_file()), None):
        raise ClusterError(
            f"{folder} has no {lacking}, which what listens proves itself with: name a folder that `segbatch cluster "
            "certs` made"
        )
    certificate, key, authority = (str(folder / name) for name in names)
    return certificate, key, authority
