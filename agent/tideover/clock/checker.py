"""The clock check as the engine asks for it: one answer for each effect; how often time sources are sampled when idle.

Runs the worker on a thread, which lives only while something is checked or followed. The rest of this package is
imported with the first checker, not by the commands that only read what clocks are: an agent needs it from its start.
"""
from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tideover.clock.types import ClockCheckSettings
from tideover.effects import CheckClock
from tideover.model import ClockCheck, Verdict
from tideover.observations import ClockJudged, Observation
from tideover.system.clocks import MachineClocks, RawWallClocks
from tideover.system.wakeup import Wakeup
from tideover.threads import NO_THREAD, Loop
from tideover.timekeeping.intervals import NS

if TYPE_CHECKING:
    from tideover.clock.host import HostAccess
    from tideover.clock.worker import News
    from tideover.timekeeping.intervals import TimeSample

NEAR_EVENT_SAMPLING_S = 8.0  # while an event is near or Started: ntpd's default average; rate-limited for others
IDLE_SAMPLING_S = 60.0        # so that an unannounced pause has a sample before it: 60 s at 50 ppm are 3 ms
_LOOK_S = 2.0                 # a round of questions, and the one that may be under way
_CLOSE_TIMEOUT_S = 2.0              # a round ends at once when it is called; this is for a machine that is very busy


def _post_nowhere(sample: TimeSample) -> None:
    """The default of `on_sample`."""


class ClockChecker:
    """Given effects, post ClockJudged(event_id, round, check) once for each that is not cancelled.

    After its answer each clock is watched on, until it has converged, is stuck, or ten minutes are over; that is
    reported as ClockFollowed(event_id, state, check), with the samples since the last report."""

    def __init__(self, post: Callable[[Observation], None], settings: ClockCheckSettings,
                 clocks: RawWallClocks | None = None, surroundings: HostAccess | None = None, *,
                 on_sample: Callable[[TimeSample], None] = _post_nowhere) -> None:
        """`on_sample` gets each valid answer of each source; it must not block."""
        from tideover.clock.host import HostAccess
        from tideover.clock.worker import ClockWorker

        self._post, self._settings, self._on_sample = post, settings, on_sample
        self._clocks: RawWallClocks = clocks or MachineClocks()
        self._wakeup = Wakeup()
        self._unanswered: dict[str, CheckClock] = {}      # who takes an entry out (one atomic step) answers it
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._worker = ClockWorker(self._answer, settings, clocks=self._clocks, wakeup=self._wakeup,
                              run_on_worker=self._run_on_worker, surroundings=surroundings or HostAccess(),
                              on_sample=self._on_sample)
        self._lock = threading.Lock()           # for the two below
        self._loop: Loop | None = None          # the worker's thread, while there is work
        self._is_closed = False
        self._is_hurried = False      # news came that a round under way must not keep waiting

    def start(self, effect: CheckClock) -> None:
        """Begin one check; its deadline is counted on the raw clock from now."""
        deadline_ns = self._clocks.raw_ns() + int(self._settings.deadline_s * NS)
        self._unanswered[effect.key] = effect
        self._send(lambda worker: worker.begin(effect, deadline_ns))

    def cancel(self, key: str) -> None:
        """Forget one check; it is not answered any more. One that was answered is still followed."""
        self._unanswered.pop(key, None)
        if self._is_running:
            self._send(lambda worker: worker.forget(key))

    def clock_was_set(self) -> None:
        """The wall clock was set: what is being checked is judged and asked again at once."""
        if self._is_running:
            self._run_on_worker(lambda worker: worker.look_again())

    def sample_near_event(self) -> None:
        """An event is near or has started: sample outside time as often as the rate limit allows, also between
        checks."""
        self._run_on_worker(lambda worker: worker.sample_every(NEAR_EVENT_SAMPLING_S))

    def sample_idle(self) -> None:
        """No event is near: hear outside time now and then."""
        self._run_on_worker(lambda worker: worker.sample_every(IDLE_SAMPLING_S))

    def sample_now(self) -> None:
        """This machine may have stopped, or soon will: sample outside time as soon as the rate limits allow."""
        if self._is_running:
            self._run_on_worker(lambda worker: worker.measure())

    def look(self) -> ClockCheck:
        """Return what is known of the clock now, after new queries to the servers that may be asked. Blocks for two
        seconds at most; not for the engine's thread."""
        found: queue.SimpleQueue[ClockCheck] = queue.SimpleQueue()
        self._send(lambda worker: found.put(worker.find_now()))
        with contextlib.suppress(queue.Empty):
            return found.get(timeout=_LOOK_S)
        return ClockCheck(Verdict.UNKNOWN, reason="the time servers have not answered yet")

    def latest(self) -> ClockCheck | None:
        """Return the newest finding of any check, under way, answered or followed; None before the first."""
        return self._worker.latest

    def recent_queries(self, announced: Sequence[str] = ()) -> dict[object, float]:
        """Return how many seconds ago each address (as of a socket) was asked, of those asked within about 2 s. Where
        there are none, the servers `announced` are not asked for about 2 s: another process is about to."""
        return self._worker.recent_queries(announced)

    def has_sources(self) -> bool | None:
        """Return whether there is a source to ask; None: not looked yet."""
        return self._worker.has_sources

    def close(self) -> None:
        """End the worker; checks under way are not answered, and nothing is followed any more."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed, loop = True, self._loop
        if loop is not None:
            self._inbox.put(lambda worker: worker.close())
            self._is_hurried = True
            self._wakeup.set()
        if loop is None or loop.end(_CLOSE_TIMEOUT_S):
            self._wakeup.close()

    @property
    def _is_running(self) -> bool:
        return self._loop is not None

    def _send(self, news: News) -> None:
        """Bring news that a round under way must not keep waiting."""
        self._inbox.put(news)
        self._is_hurried = True      # after the putting: the thread clears it before it looks into the inbox
        self._wake()

    def _run_on_worker(self, news: News) -> None:
        """Bring news for when there is time, from any thread."""
        self._inbox.put(news)
        self._wake()

    def _wake(self) -> None:
        """After news: have the thread take it, and start one where none runs."""
        self._wakeup.set()
        with self._lock:
            if self._is_running or self._is_closed:
                return
            self._loop = Loop("tideover-clock", self._work, self._failed)
            try:
                self._loop.start()
                return
            except RuntimeError:        # how `threading` says that the system gives no more
                self._loop = None
        self._failed(NO_THREAD)

    def _answer(self, seen: Observation) -> None:
        """Post what the worker found; a check that was answered or cancelled is not answered again."""
        if isinstance(seen, ClockJudged) and self._unanswered.pop(_key(seen), None) is None:
            return
        self._post(seen)

    def _failed(self, reason: str) -> None:
        """A check met an unforeseen exception: it is answered, and the next check starts from the beginning."""
        self._worker.drop()
        for effect in list(self._unanswered.values()):
            self._answer(ClockJudged(effect.event_id, effect.round, ClockCheck(Verdict.UNKNOWN, reason=reason)))

    def _work(self) -> None:
        worker = self._worker
        while True:
            while worker.has_work or not self._inbox.empty():
                self._take_news(worker.idle_s())
                worker.settle()
                self._is_hurried = False
                if worker.is_due() and self._inbox.empty():
                    worker.ask(lambda: self._is_hurried)
                    self._take_news(0.0)
                    worker.settle()
            with self._lock:            # news that comes after this look finds no thread and starts one
                if self._inbox.empty():
                    self._loop = None
                    return

    def _take_news(self, wait_s: float) -> None:
        """Wait so long for news; take in all there is."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get(timeout=wait_s)(self._worker)
                wait_s = 0.0


def _key(answer: ClockJudged) -> str:
    return CheckClock(answer.event_id, answer.round, 0.0).key
