"""Runs hooks: one thread a run, one answer a run, and never two runs of one hook at a time."""
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tideover.effects import RunHook
from tideover.hooks.attempt import carry_out
from tideover.hooks.bell import Bell
from tideover.hooks.orders import Graces, Limit, Order, Surroundings
from tideover.hooks.output import LINES_AT_MOST
from tideover.hooks.parts import reap_adopted, standing_environment
from tideover.hooks.state_directory import StateDirectories
from tideover.hooks.traces import Traces, read_witness
from tideover.model import HookOutcome, HookPhase, HookReport, Moment
from tideover.observations import HookSettled, Observation, Witness
from tideover.system.clocks import raw_ns
from tideover.system.descriptors import RESERVE
from tideover.threads import NO_THREAD, reason_of, start_task

CLOSE_AT_MOST_S = 5.0       # for all runs together: grace, SIGKILL, and what hangs in the kernel is left
GRACES = Graces()
RECOVERED = frozenset({HookOutcome.DONE, HookOutcome.NOTHING})


def read_moment() -> Moment:
    """Return now, on the wall clock and on the raw monotonic one."""
    return Moment(datetime.now(UTC), raw_ns() / 1e9)


def _without_environment(name: str) -> Mapping[str, str]:
    """What a hook is given where there is no configuration."""
    return {}


def _log_nothing(name: str, line: str) -> None:
    """What is done with a hook's lines where nobody wants them."""


class HookRunner:
    """Answers HookSettled once for each start. All its verbs belong to one thread, the engine's.

    `environment_of` gives the variables that the owner sets for a hook, by its name; it is asked at each run, and what
    it gives stands in no record. `spare` is where hooks keep their state while `hooks_state` cannot be written.
    `log_line` gets a hook's name and one line of what it printed; it is called on the threads of the runs.
    """

    def __init__(
        self, tell: Callable[[Observation], None], hooks_state: Path, *, spare: Path | None = None, drill: bool = False,
        environment_of: Callable[[str], Mapping[str, str]] = _without_environment,
        log_line: Callable[[str, str], None] = _log_nothing, read_moment: Callable[[], Moment] = read_moment,
        graces: Graces = GRACES, lines_at_most: int = LINES_AT_MOST,
    ) -> None:
        self._tell = tell
        self._around = Surroundings(
            StateDirectories(hooks_state, spare), Traces(hooks_state), standing_environment(os.environ), environment_of,
            {"TIDEOVER_DRILL": "1"} if drill else {}, log_line, lines_at_most, read_moment, graces)
        self._orders: dict[str, Order] = {}                 # runs in flight, by key
        self._turns: dict[str, threading.Event] = {}        # by hook: set when its newest run, or forgetting, is over
        self._threads: set[threading.Thread] = set()
        self._is_closed = False
        self._untidied: set[str] = set()                    # what could not be deleted, as it was told

    def start(self, run: RunHook, record: bytes, trace_id: str) -> None:
        """Begin one run; its answer comes through `tell`. A key that is in flight already is not begun again."""
        if run.key in self._orders:
            return
        order = self._orders[run.key] = Order(run, record, trace_id, Bell(), Limit(run.limit_s),
                                              self._around.owners(run.spec.name))
        if self._is_closed:
            order.bell.ring()
        self._in_turn(run.spec.name, lambda over: self._carry_out(order, over),
                      lambda reason: self._fail(order, reason))

    def call_off(self, key: str) -> None:
        """The run is no longer wanted: its tree is ended. It still gives its answer."""
        order = self._orders.get(key)
        if order is not None:
            order.bell.ring()

    def shorten(self, key: str, limit_s: float) -> None:
        """The run has less time than it was begun with: at most `limit_s` from its beginning."""
        order = self._orders.get(key)
        if order is not None:
            order.limit.shorten(limit_s)

    def forget(self, name: str) -> None:
        """No recover is owed by this hook: its state directory goes, after whatever of the hook runs now."""
        self._in_turn(name, lambda over: self._forget(name), lambda reason: self._cannot_forget(name, reason))

    def witnesses(self) -> tuple[Witness, ...]:
        """The hooks that have a private directory: their prepare was begun, and they are not recovered."""
        return tuple(read_witness(name, note) for name, note in self._around.states.notes().items())

    def close(self) -> None:
        """End all runs and wait until they have answered."""
        self._is_closed = True
        for key in list(self._orders):
            self.call_off(key)
        until_s = self._around.read_moment().raw_s + CLOSE_AT_MOST_S
        for thread in list(self._threads):
            thread.join(max(0.0, until_s - self._around.read_moment().raw_s))

    def _in_turn(self, name: str, act: Callable[[threading.Event], None], failed: Callable[[str], None]) -> None:
        """Do it on a thread of its own, after what was last to be done for that hook. `act` is given what it sets once
        the next may begin; `failed` is told why it was not done to its end."""
        before, over = self._turns.get(name), threading.Event()

        def wait_and_act() -> None:
            if before is not None:
                before.wait()
            try:
                act(over)
            finally:
                over.set()
            self._tidy_up(name)

        self._turns[name] = over
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        thread = start_task(f"hook-{name}", wait_and_act, failed)
        if thread is None:
            self._turns[name] = before or over
            over.set()
        else:
            self._threads.add(thread)

    def _carry_out(self, order: Order, over: threading.Event) -> None:
        afterwards: list[Callable[[], None]] = []
        report = carry_out(order, self._around, afterwards.append)
        self._tidy(order, report)
        self._settle(order, report)
        over.set()
        for act in afterwards:
            act()

    def _fail(self, order: Order, reason: str) -> None:
        """The run met what nobody foresaw, or there was no thread for it. It is answered all the same, and once."""
        begun = reason != NO_THREAD         # how far it came is not known: it may have changed something
        report = HookReport(HookOutcome.FAILED, None, self._around.read_moment().utc, 0.0,
                            note=reason if begun else f"not started: {reason}", begun=begun)
        self._settle(order, report)

    def _settle(self, order: Order, report: HookReport) -> None:
        run = order.run
        if self._orders.pop(run.key, None) is not None:
            order.bell.close()
            self._tell(HookSettled(run.spec.name, run.phase, run.run, report))

    def _tidy(self, order: Order, report: HookReport) -> None:
        """Before the answer: what is left of a recovered hook would mislead its next prepare."""
        name = order.run.spec.name
        try:
            self._around.traces.erase(order.trace)
            if order.run.phase is HookPhase.RECOVER and report.outcome in RECOVERED:
                self._around.states.retire(name)
        except OSError as error:
            self._around.log_line(name, f"(tideover cannot tidy up after it: {error.strerror})")

    def _forget(self, name: str) -> None:
        try:
            self._around.states.retire(name)
        except OSError as error:
            self._cannot_forget(name, reason_of(error))

    def _cannot_forget(self, name: str, reason: str) -> None:
        self._around.log_line(name, f"(tideover cannot remove its state directory: {reason})")

    def _tidy_up(self, name: str) -> None:
        """After the answer. What cannot be deleted is told once, and tried again after each run."""
        trouble = self._around.states.sweep()
        told = f"{reason_of(trouble)}: {trouble.filename}" if trouble is not None else ""
        if told and told not in self._untidied:
            self._untidied.add(told)
            self._around.log_line(name, f"(tideover cannot delete all that it left: {told})")
        reap_adopted()
        RESERVE.fill()
