# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser for tests: Chromium without a window, spoken to in its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import websocket

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 30.0


def program() -> str | None:
    """The path of Chromium or Chrome; None where neither is there."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. `requests` are the addresses that were asked for, `complaints` errors and whatever went to the console."""

    def __init__(self, connection: Any, session: str) -> None:
        self._connection = connection
        self._session = session
        self._number = 0
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command of the protocol; AssertionError with the browser's words when it refuses."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params, "sessionId": self._session}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def _receive(self) -> Any:
        message = json.loads(self._connection.recv())
        if message.get("sessionId") == self._session and "method" in message:
            self._note(message["method"], message["params"])
        return message

    def _note(self, method: str, params: Any) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['level']}: {params['entry']['text']}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{params['type']}: {json.dumps(params['args'])}")
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Shows a file in a window of so many CSS pixels and waits until it is loaded; what was noted before is forgotten."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.requests, self.complaints, self._loaded = [], [], False
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._receive()
        # Two frames later all that a page does on its own at its beginning has been done.
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> bytes:
        """Writes what the window shows as PNG."""
        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
        return picture


@contextmanager
def page(browser: str) -> Iterator[Page]:
    """A browser of its own with an empty profile, and a tab in it; ended with the block."""
    with TemporaryDirectory(prefix="hostnet-browser-", ignore_cleanup_errors=True) as folder:
        profile, log = Path(folder) / "profile", Path(folder) / "log"
        command = [browser, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run", "--disable-gpu"]
        # Containers have a small /dev/shm; without the other switches the browser itself asks for things on the network.
        command += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "about:blank"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, "HOME": folder}
            )
        try:
            connection = websocket.create_connection(_address(process, profile, log), timeout=_SECONDS, suppress_origin=True)
            try:
                yield Page(connection, _session(connection))
            finally:
                connection.close()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], profile: Path, log: Path) -> str:
    deadline = time.monotonic() + _SECONDS
    told = profile / "DevToolsActivePort"
    while True:
        lines = told.read_text().split("\n") if told.exists() else []
        if len(lines) > 1 and lines[1]:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert process.poll() is None, f"the browser ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}"
        assert time.monotonic() < deadline, f"the browser did not listen within {_SECONDS} s: {log.read_text(errors='replace')[-2000:]}"
        time.sleep(0.05)


def _session(connection: Any) -> str:
    def call(number: int, method: str, **params: Any) -> Any:
        connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(connection.recv())).get("id") != number:
            pass
        return message["result"]

    target = call(1, "Target.createTarget", url="about:blank")["targetId"]
    return str(call(2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
