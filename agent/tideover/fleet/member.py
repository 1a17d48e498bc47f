"""The thread that keeps this machine's part of the store: intervals, retries, back-off, when the store is out of reach.

All that is decided here is when to ask. What is read and written, and what follows, is decided by the sessions of
`lifecycle.fleet_session`. No call from another thread waits for the store.
"""
from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tideover.effects import Acknowledge, Coordinate, SlotWish
from tideover.fleet.store import Conflict, Store, StoreFailed
from tideover.fleet_documents import MemberDocument, UnusableDocument, event_digest
from tideover.lifecycle.fleet_rules import FleetMember
from tideover.lifecycle.fleet_session import (
    HOLDER_INTERVAL_S,
    BackOff,
    Confirmation,
    FleetMemory,
    FleetSessions,
    Operation,
    ReadKey,
    StoredValue,
    TooManyConflicts,
    WriteKey,
)
from tideover.lifecycle.state import Phase
from tideover.model import Moment, utc_text
from tideover.observations import AckOutcome, AckSettled, FleetLeft, FleetSeen, FleetView, Observation, SlotState
from tideover.threads import Loop

FRESH_S = 1.0               # so old may the last look at the store be when an acknowledgement leaves
CONFIRMED_WITHIN_S = 10.0   # after that an acknowledgement that the store does not confirm is not sent
IDLE_BEAT_S = 3600.0        # an idle member writes its entry so often: each write stays in the history of an etcd
PAST_AFTER_S = 30.0         # after so long each event of before the start is known to the lifecycle, or it is over
UNREACHED_S = 5.0           # without an answer for so long the store counts as out of reach; an etcd elects in 3
FIRST_RETRY_S, LONGEST_RETRY_S = 0.25, 2.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.05, 5.0        # after a conflict
CLOSE_S = 3.0               # how long closing waits for the thread: an operation ends within 2 s

Result = TypeVar("Result")
Requested = Callable[[str, str, float], None]
"""Called after each operation with its name, its outcome (a metric's label) and its seconds."""


def _not_counted(operation: str, outcome: str, duration_s: float) -> None:
    """No metrics are wanted."""


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """What [fleet] says of this member."""

    group: str
    slots: int
    takeover_s: float | None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store answers: when it did last, and why it does not now ("": it does)."""

    last_good: Moment | None = None
    failing_since: Moment | None = None
    reason: str = ""


class _AnotherStore(Exception):
    """An answer shows that the store was restored, emptied or replaced: the session is begun again."""


@dataclass(slots=True)
class _Task:
    """One event that is coordinated."""

    effect: Coordinate
    next_raw_s: float = 0.0
    view: FleetView | None = None       # as posted last
    has_left: bool = False


@dataclass(frozen=True, slots=True)
class _Sending:
    """An acknowledgement that waits for the store's confirmation."""

    effect: Acknowledge
    until_raw_s: float
    send: Callable[[Callable[[], bool], Callable[[], None]], None]


@dataclass(slots=True)
class _Wanted:
    """What other threads want; one lock holds it together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    tasks: dict[str, _Task] = field(default_factory=dict)
    sendings: dict[str, _Sending] = field(default_factory=dict)
    identity: tuple[str, str] = ("", "")


class Member:
    """The thread. `start`, `adjust`, `cancel`, `acknowledge` and `identify` come from other threads and never wait."""

    def __init__(self, settings: MemberSettings, open_store: Callable[[], Store], boot_id: str, version: str,
                 post: Callable[[Observation], None], now: Callable[[], Moment],
                 trouble: Callable[[str | None], None], *,
                 pauses: Callable[[], int] = lambda: 0, failed_hooks: Callable[[], tuple[str, ...]] = tuple,
                 requested: Requested = _not_counted) -> None:
        """`open_store` raises StoreFailed where a file that it needs cannot be used: it is tried again. `trouble`:
        called with why the store cannot be used, None when it can. `pauses`: how many pauses of this
        machine were detected. `failed_hooks`: whose recovery has failed for good."""
        self._settings, self._open_store, self._boot_id, self._version = settings, open_store, boot_id, version
        self._store: Store | None = None
        self._post, self._now, self._trouble = post, now, trouble
        self._pauses, self._failed_hooks, self._requested = pauses, failed_hooks, requested
        self._wanted = _Wanted()
        self._wakeup, self._closing = threading.Event(), threading.Event()
        self._sessions: FleetSessions | None = None
        self._memory, self._resumed = FleetMemory(), set[str]()
        self._generation = 0
        self._failures, self._retry_raw_s = 0, 0.0
        self._beat_raw_s, self._beaten, self._past_raw_s = 0.0, "", 0.0
        self._is_unwritten = False      # this machine's entry could not be written: reads that succeed do not cure that
        self.status = StoreStatus()
        self._loop = Loop("fleet", self._run)

    # --- from other threads

    def open(self, resumed: frozenset[str]) -> None:
        """Begin. `resumed`: the events from before the process of which the store may have something."""
        self._resumed = set(resumed)
        self._loop.start()

    def identify(self, name: str, vm_id: str) -> None:
        """The platform's name and id of this machine; nothing is asked of the store before they are known."""
        identity = name, vm_id or name
        with self._wanted.lock:
            is_news = bool(name) and identity != self._wanted.identity
            if is_news:
                self._wanted.identity = identity
        if is_news:
            self._wakeup.set()

    def start(self, effect: Coordinate) -> None:
        with self._wanted.lock:
            self._wanted.tasks[effect.event_id] = _Task(effect)
        self._wakeup.set()

    def adjust(self, effect: Coordinate) -> None:
        with self._wanted.lock:
            task = self._wanted.tasks.get(effect.event_id)
            if task is None:
                self._wanted.tasks[effect.event_id] = _Task(effect)
            else:
                if task.effect.phase != effect.phase:
                    task.view = None        # the new phase may wait for what is known already
                if replace(task.effect, due_raw_s=effect.due_raw_s) != effect:
                    task.next_raw_s = 0.0
                task.effect = effect
        self._wakeup.set()

    def cancel(self, effect: Coordinate) -> None:
        with self._wanted.lock:
            self._wanted.tasks.pop(effect.event_id, None)

    def acknowledge(self, effect: Acknowledge,
                    send: Callable[[Callable[[], bool], Callable[[], None]], None]) -> None:
        """Send an acknowledgement as soon as the store confirms it. `send` is called with what says whether that is
        still fresh, and what is to be called if it is not; else the answer is AckSettled, withheld."""
        with self._wanted.lock:
            self._wanted.sendings[effect.key] = _Sending(effect, self._now().raw_s + CONFIRMED_WITHIN_S, send)
        self._wakeup.set()

    def cancel_acknowledgement(self, key: str) -> bool:
        """Return whether it was still waiting here."""
        with self._wanted.lock:
            return self._wanted.sendings.pop(key, None) is not None

    def close(self) -> None:
        self._closing.set()
        self._wakeup.set()
        if self._store is not None:
            self._store.close()
        self._loop.end(CLOSE_S)

    # --- the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wakeup.clear()
            self._wakeup.wait(self._work())

    def _work(self) -> float:
        """Do what is due, the most urgent first. Return how many seconds there is nothing to do."""
        if not self._identified():
            return IDLE_BEAT_S
        now_raw_s = self._now().raw_s
        sending = self._next_sending()
        if self._failures and now_raw_s < self._retry_raw_s:
            self._give_up_late_sending(now_raw_s)
            return min(self._retry_raw_s - now_raw_s, self._sending_left_s(now_raw_s))
        if sending is not None:
            self._confirm(*sending)
            return 0.0
        task = self._due_task(now_raw_s)
        if task is not None:
            self._coordinate(task)
            return 0.0
        if self._beat_at(now_raw_s) <= now_raw_s:
            self._beat()
            return 0.0
        if self._past_raw_s <= now_raw_s:
            self._leave_past()
            return 0.0
        with self._wanted.lock:
            waits = [task.next_raw_s for task in self._wanted.tasks.values() if not task.has_left]
        return max(0.0, min([*waits, self._beat_at(now_raw_s), self._past_raw_s]) - now_raw_s)

    def _identified(self) -> bool:
        with self._wanted.lock:
            name, vm_id = self._wanted.identity
        if not name:
            return False
        known = self._sessions
        if known is None or (known.me.name, known.me.vm_id) != (name, vm_id):
            me = FleetMember(name, vm_id, self._boot_id, self._settings.group, self._settings.slots)
            self._sessions = FleetSessions(me, self._settings.takeover_s, lambda: secrets.token_hex(8),
                                           lambda: self._now().raw_s, self._memory)
            self._beaten, self._past_raw_s = "", self._now().raw_s + PAST_AFTER_S
        return True

    # --- one event

    def _due_task(self, now_raw_s: float) -> _Task | None:
        with self._wanted.lock:
            due = [task for task in self._wanted.tasks.values() if task.next_raw_s <= now_raw_s and not task.has_left]
        return min(due, key=lambda task: task.next_raw_s, default=None)

    def _coordinate(self, task: _Task) -> None:
        effect, sessions = task.effect, self._sessions
        assert sessions is not None
        interval_s = usual_interval_s(effect, self._now().raw_s)
        if effect.event_id in self._resumed:
            self._resumed.discard(effect.event_id)
            sessions.resume(effect.event_id, event_digest(effect.source, effect.event_id))
        task.next_raw_s = self._now().raw_s + interval_s * random.uniform(0.5, 1.5)
        view = self._carry_out(sessions.coordinate(effect, interval_s, self._coordinated()))
        if view is None:
            task.next_raw_s = 0.0
            self._tell_unreached()
            return
        with self._wanted.lock:
            if self._wanted.tasks.get(effect.event_id) is not task or task.effect.phase != effect.phase:
                return
            is_news, task.view = view != task.view, view
        if effect.leaves:
            if view.slot is SlotState.NONE:
                task.has_left = True
                self._post(FleetLeft(effect.event_id))
        elif is_news:
            self._post(FleetSeen(effect.event_id, view))

    def _coordinated(self) -> frozenset[str] | None:
        """The events that this machine has anything to write for; None while one of before the start may be missing."""
        if self._resumed:
            return None
        with self._wanted.lock:
            effects = [task.effect for task in self._wanted.tasks.values()]
        return frozenset(event_digest(effect.source, effect.event_id) for effect in effects)

    def _tell_unreached(self) -> None:
        """Once, when the store has been silent for so long that decisions depend on it."""
        since, now = self.status.failing_since, self._now()
        if since is None or now.raw_s - since.raw_s < UNREACHED_S:
            return
        with self._wanted.lock:
            open_tasks = [task for task in self._wanted.tasks.values() if not task.effect.leaves]
            news = [(task, replace(task.view or FleetView(), is_reached=False)) for task in open_tasks
                    if task.view is None or task.view.is_reached]
            for task, view in news:
                task.view = view
        for task, view in news:
            self._post(FleetSeen(task.effect.event_id, view))

    # --- acknowledgements

    def _next_sending(self) -> tuple[str, _Sending] | None:
        with self._wanted.lock:
            return next(iter(self._wanted.sendings.items()), None)

    def _sending_left_s(self, now_raw_s: float) -> float:
        with self._wanted.lock:
            return max(0.0, min((one.until_raw_s for one in self._wanted.sendings.values()),
                                default=now_raw_s + LONGEST_RETRY_S) - now_raw_s)

    def _give_up_late_sending(self, now_raw_s: float) -> None:
        with self._wanted.lock:
            late = [key for key, one in self._wanted.sendings.items() if one.until_raw_s <= now_raw_s]
        for key in late:
            self._withhold(key, f"the fleet's store cannot be asked: {self.status.reason}")

    def _confirm(self, key: str, sending: _Sending) -> None:
        with self._wanted.lock:
            task = self._wanted.tasks.get(sending.effect.event_id)
        assert self._sessions is not None
        if task is None:
            self._withhold(key, "the event is not coordinated any more")
            return
        pauses = self._pauses()
        confirmed: Confirmation | None = self._carry_out(self._sessions.confirm(task.effect))
        if confirmed is None:
            self._give_up_late_sending(self._now().raw_s)
            return
        if not confirmed.is_given:
            self._withhold(key, confirmed.reason)
            return

        def is_fresh() -> bool:
            return self._now().raw_s - confirmed.read_raw_s < FRESH_S and self._pauses() == pauses

        if self.cancel_acknowledgement(key):
            sending.send(is_fresh, lambda: self.acknowledge(sending.effect, sending.send))

    def _withhold(self, key: str, reason: str) -> None:
        with self._wanted.lock:
            sending = self._wanted.sendings.pop(key, None)
            task = self._wanted.tasks.get(sending.effect.event_id) if sending is not None else None
            if task is not None:
                task.view, task.next_raw_s = None, 0.0      # what the store says is news again
        if sending is not None:
            self._post(AckSettled(sending.effect.event_id, sending.effect.attempt, AckOutcome.WITHHELD, reason))

    # --- this machine's entry

    def _beat_at(self, now_raw_s: float) -> float:
        about, is_open = self._about()
        if about != self._beaten:
            return now_raw_s
        return min(self._beat_raw_s, now_raw_s + HOLDER_INTERVAL_S) if is_open else self._beat_raw_s

    def _about(self) -> tuple[str, bool]:
        """What the entry would say now, as one text, and whether an event of this machine is open."""
        with self._wanted.lock:
            effects = [task.effect for task in self._wanted.tasks.values() if not task.effect.leaves]
        return repr([(one.event_id, one.phase) for one in effects] + [*self._failed_hooks()]), any(
            one.slot is not SlotWish.NONE or one.is_shared for one in effects)

    def _beat(self) -> None:
        about, is_open = self._about()
        with self._wanted.lock:
            effects = [task.effect for task in self._wanted.tasks.values() if not task.effect.leaves]
        sessions, now = self._sessions, self._now()
        assert sessions is not None
        me = sessions.me
        entry = MemberDocument(
            me.name, me.vm_id, me.boot_id, me.group, me.slots, self._version, effects[0].phase if effects else "",
            tuple(event_digest(one.source, one.event_id) for one in effects), 1, utc_text(now.utc),
            self._failed_hooks())
        self._is_unwritten = False
        if self._carry_out(_flagged(sessions.beat(entry, self._pauses()))) is None:
            self._is_unwritten, self._beaten = bool(self.status.reason), ""
        else:
            self._beaten = about
            interval_s = HOLDER_INTERVAL_S if is_open else IDLE_BEAT_S
            self._beat_raw_s = self._now().raw_s + interval_s * random.uniform(0.95, 1.05)

    def _leave_past(self) -> None:
        """Once after the start, then as often as an idle member writes, and when the store is another one."""
        coordinated, sessions = self._coordinated(), self._sessions
        assert sessions is not None
        if coordinated is None or self._carry_out(_flagged(sessions.leave_past(coordinated))) is not None:
            wait_s = IDLE_BEAT_S if coordinated is not None else PAST_AFTER_S
            self._past_raw_s = self._now().raw_s + wait_s * random.uniform(0.95, 1.05)

    # --- sessions

    def _carry_out(self, session: Generator[Operation, StoredValue | bool | None, Result]) -> Result | None:
        """Run one session against the store. None: it did not come to its end; what is known of silent members is then
        forgotten."""
        result: StoredValue | bool | None = None
        reason = ""
        try:
            store = self._opened()
            while True:
                result = self._operate(store, session.send(result))
        except StopIteration as end:
            self._answered()
            ended: Result = end.value
            return ended
        except (StoreFailed, UnusableDocument) as failure:
            reason = str(failure)
        except (TooManyConflicts, _AnotherStore):
            session.close()
            return None                 # the store answers: others were faster, or what was read of it is void
        session.close()
        self._failed(reason)
        return None

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._open_store()
            self._generation = self._store.generation
        return self._store

    def _operate(self, store: Store, operation: Operation) -> StoredValue | bool | None:
        result = self._exchange(store, operation)
        if store.generation != self._generation:
            self._generation = store.generation
            self._memory.forget_silence()
            self._past_raw_s = self._now().raw_s
            raise _AnotherStore
        return result

    def _exchange(self, store: Store, operation: Operation) -> StoredValue | bool | None:
        match operation:
            case ReadKey(key):
                stored = self._timed("get", lambda: store.get(key))
                return StoredValue(stored.value, stored.revision) if stored is not None else StoredValue(None, None)
            case WriteKey(key, value, revision):
                try:
                    if value is None:
                        self._timed("delete", lambda: store.delete(key, revision or ""))
                    else:
                        self._timed("put", lambda: store.put(key, value, revision))
                except Conflict:
                    return False
                return True
            case BackOff(conflicts):
                self._closing.wait(random.uniform(0.0, min(FIRST_BACK_OFF_S * 2 ** conflicts, LONGEST_BACK_OFF_S)))
                return None

    def _timed(self, name: str, operation: Callable[[], Any]) -> Any:
        began_s, outcome = time.monotonic(), "ok"
        try:
            return operation()
        except Conflict:
            outcome = "conflict"
            raise
        except StoreFailed as failure:
            outcome = failure.trouble.value
            raise
        finally:
            self._requested(name, outcome, time.monotonic() - began_s)

    def _answered(self) -> None:
        self._failures = 0
        if self._is_unwritten:
            self.status = replace(self.status, last_good=self._now())
            return
        self.status = StoreStatus(self._now())
        self._trouble(None)

    def _failed(self, reason: str) -> None:
        if self._closing.is_set():
            return
        now = self._now()
        self._memory.forget_silence()
        self._failures += 1
        longest_s = min(FIRST_RETRY_S * 2 ** self._failures, LONGEST_RETRY_S)
        self._retry_raw_s = now.raw_s + random.uniform(longest_s / 2, longest_s)
        self.status = StoreStatus(self.status.last_good, self.status.failing_since or now, reason)
        if now.raw_s - (self.status.failing_since or now).raw_s >= UNREACHED_S:
            self._trouble(reason)


def _flagged(session: Generator[Operation, StoredValue | bool | None, None]) -> Generator[
        Operation, StoredValue | bool | None, bool]:
    """A session without a result, with one."""
    yield from session
    return True


WAITING_INTERVAL_S = {Phase.WAITING_FOR_PEERS.value: 1.0, Phase.ACKNOWLEDGING.value: 1.0, Phase.UNCONFIRMED.value: 1.0,
                      Phase.STARTED.value: 2.0}
OTHER_INTERVAL_S, LEAVING_INTERVAL_S = 5.0, 5.0
SLOT_SHARE, SHORTEST_SLOT_S, LONGEST_SLOT_S = 100, 1.0, 10.0


def usual_interval_s(effect: Coordinate, now_raw_s: float) -> float:
    """Given what is wanted, return the usual seconds between two looks at the store: often while others are waited
    for, for a slot a hundredth of the time that is left (a thousand members may wait)."""
    if effect.slot is SlotWish.TAKE:
        left_s = LONGEST_SLOT_S * SLOT_SHARE if effect.due_raw_s is None else effect.due_raw_s - now_raw_s
        return min(max(left_s / SLOT_SHARE, SHORTEST_SLOT_S), LONGEST_SLOT_S)
    return LEAVING_INTERVAL_S if effect.leaves else WAITING_INTERVAL_S.get(effect.phase, OTHER_INTERVAL_S)

