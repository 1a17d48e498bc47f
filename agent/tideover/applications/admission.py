"""Who may connect to the socket of applications, as whom, and how many at once.

The kernel says which user a client is. Users that no table names may ask, and are refused; they are counted together,
because one user may have a range of user ids.
"""
from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tideover.applications import protocol
from tideover.model import HookSpec
from tideover.settings import Settings

UNNAMED_USER = -1                    # what a user that no table names is counted as
UNNAMED_USERS_AT_MOST = 32           # their connections, together
KNOWN_S = 10.0                   # so long the numbers of the users that tables name are kept
DESCRIPTORS_KEPT = 256           # of those the process may have: for hooks, the journal, the platform

_CREDENTIALS = struct.Struct("3i")     # pid, uid, gid (unix(7), SO_PEERCRED)


@dataclass(frozen=True, slots=True)
class ApplicationAccess:
    """Who may take part. Asked on the server's thread, at each hello.

    `find`: given a name, the participant of that name, None if there is none. `user_id`: given a user's name, None: the
    agent's own, the number of that user; None if there is none. `listeners`: users that may listen beside root.
    """

    find: Callable[[str], HookSpec | None]
    user_id: Callable[[str | None], int | None]
    listeners: Callable[[], tuple[str | None, ...]]
    connections_at_most: int = 64        # of one user


class Admission:
    """Counts connections, and says who is refused. Owned by the server's thread."""

    def __init__(self, access: ApplicationAccess) -> None:
        self._access = access
        self._of_user: Counter[int] = Counter()
        self._at_most = max(1, descriptors_allowed() - DESCRIPTORS_KEPT)
        self._known_users: set[int | None] = set()
        self._known_until_s = 0.0

    def enter(self, user_id: int) -> tuple[int, str]:
        """Given the user of a new connection, count it. Return what it is counted as (for `leave`), and why it is one
        too many ("": it is not)."""
        counted_as = self._counted_as(user_id)
        self._of_user[counted_as] += 1
        count, own = self._of_user[counted_as], self._access.connections_at_most
        if counted_as == UNNAMED_USER and count > UNNAMED_USERS_AT_MOST:
            return counted_as, f"users that no table names may have {UNNAMED_USERS_AT_MOST} connections together"
        if count > own:
            return counted_as, f"a user may have {own} connections"
        is_full = self._of_user.total() > self._at_most
        return counted_as, "the agent has no descriptors to spare" if is_full else ""

    def leave(self, counted_as: int) -> None:
        """A connection has ended."""
        self._of_user[counted_as] -= 1
        if not self._of_user[counted_as]:
            del self._of_user[counted_as]

    def why_refused(self, user_id: int, hello: protocol.Hello) -> str:
        """Given a client's user and its first line, return why it is not taken ("": it is)."""
        if hello.protocol != protocol.PROTOCOL:
            return f"protocol {hello.protocol} is not spoken here"
        if hello.listens:
            allowed = {self._access.user_id(user) for user in self._access.listeners()} | {0}
            return "" if user_id in allowed else "this user may not listen ([applications] listeners)"
        spec = self._access.find(hello.name)
        if spec is None:
            return f"there is no [application.{hello.name}] in the configuration"
        if self._access.user_id(spec.user) != user_id:
            return f"[application.{hello.name}] names the user {spec.user or 'of the agent'}, not that of this process"
        return ""

    def _counted_as(self, user_id: int) -> int:
        now_s = time.monotonic()
        if now_s >= self._known_until_s:            # a directory service may answer slowly
            self._known_until_s = now_s + KNOWN_S
            self._known_users = {0, *map(self._access.user_id, self._access.listeners())}
        return user_id if user_id in self._known_users else UNNAMED_USER


def listen(path: Path) -> socket.socket:
    """Given the path, whose directory is ours, return the socket that listens there, for every user. Raise OSError."""
    if sys.platform == "win32":
        raise OSError("named pipes for applications are not built yet")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def descriptors_allowed() -> int:
    """Return how many files and connections this process may have open."""
    if sys.platform == "win32":
        return 8192
    import resource
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if most != resource.RLIM_INFINITY else sys.maxsize


def peer_user_id(channel: socket.socket) -> int:
    """Return the number of the user whose process is connected, as the kernel says it. Raise OSError."""
    if sys.platform == "win32":
        raise OSError("there are no peer credentials")
    _, user_id, _ = _CREDENTIALS.unpack(
        channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user_id)


# --- Users

def find_user_id(name: str | None) -> int | None:
    """Given a user's name, None: the one this agent runs as, return its number; None if there is no such user."""
    if sys.platform == "win32":
        return None
    import os
    import pwd
    if name is None:
        return os.geteuid()
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def unusable_tables(settings: Settings) -> list[tuple[str, str]]:
    """Given the settings, return the applications that none can be, because their user does not exist: name and
    user."""
    if sys.platform == "win32":
        return []
    return [(name, options.user) for name, options in settings.application.items()
            if options.user is not None and find_user_id(options.user) is None]
