"""What the server of applications needs of a connection, whichever the system; the choice of the transport."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

if sys.platform == "win32":
    from tideover.applications.named_pipe import (
        SUPERUSER,
        PipeTransport as _Listening,
        address_of,
        connections_possible,
        find_user,
    )
else:
    from tideover.applications.unix_socket import (
        SUPERUSER,
        SocketTransport as _Listening,
        address_of,
        connections_possible,
        find_user,
    )

__all__ = ["SUPERUSER", "ClientChannel", "OnProblem", "Transport", "User", "address_of", "connections_possible",
           "find_user", "open_transport"]

User = int | str
"""Who a client is, as the system says it: the number of a Unix user; on Windows a security identifier (S-1-5-…)."""

OnProblem = Callable[[str | None], None]
"""Called with the reason while no client can be accepted, and with None when one can be again."""


class ClientChannel(Protocol):
    """One client's connection."""

    @property
    def user(self) -> User | None:
        """None: not known before its first bytes."""
    @property
    def is_closed(self) -> bool:
        """By us."""
    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
    def send(self, data: bytes) -> None:
        """Does not wait for the client. Raise OSError if it is gone."""
    def close(self, last: bytes = b"") -> None:
        """`last`: sent before, if the client takes it."""


class Transport(Protocol):
    """Where clients connect."""

    def wait(self, seconds: float | None) -> Iterator[tuple[ClientChannel, bytes | None]]:
        """Wait so long for news. Yield connections, each with what has arrived: b"" for a new one, None at its end.
        One thread."""
    def is_replaced(self) -> bool:
        """Whether another process took the place where clients connect. Any thread."""
    def listen_again(self) -> None:
        """In the place of what is there now; connections stay. On the thread that waits. Raise OSError."""
    def wake(self) -> None:
        """End the wait. Any thread."""
    def close(self) -> None:
        """End all connections, and listen no more. When nothing waits any more."""


def open_transport(path: Path, on_problem: OnProblem) -> Transport:
    """Given where, listen there for every user. Raise OSError if that fails."""
    return _Listening(path, on_problem)
