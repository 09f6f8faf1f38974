"""``segbatch watch --listen-dicom --send-to`` as a service: killed at any time, each series is done and sent once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from seg_batch.core.run_files import OUTBOX, RECEIVING
from tests.batch.watch.test_network_receiving import associated, listening, received, sent
from tests.batch.watch.test_network_sending import free_port
from tests.support.dicom_files import write_series
from tests.support.files import segbatch
from tests.support.patience import PATIENCE_S, Gate, until

SHAPE = (4, 20, 18)


class Port:
    """What the helpers of the other tests need of an SCP."""

    def __init__(self, port: int) -> None:
        self.port = port


def watch(hot: Path, port: int, *more: object, **how: Any) -> subprocess.Popen[bytes]:
    words = (
        "watch",
        hot,
        "-o",
        hot.parent / "out",
        "--model",
        "probe",
        "--settle",
        "0.3",
        "--every",
        "0.1",
    )
    words = (*words, "--cluster", "inline", "--listen-dicom", f"SEG@:{port}", *more)
    with (hot.parent / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "seg_batch", *map(str, words)], stderr=said, **how
        )
    until(lambda: listens(port), "the port", process)
    return process


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def products(hot: Path) -> list[Path]:
    return sorted((hot.parent / "out").glob("*_labels.nii.gz"))


def fates(hot: Path) -> list[str]:
    (book,) = (hot.parent / "out" / ".segbatch").glob("watch-*/arrivals.jsonl")
    return [
        line.partition('"fate": "')[2].partition('"')[0] for line in book.read_text().splitlines()
    ]


@pytest.mark.full
def test_killed_while_it_receives_and_while_it_segments(tmp_path: Path) -> None:
    hot, port = tmp_path / "in", free_port()
    hot.mkdir()
    write_series(tmp_path / "ct", SHAPE)
    files = sorted((tmp_path / "ct").iterdir())
    process = watch(hot, port)
    association = associated(Port(port), files)
    for path in files[:2]:
        assert association.send_c_store(path).Status == 0
    process.kill()
    process.wait(PATIENCE_S)
    assert len(received(hot)) == 2
    gate = Gate(tmp_path, "*_labels.nii.gz*")
    process = watch(hot, port, env={**os.environ, **gate.environment})
    assert len(list(hot.glob(f".*{RECEIVING}"))) == 1
    assert sent(Port(port), tmp_path / "ct") == [0] * 4
    gate.wait(process)
    process.kill()
    process.wait(PATIENCE_S)
    process = watch(hot, port)
    until(lambda: products(hot) and fates(hot), "the product", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert fates(hot) == ["done"]
    alone = tmp_path / "alone.nii.gz"
    segbatch("predict", tmp_path / "ct", "-o", alone, "--model", "probe")
    (product,) = products(hot)
    assert np.array_equal(*(np.asarray(nibabel.load(p).dataobj) for p in (product, alone)))


@pytest.mark.slow
def test_what_can_not_be_sent_tonight_is_sent_after_the_next_start(tmp_path: Path) -> None:
    hot, port, pacs = tmp_path / "in", free_port(), tmp_path / "pacs"
    hot.mkdir()
    pacs.mkdir()
    write_series(hot / "ct", SHAPE)
    flow = tmp_path / "night.yaml"
    flow.write_text(
        f"dicom: {{send_to: 'SEG@127.0.0.1:{port}'}}\nmodel: probe\ncluster: inline\n"
        "outputs: {folder: out, formats: {volume: seg.dcm}}\n"
    )
    words = ("watch", hot, "--workflow", flow, "--settle", "0.2", "--every", "0.1", "--once")
    first = segbatch(*words)
    assert first.status == 3, first.err
    assert "1 product still to be sent" in first.err
    with listening(pacs) as scp:
        text = flow.read_text()
        flow.write_text(text.replace(str(port), str(scp.port)))
        other = segbatch(*words)
        assert "is no longer named" in other.err, "another place is none of those that it was for"
        assert not received(pacs)
    refused = segbatch("run", flow)
    assert refused.status == 2
    assert "segbatch watch FOLDER --workflow" in refused.err
    assert len(list((tmp_path / "out" / ".segbatch").glob(f"watch-*/{OUTBOX}/*"))) == 1
