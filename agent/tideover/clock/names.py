"""From a server as its owner wrote it to all its addresses, without ever making the check wait for a dead resolver."""
from __future__ import annotations

import contextlib
import queue
import socket
from collections.abc import Callable, Iterable
from functools import partial

from tideover.clock.exchange import Target
from tideover.threads import start_task
from tideover.timekeeping.ntp import split_server

FRESH_S = 60.0          # a name is looked up again when its addresses are older
_MOST_ADDRESSES = 8     # of one name; more would be a flood of questions, not better time


class Names:
    """Addresses known so far. Each look-up has a thread of its own, which may hang; then the old addresses serve."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._known: dict[str, tuple[Target, ...]] = {}
        self._looked_up_s: dict[str, float] = {}
        self._pending: set[str] = set()
        self._found: queue.SimpleQueue[tuple[str, tuple[Target, ...], str]] = queue.SimpleQueue()
        self.failures: dict[str, str] = {}

    def targets(self, server: str) -> tuple[Target, ...]:
        """Given a server, return its addresses as far as they are known."""
        return self._known.get(server, ())

    def is_pending(self, server: str) -> bool:
        return server in self._pending

    def look_up(self, servers: Iterable[str], now_s: float) -> None:
        """Given servers, see to it that their addresses are known or become known; never blocks."""
        for server in servers:
            age_s = now_s - self._looked_up_s.get(server, float("-inf"))
            if server in self._pending or age_s < FRESH_S:
                continue
            self._looked_up_s[server] = now_s
            try:
                host, port = split_server(server)
            except ValueError as error:      # another program's configuration may hold anything
                self.failures[server] = str(error)
                continue
            if _is_literal(host):
                self._known[server], _ = _addresses(server, host, port)
            else:
                self._pending.add(server)
                start_task("tideover-clock-name", partial(self._resolve, server, host, port),
                           partial(self._found_none, server))

    def collect(self) -> tuple[str, ...]:
        """Take in what the look-ups have brought; return the servers that were looked up."""
        brought: list[str] = []
        with contextlib.suppress(queue.Empty):
            while True:
                server, targets, failure = self._found.get_nowait()
                self._pending.discard(server)
                self.failures.pop(server, None)
                if targets:
                    self._known[server] = targets
                else:
                    self.failures[server] = failure
                    self._looked_up_s.pop(server, None)
                brought.append(server)
        return tuple(brought)

    def _resolve(self, server: str, host: str, port: int) -> None:
        targets, failure = _addresses(server, host, port)
        self._found.put((server, targets, failure))
        self._ring()

    def _found_none(self, server: str, reason: str) -> None:
        self._found.put((server, (), reason))
        self._ring()


def _is_literal(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host.partition("%")[0])
    except (OSError, UnicodeError):
        return False
    return True


def _addresses(server: str, host: str, port: int) -> tuple[tuple[Target, ...], str]:
    """Given host and port number, return all addresses, or none and why."""
    try:
        # As bytes a plain name spares us the tables of IDNA, which are larger than all the rest of this hand.
        answers = socket.getaddrinfo(host.encode() if host.isascii() else host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:      # UnicodeError: a label that IDNA cannot encode
        return (), str(getattr(error, "strerror", None) or error)
    targets = {sockaddr: Target(server, _text(sockaddr, port), family, sockaddr)  # type: ignore[arg-type]
               for family, _kind, _protocol, _name, sockaddr in answers
               if family in (socket.AF_INET, socket.AF_INET6)}
    return tuple(targets.values())[:_MOST_ADDRESSES], "it has no address of IPv4 or IPv6"


def _text(sockaddr: tuple[object, ...], port: int) -> str:
    host = str(sockaddr[0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
