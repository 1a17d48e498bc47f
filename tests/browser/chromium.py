"""A headless Chromium, driven over its DevTools pipe (https://chromedevtools.github.io/devtools-protocol/).

In a network namespace of its own, where there is not even a loopback address: a page that asked for anything would be
refused, and what it asked for is seen all the same. Messages are JSON, each ended by a zero byte, on the file
descriptors 3 (to the browser) and 4 (from it).
"""
from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 60.0
MESSAGES = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
REQUESTS = {"Network.requestWillBeSent", "Network.webSocketCreated"}


class Browser:
    """One browser with one tab. Its messages and requests are kept, in order."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._last, self._rest = 0, b""
        self.session = ""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call one method, wait for its answer."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._until(lambda heard: heard.get("id") == self._last)

    def open_tab(self) -> None:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def show(self, page: Path, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Load a file at this width in CSS pixels, and wait until it is there."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.ask("Page.navigate", url=page.as_uri())
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._until(lambda heard: heard.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """What a script of ours says of the page; the page's own policy does not bind the debugger."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def paper(self) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69,
                                         printBackground=False)["data"])

    def complaints(self) -> list[dict[str, Any]]:
        """All messages of the console."""
        return [event for event in self.events if event["method"] in MESSAGES]

    def requests(self) -> list[str]:
        """Every address asked for."""
        return [event["params"].get("request", event["params"])["url"] for event in self.events
                if event["method"] in REQUESTS]

    def _until(self, is_it: Any) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while True:
            while b"\0" not in self._rest:
                ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
                part = os.read(self._from, 1 << 20) if ready else b""
                assert part, "the browser went away, or says nothing any more"
                self._rest += part
            line, _, self._rest = self._rest.partition(b"\0")
            heard: dict[str, Any] = json.loads(line)
            assert "error" not in heard, heard
            if "method" in heard:
                self.events.append(heard)
            if is_it(heard):
                return heard.get("result", heard)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without any network; it is ended, and its profile removed, afterwards."""
    assert PROGRAM is not None
    to_browser, from_browser = os.pipe(), os.pipe()
    profile = tempfile.mkdtemp(prefix="tideover-browser-")
    words = [*_without_network(), PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
             "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={profile}"]
    shell = f'exec 3<&{to_browser[0]} 4>&{from_browser[1]}; exec "$@"'
    process = subprocess.Popen(["bash", "-c", shell, "browser", *words], pass_fds=(to_browser[0], from_browser[1]),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, "HOME": profile})
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        made = Browser(to_browser[1], from_browser[0])
        made.open_tab()
        yield made
    finally:
        os.close(to_browser[1])
        os.close(from_browser[0])
        _end(process)
        shutil.rmtree(profile, ignore_errors=True)


def _without_network() -> list[str]:
    """The pages are files, so the browser needs no network; only root, or a kernel that lets users, can take it away."""
    words = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    return words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else []


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself when its pipe is closed."""
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
