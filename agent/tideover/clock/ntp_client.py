"""The NTP client: name resolution, rate limits, one query to each address side by side within one deadline.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from types import MappingProxyType

from tideover.clock.host import HostAccess
from tideover.clock.sources import HypervisorClock
from tideover.clock.types import Origin, TimeSource
from tideover.system.clocks import RawWallClocks, wall_minus_raw_ns
from tideover.system.platform import EXHAUSTED
from tideover.system.wakeup import Wakeup
from tideover.threads import start_task
from tideover.timekeeping import ntp_packet
from tideover.timekeeping.intervals import NS, TimeSample
from tideover.timekeeping.ntp_packet import Rejected, RejectReason, RoundTrip, split_server

# --- Rate limits: how often each source may be asked, and its kiss-o'-death replies
# The owner's servers are asked within the default limits of ntpd (ntp.conf, "restrict limited"; the Rate Management
# page): never twice within 2 s, and not faster than every 8 s on average, with an allowance of 64 s. Others: RFC 4330
# §10, not under 15 s without the operator's word. The pool's terms: an SNTP client asks at most once in 30 minutes.
# A kiss-o'-death is obeyed.

SPACING_S: Mapping[Origin, float] = MappingProxyType({
    Origin.OWNER: 8.0, Origin.HARDWARE: 0.0, Origin.DAEMON: 15.0, Origin.POOL: 1800.0, Origin.PLATFORM: 15.0,
})
# Questions that the owner's servers may be asked before the average counts: the burst of a check after a resume. ntpd
# allows 8; the rest is for the time daemon and for `tideover clock`, which ask from this address too.
_CREDIT: Mapping[Origin, float] = MappingProxyType({Origin.OWNER: 5.0})
_RESERVE = 1.0                # … and so many beyond that for what measures a stop: paid back before the next usual one
GAP_S = 2.1                   # between two questions to one server: ntpd's 2 s, and what the network may take off them
# All machines of a host wake from one freeze at once; servers that are not the owner's are spared the chorus.
_SPREAD_S = 0.5
_LEARNT = frozenset({Origin.DAEMON, Origin.POOL, Origin.PLATFORM})
_AFTER_RATE_S = 15.0          # RATE doubles the spacing, to this at least
_LONGEST_S = 3600.0
_BANNED_S = 86_400.0          # DENY and RSTR: "stop asking"; a day later its operator may have changed his mind
_STAY_AWAY = ("DENY", "RSTR")


class _TokenBucket:
    __slots__ = ("asked_s", "at_s", "credit", "gap_s", "is_excused", "is_rated", "is_urgent", "most", "spacing_s")

    def __init__(self, spacing_s: float, gap_s: float, credit: float, at_s: float) -> None:
        self.spacing_s, self.gap_s, self.credit, self.most, self.at_s = spacing_s, gap_s, credit, credit, at_s
        self.asked_s = at_s - gap_s        # raw seconds of the last question
        self.is_rated = False              # the server has sent RATE
        self.is_excused = False            # the next question does not wait for the credit
        self.is_urgent = False             # … may use the reserve


class RateLimiter:
    """One account for each source; credit grows with time and one question costs 1. Times are raw seconds."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._learnt_from_s = 0.0
        self._accounts: dict[str, _TokenBucket] = {}
        self._banned_until_s: dict[str, float] = {}
        self._asked_s: dict[object, float] = {}      # by address and port: two names may lead to one server
        self._announced_s: dict[str, float] = {}     # by source: when a command said that it is about to ask it

    def resumed(self) -> None:
        """The machine has resumed: a RATE from before the stop does not hold back the first question after it, but for
        the least distance that the source's namer allows."""
        for account in self._accounts.values():
            account.is_excused = account.is_rated

    def urge(self) -> None:
        """The machine may have stopped just now: the next question to each server may use the reserve, unless the
        server has sent RATE."""
        for account in self._accounts.values():
            account.is_urgent = not account.is_rated

    def is_urgent(self, source: TimeSource, now_s: float) -> bool:
        """Given a source, return whether it has not been asked since `urge`."""
        return self._account(source, now_s).is_urgent

    def note_unreachable(self, source: TimeSource, now_s: float) -> None:
        """It has no address: what is urgent does not wait for it."""
        self._account(source, now_s).is_urgent = False

    def spread(self, now_s: float) -> None:
        """A pause may just have ended for many machines: hold back what is not the owner's for a moment by chance."""
        self._learnt_from_s = now_s + _SPREAD_S * self._chance()

    def wait_s(self, source: TimeSource, now_s: float) -> float:
        """Given a source and now, return how long until it may be asked."""
        account = self._account(source, now_s)
        needed = 1.0 - _RESERVE if account.is_urgent else 1.0
        credit_s = 0.0 if account.is_excused else (needed - account.credit) * account.spacing_s
        announced_s = self._announced_s.get(source.server, float("-inf"))
        wait_s = max(0.0, credit_s, account.asked_s + account.gap_s - now_s, announced_s + GAP_S - now_s)
        return max(wait_s, self._learnt_from_s - now_s) if source.origin in _LEARNT else wait_s

    def note_asked(self, source: TimeSource, now_s: float) -> None:
        account = self._account(source, now_s)
        lowest = -_RESERVE if account.is_urgent else min(0.0, account.credit)
        account.credit = max(lowest, account.credit - 1.0)
        account.asked_s, account.is_excused, account.is_urgent = now_s, False, False

    def asked_s(self, source: TimeSource, now_s: float) -> float:
        """Given a source, return the raw seconds of its last question."""
        return self._account(source, now_s).asked_s

    def may_ask_address(self, address: object, now_s: float) -> bool:
        """Given an address with its port, return whether it was left alone long enough, under any name; it counts as
        asked then."""
        self._asked_s = {known: at_s for known, at_s in self._asked_s.items() if now_s - at_s < GAP_S}
        if address in self._asked_s:
            return False
        self._asked_s[address] = now_s
        return True

    def recent_queries(self, now_s: float) -> dict[object, float]:
        """Return how many seconds ago each address with its port was asked, of those that must be left alone yet. Any
        thread."""
        return {address: now_s - at_s for address, at_s in self._asked_s.copy().items() if now_s - at_s < GAP_S}

    def note_asked_by_agent(self, ago_s: Mapping[tuple[str | int, ...], float], now_s: float) -> None:
        """Given how many seconds ago another process of this machine asked each address, count that as ours."""
        self._asked_s.update({address: now_s - ago for address, ago in ago_s.items()})

    def note_announced(self, servers: Iterable[str], now_s: float) -> None:
        """Another process of this machine is about to ask these: leave them alone meanwhile. Any thread. After each time,
        announcements are not heard for as long again, so that no series of commands keeps this agent from asking."""
        for server in servers:
            if server in self._accounts and now_s - self._announced_s.get(server, float("-inf")) >= 2 * GAP_S:
                self._announced_s[server] = now_s

    def note_not_asked(self, address: object) -> None:
        """The question that `may_ask_address` allowed could not be sent."""
        self._asked_s.pop(address, None)

    def is_banned(self, address: str, now_s: float) -> bool:
        return now_s < self._banned_until_s.get(address, now_s)

    def note_answer(self, source: TimeSource, refused: Rejected, now_s: float) -> None:
        """Given what a source's address refused us, obey it. Only answers to our own question come here as KISS."""
        if refused.fault is not RejectReason.KISS:
            return
        if refused.detail in _STAY_AWAY:
            self._banned_until_s[refused.address] = now_s + _BANNED_S
        elif refused.detail == "RATE":
            account = self._account(source, now_s)
            account.spacing_s = min(_LONGEST_S, max(_AFTER_RATE_S, account.spacing_s * 2))
            account.credit, account.most, account.is_rated = 0.0, 1.0, True

    def _account(self, source: TimeSource, now_s: float) -> _TokenBucket:
        account = self._accounts.get(source.server)
        if account is None:
            spacing_s = SPACING_S[source.origin]
            gap_s = spacing_s if source.origin in _LEARNT else min(spacing_s, GAP_S)
            account = self._accounts[source.server] = _TokenBucket(
                spacing_s, gap_s, _CREDIT.get(source.origin, 1.0), now_s)
        if account.spacing_s <= 0:
            account.credit = account.most
        else:
            account.credit = min(account.most, account.credit + (now_s - account.at_s) / account.spacing_s)
        account.at_s = now_s
        return account


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


# --- Rounds of queries to all sources; samples and rejections are kept
# One thread uses it at a time. What the samples mean for the clock, `verdict` says.

ROUND_TIMEOUT_S = 1.0                # an answer from within a region takes milliseconds, from another continent 0.3 s
SAMPLE_LIFE_S = 60.0         # older answers prove nothing worth having, though their bound grows honestly
_GRACE_S = 0.05              # for the answers of a round that is cut short: its servers cannot be asked again for 2 s
_AT_ONCE_S = 0.001           # rounding must not hold a question back for one more round

# Given the samples so far and the addresses of each server that may still speak or have spoken: is it decided?
Decided = Callable[[Sequence[TimeSample], dict[str, int]], bool]


class QueryRounds:
    """Sources, their samples, and their refusals. `wakeup` wakes a round that waits."""

    def __init__(self, clocks: RawWallClocks, surroundings: HostAccess, wakeup: Wakeup) -> None:
        self._clocks, self._wakeup = clocks, wakeup
        self._names, self.rate_limiter = NameResolver(wakeup.set), RateLimiter(surroundings.chance)
        self._hardware = HypervisorClock(clocks, surroundings)
        self.since_ns = 0            # the last resume: what a hardware clock must have been set after
        self.samples: list[TimeSample] = []
        self.refused: dict[tuple[str, str], Rejected] = {}

    @property
    def awaits_host(self) -> bool:
        """Is a hardware clock still waiting for its host's next message?"""
        return any(one.fault is RejectReason.STALE for one in self.refused.values())

    def wait_s(self, sources: Iterable[TimeSource]) -> float:
        """Given sources, return how long until one of them may be asked again."""
        now_s = self._now_s()
        return min((self.rate_limiter.wait_s(source, now_s) for source in sources), default=0.0)

    def may_ask(self, sources: Iterable[TimeSource]) -> bool:
        """Given sources, return whether one of them may be asked now, or there is none."""
        return self.wait_s(sources) < _AT_ONCE_S

    def urgent(self, sources: Iterable[TimeSource]) -> list[TimeSource]:
        """Given sources, return those that were not asked yet since the machine may have stopped."""
        now_s = self._now_s()
        return [one for one in sources if self.rate_limiter.is_urgent(one, now_s)]

    def in_turn(self, sources: Sequence[TimeSource], period_s: float) -> list[TimeSource]:
        """Given sources and how often to ask each server, return the server whose turn it is by now, and the hardware
        clocks."""
        servers = [one for one in sources if one.origin is not Origin.HARDWARE]
        hardware = [one for one in sources if one.origin is Origin.HARDWARE]
        if not servers:
            return hardware
        now_s = self._now_s()
        asked_s = {one: self.rate_limiter.asked_s(one, now_s) for one in servers}
        if now_s - max(asked_s.values()) < period_s / len(servers) - _AT_ONCE_S and hardware:
            return hardware
        return [*hardware, min(servers, key=lambda one: asked_s[one])]

    def ask(self, sources: Sequence[TimeSource], limit_s: float, is_interrupted: Callable[[], bool],
            is_decided: Decided, chosen: Sequence[TimeSource] | None = None) -> list[TimeSample]:
        """Given all sources, ask those that may be asked now, all side by side; return the new samples. `chosen`: ask
        only of these.

        Ends at `limit_s`, or sooner: all have spoken, it is decided, or it is interrupted. Raise OSError where no
        source can be asked, because no descriptor is left. """
        self._forget(sources)
        due = self._due(sources if chosen is None else chosen)
        servers = {name: one for name, one in due.items() if one.origin is not Origin.HARDWARE}
        self._names.look_up(servers, self._now_s())
        asking, asked, interrupted = NtpClient(self._clocks, limit_s), set[NtpTarget](), False

        def ask_new_addresses() -> bool:
            nonlocal interrupted
            if not interrupted and is_interrupted():
                interrupted = True
                asking.shorten(_GRACE_S)
            self._names.collect()
            for source in servers.values():
                self._ask(source, asking, asked)
            return any(self._names.is_pending(server) for server in servers)

        def is_enough() -> bool:
            known = [one for one in self.samples if one.server not in due] + asking.samples
            return is_decided(known, self._voices(known, asking, servers))

        self._read_hardware(due.values(), asking)
        try:
            asking.wait(self._wakeup, ask_new_addresses, is_enough)
        except OSError:
            asking.close()
            raise
        self._take(asking, due, servers)
        return asking.samples

    def _due(self, sources: Sequence[TimeSource]) -> dict[str, TimeSource]:
        """Return the sources that may be asked now, by name."""
        self.note_held_back(sources)
        now_s = self._now_s()
        return {one.server: one for one in sources if self.rate_limiter.wait_s(one, now_s) < _AT_ONCE_S}

    def note_held_back(self, sources: Iterable[TimeSource]) -> None:
        """Given sources, refuse those that must not be asked yet and of which nothing else is known since the pause."""
        now_s = self._now_s()
        newer = {one.server for one in self.samples if one.began_raw_ns >= self.since_ns}
        known = newer | {server for server, _ in self.refused}
        for source in sources:
            wait_s = self.rate_limiter.wait_s(source, now_s)
            if wait_s >= _AT_ONCE_S and source.server not in known:
                self.refused[source.server, ""] = Rejected(source.server, "", RejectReason.HELD_BACK,
                                                          f"for {wait_s:.0f} s more" if wait_s >= 1 else "")

    def _read_hardware(self, due: Iterable[TimeSource], asking: NtpClient) -> None:
        for source in due:
            if source.origin is Origin.HARDWARE:
                self.rate_limiter.note_asked(source, self._now_s())
                asking.note(self._hardware.ask(source, self.since_ns))

    def _ask(self, source: TimeSource, asking: NtpClient, asked: set[NtpTarget]) -> None:
        new = [one for one in self._names.targets(source.server) if one not in asked]
        if not new:
            return
        now_s = self._now_s()
        is_first = not any(one.server == source.server for one in asked)
        for target in new:
            asked.add(target)
            if self.rate_limiter.is_banned(target.address, now_s):
                asking.note(Rejected(target.server, target.address, RejectReason.BANNED))
            elif not self.rate_limiter.may_ask_address(target.sockaddr, now_s):
                asking.note(Rejected(target.server, target.address, RejectReason.HELD_BACK,
                                     "its address was queried less than 2 s ago"))
            else:
                self._send_question(target, asking)
        if is_first:
            self.rate_limiter.note_asked(source, now_s)

    def _send_question(self, target: NtpTarget, asking: NtpClient) -> None:
        try:
            asking.ask(target)
        except OSError:
            self.rate_limiter.note_not_asked(target.sockaddr)     # no descriptor was left: the question did not leave
            raise

    def _voices(self, known: Iterable[TimeSample], asking: NtpClient, due: Iterable[str]) -> dict[str, int]:
        addresses: dict[str, set[str]] = {}
        unheard = [(one.server, one.address) for one in asking.unheard()]
        for server, address in [(one.server, one.address) for one in known] + unheard:
            addresses.setdefault(server, set()).add(address)
        for server in due:
            if self._names.is_pending(server):
                addresses.setdefault(server, set()).add("")
        return {server: len(own) for server, own in addresses.items()}

    def _take(self, asking: NtpClient, due: dict[str, TimeSource], servers: Iterable[str]) -> None:
        asking.close()
        now_s = self._now_s()
        for server in due:
            self.refused.pop((server, ""), None)
        for sample in asking.samples:
            self.refused.pop((sample.server, sample.address), None)
        for refused in asking.refused:
            self.refused[refused.server, refused.address] = refused
            self.rate_limiter.note_answer(due[refused.server], refused, now_s)
        for server in servers:
            if not self._names.targets(server):
                self.rate_limiter.note_unreachable(due[server], now_s)
                detail = self._names.failures.get(server, "the name lookup takes too long")
                self.refused[server, ""] = Rejected(server, "", RejectReason.NO_ADDRESS, detail)
        self.samples += asking.samples

    def _forget(self, sources: Iterable[TimeSource]) -> None:
        names, oldest_ns = {one.server for one in sources}, int((self._now_s() - SAMPLE_LIFE_S) * NS)
        self.samples = [one for one in self.samples if one.server in names and one.began_raw_ns >= oldest_ns]
        self.refused = {key: one for key, one in self.refused.items() if one.server in names}

    def _now_s(self) -> float:
        return self._clocks.raw_ns() / NS
