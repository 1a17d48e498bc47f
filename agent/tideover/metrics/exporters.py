"""The figures as a file for node_exporter's textfile collector (github.com/prometheus/node_exporter). Knows no figure.

A reader sees the old file or the new one whole, never a part. The file stays when the agent ends: what is still owed
stays owed, and its age (node_textfile_mtime_seconds) says that nobody renews it.
"""
from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from tideover.threads import Loop

PERIOD_S = 15.0             # the shortest interval at which node_exporter is usually scraped
READABLE_BY_ALL = 0o644     # node_exporter runs as a user of its own, and the service's umask is 0077
CLOSE_S = 2.0               # how long closing waits for a write under way: the disk may hang


class Textfile:
    """Writes one text to one file, now and then, on a thread of its own."""

    def __init__(self, path: Path, text: Callable[[], bytes], told: Callable[[str | None], None]) -> None:
        """`told`: why it could not be written, or None when it was; after each try."""
        self._path, self._text, self._told = path, text, told
        self._closing = threading.Event()
        self._loop = Loop("metrics-textfile", self._run, told)
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
            self._told(f"cannot write {self._path}: {(trouble.strerror or str(trouble)).lower()}; "
                       "make its directory, and let this agent write there")
        else:
            self._told(None)


def replace_file(path: Path, content: bytes) -> None:
    """Given a path, let its file be `content`, readable by all, from one moment to the next. Raise OSError.

    Nothing is forced to the disk: after a crash of the machine the figures begin anew anyway.
    """
    part = path.with_name(f".{path.name}.part")      # node_exporter reads only names that end in .prom
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    try:
        # Exclusive, so that a link which somebody left at that name in a directory of theirs is never followed.
        with part.open("xb") as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), READABLE_BY_ALL)
            file.write(content)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
