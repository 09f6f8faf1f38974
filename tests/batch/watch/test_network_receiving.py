"""A storage SCP that writes into a hot folder, with real peers on loopback: pynetdicom's SCU, dcmtk's, and strangers."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from pynetdicom.ae import ApplicationEntity

from seg_batch.config.workflow.dicom_addresses import LOOPBACK, DicomAddress, parse_allowed
from seg_batch.core.run_files import INCOMING, RECEIVING
from seg_batch.executors.cluster.certificates import make_certs
from seg_batch.io.dicom.network.guard import ReceiveLimits
from seg_batch.io.dicom.network.storage_scp import StorageSCP
from seg_batch.io.dicom.network.tls import client_context, server_context
from tests.support.dicom_files import series_of, slice_of, write_series
from tests.support.patience import until

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

SHAPE = (3, 9, 7)
LIMITS = ReceiveLimits(free_bytes=0, pdu_s=2.0, idle_s=5.0)


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@contextmanager
def listening(hot: Path, *allowed: str, **more: Any) -> Iterator[StorageSCP]:
    limits = more.pop("limits", LIMITS)
    peers = tuple(map(parse_allowed, allowed))
    scp = StorageSCP(DicomAddress("SEG", LOOPBACK, 0), hot, peers, limits=limits, **more)
    scp.start()
    try:
        yield scp
    finally:
        scp.close()


def associated(scp: StorageSCP, files: list[Path], **more: Any) -> Any:
    entity = ApplicationEntity(more.pop("title", "TEST"))
    kinds = {
        (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        for meta in (pydicom.dcmread(path, stop_before_pixels=True).file_meta for path in files)
    }
    for kind in sorted(kinds):
        entity.add_requested_context(*kind)
    return entity.associate(LOOPBACK, scp.port, ae_title=more.pop("called", "SEG"), **more)


def sent(scp: StorageSCP, folder: Path, **more: Any) -> list[int]:
    """The statuses of all files of a folder, sent in one association that is released."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    association = associated(scp, files, **more)
    assert association.is_established
    statuses = [int(association.send_c_store(path).Status) for path in files]
    association.release()
    return statuses


def received(hot: Path) -> list[Path]:
    return sorted(path for path in hot.glob("series-*/*"))


def open_notes(hot: Path) -> list[Path]:
    return list(hot.glob(f".*{RECEIVING}"))


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless]
)
def test_what_is_sent_lies_there_as_it_was_sent(hot: Path, tmp_path: Path, syntax: str) -> None:
    series = write_series(tmp_path / "ct", SHAPE, syntax=syntax)
    with listening(hot) as scp:
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        until(lambda: not open_notes(hot), "the end of the series")
    (home,) = {path.parent for path in received(hot)}
    assert series.uid not in home.name
    before = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, (tmp_path / "ct").iterdir())}
    for path in received(hot):
        data = pydicom.dcmread(path)
        assert data == before[str(data.SOPInstanceUID)]
        assert data.file_meta.TransferSyntaxUID == syntax
    assert not (hot / INCOMING).exists()


def test_an_instance_is_written_once_and_another_with_its_uid_is_refused(
    hot: Path, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot) as scp:
        sent(scp, tmp_path / "ct")
        stamps = [path.stat().st_mtime_ns for path in received(hot)]
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        assert [path.stat().st_mtime_ns for path in received(hot)] == stamps
        data = pydicom.dcmread(tmp_path / "ct" / "0001")
        data.PixelData = bytes(len(data.PixelData))
        data.save_as(tmp_path / "ct" / "0001")
        assert sent(scp, tmp_path / "ct") == [0, 0x0111, 0]
    assert [path.stat().st_mtime_ns for path in received(hot)] == stamps


def test_a_series_that_was_cut_stays_open_until_it_has_come_again(
    hot: Path, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", SHAPE)
    files = sorted((tmp_path / "ct").iterdir())
    with listening(hot) as scp:
        association = associated(scp, files)
        association.send_c_store(files[0])
        assert "being received" in scp.inbox.holds(received(hot)[0].parent.name)
        association.abort()
        until(lambda: not scp.inbox.holds(received(hot)[0].parent.name))
        assert len(open_notes(hot)) == 1
    with listening(hot) as scp:  # after a restart, too
        assert len(open_notes(hot)) == 1
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        until(lambda: not open_notes(hot), "the end of the series")
    assert len(received(hot)) == 3


def test_a_connection_cut_at_any_byte_leaves_whole_files_only(hot: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot) as scp:
        for cut in (100, 700, 1500, 2500):
            with relay(scp.port, cut) as port:
                entity = ApplicationEntity("TEST")
                entity.dimse_timeout = 2
                entity.add_requested_context(slice_of(series_of(SHAPE), 0).SOPClassUID)
                association = entity.associate(LOOPBACK, port, ae_title="SEG")
                for path in (
                    sorted((tmp_path / "ct").iterdir()) if association.is_established else ()
                ):
                    try:
                        association.send_c_store(path)
                    except RuntimeError:
                        break
            for path in received(hot):
                pydicom.dcmread(path).pixel_array  # noqa: B018 - decoded
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        until(lambda: not open_notes(hot), "the end of the series")
    assert len(received(hot)) == 3


@contextmanager
def relay(port: int, most: int) -> Iterator[int]:
    """A port that hands on so many bytes, and then drops both ends."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def work() -> None:
            near, _ = server.accept()
            far = socket.create_connection((LOOPBACK, port))
            threading.Thread(target=copy, args=(far, near, 1 << 30), daemon=True).start()
            copy(near, far, most)
            near.close()
            far.close()

        threading.Thread(target=work, daemon=True).start()
        yield server.getsockname()[1]


def copy(near: socket.socket, far: socket.socket, left: int) -> None:
    try:
        while left and (data := near.recv(min(left, 512))):
            far.sendall(data)
            left -= len(data)
    except OSError:
        pass


def test_only_those_who_are_allowed_may_send(hot: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot, "PACS", "WARD@192.0.2.7") as scp:
        files = sorted((tmp_path / "ct").iterdir())
        assert not associated(scp, files, title="OTHER").is_established
        assert not associated(scp, files, title="PACS", called="ELSE").is_established
        assert sent(scp, tmp_path / "ct", title="WARD") == [0x0124] * 3
        assert not received(hot)
        assert sent(scp, tmp_path / "ct", title="PACS") == [0] * 3
    with listening(hot, "*@192.0.2.7") as scp:
        assert not associated(scp, files).is_established


def test_limits_of_a_series_and_of_the_hour_say_that_there_is_no_room(
    hot: Path, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot, limits=replace(LIMITS, series_files=2)) as scp:
        assert sent(scp, tmp_path / "ct") == [0, 0, 0xA700]
        assert len(open_notes(hot)) == 1, "one is missing"
    with listening(hot, limits=replace(LIMITS, hour_bytes=10)) as scp:
        assert sent(scp, tmp_path / "ct") == [0, 0, 0xA700]
    with listening(hot, limits=replace(LIMITS, free_bytes=1 << 60)) as scp:
        assert sent(scp, tmp_path / "ct") == [0, 0, 0xA700]
    with listening(hot) as scp:
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        until(lambda: not open_notes(hot))


def test_uids_that_are_paths_and_lies_about_them_lead_nowhere(hot: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", SHAPE)
    files = sorted((tmp_path / "ct").iterdir())
    bad = ["../../../../x", "/etc/x", "..\\x", "a" * 64]
    with listening(hot) as scp:
        for uid in bad:
            data = pydicom.dcmread(files[0])
            data.SeriesInstanceUID = uid
            association = associated(scp, files)
            assert association.send_c_store(data).Status == 0
            data.SOPInstanceUID, data.file_meta.MediaStorageSOPInstanceUID = "1.2.3", "1.2.3"
            del data.SeriesInstanceUID
            assert association.send_c_store(data).Status == 0xC000
            association.release()
    assert len(received(hot)) == len(bad)
    known = [hot, tmp_path / "ct"]
    assert all(
        any(p.is_relative_to(k) for k in known) for p in tmp_path.rglob("*") if p not in known
    )


def pdu(kind: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBL", kind, 0, length) + body


STRANGE = {
    "noise": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    "a request without end": pdu(1, 0xFFFFFFFF, b"\1" * 4096),
    "data before a request": pdu(4, 40, b"\0" * 40),
    "a request of nothing": pdu(1, 4, b"\0\1\0\0"),
    "half a header": b"\1\0",
}


@pytest.mark.parametrize("said", STRANGE.values(), ids=STRANGE.keys())
def test_a_stranger_ends_its_own_connection_alone(hot: Path, tmp_path: Path, said: bytes) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot) as scp:
        stranger = socket.create_connection((LOOPBACK, scp.port))
        stranger.sendall(said)
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        stranger.settimeout(30)
        try:
            while stranger.recv(1024):
                pass
        except OSError:
            pass  # it was ended
        stranger.close()


def test_an_instance_beyond_the_limit_is_cut_off(hot: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "big", (1, 1100, 1000))
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot, limits=replace(LIMITS, instance_bytes=100_000)) as scp:
        (big,) = (tmp_path / "big").iterdir()
        association = associated(scp, [big])
        association.dimse_timeout = 5
        assert "Status" not in association.send_c_store(big)
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
    assert len(received(hot)) == 3


def test_connections_that_are_gone_keep_nobody_out(hot: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot, limits=replace(LIMITS, pdu_s=60.0)) as scp:
        for _ in range(LIMITS.associations + 1):
            socket.create_connection((LOOPBACK, scp.port)).close()
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]


@pytest.mark.slow
def test_a_thousand_silent_connections_leave_room_for_one_that_speaks(
    hot: Path, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot) as scp:
        before = threading.active_count()
        silent = [socket.create_connection((LOOPBACK, scp.port)) for _ in range(1000)]
        time.sleep(0.5)
        assert threading.active_count() < before + 100
        time.sleep(LIMITS.pdu_s + 2)
        assert sent(scp, tmp_path / "ct") == [0, 0, 0]
        for one in silent:
            one.close()


def test_with_certificates_only_those_of_the_authority_get_in(hot: Path, tmp_path: Path) -> None:
    make_certs(tmp_path / "ours")
    make_certs(tmp_path / "others")

    def files_of(name: str, role: str) -> tuple[str, str, str]:
        folder = tmp_path / name
        return tuple(str(folder / n) for n in (f"{role}.pem", f"{role}-key.pem", "ca.pem"))  # type: ignore[return-value]

    write_series(tmp_path / "ct", SHAPE)
    files = sorted((tmp_path / "ct").iterdir())
    with listening(hot, tls=server_context(*files_of("ours", "scheduler"))) as scp:
        mute = socket.create_connection((LOOPBACK, scp.port))  # never shakes hands
        ours = (client_context(*files_of("ours", "client")), LOOPBACK)
        assert sent(scp, tmp_path / "ct", tls_args=ours) == [0, 0, 0]
        others = (client_context(*files_of("others", "client")), LOOPBACK)
        assert not associated(scp, files, tls_args=others).is_established
        assert not associated(scp, files).is_established
        mute.close()


@pytest.mark.needs("dcmtk")
def test_dcmtk_sends_with_certificates_of_the_set(hot: Path, tmp_path: Path) -> None:
    make_certs(certs := tmp_path / "certs")
    write_series(tmp_path / "ct", SHAPE)
    names = ("scheduler.pem", "scheduler-key.pem", "ca.pem")
    ours = (certs / "client-key.pem", certs / "client.pem", "+cf", certs / "ca.pem")
    with listening(hot, tls=server_context(*(str(certs / name) for name in names))) as scp:
        words = [
            "storescu",
            "+tls",
            *ours,
            "-aec",
            "SEG",
            "+sd",
            LOOPBACK,
            scp.port,
            tmp_path / "ct",
        ]
        ran = subprocess.run([*map(str, words)], capture_output=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        until(lambda: not open_notes(hot), "the end of the series")
    assert len(received(hot)) == 3


@pytest.mark.needs("dcmtk")
def test_dcmtk_sends(hot: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", SHAPE)
    with listening(hot) as scp:

        def run(*command: object) -> int:
            words = [*map(str, command)]
            return subprocess.run(words, capture_output=True, timeout=60).returncode

        assert run("echoscu", "-aec", "SEG", LOOPBACK, scp.port) == 0
        assert run("echoscu", "-aec", "ELSE", LOOPBACK, scp.port) != 0
        assert run("storescu", "-aec", "SEG", "+sd", LOOPBACK, scp.port, tmp_path / "ct") == 0
        until(lambda: not open_notes(hot), "the end of the series")
    assert len(received(hot)) == 3


@pytest.mark.needs("mount")
def test_a_full_disk_says_so_and_later_there_is_room(tmp_path: Path) -> None:
    write_series(tmp_path / "big", (3, 200, 300))
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from pathlib import Path
from tests.batch.watch.test_network_receiving import LIMITS, listening, open_notes, received, sent
hot, big = Path({str(tmp_path / "disk")!r}), Path({str(tmp_path / "big")!r})
(hot / "filler").write_bytes(bytes(300_000))
with listening(hot) as scp:
    print(sent(scp, big), len(open_notes(hot)))
    (hot / "filler").unlink()
    print(sent(scp, big), len(received(hot)))
"""
    (tmp_path / "disk").mkdir()
    (tmp_path / "try.py").write_text(script)
    mount = f"mount -t tmpfs -o size=500k none {tmp_path / 'disk'}"
    inside = f"{mount} && {sys.executable} {tmp_path / 'try.py'}"
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", inside], capture_output=True, text=True)
    assert ran.stdout.splitlines() == [
        f"[0, {0xA700}, {0xA700}] 1",
        "[0, 0, 0] 3",
    ], ran.stderr
