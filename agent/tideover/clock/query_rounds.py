"""Rounds of queries to time sources: whom to ask now, within which deadline, and how long an answer is kept.

One thread uses it at a time. What the samples mean for the clock, `verdict` says.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tideover.clock.host import HostAccess
from tideover.clock.ntp_client import NameResolver, NtpClient, NtpTarget
from tideover.clock.rate_limits import RateLimiter
from tideover.clock.sources import HypervisorClock
from tideover.clock.types import Origin, TimeSource
from tideover.system.clocks import RawWallClocks
from tideover.system.wakeup import Wakeup
from tideover.timekeeping.intervals import NS, TimeSample
from tideover.timekeeping.ntp_packet import Rejected, RejectReason

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
