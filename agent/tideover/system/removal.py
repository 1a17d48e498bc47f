"""Removes directories, however deep and whatever is in them, with bounded memory and descriptors.

A directory within a directory that is to go is first moved up beside it, so that nothing is ever looked for deeper than
two levels. Links are removed, never followed.
"""
from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
from pathlib import Path

PASSES = 8                      # over a directory into which a process that is left goes on writing
STUCK_AT_MOST = 16              # entries that cannot be removed; then the rest is left for the next time
_numbers = itertools.count()


def empty_directory(directory: Path) -> OSError | None:
    """Given a directory that only its owner can enter, remove what lies in it, as far as that can be done.

    Return what came in the way first. Raise OSError if the directory itself cannot be read.
    """
    return _empty(directory)


def _new_name() -> str:
    return f"{os.getpid()}.{next(_numbers)}.moved"


if sys.platform == "win32":
    def _empty(directory: Path) -> OSError | None:
        troubles: dict[str, OSError] = {}
        while (name := next((entry.name for entry in os.scandir(directory) if entry.name not in troubles), None)):
            if len(troubles) >= STUCK_AT_MOST:
                break
            trouble = _remove(directory, name)
            if trouble is not None:
                troubles[name] = trouble
        return next(iter(troubles.values()), None)

    def _remove(above: Path, name: str) -> OSError | None:
        path = above / name
        try:
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_reparse_tag:
                path.unlink()           # a junction goes as a link does
                return None
            for entry in os.scandir(path):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and not status.st_reparse_tag:
                    Path(entry.path).rename(above / _new_name())
                else:
                    Path(entry.path).unlink()
            path.rmdir()
        except FileNotFoundError:
            return None
        except OSError as trouble:
            return trouble
        return None

else:
    _OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def _empty(directory: Path) -> OSError | None:
        above = os.open(directory, _OPEN)
        stuck: set[str] = set()
        first: OSError | None = None
        try:
            while len(stuck) < STUCK_AT_MOST and (name := _next_name(above, stuck)) is not None:
                try:
                    _remove(above, name)
                except OSError as trouble:
                    first = first or trouble
                    stuck.add(name)
        finally:
            os.close(above)
        return first

    def _next_name(above: int, stuck: set[str]) -> str | None:
        with os.scandir(above) as entries:
            return next((entry.name for entry in entries if entry.name not in stuck), None)

    def _remove(above: int, name: str) -> None:
        if _is_gone(above, name):
            return
        _unlock(above, name)
        own = os.open(name, _OPEN, dir_fd=above)
        try:
            for _ in range(PASSES):
                _move_up(own, above)
                if _is_gone(above, name):
                    return
        finally:
            os.close(own)
        os.rmdir(name, dir_fd=above)

    def _unlock(above: int, name: str) -> None:
        """A directory that its owner has locked can be read and moved by root alone."""
        if os.geteuid() != 0:
            os.chmod(name, 0o700, dir_fd=above)

    def _is_gone(above: int, name: str) -> bool:
        """Remove it if it is a file, a link or an empty directory. Return whether it is gone. Raise OSError."""
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=above)
            else:
                os.unlink(name, dir_fd=above)
        except FileNotFoundError:
            return True
        except OSError as trouble:
            if trouble.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def _move_up(own: int, above: int) -> None:
        """Remove the files in a directory, and put the directories in it beside it."""
        with os.scandir(own) as entries:
            for entry in entries:
                if not _is_gone(own, entry.name):
                    _unlock(own, entry.name)
                    os.rename(entry.name, _new_name(), src_dir_fd=own, dst_dir_fd=above)
