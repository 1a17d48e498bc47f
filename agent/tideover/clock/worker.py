"""The course of clock checks: the pauses between rounds, the deadline, following a bad clock, calling the remedy.

Used by one thread at a time.

Decides nothing about time (that is `timekeeping` and `convergence`) and has no thread of its own; `checker` gives it
one. Two things are done in threads beside it, because they may take seconds: hearing the time daemon, and the remedy.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tideover.clock.convergence import FOLLOWING, LIMIT_S, ClockInstant, ConvergenceMonitor, measure_again
from tideover.clock.daemons import Daemon, find_daemon
from tideover.clock.host import HostAccess
from tideover.clock.query_rounds import ROUND_TIMEOUT_S, QueryRounds
from tideover.clock.rate_limits import SPACING_S
from tideover.clock.sources import find_sources
from tideover.clock.types import ClockCheckSettings, CommandResult, DaemonReport, Origin, TimeSource
from tideover.clock.verdict import ClockEvaluator, as_record
from tideover.effects import CheckClock
from tideover.model import ClockCheck, ClockSample, Verdict
from tideover.observations import ClockFollowed, ClockJudged, Observation
from tideover.system.clocks import RawWallClocks, wall_minus_raw_ns
from tideover.system.process import with_reserve
from tideover.system.wakeup import Wakeup
from tideover.threads import reason_of, start_task
from tideover.timekeeping.intervals import NS, TimeSample

# --- Schedule: when a check asks again, in seconds

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_LATER_S = 15.0
_CLOSE_S, _MOST_CLOSE = 1.0, 8       # of eight samples the one with the least delay is within 0.3 ms over the Internet
_RAREST_S = 64.0                     # of following; a time daemon's own usual poll


def pause_before(round_number: int, is_close: bool) -> float:
    """Given which question comes next (1 = the second) and whether only time is in the way, return the pause.

    A wrong clock takes its time to be corrected, so the questions grow rarer. A bound that is too wide shrinks with
    each further sample, and a hardware clock may hear from its host any second, so the first few come quickly.
    """
    if is_close and round_number <= _MOST_CLOSE:
        return _CLOSE_S
    return _PAUSES_S[round_number - 1] if round_number <= len(_PAUSES_S) else _LATER_S


def pause_while_following(round_number: int, spacing_s: float) -> float:
    """Given which question comes next (1 = the first after the verdict) and how often the most willing source may be
    asked, return the pause: doubled each time from a second, or from that spacing, up to about a minute.
    """
    return max(spacing_s, min(_RAREST_S, max(1.0, spacing_s) * 2.0 ** (round_number - 1)))


# --- The worker

_SHORTEST_ROUND_S = 0.05      # even a deadline of nothing hears a server of its own region
_REST_S = 5.0                 # after a round in which no source could be asked
_MOST_SAMPLES = 240           # in one record
_TURNS_S = 15.0               # sampling at most so far apart takes turns; rarer, one round for all costs fewer wake-ups
_HARDWARE_S = 1.0             # a hardware clock is read so often while an event is near: that asks no other machine
REMEDIED = "remedied"

News = Callable[["ClockWorker"], None]


@dataclass(slots=True)
class _ClockJob:
    """One clock check that the engine asked for."""

    effect: CheckClock
    deadline_ns: int
    is_remedied: bool = False
    samples: list[ClockSample] = field(default_factory=list)

    @property
    def since_ns(self) -> int:
        return int(self.effect.since_raw_s * NS)


class ClockWorker:
    """`post` takes observations; `run_on_worker` runs a function on this worker's thread, called from another."""

    def __init__(self, post: Callable[[Observation], None], settings: ClockCheckSettings, *, clocks: RawWallClocks,
                 surroundings: HostAccess, wakeup: Wakeup, run_on_worker: Callable[[News], None],
                 on_sample: Callable[[TimeSample], None]) -> None:
        self._post, self._settings, self._run_on_worker, self._on_sample = post, settings, run_on_worker, on_sample
        self._clocks, self._surroundings = clocks, surroundings
        self._inquiry = QueryRounds(clocks, surroundings, wakeup)
        self._judge = ClockEvaluator(self._inquiry, clocks, surroundings, int(settings.tolerance_s * NS))
        self._jobs: dict[str, _ClockJob] = {}
        self._followings: dict[str, ConvergenceMonitor] = {}
        self._sources: tuple[TimeSource, ...] = ()
        self._has_looked = False      # for sources
        self._daemon: Daemon | None = None
        self._is_hearing = False
        self._round, self._next_round_ns = 0, 0
        self._sampling_s = 0.0
        self.latest: ClockCheck | None = None
        self.is_closed = False

    # --- news -----------------------------------------------------------------------------------------------------

    def begin(self, effect: CheckClock, deadline_ns: int) -> None:
        """A check is asked for. What was followed of this event until now belongs to the pause before."""
        job = self._jobs[effect.key] = _ClockJob(effect, deadline_ns)
        left = self._followings.pop(effect.event_id, None)
        if left is not None and left.has_untold:
            self._post_followed(left, FOLLOWING, self._judge.find(left.since_ns, left.event_id, left.rate))
        self._judge.remedies.pop(effect.event_id, None)
        job.samples = _records(self._inquiry.samples, job.since_ns)      # heard between the resume and the check
        self._find_sources()
        if job.since_ns > self._inquiry.since_ns:
            self._inquiry.since_ns = job.since_ns
            self._inquiry.rate_limiter.resumed()
            if not job.samples:
                self._inquiry.rate_limiter.urge()
        self._inquiry.rate_limiter.spread(self._clocks.raw_ns() / NS)
        self._inquiry.note_held_back(self._sources)
        self._ask_daemon()
        self.look_again()

    def forget(self, key: str) -> None:
        """A check is called off. One that was answered is followed all the same."""
        self._jobs.pop(key, None)

    def sample_every(self, period_s: float) -> None:
        """Outside time is asked for so often from now on, also while nothing is checked. Where no source can be asked,
        nothing is."""
        if not self._sources:
            self._find_sources()
            self._inquiry.rate_limiter.spread(self._clocks.raw_ns() / NS)     # a fleet's agents start together
        # What begins to look looks at once: a pause may follow soon, and only a sample from before it measures it.
        begins = self._sampling_s == 0.0 or period_s < self._sampling_s
        self._round = 0 if begins else self._round
        self._sampling_s = period_s if self._sources else 0.0
        next_ns = self._clocks.raw_ns() + (self._held_back_ns() if begins else int(period_s * NS))
        self._next_round_ns = min(self._next_round_ns or next_ns, next_ns)

    def look_again(self) -> None:
        """Something has happened to the clock: the queries start again, as soon as the rate limit allows."""
        self._round, self._next_round_ns = 0, self._clocks.raw_ns() + self._held_back_ns()

    def measure(self) -> None:
        """The machine may have stopped just now: only an answer from after that measures it."""
        self._inquiry.rate_limiter.urge()
        self.look_again()

    def find_now(self) -> ClockCheck:
        """Return what is known of the clock, after a round of questions to the servers that may be asked now."""
        if not self._sources:
            self._find_sources()
        if not self._sources:
            return self._judge.no_source()
        try:
            new = with_reserve(lambda: self._inquiry.ask(self._sources, ROUND_TIMEOUT_S, lambda: False,
                                                         lambda known, asked: False))
        except OSError as error:
            return ClockCheck(Verdict.UNKNOWN, reason=f"no time server can be asked: {reason_of(error)}")
        for sample in new:
            self._on_sample(sample)
        return replace(self._judge.find(0), samples=tuple(as_record(one) for one in new))

    def drop(self) -> None:
        """After an unforeseen exception: forget what is checked and followed, and continue."""
        self._jobs.clear()
        self._followings.clear()
        self._is_hearing = False

    def close(self) -> None:
        self.is_closed = True
        self._jobs.clear()
        self._followings.clear()
        self._sampling_s = 0.0

    # --- time -----------------------------------------------------------------------------------------------------

    @property
    def has_sources(self) -> bool | None:
        """Whether there is a source to ask; None: not looked yet."""
        return bool(self._sources) if self._has_looked else None

    def recent_queries(self, announced: Sequence[str] = ()) -> dict[object, float]:
        """Return how many seconds ago each address was asked lately. Any thread. `announced`: the servers that another
        process asks next, unless one of these addresses is theirs."""
        limiter = self._inquiry.rate_limiter
        if not limiter.recent_queries(self._clocks.raw_ns() / NS):
            limiter.note_announced(announced, self._clocks.raw_ns() / NS)
        return limiter.recent_queries(self._clocks.raw_ns() / NS)

    @property
    def has_work(self) -> bool:
        return bool(self._jobs or self._followings or self._sampling_s)

    def idle_s(self) -> float:
        """Return how long nothing is to be done."""
        until_ns = [self._next_round_ns, *(job.deadline_ns for job in self._jobs.values()),
                    *(one.until_ns for one in self._followings.values())]
        return max(0.0, (min(until_ns) - self._clocks.raw_ns()) / NS) if self.has_work else 0.0

    def is_due(self) -> bool:
        return self.has_work and self._clocks.raw_ns() >= self._next_round_ns

    # --- a round --------------------------------------------------------------------------------------------------

    def ask(self, is_hurried: Callable[[], bool]) -> None:
        """Ask every source that may be asked now, and take in what it says. `is_hurried`: must this be cut short?"""
        now_ns = self._clocks.raw_ns()
        if not self._inquiry.may_ask(self._in_turn()):      # a command has announced its own since this was planned
            self._next_round_ns = now_ns + self._held_back_ns()
            return
        left_s = min([ROUND_TIMEOUT_S, *((job.deadline_ns - now_ns) / NS for job in self._jobs.values())])
        limit_s = max(_SHORTEST_ROUND_S, left_s)
        try:
            new = with_reserve(lambda: self._inquiry.ask(self._sources, limit_s, is_hurried, self._are_decided,
                                                         self._in_turn()))
        except OSError as error:
            self._cannot_ask(now_ns, reason_of(error))
            return
        for sample in new:
            self._on_sample(sample)
        for job in self._jobs.values():
            job.samples += _records(new, job.since_ns)
            if len(job.samples) > _MOST_SAMPLES:
                job.samples = job.samples[::2]      # the curve keeps its beginning and its shape
        pause_s = 0.0
        if not is_hurried():
            self._round += 1
            pause_s = self._pause_s()
        self._next_round_ns = max(now_ns + int(pause_s * NS), self._clocks.raw_ns() + self._held_back_ns())
        if urgent := self._inquiry.urgent(self._sources):
            self._next_round_ns = min(self._next_round_ns,
                                      self._clocks.raw_ns() + int(self._inquiry.wait_s(urgent) * NS))
        if new and not self._jobs and not self._followings:
            self.latest = self._judge.find(self._inquiry.since_ns)      # or the last event's would stand for ever
        self._follow(new)

    def _cannot_ask(self, now_ns: int, reason: str) -> None:
        """Not one query could leave, nor can it soon: a check must not wait for that."""
        for key, job in list(self._jobs.items()):
            self.latest = ClockCheck(Verdict.UNKNOWN, reason=f"no time server can be asked: {reason}")
            del self._jobs[key]
            self._post(ClockJudged(job.effect.event_id, job.effect.round, self.latest))
        self._next_round_ns = now_ns + int(_REST_S * NS)

    def settle(self) -> None:
        """Answer each check that is good, out of time, or has no source to ask; end what was followed long enough."""
        for key, job in list(self._jobs.items()):
            check = self.latest = self._check(job)
            if check.verdict is Verdict.GOOD or self._is_over(job):
                del self._jobs[key]
                self._post(ClockJudged(job.effect.event_id, job.effect.round, check))
                self._begin_following(job, check)
        if any(self._clocks.raw_ns() >= one.until_ns for one in self._followings.values()):
            self._follow(())

    def _check(self, job: _ClockJob) -> ClockCheck:
        if not self._sources:
            return self._judge.no_source()
        check = self._judge.find(job.since_ns, job.effect.event_id)
        if check.verdict is Verdict.BAD and not job.is_remedied and self._settings.remedy == "daemon":
            job.is_remedied = True
            self._remedy(job)
        good_after_s = (self._clocks.raw_ns() - job.since_ns) / NS if check.verdict is Verdict.GOOD else None
        return replace(check, good_after_s=good_after_s, samples=tuple(job.samples))

    def _is_over(self, job: _ClockJob) -> bool:
        """Is the deadline reached, or is no source left that could be asked before it?"""
        now_ns = self._clocks.raw_ns()
        is_hopeless = now_ns + self._held_back_ns() >= job.deadline_ns and not self._judge.has_sample(job.since_ns)
        return not self._sources or is_hopeless or now_ns >= job.deadline_ns

    def _are_decided(self, known: Sequence[TimeSample], asked: dict[str, int]) -> bool:
        return bool(self._jobs) and all(self._judge.is_decided(known, job.since_ns, asked)
                                        for job in self._jobs.values())

    def _pause_s(self) -> float:
        if not self._sampling_s:
            return self._checking_pause_s()
        if self._jobs or self._followings:
            return min(self._sampling_s, self._checking_pause_s())
        if not self._takes_turns():
            return self._sampling_s
        has_hardware = any(source.origin is Origin.HARDWARE for source in self._sources)
        return _HARDWARE_S if has_hardware else self._sampling_s / len(self._sources)

    def _takes_turns(self) -> bool:
        """Whether the time servers are asked one after the other: between checks while an event is near, so that one of
        them soon shows a stop and none is asked more often."""
        return self._round > 0 and 0 < self._sampling_s <= _TURNS_S and not (self._jobs or self._followings)

    def _in_turn(self) -> Sequence[TimeSource]:
        """The sources to ask in this round."""
        if not self._takes_turns():
            return self._sources
        return [*self._inquiry.in_turn(self._sources, self._sampling_s), *self._inquiry.urgent(self._sources)]

    def _checking_pause_s(self) -> float:
        if self._jobs:
            is_open = any(self._judge.is_open(job.since_ns) for job in self._jobs.values())
            return pause_before(self._round, is_open or self._inquiry.awaits_host)
        spacing_s = min((SPACING_S[source.origin] for source in self._sources), default=0.0)
        return pause_while_following(self._round, spacing_s)

    def _held_back_ns(self) -> int:
        return int(self._inquiry.wait_s(self._in_turn()) * NS)

    # --- following ------------------------------------------------------------------------------------------------

    def _begin_following(self, job: _ClockJob, check: ClockCheck) -> None:
        """No clock is followed that cannot be: without a source, or where the rate limit holds all of them back for too
        long."""
        if not self._sources or self._inquiry.wait_s(self._sources) >= LIMIT_S:
            return
        event_id = job.effect.event_id
        self._followings[event_id] = ConvergenceMonitor(event_id, job.since_ns, check, self._instant())
        if not self._jobs:
            self._round = 1
            self._next_round_ns = self._clocks.raw_ns() + max(int(self._pause_s() * NS), self._held_back_ns())

    def _follow(self, new: Sequence[TimeSample]) -> None:
        for one in list(self._followings.values()):
            check = self._judge.find(one.since_ns, one.event_id, one.rate)
            self.latest = check if not self._jobs else self.latest
            state = one.update(check, _records(new, one.since_ns), self._instant())
            if state is not None:
                del self._followings[one.event_id]
                self._post_followed(one, state, check)
        if self._followings:
            self._ask_daemon()

    def _post_followed(self, one: ConvergenceMonitor, state: str, check: ClockCheck) -> None:
        self._post(ClockFollowed(one.event_id, state, one.report(check)))

    def _instant(self) -> ClockInstant:
        return ClockInstant(self._clocks.raw_ns(), wall_minus_raw_ns(self._clocks))

    def _find_sources(self) -> None:
        self._daemon = None if self._settings.servers else find_daemon(self._surroundings)
        self._sources = find_sources(self._settings, self._surroundings, self._daemon)
        self._has_looked = True

    # --- the time daemon ------------------------------------------------------------------------------------------

    def _ask_daemon(self) -> None:
        if not self._is_hearing:
            self._is_hearing = True
            daemon = self._daemon
            start_task("tideover-clock-daemon", lambda: self._report_daemon(daemon),
                       lambda reason: self._run_on_worker(lambda worker: worker._take_daemon_report(None)))

    def _report_daemon(self, daemon: Daemon | None) -> None:
        """On a thread beside the worker's."""
        known = daemon or find_daemon(self._surroundings)
        report = known.report() if known else None
        self._run_on_worker(lambda worker: worker._take_daemon_report(report))

    def _take_daemon_report(self, report: DaemonReport | None) -> None:
        self._is_hearing, self._judge.daemon = False, report
        if report is not None:
            for one in self._followings.values():
                one.note_update(report.updated_at, self._judge.wall_at(one.since_ns))

    def _remedy(self, job: _ClockJob) -> None:
        may_step = self._judge.may_step(job.since_ns)

        def remedy() -> None:
            """On a thread beside the worker's."""
            ended = measure_again(self._surroundings, lambda offset_s: not self.is_closed and may_step(offset_s))
            self._run_on_worker(lambda worker: worker._remedied(job, ended))

        start_task("tideover-clock-remedy", remedy,
                   lambda reason: self._run_on_worker(
                       lambda worker: worker._remedied(job, CommandResult(trouble=reason))))

    def _remedied(self, job: _ClockJob, ended: CommandResult) -> None:
        event_id = job.effect.event_id
        self._judge.remedies[event_id] = ended.trouble or ended.output
        check = self._judge.find(job.since_ns, event_id)
        self._post(ClockFollowed(event_id, FOLLOWING if ended.trouble else REMEDIED, check))
        if self.has_work and not ended.trouble:
            self.look_again()


def _records(samples: Sequence[TimeSample], since_ns: int) -> list[ClockSample]:
    return [as_record(one) for one in samples if one.began_raw_ns >= since_ns]
