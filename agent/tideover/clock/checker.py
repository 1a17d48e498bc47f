"""The clock check as the engine asks for it: one answer for each effect, good or at the deadline.

Owns a worker thread that lives only while something is checked. Never sets the clock.
"""
from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tideover.clock.inquiry import ROUND_S, Inquiry
from tideover.clock.nouns import ClockSettings, Origin, Source
from tideover.clock.readings import Clocks, SystemClocks, wall_minus_raw_ns
from tideover.clock.schedule import pause_before
from tideover.clock.verdict import as_record, conclude
from tideover.effects import CheckClock
from tideover.model import NO_SOURCE, ClockCheck, ClockSample, Verdict, utc
from tideover.observations import ClockJudged, Observation
from tideover.timekeeping.agreement import NS, Ruling, Sample, rule, stand
from tideover.timekeeping.ntp import split_server

_SHORTEST_ROUND_S = 0.05      # even a deadline of nothing hears a server of its own region
_CLOSING_S = 2 * ROUND_S
_MOST_SAMPLES = 240           # in one record


@dataclass(slots=True)
class _Job:
    effect: CheckClock
    deadline_ns: int
    samples: list[ClockSample] = field(default_factory=list)

    @property
    def since_ns(self) -> int:
        return int(self.effect.since_raw_s * NS)


@dataclass(frozen=True, slots=True)
class _CallOff:
    key: str


@dataclass(frozen=True, slots=True)
class _ClockWasSet:
    pass


@dataclass(frozen=True, slots=True)
class _Close:
    pass


@dataclass(slots=True)
class _Desk:
    """All the worker's state. Whoever has taken it off its queue is the worker; there is one desk."""

    inquiry: Inquiry
    jobs: dict[str, _Job] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    round_number: int = 0
    next_round_ns: int = 0


class ClockChecker:
    """Given effects, tell ClockJudged(event_id, round, check) once for each that is not called off."""

    def __init__(self, tell: Callable[[Observation], None], settings: ClockSettings,
                 clocks: Clocks | None = None) -> None:
        for server in settings.servers:
            split_server(server)
        self._tell, self._settings = tell, settings
        self._clocks: Clocks = clocks or SystemClocks()
        self._inquiry = Inquiry(self._clocks)
        self._inbox: queue.SimpleQueue[_Job | _CallOff | _ClockWasSet | _Close] = queue.SimpleQueue()
        self._desks: queue.SimpleQueue[_Desk] = queue.SimpleQueue()
        self._desks.put(_Desk(self._inquiry))
        self._latest: ClockCheck | None = None
        self._is_hurried = False      # news came that a round under way must not keep waiting
        self._is_closed = False

    def start(self, effect: CheckClock) -> None:
        """Begin one check; its deadline is counted on the raw clock from now."""
        deadline_ns = self._clocks.raw_ns() + int(self._settings.deadline_s * NS)
        self._inbox.put(_Job(effect, deadline_ns))
        self._is_hurried = True      # after the putting: the worker clears it before it looks into the inbox
        self._inquiry.ring()
        with contextlib.suppress(queue.Empty):
            desk = self._desks.get_nowait()
            threading.Thread(target=self._work, args=(desk,), daemon=True, name="tideover-clock").start()

    def call_off(self, key: str) -> None:
        """Forget one check; it is not answered any more."""
        self._send(_CallOff(key))

    def clock_was_set(self) -> None:
        """Somebody set the wall clock: what is being checked is judged and asked anew at once."""
        self._send(_ClockWasSet())

    def latest(self) -> ClockCheck | None:
        """Return the newest finding of any check, under way or answered; None before the first."""
        return self._latest

    def close(self) -> None:
        """End the worker; checks under way are not answered."""
        if self._is_closed:
            return
        self._is_closed = True
        self._send(_Close())
        with contextlib.suppress(queue.Empty):
            self._desks.get(timeout=_CLOSING_S)      # never put back: nothing starts any more
            self._inquiry.close()

    def _send(self, news: _CallOff | _ClockWasSet | _Close) -> None:
        if self._desks.empty():      # nobody at work: there is nothing it could mean
            self._inbox.put(news)
            self._is_hurried = self._is_hurried or not isinstance(news, _ClockWasSet)
            self._inquiry.ring()

    def _work(self, desk: _Desk) -> None:
        while True:
            while desk.jobs or not self._inbox.empty():
                self._take_news(desk, self._idle_s(desk))
                self._settle(desk)
                self._is_hurried = False
                if desk.jobs and self._clocks.raw_ns() >= desk.next_round_ns and self._inbox.empty():
                    self._ask(desk)
                    self._take_news(desk, 0.0)
                    self._settle(desk)
            self._desks.put(desk)
            if self._inbox.empty():
                return
            try:      # a check came between the look and the putting back, and nobody took it up
                desk = self._desks.get_nowait()
            except queue.Empty:
                return

    def _take_news(self, desk: _Desk, wait_s: float) -> None:
        """Wait so long for news; take in all there are."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._take(desk, self._inbox.get(timeout=wait_s))
                wait_s = 0.0

    def _take(self, desk: _Desk, news: _Job | _CallOff | _ClockWasSet | _Close) -> None:
        match news:
            case _Job():
                desk.jobs[news.effect.key] = news
                desk.sources = tuple(Source(server, Origin.OWNER) for server in self._settings.servers)
            case _CallOff():
                desk.jobs.pop(news.key, None)
                return
            case _Close():
                desk.jobs.clear()
        desk.round_number, desk.next_round_ns = 0, self._clocks.raw_ns() + self._held_back_ns(desk)

    def _idle_s(self, desk: _Desk) -> float:
        """Return how long nothing is to be done."""
        until_ns = min([desk.next_round_ns, *(job.deadline_ns for job in desk.jobs.values())])
        return max(0.0, (until_ns - self._clocks.raw_ns()) / NS) if desk.jobs else 0.0

    def _ask(self, desk: _Desk) -> None:
        now_ns = self._clocks.raw_ns()
        left_s = (min(job.deadline_ns for job in desk.jobs.values()) - now_ns) / NS
        new = desk.inquiry.ask(desk.sources, max(_SHORTEST_ROUND_S, min(ROUND_S, left_s)),
                               lambda: self._is_hurried,
                               lambda known, asked: self._are_decided(desk, known, asked))
        for job in desk.jobs.values():
            job.samples += [as_record(one) for one in new if one.began_raw_ns >= job.since_ns]
            if len(job.samples) > _MOST_SAMPLES:
                job.samples = job.samples[::2]      # the curve keeps its beginning and its shape
        pause_s = 0.0
        if not self._is_hurried:
            desk.round_number += 1
            pause_s = pause_before(desk.round_number, self._is_open(desk))
        desk.next_round_ns = now_ns + max(int(pause_s * NS), self._held_back_ns(desk))

    def _settle(self, desk: _Desk) -> None:
        """Answer each check that is good, out of time, or has nobody to ask."""
        for key, job in list(desk.jobs.items()):
            check = self._judge(desk, job)
            self._latest = check
            is_over = not desk.sources or self._clocks.raw_ns() >= job.deadline_ns
            if check.verdict is Verdict.GOOD or is_over:
                del desk.jobs[key]
                self._tell(ClockJudged(job.effect.event_id, job.effect.round, check))

    def _judge(self, desk: _Desk, job: _Job) -> ClockCheck:
        if not desk.sources:
            return ClockCheck(Verdict.UNKNOWN, checked_at=utc(self._clocks.wall_ns() / NS), reason=NO_SOURCE)
        distance_ns, now_ns = wall_minus_raw_ns(self._clocks), self._clocks.raw_ns()
        known = [one for one in desk.inquiry.samples if one.began_raw_ns >= job.since_ns]
        check = conclude(stand(known, now_ns), distance_ns, int(self._settings.tolerance_s * NS),
                         desk.inquiry.refused.values())
        good_after_s = (now_ns - job.since_ns) / NS if check.verdict is Verdict.GOOD else None
        return replace(check, checked_at=utc((now_ns + distance_ns) / NS), good_after_s=good_after_s,
                       samples=tuple(job.samples))

    def _are_decided(self, desk: _Desk, known: Sequence[Sample], asked: dict[str, int]) -> bool:
        return all(self._ruling(known, job, asked) in (Ruling.INSIDE, Ruling.OUTSIDE) for job in desk.jobs.values())

    def _is_open(self, desk: _Desk) -> bool:
        return any(self._ruling(desk.inquiry.samples, job, None) is Ruling.OPEN for job in desk.jobs.values())

    def _ruling(self, known: Sequence[Sample], job: _Job, asked: dict[str, int] | None) -> Ruling | None:
        newer = [one for one in known if one.began_raw_ns >= job.since_ns]
        behind = stand(newer, self._clocks.raw_ns(), asked).behind(wall_minus_raw_ns(self._clocks))
        return None if behind is None else rule(behind, int(self._settings.tolerance_s * NS))

    def _held_back_ns(self, desk: _Desk) -> int:
        return int(desk.inquiry.wait_s(desk.sources) * NS)
