"""Effect handlers: each starts, adjusts and cancels one kind of effect (hook run, acknowledgement, clock
check, watch).
"""
from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tideover import effects as fx
from tideover.clock.checker import ClockChecker
from tideover.daemon.applications import ApplicationService
from tideover.hooks.runner import HookRunner
from tideover.journal import JournalUnreadable
from tideover.pause import PauseWatch
from tideover.record import Row, record_of, trace_id
from tideover.sources.poller import Acknowledger

if TYPE_CHECKING:
    from tideover.fleet.member import Member


class ParticipantHandler:
    """Runs hooks, with the event's record on their standard input, and asks applications."""

    def __init__(self, runner: HookRunner, applications: ApplicationService, rows: Callable[[str], list[Row]]) -> None:
        """`rows`: the journal's rows of one event; asked on the engine's thread."""
        self._runner, self._applications, self._rows = runner, applications, rows

    def start(self, effect: fx.RunHook) -> None:
        if effect.spec.is_application:
            self._applications.start(effect)
            return
        self._runner.start(effect, *run_input(effect, self._rows))

    def cancel(self, effect: fx.RunHook) -> None:
        if effect.spec.is_application:
            self._applications.cancel(effect)
        else:
            self._runner.cancel(effect.key)

    def adjust(self, effect: fx.RunHook) -> None:
        if effect.spec.is_application:
            self._applications.adjust(effect)
        else:
            self._runner.shorten(effect.key, effect.limit_s)


def run_input(effect: fx.RunHook, rows_of: Callable[[str], list[Row]]) -> tuple[bytes, str]:
    """Given a run and what gives the journal's rows of an event, return the hook's standard input and the trace id."""
    try:
        rows = rows_of(effect.event_id)
    except JournalUnreadable:
        rows = []                       # the hook matters more than its environment
    record = json.dumps(record_of(rows).as_json() if rows else {"event_id": effect.event_id}).encode()
    return record, trace_id(effect.event_id)


class AcknowledgeHandler:
    """Sends acknowledgements; those of a fleet through its member, which asks the store first."""

    def __init__(self, acknowledger: Acknowledger, member: Member | None = None) -> None:
        self._acknowledger, self._member = acknowledger, member

    def start(self, effect: fx.Acknowledge) -> None:
        if self._member is not None and effect.is_guarded:
            self._member.acknowledge(effect, partial(self._acknowledger.start, effect))
        else:
            self._acknowledger.start(effect)

    def cancel(self, effect: fx.Acknowledge) -> None:
        if self._member is not None:
            self._member.cancel_acknowledgement(effect.key)
        self._acknowledger.cancel(effect.key)


class ClockHandler:
    def __init__(self, checker: ClockChecker) -> None:
        self._checker = checker

    def start(self, effect: fx.CheckClock) -> None:
        self._checker.start(effect)

    def cancel(self, effect: fx.CheckClock) -> None:
        self._checker.cancel(effect.key)


class WatchHandler:
    """Sets the pace of the pause watch, and of the outside time it is compared with."""

    def __init__(self, watch: PauseWatch, checker: ClockChecker) -> None:
        self._watch, self._checker = watch, checker

    def start(self, effect: fx.WatchClosely) -> None:
        self._watch.watch_near_event()
        self._checker.sample_near_event()

    def cancel(self, effect: fx.WatchClosely) -> None:
        self._watch.watch_idle()
        self._checker.sample_idle()


class NullHandler:
    """The handler of an effect that this agent does not need: the platform takes no acknowledgement."""

    def start(self, effect: fx.Effect) -> None:
        """Nothing to do it with."""

    def cancel(self, effect: fx.Effect) -> None:
        """Nothing was begun."""
