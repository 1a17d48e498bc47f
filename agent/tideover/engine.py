"""The loop: see, decide, write down, do, always in that order; what it does while the journal cannot be written.

One thread owns the state; the others only post observations through `post`. What the state wants is compared with the
active effects: what is newly wanted is started, what is no longer wanted is cancelled. After a start of the agent no
effect is active, so all that the state wants is started again: that is the whole of crash recovery.
"""
from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tideover import effects as fx, observations as ob
from tideover.journal import Journal, JournalUnwritable
from tideover.lifecycle import Entry, Phase, State, Step, step
from tideover.lifecycle.replay import Decision, effects_by_key, entry_lines
from tideover.model import EntryKind, Moment
from tideover.policy import Policy

LONGEST_WAIT_S = 3600.0
"""An event may lie so far ahead (year 9999) that no wait of the system holds it: 292 years on Linux, 49 days on
Windows. A wait that ends early costs nothing: the moment that is waited for is looked at again."""


IDLE_S = 10.0
"""After so long without a change the write-ahead log is moved into the journal's file."""

RECORDED_AFTER_S = 0.05
RECORDED_AT_ONCE = 16
"""Steps are recorded for replay once nothing has happened for so long, or when there are so many: other threads then do
what the steps asked for, and need the interpreter."""

HOUSEKEEPING_S = 3600.0
"""So often, at most, what can wait is done while nothing changes: old rows go."""

CHECKPOINTED = frozenset({EntryKind.ACK_ACCEPTED, Phase.CLOSED})
"""After these it is moved at once: the platform may stop the machine from here on; nothing is going on from here on."""


class EffectHandler(Protocol):
    """Carries out one kind of effect. Neither call blocks; the answer comes as an observation."""

    def start(self, effect: Any) -> None: ...

    def cancel(self, effect: Any) -> None: ...


@runtime_checkable
class AdjustableHandler(EffectHandler, Protocol):
    """One whose effect may come to say something else while it is done: a hook's limit. Apart from EffectHandler, so
    that no other handler needs an `adjust` that does nothing."""

    def adjust(self, effect: Any) -> None:
        """The effect of this key that was started reads like this now."""


class Listener(Protocol):
    """Gets what happened, for logs and metrics. Must not block."""

    def on_transition(self, before: State, after: State, entries: tuple[Entry, ...]) -> None: ...

    def on_journal_unwritable(self, trouble: JournalUnwritable) -> None: ...

    def on_journal_writable(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An observation, and what to set when the state shows its result."""

    seen: ob.Observation
    taken: threading.Event


class Engine:
    """The state, the journal and the effect handlers, with one inbox."""

    def __init__(self, journal: Journal, handlers: Mapping[type[Any], EffectHandler],
                 policy: Callable[[ob.Observation], Policy],
                 moment: Callable[[], Moment], listener: Listener, renew: Callable[[], None]) -> None:
        """`renew`: called when the journal is another VM's; quarantines it and starts a new one."""
        self._journal, self._handlers, self._policy, self._renew = journal, handlers, policy, renew
        self._moment, self._listener = moment, listener
        self._inbox: queue.SimpleQueue[ob.Observation | _Awaited | None] = queue.SimpleQueue()
        self._taken: threading.Event | None = None      # of what is handled now: its sender waits
        self._active: dict[str, fx.Effect] = {}
        self._timers: dict[str, float] = {}
        self._unwritten: list[Entry] = []
        self._unrecorded: list[tuple[State, State, Decision]] = []
        self.trouble = ""       # why nothing can be remembered now; "" when it can; any thread may look
        self._vm_id = journal.vm_id()
        self._must_checkpoint, self._changed_raw_s = False, 0.0
        self.keep_house: Callable[[], None] = _no_heartbeat     # called now and then while nothing changes
        self._kept_house_raw_s = moment().raw_s
        self._heartbeat: Callable[[], None] = _no_heartbeat
        self._longest_wait_s = LONGEST_WAIT_S
        self.state = self._written = journal.load()

    def post(self, seen: ob.Observation) -> None:
        """Post an observation, from any thread."""
        self._inbox.put(seen)

    def post_and_wait(self, seen: ob.Observation, timeout_s: float) -> bool:
        """Post an observation, from another thread, and return once the state shows its result; False: not in time."""
        taken = threading.Event()
        self._inbox.put(_Awaited(seen, taken))
        return taken.wait(timeout_s)

    def stop(self) -> None:
        """Let `run` return after what is already in the inbox, from any thread or signal handler."""
        self._inbox.put(None)

    def set_heartbeat(self, show: Callable[[], None], at_least_every_s: float | None) -> None:
        """From now on `show` is called on the engine's thread before each wait, and no wait is longer than that.

        It says that the loop turns, which no other thread could say of it.
        """
        self._heartbeat = show
        self._longest_wait_s = LONGEST_WAIT_S if at_least_every_s is None else min(at_least_every_s, LONGEST_WAIT_S)

    def run(self) -> None:
        """Handle observations until `stop`."""
        self.run_until(lambda state: False)

    def run_until(self, done: Callable[[State], bool]) -> None:
        """Handle observations until `done` is true of the state, or until `stop`."""
        try:
            while not done(self.state):
                seen = self._next()
                if seen is None:
                    return
                self.handle(seen)
                if self._taken is not None:     # before `done` ends this loop: the next one may come late
                    self._taken.set()
                    self._taken = None
        finally:
            self._record_steps()

    def handle(self, seen: ob.Observation) -> None:
        """Decide on one observation, write it down, and do what follows."""
        if isinstance(seen, ob.Polled) and seen.vm_id:
            self._check_journal_owner(seen)
        now = self._moment()
        policy = self._policy(seen)
        move = step(self.state, seen, policy, now)
        if move.state == self.state and not move.entries and not self._unwritten:
            self._rest(now.raw_s)
            if isinstance(seen, ob.Due):
                self._reconcile(effects_by_key(self.state, now))    # what is wanted may depend on how near a moment is
            return
        self._take(now, seen, policy, move)

    def _take(self, now: Moment, seen: ob.Observation, policy: Policy, move: Step) -> None:
        """Write a step down, tell of it, and do what follows."""
        before, self.state = self.state, move.state
        wanted = effects_by_key(self.state, now)
        self._write(now, move.entries)
        self._listener.on_transition(before, self.state, move.entries)
        self._reconcile(wanted)
        if not self._unwritten:
            decision = Decision(now, seen, policy, entry_lines(move.entries), wanted)
            self._unrecorded.append((before, self.state, decision))
            if len(self._unrecorded) >= RECORDED_AT_ONCE:
                self._record_steps()

    # --- waiting --------------------------------------------------------------------------------------------------

    def _next(self) -> ob.Observation | None:
        """The next observation or due timer, whichever comes first."""
        while True:
            self._heartbeat()
            try:
                news = self._inbox.get(timeout=self._wait_s())
                if not isinstance(news, _Awaited):
                    return news
                self._taken = news.taken
                return news.seen
            except queue.Empty:
                self._record_steps()
                due = self._take_due()
                if due is not None:
                    return due

    def _wait_s(self) -> float:
        rest_raw_s = self._changed_raw_s + IDLE_S if self._must_checkpoint else math.inf
        until_due_s = min(rest_raw_s, min(self._timers.values(), default=math.inf)) - self._moment().raw_s
        longest_s = RECORDED_AFTER_S if self._unrecorded else self._longest_wait_s
        return max(0.0, min(until_due_s, longest_s))

    def _take_due(self) -> ob.Due | None:
        raw_s = self._moment().raw_s
        self._rest(raw_s)
        for key, at_raw_s in self._timers.items():
            if at_raw_s <= raw_s:
                del self._timers[key]
                return ob.Due(key)
        return None

    # --- writing --------------------------------------------------------------------------------------------------

    def _write(self, now: Moment, entries: tuple[Entry, ...]) -> None:
        """What cannot be written is kept and tried again with the next news; until then the agent goes on from memory,
        and acknowledges nothing (see `_is_allowed`)."""
        pending = (*self._unwritten, *entries)
        was_unwritable = bool(self._unwritten)
        try:
            self._journal.commit(now, self._written, self.state, pending)
        except JournalUnwritable as trouble:
            self._unwritten = list(pending) or [Entry("", EntryKind.JOURNAL_UNWRITABLE, str(trouble))]
            self.trouble = str(trouble)
            if not was_unwritable:
                self._listener.on_journal_unwritable(trouble)
            return
        self._written, self._unwritten, self.trouble = self.state, [], ""
        now_or_later = any(entry.what in CHECKPOINTED for entry in pending) and self._journal.checkpoint()
        self._must_checkpoint, self._changed_raw_s = not now_or_later, now.raw_s
        if was_unwritable:
            self._listener.on_journal_writable()

    def _record_steps(self) -> None:
        if self._unrecorded:
            for step_taken in self._unrecorded:
                self._journal.record_step(*step_taken)
            self._unrecorded.clear()
            self._must_checkpoint = True

    def _rest(self, raw_s: float) -> None:
        if self._must_checkpoint and raw_s - self._changed_raw_s >= IDLE_S:
            self._must_checkpoint, self._changed_raw_s = not self._journal.checkpoint(), raw_s
        if raw_s - self._kept_house_raw_s >= HOUSEKEEPING_S:
            self._kept_house_raw_s = raw_s
            self.keep_house()

    def _is_allowed(self, effect: fx.Effect) -> bool:
        """Nothing is acknowledged that could be forgotten: after a crash it would be asked a second time, or not be
        known to have been prepared. What has left cannot be called back, only waited for."""
        return not (self._unwritten and isinstance(effect, fx.Acknowledge)) or effect.key in self._active

    def _check_journal_owner(self, seen: ob.Polled) -> None:
        """A journal that came with a copied disk is another machine's history: it is set aside. What it says is
        prepared is on this disk too, and stays pending."""
        vm_id = seen.vm_id
        if is_same_vm(self._vm_id, vm_id):
            return
        if self._vm_id:
            now = self._moment()
            news, policy = ob.AnotherVm(vm_id), self._policy(seen)
            move = step(self.state, news, policy, now)
            self._record_steps()
            self._renew()
            self._written = State()
            self._take(now, news, policy, move)
        try:
            self._journal.remember_vm(vm_id)
            self._vm_id = vm_id
        except JournalUnwritable:
            self._vm_id = ""        # tried again with the next document; the next commit reports the trouble

    # --- doing ----------------------------------------------------------------------------------------------------

    def _reconcile(self, wanted: Mapping[str, fx.Effect]) -> None:
        self._timers = {key: effect.at_raw_s for key, effect in wanted.items() if isinstance(effect, fx.WakeAt)}
        doing = {key: effect for key, effect in wanted.items() if not isinstance(effect, fx.WakeAt)
                 and self._is_allowed(effect)}
        for key in [key for key in self._active if key not in doing]:
            effect = self._active.pop(key)
            self._handlers[type(effect)].cancel(effect)
        for key, effect in doing.items():
            handler, known = self._handlers[type(effect)], self._active.get(key)
            self._active[key] = effect
            if known is None:
                handler.start(effect)
            elif known != effect and isinstance(handler, AdjustableHandler):
                handler.adjust(effect)


def is_same_vm(one: str, other: str) -> bool:
    """Given two ids of VMs, return whether they name the same one: in any case, and also where the first three groups
    are written in the other byte order (SMBIOS shows a UUID in either)."""
    one, other = one.lower(), other.lower()
    return one == other or _swapped(one) == other


def _swapped(vm_id: str) -> str:
    groups = vm_id.split("-")
    return "-".join(("".join(reversed([group[at:at + 2] for at in range(0, len(group), 2)])) if place < 3 else group)
                    for place, group in enumerate(groups))


def _no_heartbeat() -> None:
    """For an engine without a service manager."""
