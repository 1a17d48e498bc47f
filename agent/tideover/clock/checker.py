"""The clock check as the engine asks for it: one answer for each effect, good or at the deadline, and what came after.

Lends the worker a thread, which lives only while something is checked or followed. The rest of this hand is imported
with the first checker, not by the commands that only read what clocks are: an agent needs it from its start.
"""
from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
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
    from tideover.clock.worker import ClockWorker, News
    from tideover.timekeeping.intervals import TimeSample

NEAR_EVENT_SAMPLING_S = 8.0  # while an event is near or Started: ntpd's default average; the manners hold others back
IDLE_SAMPLING_S = 60.0        # so that a pause nobody announced has a sample before it: 60 s at 50 ppm are 3 ms
_LOOK_S = 2.0                 # a round of questions, and the one that may be under way
_CLOSE_TIMEOUT_S = 2.0              # a round ends at once when it is called; this is for a machine that is very busy


def _post_nowhere(sample: TimeSample) -> None:
    """Who hears the samples where nobody asked to."""


class ClockChecker:
    """Given effects, tell ClockJudged(event_id, round, check) once for each that is not called off.

    After its answer each clock is watched on, until it has converged, is stuck, or ten minutes are over; that is told
    as ClockFollowed(event_id, state, check), with the samples since the last telling.
    """

    def __init__(self, tell: Callable[[Observation], None], settings: ClockCheckSettings, clocks: RawWallClocks
                 | None = None,
                 surroundings: HostAccess | None = None, *, heard: Callable[[TimeSample],
                                                                            None] = _post_nowhere) -> None:
        """`heard` is given each valid answer of each source; it must not block."""
        from tideover.clock.host import HostAccess
        from tideover.clock.worker import ClockWorker

        self._tell, self._settings, self._heard = tell, settings, heard
        self._clocks: RawWallClocks = clocks or MachineClocks()
        self._wakeup = Wakeup()
        self._unanswered: dict[str, CheckClock] = {}      # who takes an entry out (one atomic step) answers it
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._worker = ClockWorker(self._answer, settings, clocks=self._clocks, wakeup=self._wakeup, post=self._post,
                              surroundings=surroundings or HostAccess(), heard=self._heard)
        # Whoever has taken the worker off this queue is its thread.
        self._worker_slot: queue.SimpleQueue[ClockWorker] = queue.SimpleQueue()
        self._worker_slot.put(self._worker)
        self._is_hurried = False      # news came that a round under way must not keep waiting
        self._is_closed = False

    def start(self, effect: CheckClock) -> None:
        """Begin one check; its deadline is counted on the raw clock from now."""
        deadline_ns = self._clocks.raw_ns() + int(self._settings.deadline_s * NS)
        self._unanswered[effect.key] = effect
        self._send(lambda worker: worker.begin(effect, deadline_ns))

    def cancel(self, key: str) -> None:
        """Forget one check; it is not answered any more. One that was answered is still followed."""
        self._unanswered.pop(key, None)
        if self._worker_slot.empty():      # nobody at work: there is nothing to forget
            self._send(lambda worker: worker.forget(key))

    def clock_was_set(self) -> None:
        """Somebody set the wall clock: what is being checked is judged and asked anew at once."""
        if self._worker_slot.empty():
            self._post(lambda worker: worker.look_again())

    def sample_near_event(self) -> None:
        """An event is near or has started: hear outside time as often as the manners allow, also between checks."""
        self._post(lambda worker: worker.sample_every(NEAR_EVENT_SAMPLING_S))

    def sample_idle(self) -> None:
        """No event is near: hear outside time now and then."""
        self._post(lambda worker: worker.sample_every(IDLE_SAMPLING_S))

    def sample_now(self) -> None:
        """This machine may have stopped, or soon will: hear outside time as soon as the rate limits allow."""
        if self._worker_slot.empty():
            self._post(lambda worker: worker.measure())

    def look(self) -> ClockCheck:
        """Return what is known of the clock now, asked anew of the servers that may be asked. Blocks for two seconds at
        most; not for the engine's thread."""
        found: queue.SimpleQueue[ClockCheck] = queue.SimpleQueue()
        self._send(lambda worker: found.put(worker.find_now()))
        with contextlib.suppress(queue.Empty):
            return found.get(timeout=_LOOK_S)
        return ClockCheck(Verdict.UNKNOWN, reason="the time servers have not answered yet")

    def latest(self) -> ClockCheck | None:
        """Return the newest finding of any check, under way, answered or followed; None before the first."""
        return self._worker.latest

    def has_sources(self) -> bool | None:
        """Return whether there is anybody to ask; None: not looked yet."""
        return self._worker.has_sources

    def close(self) -> None:
        """End the worker; checks under way are not answered, and nothing is followed any more."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._worker_slot.empty():
            self._inbox.put(lambda worker: worker.close())
            self._is_hurried = True
            self._wakeup.set()
        with contextlib.suppress(queue.Empty):
            self._worker_slot.get(timeout=_CLOSE_TIMEOUT_S)      # never put back: nothing starts any more
            self._wakeup.close()

    def _send(self, news: News) -> None:
        """Bring news that a round under way must not keep waiting."""
        self._inbox.put(news)
        self._is_hurried = True      # after the putting: the thread clears it before it looks into the inbox
        self._wake()

    def _post(self, news: News) -> None:
        """Bring news for when there is time, from any thread."""
        self._inbox.put(news)
        self._wake()

    def _wake(self) -> None:
        self._wakeup.set()
        if not self._is_closed:
            with contextlib.suppress(queue.Empty):
                worker = self._worker_slot.get_nowait()
                self._lend_thread(worker)

    def _lend_thread(self, worker: ClockWorker) -> None:
        try:
            Loop("tideover-clock", lambda: self._work(worker), self._failed).start()
        except RuntimeError:        # how `threading` says that the system gives no more
            self._worker_slot.put(worker)
            self._failed(NO_THREAD)

    def _answer(self, seen: Observation) -> None:
        """Tell what the worker found; a check that was answered or called off is not answered again."""
        if isinstance(seen, ClockJudged) and self._unanswered.pop(_key(seen), None) is None:
            return
        self._tell(seen)

    def _failed(self, reason: str) -> None:
        """What is being checked met what nobody foresaw: it is answered, and the next check begins anew."""
        self._worker.drop()
        for effect in list(self._unanswered.values()):
            self._answer(ClockJudged(effect.event_id, effect.round, ClockCheck(Verdict.UNKNOWN, reason=reason)))

    def _work(self, worker: ClockWorker) -> None:
        while True:
            while worker.has_work or not self._inbox.empty():
                self._take_news(worker, worker.idle_s())
                worker.settle()
                self._is_hurried = False
                if worker.is_due() and self._inbox.empty():
                    worker.ask(lambda: self._is_hurried)
                    self._take_news(worker, 0.0)
                    worker.settle()
            self._worker_slot.put(worker)
            if self._inbox.empty():
                return
            try:      # news came between the look and the putting back, and nobody took it up
                self._worker_slot.get_nowait()
            except queue.Empty:
                return

    def _take_news(self, worker: ClockWorker, wait_s: float) -> None:
        """Wait so long for news; take in all there is."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get(timeout=wait_s)(worker)
                wait_s = 0.0


def _key(answer: ClockJudged) -> str:
    return CheckClock(answer.event_id, answer.round, 0.0).key
