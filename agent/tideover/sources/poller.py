"""The threads that poll and acknowledge: the interval, the back-off after failures.

They post observations through `post` and never judge it. The poller sleeps in one wait between two polls; nothing here
polls anything but the source.
"""
from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tideover.effects import Acknowledge
from tideover.model import Moment
from tideover.observations import AckOutcome, AckSettled, Observation, Polled, PollFailed
from tideover.sources import Source
from tideover.system.clocks import read_moment
from tideover.system.process import RESERVE
from tideover.threads import Loop, start_task

LONGEST_BACK_OFF_S = 5.0         # what the contract allows; an event of 30 s notice must still be seen
REST = 0.5                       # of an interval, at least, after a failure: one that took long leaves no time to wait
CLOSE_S = 2.0                    # how long closing waits for a thread to come home

Post = Callable[[Observation], None]


@dataclass(frozen=True, slots=True)
class PollStatus:
    """How polling goes: the moment of the last document, and how often and why there was none since."""

    last_good: Moment | None = None
    failures: int = 0            # in a row; 0: the last poll brought a document
    reason: str = ""             # of the last failure; "" when there is none


def back_off_s(failures: int, interval_s: float, jitter: Callable[[float, float], float]) -> float:
    """Given the failures in a row (1 or more), return the seconds from one poll's start to the next one's.

    Doubles to 5 s at most, or to the owner's interval where that is longer; `jitter` draws between two bounds, so that
    the pollers of many VMs on one host do not come back together.
    """
    longest_s = max(interval_s, LONGEST_BACK_OFF_S)
    ceiling_s = min(longest_s, interval_s * 2.0 ** min(failures, 10))
    return max(interval_s, jitter(ceiling_s / 2, ceiling_s))


class Poller:
    """Asks a source every `interval_s`, from one start to the next; after failures less often."""

    def __init__(self, post: Post, source: Source, interval_s: float = 1.0, *,
                 now: Callable[[], Moment] = read_moment,
                 jitter: Callable[[float, float], float] = random.uniform) -> None:
        self._post, self._source, self._interval_s = post, source, interval_s
        self._now, self._jitter = now, jitter
        self._status = PollStatus()
        self._wanted = threading.Event()
        self._closing = False
        self._loop = Loop("poller", self._run, self._failed)

    def start(self) -> None:
        """Poll for the first time, and go on."""
        self._loop.start()

    def poll_now(self) -> None:
        """Do not wait for the interval; a poll under way is followed by another, asked for after this call."""
        self._wanted.set()

    def status(self) -> PollStatus:
        return self._status

    def close(self) -> None:
        """End the thread, and the poll it is in. Nothing is posted from here on."""
        self._closing = True
        self._wanted.set()
        self._source.close()
        self._loop.end(CLOSE_S)

    def _run(self) -> None:
        while not self._closing:
            asked_raw_s = self._now().raw_s
            news = self._source.poll()
            if self._closing:
                return
            self._take(news)
            self._wanted.wait(self._wait_s(asked_raw_s))
            self._wanted.clear()

    def _failed(self, reason: str) -> None:
        if not self._closing:
            self._take(PollFailed(reason))

    def _take(self, news: Polled | PollFailed) -> None:
        self._status = self._judge(news)
        self._post(news)

    def _judge(self, news: Polled | PollFailed) -> PollStatus:
        if isinstance(news, Polled):
            return PollStatus(last_good=self._now())
        return PollStatus(self._status.last_good, self._status.failures + 1, news.reason)

    def _wait_s(self, asked_raw_s: float) -> float:
        failures, lived_s = self._status.failures, self._now().raw_s - asked_raw_s
        if failures:
            return max(REST * self._interval_s, back_off_s(failures, self._interval_s, self._jitter) - lived_s)
        return max(0.0, self._interval_s - lived_s)


class Acknowledger:
    """Sends acknowledgements, each in a thread of its own, and posts one AckSettled for each."""

    def __init__(self, post: Post, source: Source) -> None:
        self._post, self._source = post, source
        self._unsent: dict[str, Acknowledge] = {}      # who takes an entry out (one atomic step) settles it
        self._threads: set[threading.Thread] = set()

    def start(self, effect: Acknowledge, is_fresh: Callable[[], bool] = lambda: True,
              stale: Callable[[], None] | None = None) -> None:
        """Send the acknowledgement this effect asks for. Never blocks. `is_fresh`: asked before it leaves; if not,
        `stale` is called in its place, on the thread that was to send it."""
        self._unsent[effect.key] = effect
        thread = start_task("acknowledge", lambda: self._send(effect.key, is_fresh, stale),
                            lambda reason: self._failed(effect, reason))
        self._threads = {other for other in self._threads if other.is_alive()} | ({thread} if thread else set())

    def cancel(self, key: str) -> None:
        """Do not send it if it has not left; one that has left cannot be called back, and its result is posted."""
        self._give_up(key, "cancelled before it was sent")

    def close(self) -> None:
        """Send nothing more, and give what has left a moment to be answered: its answer settles the event for good."""
        for key in list(self._unsent):
            self._give_up(key, "the agent stopped before it was sent")
        for thread in self._threads:
            thread.join(CLOSE_S)

    def _give_up(self, key: str, reason: str) -> None:
        effect = self._unsent.pop(key, None)
        if effect is not None:
            self._post(AckSettled(effect.event_id, effect.attempt, AckOutcome.LOST, reason))

    def _failed(self, effect: Acknowledge, reason: str) -> None:
        """It cannot be known whether it has left: a fresh document decides."""
        self._unsent.pop(effect.key, None)
        self._post(AckSettled(effect.event_id, effect.attempt, AckOutcome.LOST, reason))

    def _send(self, key: str, is_fresh: Callable[[], bool], stale: Callable[[], None] | None) -> None:
        effect = self._unsent.pop(key, None)
        if effect is not None and stale is not None and not is_fresh():
            stale()
        elif effect is not None:
            with RESERVE.available():
                outcome, reason = self._source.acknowledge(effect.spelling or effect.event_id)
            self._post(AckSettled(effect.event_id, effect.attempt, outcome, reason))
