"""The private directory of each hook, from its first prepare to its recovery. Knows nothing of when that is.

The directory above them is 0711, so that a hook's user reaches its own and sees no other; each one is 0700 and its
user's. A directory that is done with is first renamed away, at once, and deleted later: what a next prepare finds is
empty, however long the deletion takes.
"""
from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from tideover.hooks.account import Account

ABOVE_MODE, OWN_MODE = 0o711, 0o700
GONE = ".gone"


class StateDirectories:
    """The state directories under one directory of the agent's."""

    def __init__(self, above: Path) -> None:
        self._above = above.resolve()
        self._gone = self._above / GONE

    def path(self, name: str) -> str:
        """Given a hook's name, return the path of its state directory, without links, whether it is there or not."""
        return str(self._above / name)

    def open(self, name: str, account: Account) -> str:
        """Given a hook's name and its account, return the path of its state directory, made if need be.

        Raise OSError if it cannot be made or cannot be handed to that user.
        """
        make_own_directory(self._above, ABOVE_MODE)
        own = self._above / name
        make_directory(own, OWN_MODE)
        owner = account.change_to[:2] if account.change_to else (os.geteuid(), os.getegid())
        status = own.lstat()
        if (status.st_uid, status.st_gid) != owner:
            os.chown(own, *owner, follow_symlinks=False)
        return str(own)

    def retire(self, name: str) -> None:
        """Given a hook's name, take its state directory away, if there is one. Raise OSError if that fails."""
        own = self._above / name
        if own.is_dir():
            make_own_directory(self._gone, OWN_MODE)
            own.rename(self._gone / f"{name}.{os.getpid()}.{time.monotonic_ns()}")

    def sweep(self) -> None:
        """Delete what was taken away, as far as it can be. May take long: never on the engine's thread."""
        with suppress(OSError):     # there is none, or it is not ours: what did matter was told when it was taken away
            for old in list(self._gone.iterdir()):
                shutil.rmtree(old, ignore_errors=True)


def make_own_directory(path: Path, mode: int) -> None:
    """Given a path and a mode, make it a directory of the agent's own. Raise OSError if it is another user's.

    Somebody else who owned it could put links where root is going to make directories and give them away.
    """
    make_directory(path, mode)
    owner = path.lstat().st_uid
    if owner not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"it belongs to user id {owner}", str(path))


def make_directory(path: Path, mode: int) -> None:
    """Given a path and a mode, make it a directory of that mode. Raise OSError if it is anything else or cannot be."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is a link, not a directory", str(path))
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)
