"""Files and directories that are the agent's own: their modes, owners and making; whether this user is root.

`mode` is what Linux gives them (chmod(2)); Windows has its own way to say "ours alone" and needs no number. Hooks that
run as other users reach their directories on Linux only: Windows has no such hooks.
"""
from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

# --- Rights of this process

if sys.platform == "win32":
    from tideover.winapi.security import is_administrator

    ADMIN_NAME, HOW_TO_ELEVATE = "an administrator", "in a window opened as administrator"

    def user_id() -> int:
        """Return 0 for a process with an administrator's rights, as Linux does for root; else 1."""
        return 0 if is_administrator() else 1

else:
    ADMIN_NAME, HOW_TO_ELEVATE = "root", "with sudo"

    def user_id() -> int:
        """Return the number of the user that this process acts as; 0: root."""
        return os.geteuid()


# --- Private files and directories: no other user can read them, or create entries in them

if sys.platform == "win32":
    from tideover.winapi.security import (
        make_private_directory,
        make_private_file,
        own_sid,
        read_file_security,
        trusted_sids,
    )

    READERS, MODE_TOOL = "you and administrators", "icacls"
    """Who can read a private file, and what changes that."""

    def create_private_file(path: Path) -> int:
        """Given a path where nothing lies, make a file that no other user can read; return its descriptor, for
        writing. Raise OSError."""
        return make_private_file(path)

    def make_base_directory(path: Path, mode: int) -> None:
        """Given a path, make it a directory of the agent's own. Raise OSError if it is another user's."""
        make_own_directory(path, mode)

    def make_own_directory(path: Path, mode: int) -> None:
        """Given a path, make it a directory of the agent's own. Raise OSError if it is another user's."""
        make_directory(path, mode)
        owner = read_file_security(str(path)).owner
        if owner not in trusted_sids(own_sid()):
            raise PermissionError(errno.EPERM, f"it belongs to {owner}, not to this agent", str(path))

    def make_directory(path: Path, mode: int) -> None:
        """Given a path, make it a directory. Raise OSError if it is anything else or cannot be."""
        make_private_directory(path)
        _refuse_link(path)

    def give_to(path: Path, owner: tuple[int, int] | None) -> None:
        """Nothing: what the agent makes is the agent's, and so are its hooks."""

    def _refuse_link(path: Path) -> None:
        status = path.lstat()
        if status.st_reparse_tag or not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is a link, not a directory", str(path))

else:
    READERS, MODE_TOOL = "you", "chmod"
    """Who can read a private file, and what changes that."""

    def create_private_file(path: Path) -> int:
        """Given a path where nothing lies, make a file that no other user can read; return its descriptor, for
        writing. Raise OSError."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def make_base_directory(path: Path, mode: int) -> None:
        """Given a path that only root and the agent's own user can change, make it a directory, and of that mode if it
        is ours. The path itself may be a link. Raise OSError."""
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        real = path.resolve(strict=True)
        if real.lstat().st_uid == os.geteuid():
            _set_mode(real, mode, None)

    def make_own_directory(path: Path, mode: int) -> None:
        """Given a path and a mode, make it a directory of the agent's own. Raise OSError if it is another user's; then
        nothing has changed.

        Another user who owned it could put links where root is going to make directories and give them away.
        """
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        _set_mode(path, mode, (0, os.geteuid()))

    def make_directory(path: Path, mode: int) -> None:
        """Given a path and a mode, make it a directory of that mode. Raise OSError if it is anything else or cannot
        be."""
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        _set_mode(path, mode, None)

    def _set_mode(path: Path, mode: int, owners: tuple[int, ...] | None) -> None:
        """Look and change by one descriptor: what is changed is what was looked at."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as trouble:
            if trouble.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise NotADirectoryError(errno.ENOTDIR, "it is a link, not a directory", str(path)) from trouble
        try:
            status = os.fstat(descriptor)
            if owners is not None and status.st_uid not in owners:
                raise PermissionError(errno.EPERM, f"it belongs to user id {status.st_uid}", str(path))
            if stat.S_IMODE(status.st_mode) != mode:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def give_to(path: Path, owner: tuple[int, int] | None) -> None:
        """Given a path and its user's and group's numbers (None: our own), make it theirs. Raise OSError."""
        wanted = owner or (os.geteuid(), os.getegid())
        status = path.lstat()
        if (status.st_uid, status.st_gid) != wanted:
            os.chown(path, *wanted, follow_symlinks=False)
