"""The NTP client: names to addresses, and one query to each address, side by side within one deadline.

Sends and receives; what an answer is worth is decided in `timekeeping.ntp_packet`. ntplib's client is not used: it
takes any packet from the right address for the answer, and each foreign packet restarts its timeout.
"""
from __future__ import annotations

import contextlib
import os
import queue
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import md5

from tideover.system.clocks import RawWallClocks, wall_minus_raw_ns
from tideover.system.process import EXHAUSTED
from tideover.system.wakeup import Wakeup
from tideover.threads import start_task
from tideover.timekeeping import ntp_packet
from tideover.timekeeping.intervals import TimeSample
from tideover.timekeeping.ntp_packet import Rejected, RejectReason, RoundTrip, split_server

# --- Exchanges: one query to each of many addresses, within one deadline

# Linux only: the kernel's own stamp of a packet's arrival, 5 to 340 µs before Python gets to look (asm/socket.h).
_SO_TIMESTAMPNS = 35
_STAMPED = sys.platform == "linux"
_STAMP = struct.Struct("@qq")
_MOST_FOREIGN = 64         # packets that are not ours; after that the address is a flood, not a server
_DATAGRAM_BYTES = 512        # an NTP answer with extensions is far smaller


@dataclass(frozen=True, slots=True)
class NtpTarget:
    """One address of one server, ready for connect()."""

    server: str
    address: str             # for people
    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


class _NtpQuery:
    """One question under way, on a socket of its own: a random port, and the kernel lets only its peer in."""

    def __init__(self, target: NtpTarget, clocks: RawWallClocks) -> None:
        self.target, self.foreign_packets = target, 0
        self._clocks, self._cookie = clocks, os.urandom(ntp_packet.NONCE_BYTES)
        self.socket = socket.socket(target.family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            if _STAMPED:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.socket.connect(target.sockaddr)
            self._wall_minus_raw_ns = wall_minus_raw_ns(clocks)
            self._sent_raw_ns = clocks.raw_ns()
            self.socket.send(ntp_packet.question(self._cookie))
        except OSError:
            self.socket.close()
            raise

    def receive(self) -> TimeSample | Rejected | None:
        """Return what the answer is worth; None if what came was not it. Raise OSError if the peer is not there."""
        data, stamp_age_ns = self._receive()
        raw_ns = self._clocks.raw_ns()
        distance_ns = wall_minus_raw_ns(self._clocks)
        if not ntp_packet.is_answer_to(data, self._cookie):
            self.foreign_packets += 1
            return self.silence() if self.foreign_packets >= _MOST_FOREIGN else None
        if not 0 <= stamp_age_ns < raw_ns - self._sent_raw_ns:
            stamp_age_ns = 0      # no stamp, or the clock was set between the stamp and our look at it
        trip = RoundTrip(self.target.server, self.target.address, self._sent_raw_ns, raw_ns - stamp_age_ns,
                    self._wall_minus_raw_ns, distance_ns, _own_ids(self.socket.getsockname()[0]))
        return ntp_packet.validate(ntp_packet.read_reply(data, distance_ns + raw_ns), trip)

    def silence(self) -> Rejected:
        """Return what it means that no answer came."""
        fault = RejectReason.NOT_OURS if self.foreign_packets else RejectReason.NO_ANSWER
        return Rejected(self.target.server, self.target.address, fault)

    def _receive(self) -> tuple[bytes, int]:
        if sys.platform != "linux":
            return self.socket.recv(_DATAGRAM_BYTES), 0
        data, ancillary, _flags, _from = self.socket.recvmsg(_DATAGRAM_BYTES, 128)
        now_ns = time.time_ns()
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(value) >= _STAMP.size:
                seconds, rest = _STAMP.unpack_from(value)
                return data, int(now_ns - seconds * 1_000_000_000 - rest)
        return data, 0


class NtpClient:
    """One round. `ask` sends; `wait` gathers until all have spoken, enough is known, or the time is up."""

    def __init__(self, clocks: RawWallClocks, limit_s: float) -> None:
        self.samples: list[TimeSample] = []
        self.refused: list[Rejected] = []
        self._clocks, self._until_s = clocks, time.monotonic() + limit_s
        self._is_cut_short = False
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, _NtpQuery] = {}

    def ask(self, target: NtpTarget) -> None:
        """Send one question; an address that cannot be reached is refused at once.

        Raise OSError where not a single question can be asked, because no descriptor is left.
        """
        try:
            question = _NtpQuery(target, self._clocks)
        except OSError as error:
            if error.errno in EXHAUSTED and not self._open:
                raise
            self._refuse(target, error)
            return
        self._open[question.socket.fileno()] = question
        self._selector.register(question.socket, selectors.EVENT_READ)

    def note(self, outcome: TimeSample | Rejected) -> None:
        """Take in what was heard otherwise than by a question of this round."""
        if isinstance(outcome, TimeSample):
            self.samples.append(outcome)
        else:
            self.refused.append(outcome)

    def unheard(self) -> list[NtpTarget]:
        """Return the addresses that may still answer."""
        return [question.target for question in self._open.values()]

    def shorten(self, limit_s: float) -> None:
        """End the round within so long; who has not answered by then is not taken for silent."""
        self._until_s, self._is_cut_short = min(self._until_s, time.monotonic() + limit_s), True

    def wait(self, wakeup: Wakeup, on_wakeup: Callable[[], bool], is_enough: Callable[[], bool]) -> None:
        """Gather answers. `on_wakeup`, asked first and at each ring: is there still something to wait for beside them?

        Ends when nothing is open and nothing to wait for, when `is_enough`, or at the round's deadline.
        """
        self._selector.register(wakeup, selectors.EVENT_READ)
        expecting = on_wakeup()
        while (self._open or expecting) and not is_enough():
            ready = self._selector.select(max(0.0, self._until_s - time.monotonic()))
            for key, _ in ready:
                if key.fileobj is wakeup:
                    wakeup.clear()
                    expecting = on_wakeup()
                else:
                    self._receive(key.fd)
            if time.monotonic() >= self._until_s:
                if not self._is_cut_short:
                    self.refused += [question.silence() for question in self._open.values()]
                return

    def close(self) -> None:
        """Forget the unanswered queries."""
        for descriptor in list(self._open):
            self._drop(descriptor)
        self._selector.close()

    def _receive(self, descriptor: int) -> None:
        question = self._open[descriptor]
        try:
            outcome = question.receive()
        except BlockingIOError:
            return        # a packet with a bad checksum wakes us and is gone
        except OSError as error:
            self._refuse(question.target, error)
            self._drop(descriptor)
            return
        if outcome is not None:
            self.note(outcome)
            self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        question = self._open.pop(descriptor)
        self._selector.unregister(question.socket)
        question.socket.close()

    def _refuse(self, target: NtpTarget, error: OSError) -> None:
        self.refused.append(Rejected(target.server, target.address, RejectReason.UNREACHABLE, error.strerror
                                     or str(error)))


def _own_ids(own_address: str) -> frozenset[bytes]:
    """Given the address we asked from, return the reference id that would mean us (RFC 5905 §7.3)."""
    try:
        return frozenset([socket.inet_pton(socket.AF_INET, own_address)])
    except OSError:
        packed = socket.inet_pton(socket.AF_INET6, own_address.partition("%")[0])
        return frozenset([md5(packed, usedforsecurity=False).digest()[:4]])


# --- Name resolution that never makes a check wait for a dead resolver

FRESH_S = 60.0          # a name is looked up again when its addresses are older
_MOST_ADDRESSES = 8     # of one name; more would be a flood of questions, not better time


class NameResolver:
    """Addresses known so far. Each look-up has a thread of its own, which may hang; then the old addresses serve."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._known: dict[str, tuple[NtpTarget, ...]] = {}
        self._looked_up_s: dict[str, float] = {}
        self._pending: set[str] = set()
        self._found: queue.SimpleQueue[tuple[str, tuple[NtpTarget, ...], str]] = queue.SimpleQueue()
        self.failures: dict[str, str] = {}

    def targets(self, server: str) -> tuple[NtpTarget, ...]:
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

    def collect(self) -> None:
        """Take in what the look-ups have brought."""
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

    def _resolve(self, server: str, host: str, port: int) -> None:
        targets, failure = _addresses(server, host, port)
        self._found.put((server, targets, failure))
        self._wake()

    def _found_none(self, server: str, reason: str) -> None:
        self._found.put((server, (), reason))
        self._wake()


def _is_literal(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host.partition("%")[0])
    except (OSError, UnicodeError):
        return False
    return True


def _addresses(server: str, host: str, port: int) -> tuple[tuple[NtpTarget, ...], str]:
    """Given host and port number, return all addresses, or none and why."""
    try:
        # As bytes a plain name spares us the tables of IDNA, which are larger than all the rest of the clock check.
        answers = socket.getaddrinfo(host.encode() if host.isascii() else host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:      # UnicodeError: a label that IDNA cannot encode
        return (), str(getattr(error, "strerror", None) or error)
    targets = {sockaddr: NtpTarget(server, _text(sockaddr, port), family, sockaddr)  # type: ignore[arg-type]
               for family, _kind, _protocol, _name, sockaddr in answers
               if family in (socket.AF_INET, socket.AF_INET6)}
    return tuple(targets.values())[:_MOST_ADDRESSES], "no IPv4 or IPv6 address"


def _text(sockaddr: tuple[object, ...], port: int) -> str:
    host = str(sockaddr[0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
