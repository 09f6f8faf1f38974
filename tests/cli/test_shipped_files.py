"""What lies in ``workflows/`` for people to copy does what it says."""

from __future__ import annotations

import os
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
import yaml

from seg_batch.batch.hooks import run_hooks
from seg_batch.cli.main import app

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
HOOKS = WORKFLOWS / "hooks" / "on_finish.yaml"


@pytest.mark.parametrize("name", ["systemd/segbatch-watch.service", "cron/segbatch-watch"])
def test_the_command_of_a_service_is_one_that_there_is(name: str) -> None:
    text = (WORKFLOWS / name).read_text()
    (line,) = re.findall(r"^[^#\n]*segbatch watch (.*)$", text, flags=re.MULTILINE)
    group = typer.main.get_command(app)
    known = {option for p in group.commands["watch"].params for option in p.opts}  # type: ignore[attr-defined]
    used = set(re.findall(r"(?<=\s)--[a-z-]+", line))
    assert used
    assert used <= known


class Answering(BaseHTTPRequestHandler):
    got: list[tuple[str, bytes]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def webhook() -> str:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.needs("curl")
def test_the_webhook_posts_the_report_and_mail_is_sent_only_when_it_is_due(
    tmp_path: Path, webhook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "a run's $(folder)"
    run.mkdir()
    (run / "report.json").write_bytes(b'{"inputs": [1]}\n')
    (run / "metrics.prom").write_text("up 1\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mail").write_text(
        f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/sent'; cat >> '{tmp_path}/sent'\n"
    )
    (programs / "mail").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    text = HOOKS.read_text().replace("https://hooks.example.org", webhook)
    text = text.replace("/var/lib/prometheus/node-exporter", str(tmp_path))
    said: list[tuple[str, str]] = []
    for status in (0, 3):
        good = run_hooks(
            yaml.safe_load(text)["on_finish"],
            run=run,
            status=status,
            failed=lambda command, why: said.append((command, why)),
        )
        assert good == 3, said
    body = b'{"inputs": [1]}\n'
    assert Answering.got == [("/segbatch?status=0", body), ("/segbatch?status=3", body)]
    sent = (tmp_path / "sent").read_text()
    assert sent.splitlines() == [
        "-s segbatch: a night with gaps night@example.org",
        f"Exit status 3, see {run}/report.html",
    ]
    assert (tmp_path / "segbatch.prom").read_text() == "up 1\n"
