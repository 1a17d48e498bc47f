"""A clock check on demand, for a terminal: one check at once, or one after the other."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from tideover.clock.daemons import find_daemon
from tideover.clock.host import HostAccess
from tideover.clock.query_rounds import ROUND_TIMEOUT_S, QueryRounds
from tideover.clock.rate_limits import GAP_S
from tideover.clock.sources import find_sources, origin_text
from tideover.clock.types import ClockCheckSettings, ClockReport, Origin
from tideover.clock.verdict import ClockEvaluator, age_text, as_record, reports
from tideover.model import Verdict, utc
from tideover.system.clocks import MachineClocks, RawWallClocks, wall_minus_raw_ns
from tideover.system.wakeup import Wakeup
from tideover.timekeeping.intervals import MESSAGES_APART_NS, NS, TimeSample, combine

_HOST_WAIT_NS = MESSAGES_APART_NS + NS      # a hardware clock that lives on messages proves itself within this
_LOOK_AGAIN_S = 0.5

AgentQueries = Callable[[Sequence[str]], Mapping[tuple[str | int, ...], float]]
"""Given the servers that are asked next, how many seconds ago the running agent asked each address (as of a socket), of
those asked within about 2 s. Where there are none, the agent leaves the servers alone meanwhile."""


def no_agent(announced: Sequence[str]) -> Mapping[tuple[str | int, ...], float]:
    """The queries of an agent that does not run."""
    return {}


def check_now(settings: ClockCheckSettings, clocks: RawWallClocks | None = None, limit_s: float = ROUND_TIMEOUT_S,
              surroundings: HostAccess | None = None, agent_queries: AgentQueries = no_agent) -> ClockReport:
    """Given the configuration, ask every source once and return what they say.

    Blocks for `limit_s` at most, about 2 s more where a running agent has just asked the servers; for some seconds more
    where only Hyper-V's clock can tell and its host is to be waited for.
    """
    look = _TerminalCheck(settings, clocks or MachineClocks(), surroundings or HostAccess(), agent_queries)
    try:
        return look.once(limit_s)
    finally:
        look.close()


def watch_clock(settings: ClockCheckSettings, clocks: RawWallClocks | None = None, interval_s: float = 1.0,
                surroundings: HostAccess | None = None,
                agent_queries: AgentQueries = no_agent) -> Iterator[ClockReport]:
    """Given the configuration, yield what is known of the clock at once and then every `interval_s`.

    Each source is asked as often as its rate limit allows; between, its last sample is compared with the clock again.
    """
    machine = surroundings or HostAccess()
    look = _TerminalCheck(settings, clocks or MachineClocks(), machine, agent_queries)
    try:
        while True:
            yield look.once(ROUND_TIMEOUT_S)
            machine.sleep(interval_s)
    finally:
        look.close()


class _TerminalCheck:
    """One person's look at the clock, with what it has learnt so far."""

    def __init__(self, settings: ClockCheckSettings, clocks: RawWallClocks, surroundings: HostAccess,
                 agent_queries: AgentQueries) -> None:
        self._clocks, self._surroundings, self._wakeup = clocks, surroundings, Wakeup()
        self._agent_queries = agent_queries
        self._daemon = find_daemon(surroundings)
        self._sources = find_sources(settings, surroundings, self._daemon)
        self._inquiry = QueryRounds(clocks, surroundings, self._wakeup)
        self._inquiry.since_ns = clocks.raw_ns()
        self._judge = ClockEvaluator(self._inquiry, clocks, surroundings, int(settings.tolerance_s * NS))

    def once(self, limit_s: float) -> ClockReport:
        known = self._daemon.report() if self._daemon else None
        daemon = age_text(known, utc(self._clocks.wall_ns() / NS), None) if known else None
        if not self._sources:
            return ClockReport(self._judge.no_source(), (), "", daemon)
        new = self._ask(limit_s)
        while self._judge.find(0).verdict is Verdict.UNKNOWN and self._may_the_host_speak():
            self._surroundings.sleep(_LOOK_AGAIN_S)
            new += self._ask(limit_s)
        distance_ns = wall_minus_raw_ns(self._clocks)
        check = replace(self._judge.find(0), samples=tuple(as_record(one) for one in new))
        answers = reports(combine(self._inquiry.samples, self._clocks.raw_ns()), distance_ns,
                       self._inquiry.refused.values())
        origins = {one.server: one.origin.value for one in self._sources}
        return ClockReport(check, tuple(replace(one, origin=origins.get(one.server, "")) for one in answers),
                           origin_text(self._sources, self._daemon), daemon)

    def close(self) -> None:
        self._wakeup.close()

    def _ask(self, limit_s: float) -> list[TimeSample]:
        self._keep_gap_to_agent()
        return self._inquiry.ask(self._sources, limit_s, lambda: False, lambda known, asked: False)

    def _keep_gap_to_agent(self) -> None:
        """A server counts the questions of an address, and the agent asks from this one too. What it asks while this
        waits is left out of the round."""
        servers = [one for one in self._sources if one.origin is not Origin.HARDWARE]
        if not servers or self._inquiry.wait_s(servers) > 0:
            return
        names = [one.server for one in servers]
        if asked := self._agent_queries(names):
            self._surroundings.sleep(max(0.0, GAP_S - min(asked.values())))
            asked = self._agent_queries(names)
        self._inquiry.rate_limiter.note_asked_by_agent(asked, self._clocks.raw_ns() / NS)

    def _may_the_host_speak(self) -> bool:
        waited_ns = self._clocks.raw_ns() - self._inquiry.since_ns
        return self._inquiry.awaits_host and waited_ns < _HOST_WAIT_NS
