"""Who may connect to the socket of applications, and as whom: users, connections at once, pace of hello, refusals.

The system says which user a client is. Users that no table names may ask, and are refused; they are counted together,
because one user may have a range of user ids.
"""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tideover.applications import protocol
from tideover.applications.transport import SUPERUSER, User, connections_possible, find_user
from tideover.model import HookSpec
from tideover.settings import Settings

UNNAMED_USER = -1                    # what a user that no table names is counted as
UNNAMED_USERS_AT_MOST = 32           # their connections, together
HELLOS_AT_ONCE, HELLO_EVERY_S = 10, 1.0     # of one name: each may have the agent prepare, and write
KNOWN_S = 10.0                       # so long it is kept who the users are that tables name


@dataclass(frozen=True, slots=True)
class ApplicationAccess:
    """Who may take part. Asked on the server's thread, at each hello.

    `find`: given a name, the participant of that name, None if there is none. `listeners`: users that may listen beside
    the superuser. `find_user`: given a user's name, None: the agent's own, that user as the system names it to us; None
    if there is none.
    """

    find: Callable[[str], HookSpec | None]
    listeners: Callable[[], tuple[str | None, ...]]
    connections_at_most: int = 64        # of one user
    find_user: Callable[[str | None], User | None] = find_user


class HelloPace:
    """So many at once, and one each so often."""

    def __init__(self) -> None:
        self._free, self._counted_at_s = float(HELLOS_AT_ONCE), time.monotonic()

    def is_free(self) -> bool:
        """Count one more; return whether it may be now."""
        now_s = time.monotonic()
        self._free = min(float(HELLOS_AT_ONCE), self._free + (now_s - self._counted_at_s) / HELLO_EVERY_S)
        self._counted_at_s = now_s
        if self._free < 1.0:
            return False
        self._free -= 1.0
        return True


class Admission:
    """Counts connections, and says who is refused. Owned by the server's thread."""

    def __init__(self, access: ApplicationAccess) -> None:
        self._access = access
        self._of_user: Counter[User] = Counter()
        self._at_most = connections_possible()
        self._paces: dict[str, HelloPace] = {}
        self._known_users: set[User | None] = set()
        self._known_until_s = 0.0

    def enter(self, user: User) -> tuple[User, str]:
        """Given the user of a new connection, count it. Return what it is counted as (for `leave`), and why it is one
        too many ("": it is not)."""
        counted_as = self._counted_as(user)
        self._of_user[counted_as] += 1
        count, own = self._of_user[counted_as], self._access.connections_at_most
        if counted_as == UNNAMED_USER and count > UNNAMED_USERS_AT_MOST:
            return counted_as, f"users that no table names may have {UNNAMED_USERS_AT_MOST} connections together"
        if count > own:
            return counted_as, f"a user may have {own} connections"
        is_full = self._of_user.total() > self._at_most
        return counted_as, "the agent has no descriptors to spare" if is_full else ""

    def leave(self, counted_as: User) -> None:
        """A connection has ended."""
        self._of_user[counted_as] -= 1
        if not self._of_user[counted_as]:
            del self._of_user[counted_as]

    def why_refused(self, user: User, hello: protocol.Hello) -> str:
        """Given a client's user and its first line, return why it is not taken ("": it is)."""
        if hello.protocol != protocol.PROTOCOL:
            return f"protocol {hello.protocol} is not spoken here"
        if hello.listens:
            allowed = {self._access.find_user(name) for name in self._access.listeners()} | {SUPERUSER}
            return "" if user in allowed else "this user may not listen ([applications] listeners)"
        spec = self._access.find(hello.name)
        if spec is None:
            return f"there is no [application.{hello.name}] in the configuration"
        if self._access.find_user(spec.user) != user:
            return f"[application.{hello.name}] names the user {spec.user or 'of the agent'}, not that of this process"
        return ""

    def why_too_often(self, name: str) -> str:
        """An application that may take part connects now: return why it has to wait ("": it has not)."""
        pace = self._paces.setdefault(name, HelloPace())        # names of tables: few
        return "" if pace.is_free() else f"{name} connects too often: more than once a second"

    def _counted_as(self, user: User) -> User:
        now_s = time.monotonic()
        if now_s >= self._known_until_s:            # a directory service may answer slowly
            self._known_until_s = now_s + KNOWN_S
            self._known_users = {SUPERUSER, *map(self._access.find_user, self._access.listeners())}
        return user if user in self._known_users else UNNAMED_USER


def unusable_tables(settings: Settings) -> list[tuple[str, str]]:
    """Given the settings, return the applications that none can be, because their user does not exist: name and
    user."""
    return [(name, options.user) for name, options in settings.application.items()
            if options.user is not None and find_user(options.user) is None]
