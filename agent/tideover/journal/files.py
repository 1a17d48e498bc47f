"""The files a journal consists of: what they are called, which ones they are, how they are set aside."""
from __future__ import annotations

import contextlib
import time
from pathlib import Path

FILE = "journal.db"
COMPANIONS = ("-wal", "-shm")

Identity = tuple[int, int]      # device and number: a name can be given to another file, these cannot


def files_of(path: Path) -> list[Path]:
    """Given a journal's path, return where it and its companions lie, if they do: itself, its log, its index."""
    return [path, *(path.with_name(path.name + suffix) for suffix in COMPANIONS)]


def files_with_content(path: Path) -> list[Path]:
    """Given a journal's path, return where the files lie that hold what it says: itself and its log."""
    return files_of(path)[:2]


def identify(path: Path) -> dict[Path, Identity]:
    """Given a journal's path, return which files it consists of now: itself and the log beside it."""
    found = {}
    for file in files_with_content(path):
        with contextlib.suppress(OSError):
            status = file.lstat()
            found[file] = (status.st_dev, status.st_ino)
    return found


def set_aside(path: Path, why: str) -> Path:
    """Given a journal that cannot be used, rename it and its companions; return the new name. Nothing is lost."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    for suffix in (*COMPANIONS, ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside
