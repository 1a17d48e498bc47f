"""GET /metrics, and the file for node_exporter's textfile collector.

A reader sees the old file or the new one whole, never a part. The file stays when the agent ends: what is still
pending stays so, and its age (node_textfile_mtime_seconds) shows that it is not renewed.
"""
from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from tideover.errors import system_reason
from tideover.http_server import (
    ConnectionLimits,
    ConnectionListener,
    OnProblem,
    http_answer,
    ignore_problem,
    is_whole_head,
    listen_on,
)
from tideover.threads import Loop

# --- HTTP

LIMITS = ConnectionLimits(whole_s=2.0)        # asking, and then answering; a scrape waits 10 s before it gives up


class MetricsPage:
    """Listens on one address, on one thread that sleeps until a client connects."""

    def __init__(self, host: str, port: int, text: Callable[[], bytes], content_type: str,
                 on_problem: OnProblem = ignore_problem) -> None:
        """`text`: what to show. `on_problem` gets the reason why no client can connect, None when that is over. Raise
        OSError if it cannot listen there."""
        self._text, self._content_type = text, content_type
        listener = listen_on(host, port)
        self.port = int(listener.getsockname()[1])
        self._listening = ConnectionListener(listener, "metrics", LIMITS, self._answers, on_problem)

    def close(self) -> None:
        self._listening.close()

    def _answers(self, received: bytes, is_request_complete: bool) -> bytes | None:
        return http_answer(received, self._page) if is_request_complete or is_whole_head(received) else None

    def _page(self, path: bytes) -> tuple[str, str, bytes]:
        if path != b"/metrics":
            return "404 Not Found", "text/plain", b"there is only /metrics\n"
        return "200 OK", self._content_type, self._text()


# --- Textfile collector (github.com/prometheus/node_exporter)

PERIOD_S = 15.0             # the shortest interval at which node_exporter is usually scraped
READABLE_BY_ALL = 0o644     # node_exporter runs as a user of its own, and the service's umask is 0077
CLOSE_S = 2.0               # how long closing waits for a write under way: the disk may hang


class Textfile:
    """Writes one text to one file, now and then, on a thread of its own."""

    def __init__(self, path: Path, text: Callable[[], bytes], on_problem: Callable[[str | None], None]) -> None:
        """`on_problem` is called with why it could not be written, or None when it was; after each try."""
        self._path, self._text, self._on_problem = path, text, on_problem
        self._closing = threading.Event()
        self._loop = Loop("metrics-textfile", self._run, on_problem)
        self._loop.start()

    def close(self) -> None:
        """Write a last time, and end."""
        self._closing.set()
        self._loop.end(CLOSE_S)

    def _run(self) -> None:
        while True:
            is_last = self._closing.is_set()
            self._write()
            if is_last:
                return
            self._closing.wait(PERIOD_S)

    def _write(self) -> None:
        try:
            replace_file(self._path, self._text())
        except OSError as trouble:
            self._on_problem(f"cannot write {self._path}: {system_reason(trouble)}; "
                       "make its directory, and let this agent write there")
        else:
            self._on_problem(None)


def replace_file(path: Path, content: bytes) -> None:
    """Given a path, let its file be `content`, readable by all, from one moment to the next. Raise OSError.

    Nothing is synced to the disk: after a crash of the machine the counters start at 0 anyway.
    """
    part = path.with_name(f".{path.name}.part")      # node_exporter reads only names that end in .prom
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    try:
        # Exclusive, so that a link at that name in another user's directory is never followed.
        with part.open("xb") as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), READABLE_BY_ALL)
            file.write(content)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
