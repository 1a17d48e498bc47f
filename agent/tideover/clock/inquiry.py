"""All that is known from outside right now: asks the sources as their manners allow, keeps the samples and refusals.

One thread uses it at a time. What the samples mean for the clock, `verdict` says.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tideover.clock.bell import Bell
from tideover.clock.exchange import Asking, Target
from tideover.clock.hardware import Hardware
from tideover.clock.manners import Manners
from tideover.clock.names import Names
from tideover.clock.nouns import Origin, Source
from tideover.clock.readings import Clocks
from tideover.clock.surroundings import Surroundings
from tideover.timekeeping.agreement import NS, Sample
from tideover.timekeeping.ntp import Fault, Refused

ROUND_S = 1.0                # an answer from within a region takes milliseconds, from another continent 0.3 s
SAMPLE_LIFE_S = 60.0         # older answers prove nothing worth having, though their bound grows honestly
_GRACE_S = 0.05              # for the answers of a round that is cut short: its servers cannot be asked again for 2 s
_AT_ONCE_S = 0.001           # rounding must not hold a question back for one more round

# Given the samples so far and the addresses of each server that may still speak or have spoken: is it decided?
Decided = Callable[[Sequence[Sample], dict[str, int]], bool]


class Inquiry:
    """Sources, what they said, and what they refused. `bell` wakes a round that waits."""

    def __init__(self, clocks: Clocks, surroundings: Surroundings, bell: Bell) -> None:
        self._clocks, self._bell = clocks, bell
        self._names, self.manners = Names(bell.ring), Manners(surroundings.chance)
        self._hardware = Hardware(clocks, surroundings)
        self.since_ns = 0            # the last resume: what a hardware clock must have been told after
        self.samples: list[Sample] = []
        self.refused: dict[tuple[str, str], Refused] = {}

    @property
    def awaits_host(self) -> bool:
        """Is a hardware clock still waiting for its host's next message?"""
        return any(one.fault is Fault.STALE for one in self.refused.values())

    def wait_s(self, sources: Iterable[Source]) -> float:
        """Given sources, return how long until one of them may be asked again."""
        now_s = self._now_s()
        return min((self.manners.wait_s(source, now_s) for source in sources), default=0.0)

    def in_turn(self, sources: Sequence[Source], period_s: float) -> list[Source]:
        """Given sources and how often to ask each server, return the server whose turn it is by now, and the hardware
        clocks."""
        servers = [one for one in sources if one.origin is not Origin.HARDWARE]
        hardware = [one for one in sources if one.origin is Origin.HARDWARE]
        if not servers:
            return hardware
        now_s = self._now_s()
        asked_s = {one: self.manners.asked_s(one, now_s) for one in servers}
        if now_s - max(asked_s.values()) < period_s / len(servers) - _AT_ONCE_S and hardware:
            return hardware
        return [*hardware, min(servers, key=lambda one: asked_s[one])]

    def ask(self, sources: Sequence[Source], limit_s: float, is_interrupted: Callable[[], bool],
            is_decided: Decided, chosen: Sequence[Source] | None = None) -> list[Sample]:
        """Given all sources, ask those that may be asked now, all side by side; return the new samples. `chosen`: ask
        only of these.

        Ends at `limit_s`, or sooner: all have spoken, it is decided, or somebody interrupts. Raise OSError where nobody
        can be asked, because no descriptor is left.
        """
        self._forget(sources)
        due = self._due(sources if chosen is None else chosen)
        servers = {name: one for name, one in due.items() if one.origin is not Origin.HARDWARE}
        self._names.look_up(servers, self._now_s())
        asking, asked, interrupted = Asking(self._clocks, limit_s), set[Target](), False

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
            asking.wait(self._bell, ask_new_addresses, is_enough)
        except OSError:
            asking.close()
            raise
        self._take(asking, due, servers)
        return asking.samples

    def _due(self, sources: Sequence[Source]) -> dict[str, Source]:
        """Return the sources that may be asked now, by name."""
        self.note_held_back(sources)
        now_s = self._now_s()
        return {one.server: one for one in sources if self.manners.wait_s(one, now_s) < _AT_ONCE_S}

    def note_held_back(self, sources: Iterable[Source]) -> None:
        """Given sources, refuse those that must not be asked yet and of which nothing else is known since the pause."""
        now_s = self._now_s()
        newer = {one.server for one in self.samples if one.began_raw_ns >= self.since_ns}
        heard_of = newer | {server for server, _ in self.refused}
        for source in sources:
            wait_s = self.manners.wait_s(source, now_s)
            if wait_s >= _AT_ONCE_S and source.server not in heard_of:
                self.refused[source.server, ""] = Refused(source.server, "", Fault.HELD_BACK,
                                                          f"for {wait_s:.0f} s more" if wait_s >= 1 else "")

    def _read_hardware(self, due: Iterable[Source], asking: Asking) -> None:
        for source in due:
            if source.origin is Origin.HARDWARE:
                self.manners.note_asked(source, self._now_s())
                asking.note(self._hardware.ask(source, self.since_ns))

    def _ask(self, source: Source, asking: Asking, asked: set[Target]) -> None:
        new = [one for one in self._names.targets(source.server) if one not in asked]
        if not new:
            return
        now_s = self._now_s()
        is_first = not any(one.server == source.server for one in asked)
        for target in new:
            asked.add(target)
            if self.manners.is_banned(target.address, now_s):
                asking.note(Refused(target.server, target.address, Fault.BANNED))
            elif not self.manners.may_ask_address(target.sockaddr, now_s):
                asking.note(Refused(target.server, target.address, Fault.HELD_BACK, "asked under another name"))
            else:
                self._send_question(target, asking)
        if is_first:
            self.manners.note_asked(source, now_s)

    def _send_question(self, target: Target, asking: Asking) -> None:
        try:
            asking.ask(target)
        except OSError:
            self.manners.note_not_asked(target.sockaddr)     # no descriptor was left: the question did not leave
            raise

    def _voices(self, known: Iterable[Sample], asking: Asking, due: Iterable[str]) -> dict[str, int]:
        addresses: dict[str, set[str]] = {}
        unheard = [(one.server, one.address) for one in asking.unheard()]
        for server, address in [(one.server, one.address) for one in known] + unheard:
            addresses.setdefault(server, set()).add(address)
        for server in due:
            if self._names.is_pending(server):
                addresses.setdefault(server, set()).add("")
        return {server: len(own) for server, own in addresses.items()}

    def _take(self, asking: Asking, due: dict[str, Source], servers: Iterable[str]) -> None:
        asking.close()
        now_s = self._now_s()
        for server in due:
            self.refused.pop((server, ""), None)
        for sample in asking.samples:
            self.refused.pop((sample.server, sample.address), None)
        for refused in asking.refused:
            self.refused[refused.server, refused.address] = refused
            self.manners.note_answer(due[refused.server], refused, now_s)
        for server in servers:
            if not self._names.targets(server):
                detail = self._names.failures.get(server, "the look-up takes too long")
                self.refused[server, ""] = Refused(server, "", Fault.NO_ADDRESS, detail)
        self.samples += asking.samples

    def _forget(self, sources: Iterable[Source]) -> None:
        names, oldest_ns = {one.server for one in sources}, int((self._now_s() - SAMPLE_LIFE_S) * NS)
        self.samples = [one for one in self.samples if one.server in names and one.began_raw_ns >= oldest_ns]
        self.refused = {key: one for key, one in self.refused.items() if one.server in names}

    def _now_s(self) -> float:
        return self._clocks.raw_ns() / NS
