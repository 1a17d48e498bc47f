"""All that is known from outside right now: asks the sources as their manners allow, keeps the samples and refusals.

One thread uses it at a time. What the samples mean for the clock, `verdict` says.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tideover.clock.bell import Bell
from tideover.clock.exchange import Asking, Target
from tideover.clock.manners import Manners
from tideover.clock.names import Names
from tideover.clock.nouns import Source
from tideover.clock.readings import Clocks
from tideover.timekeeping.agreement import NS, Sample
from tideover.timekeeping.ntp import Fault, Refused

ROUND_S = 1.0                # an answer from within a region takes milliseconds, from another continent 0.3 s
SAMPLE_LIFE_S = 60.0         # older answers prove nothing worth having, though their bound grows honestly
_AT_ONCE_S = 0.001           # rounding must not hold a question back for one more round

# Given the samples so far and the addresses of each server that may still speak or have spoken: is it decided?
Decided = Callable[[Sequence[Sample], dict[str, int]], bool]


class Inquiry:
    """Sources, what they said, and what they refused. `ring` wakes a round that waits."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks, self._bell = clocks, Bell()
        self._names, self._manners = Names(self._bell.ring), Manners()
        self.samples: list[Sample] = []
        self.refused: dict[tuple[str, str], Refused] = {}

    def ring(self) -> None:
        self._bell.ring()

    def wait_s(self, sources: Iterable[Source]) -> float:
        """Given sources, return how long until one of them may be asked again."""
        now_s = self._now_s()
        return min((self._manners.wait_s(source, now_s) for source in sources), default=0.0)

    def ask(self, sources: Sequence[Source], limit_s: float, is_interrupted: Callable[[], bool],
            is_decided: Decided) -> list[Sample]:
        """Given sources, ask those that may be asked now, all side by side; return the new samples.

        Ends at `limit_s`, or sooner: all have spoken, it is decided, or somebody interrupts.
        """
        now_s = self._now_s()
        self._forget(now_s)
        due = {one.server: one for one in sources if self._manners.wait_s(one, now_s) < _AT_ONCE_S}
        self._names.look_up(due, now_s)
        asking, asked = Asking(self._clocks, limit_s), set[Target]()
        interrupted = False

        def ask_new_addresses() -> bool:
            nonlocal interrupted
            interrupted = is_interrupted()
            self._names.collect()
            for source in due.values():
                self._ask(source, asking, asked)
            return any(self._names.is_pending(server) for server in due)

        def is_enough() -> bool:
            known = [one for one in self.samples if one.server not in due] + asking.samples
            return interrupted or is_decided(known, self._voices(known, asking, due))

        asking.wait(self._bell, ask_new_addresses, is_enough)
        self._take(asking, due)
        return asking.samples

    def close(self) -> None:
        self._bell.close()

    def _ask(self, source: Source, asking: Asking, asked: set[Target]) -> None:
        new = [one for one in self._names.targets(source.server) if one not in asked]
        if not new:
            return
        now_s = self._now_s()
        if not any(one.server == source.server for one in asked):
            self._manners.note_asked(source, now_s)
        for target in new:
            asked.add(target)
            if self._manners.is_banned(target.address, now_s):
                asking.refused.append(Refused(target.server, target.address, Fault.BANNED))
            else:
                asking.ask(target)

    def _voices(self, known: Iterable[Sample], asking: Asking, due: Iterable[str]) -> dict[str, int]:
        addresses: dict[str, set[str]] = {}
        unheard = [(one.server, one.address) for one in asking.unheard()]
        for server, address in [(one.server, one.address) for one in known] + unheard:
            addresses.setdefault(server, set()).add(address)
        for server in due:
            if self._names.is_pending(server):
                addresses.setdefault(server, set()).add("")
        return {server: len(own) for server, own in addresses.items()}

    def _take(self, asking: Asking, due: dict[str, Source]) -> None:
        asking.close()
        now_s = self._now_s()
        for sample in asking.samples:
            self.refused.pop((sample.server, sample.address), None)
        for refused in asking.refused:
            self.refused[refused.server, refused.address] = refused
            self._manners.note_answer(due[refused.server], refused, now_s)
        for server in due:
            self.refused.pop((server, ""), None)
            if not self._names.targets(server):
                detail = self._names.failures.get(server, "the look-up takes too long")
                self.refused[server, ""] = Refused(server, "", Fault.NO_ADDRESS, detail)
        self.samples += asking.samples

    def _forget(self, now_s: float) -> None:
        oldest_ns = int((now_s - SAMPLE_LIFE_S) * NS)
        self.samples = [one for one in self.samples if one.began_raw_ns >= oldest_ns]

    def _now_s(self) -> float:
        return self._clocks.raw_ns() / NS
