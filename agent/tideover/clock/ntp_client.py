"""One question to each of many addresses, side by side, within one deadline.

Sends and receives; what an answer is worth, `timekeeping.ntp` says. ntplib is not used for this: it takes any
packet from the right address for the answer, and each foreign packet starts its timeout anew.
"""
from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5

from tideover.clock.bell import Bell
from tideover.clock.readings import Clocks, wall_minus_raw_ns
from tideover.system.descriptors import EXHAUSTED
from tideover.timekeeping import ntp
from tideover.timekeeping.agreement import Sample
from tideover.timekeeping.ntp import Fault, Refused, Trip

# Linux only: the kernel's own stamp of a packet's arrival, 5 to 340 µs before Python gets to look (asm/socket.h).
_SO_TIMESTAMPNS = 35
_STAMPED = sys.platform == "linux"
_STAMP = struct.Struct("@qq")
_MOST_STRANGERS = 64         # packets that are not ours; after that the address is a flood, not a server
_DATAGRAM_BYTES = 512        # an NTP answer with extensions is far smaller


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one server, ready for connect()."""

    server: str
    address: str             # for people
    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


class _Question:
    """One question under way, on a socket of its own: a random port, and the kernel lets only its peer in."""

    def __init__(self, target: Target, clocks: Clocks) -> None:
        self.target, self.strangers = target, 0
        self._clocks, self._cookie = clocks, os.urandom(ntp.COOKIE_BYTES)
        self.socket = socket.socket(target.family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            if _STAMPED:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.socket.connect(target.sockaddr)
            self._wall_minus_raw_ns = wall_minus_raw_ns(clocks)
            self._sent_raw_ns = clocks.raw_ns()
            self.socket.send(ntp.question(self._cookie))
        except OSError:
            self.socket.close()
            raise

    def hear(self) -> Sample | Refused | None:
        """Return what the answer is worth; None if what came was not it. Raise OSError if the peer is not there."""
        data, stamp_age_ns = self._receive()
        raw_ns = self._clocks.raw_ns()
        distance_ns = wall_minus_raw_ns(self._clocks)
        if not ntp.is_answer_to(data, self._cookie):
            self.strangers += 1
            return self.silence() if self.strangers >= _MOST_STRANGERS else None
        if not 0 <= stamp_age_ns < raw_ns - self._sent_raw_ns:
            stamp_age_ns = 0      # no stamp, or the clock was set between the stamp and our look at it
        trip = Trip(self.target.server, self.target.address, self._sent_raw_ns, raw_ns - stamp_age_ns,
                    self._wall_minus_raw_ns, distance_ns, _own_ids(self.socket.getsockname()[0]))
        return ntp.weigh(ntp.read_reply(data, distance_ns + raw_ns), trip)

    def silence(self) -> Refused:
        """Return what it means that no answer came."""
        fault = Fault.NOT_OURS if self.strangers else Fault.NO_ANSWER
        return Refused(self.target.server, self.target.address, fault)

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


class Asking:
    """One round. `ask` sends; `wait` gathers until all have spoken, enough is known, or the time is up."""

    def __init__(self, clocks: Clocks, limit_s: float) -> None:
        self.samples: list[Sample] = []
        self.refused: list[Refused] = []
        self._clocks, self._until_s = clocks, time.monotonic() + limit_s
        self._is_cut_short = False
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, _Question] = {}

    def ask(self, target: Target) -> None:
        """Send one question; an address that cannot be reached is refused at once.

        Raise OSError where not a single question can be asked, because no descriptor is left.
        """
        try:
            question = _Question(target, self._clocks)
        except OSError as error:
            if error.errno in EXHAUSTED and not self._open:
                raise
            self._refuse(target, error)
            return
        self._open[question.socket.fileno()] = question
        self._selector.register(question.socket, selectors.EVENT_READ)

    def note(self, outcome: Sample | Refused) -> None:
        """Take in what was heard otherwise than by a question of this round."""
        if isinstance(outcome, Sample):
            self.samples.append(outcome)
        else:
            self.refused.append(outcome)

    def unheard(self) -> list[Target]:
        """Return the addresses that may still answer."""
        return [question.target for question in self._open.values()]

    def shorten(self, limit_s: float) -> None:
        """End the round within so long; who has not answered by then is not taken for silent."""
        self._until_s, self._is_cut_short = min(self._until_s, time.monotonic() + limit_s), True

    def wait(self, bell: Bell, on_bell: Callable[[], bool], is_enough: Callable[[], bool]) -> None:
        """Gather answers. `on_bell`, asked first and at each ring: is there still something to wait for beside them?

        Ends when nothing is open and nothing to wait for, when `is_enough`, or at the round's deadline.
        """
        self._selector.register(bell.socket, selectors.EVENT_READ)
        expecting = on_bell()
        while (self._open or expecting) and not is_enough():
            ready = self._selector.select(max(0.0, self._until_s - time.monotonic()))
            for key, _ in ready:
                if key.fileobj is bell.socket:
                    bell.hush()
                    expecting = on_bell()
                else:
                    self._hear(key.fd)
            if time.monotonic() >= self._until_s:
                if not self._is_cut_short:
                    self.refused += [question.silence() for question in self._open.values()]
                return

    def close(self) -> None:
        """Forget the questions nobody answered."""
        for descriptor in list(self._open):
            self._drop(descriptor)
        self._selector.close()

    def _hear(self, descriptor: int) -> None:
        question = self._open[descriptor]
        try:
            outcome = question.hear()
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

    def _refuse(self, target: Target, error: OSError) -> None:
        self.refused.append(Refused(target.server, target.address, Fault.UNREACHABLE, error.strerror or str(error)))


def _own_ids(own_address: str) -> frozenset[bytes]:
    """Given the address we asked from, return the reference id that would mean us (RFC 5905 §7.3)."""
    try:
        return frozenset([socket.inet_pton(socket.AF_INET, own_address)])
    except OSError:
        packed = socket.inet_pton(socket.AF_INET6, own_address.partition("%")[0])
        return frozenset([md5(packed, usedforsecurity=False).digest()[:4]])
