"""A headless Chromium that is told what to do, over its debugging pipe: no other package needed."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import hardware
from tests.support.patience import PATIENCE_S

CHROMIUM = hardware.browser()
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowDown": 40, " ": 32}


class Browser:
    """One tab. ``said``: what the console, the page's errors and the security policy said.
    ``asked``: every address that was requested."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._rest, self._count = send, receive, b"", 0
        self._session: str | None = None
        self.said: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser, and take in what happens until it answers."""
        self._count += 1
        asked = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            asked["sessionId"] = self._session
        os.write(self._send, json.dumps(asked).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._count:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self._hear(told)

    def _next(self, limit_s: float = PATIENCE_S) -> dict[str, Any]:
        until = time.monotonic() + limit_s
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], until - time.monotonic())
            assert ready, "the browser does not answer"
            self._rest += os.read(self._receive, 1 << 20)
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _hear(self, told: dict[str, Any]) -> None:
        method, params = told.get("method"), told.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(params))
        if method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Show the file, and wait until it is loaded."""
        self.size(width, height)
        self.call("Page.navigate", url=page.as_uri())
        until = time.monotonic() + PATIENCE_S
        while self.value("document.readyState + document.URL") != "complete" + page.as_uri():
            assert time.monotonic() < until, "the page does not load"
            time.sleep(0.02)

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def value(self, script: str) -> Any:
        """What a JavaScript expression is."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """A key as a person presses it: of ``KEYS``, or a letter."""
        told = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def write(self, text: str) -> None:
        for letter in text:
            self.press(letter)

    def tab_to(self, expression: str, most: int = 60) -> None:
        """Press Tab until the focused element, ``it``, is the one meant."""
        for _ in range(most):
            self.press("Tab")
            if self.value(f"(it => {expression})(document.activeElement)"):
                return
        raise AssertionError(f"no key leads to {expression}")

    def scheme(self, name: str) -> None:
        """What the system prefers: ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def shot(self, whole: bool = False) -> bytes:
        """A PNG of what is seen, or of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a new profile in ``folder``; ended with everything it began."""
    assert CHROMIUM is not None
    (there, send), (receive, here) = os.pipe(), os.pipe()
    # Chromium reads from 3 and writes to 4; a shell puts the pipes there.
    command = f'exec "$@" 3<&{there} 4>&{here}'
    flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", CHROMIUM, *flags],
        pass_fds=(there, here),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(there)
    os.close(here)
    try:
        yield Browser(send, receive)
    finally:
        os.close(send)  # the end of its orders is its end
        os.close(receive)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
