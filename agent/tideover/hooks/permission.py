"""May this file be run by us? Platform part: Linux owners and mode bits. Looks; never changes anything.

The walk goes from the root downwards and follows links as the kernel would. Each step that is found safe can only be
changed by root or the agent's own user from then on, so by induction the file at the end is the one that the kernel
will run under the same path: nobody else can swap a step between the check and the start.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from tideover.hooks.plain_text import plain

SUFFIXES = ("",)             # of hooks' files
LINKS_AT_MOST = 40          # as the kernel's own limit (path_resolution(7))
SHOWN_PATH = 4096           # PATH_MAX: no real path is cut


def trusted_users() -> frozenset[int]:
    """Return the user ids that may write a hook: root and the agent's own."""
    return frozenset({0, os.geteuid()})


def has_run_bit(mode: int) -> bool:
    """Given a file's mode, return whether anybody may run it; a hook without is disabled."""
    return bool(mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))


def find_refusal(path: str, trusted: frozenset[int], safe: set[str]) -> str | None:
    """Given an absolute path, who may write and the directories already found safe, return why not to run the file.

    None: it may be run; `safe` has gained the directories on the way. Raise OSError if the way cannot be walked.
    """
    found = _look(path, trusted, safe)
    if isinstance(found, str):
        return found
    return None if stat.S_ISREG(found) else f"{_shown(path)} is not a regular file: put a program there"


def find_unsafe_step(path: str, *, is_secret: bool = False) -> str | None:
    """Given an absolute path of any kind of file, return who else could change what lies there, or read it where it is
    secret; None: nobody.

    Others are all but root and the agent's own user. Raise OSError if the way cannot be walked.
    """
    found = _look(path, trusted_users(), set())
    if isinstance(found, str):
        return found
    return _judge_secret(path, found) if is_secret else None


def _judge_secret(path: str, mode: int) -> str | None:
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    whom, bits = ("everybody", "go-r") if mode & stat.S_IROTH else ("its group", "g-r")
    return f"{_shown(path)} is secret and can be read by {whom}: chmod {bits} {_shown(path)}"


def _look(path: str, trusted: frozenset[int], safe: set[str]) -> str | int:
    """Return the mode of what lies at the path's end, or why it is not safe."""
    mode = 0
    for step, status in _walk(path, safe):
        reason = _judge(step, status, trusted)
        if reason is not None:
            return reason
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            safe.add(step)
    return mode


def _walk(path: str, safe: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Given a path, yield each step that the kernel takes, links included, but for the directories known as safe."""
    here, links = "", 0
    ahead = _steps(path)
    while ahead:
        name = ahead.pop()
        if name == "..":        # the links on the way here are resolved: the directory above is the text's as well
            here = here.rpartition("/")[0]
            continue
        step = "/" if name == "/" else f"{here}/{name}"
        if step not in safe:
            status = os.lstat(step)
            yield step, status
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > LINKS_AT_MOST:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                ahead.extend(_steps(str(Path(step).readlink())))
                continue
        here = step.rstrip("/")


def _steps(path: str) -> list[str]:
    """Given a path, return its steps, the first one last. An absolute path begins with the root itself ('/')."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    return [*reversed(names), "/"] if path.startswith("/") else names[::-1]


def _judge(step: str, status: os.stat_result, trusted: frozenset[int]) -> str | None:
    if status.st_uid not in trusted:
        follow = "-h " if stat.S_ISLNK(status.st_mode) else ""
        return (f"{_shown(step)} belongs to user id {status.st_uid}, who could change it: "
                f"chown {follow}root {_shown(step)}")
    if stat.S_ISLNK(status.st_mode):
        return None         # a link has no mode of its own (symlink(7)); only the directory it lies in guards it
    mode = status.st_mode
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and status.st_uid == 0:
        return None         # sticky: what lies in it can be moved by its owner and root only (unlink(2))
    whom, bit = ("everybody", "go-w") if mode & stat.S_IWOTH else ("its group", "g-w")
    return f"{_shown(step)} can be written by {whom}: chmod {bit} {_shown(step)}"


def _shown(path: str) -> str:
    return shlex.quote(plain(path, SHOWN_PATH))
