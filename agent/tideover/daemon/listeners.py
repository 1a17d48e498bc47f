"""What follows from a change of state: the lines of the event log, what the notifier and the metrics are given.

Without the library, the address or the file the agent continues without metrics.
"""
from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tideover import observations as ob
from tideover.engine import Listener
from tideover.hooks.notifier import Notifier, NotifyEnd, why_not_run
from tideover.journal import FILE, Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle import Entry, HookState, Phase, Stage, State
from tideover.lifecycle.hook_stages import required_failures
from tideover.lifecycle.notifications import Notification, notifications_of
from tideover.lifecycle.state import RUNNING
from tideover.logs import Log, Trouble
from tideover.metrics import why_not
from tideover.model import (
    ClockCheck,
    EntryKind,
    Event,
    HookRun,
    Moment,
    Outcome,
    Pause,
    Verdict,
    utc_text,
)
from tideover.record import Row, record_of
from tideover.settings import MetricsSettings, NotifySettings

if TYPE_CHECKING:
    from tideover.metrics.collector import MetricsCollector, Present
    from tideover.metrics.exporters import MetricsPage, Textfile


# --- Log lines: one for each change, none for each poll

GRAVE = frozenset({EntryKind.RECOVER_FAILED, EntryKind.ACK_REFUSED, EntryKind.RECOVERY_IMPOSSIBLE})    # to be looked at
WORTH_A_LOOK = frozenset({EntryKind.LEFT_OUT, EntryKind.FOUND_PREPARED, EntryKind.VM_CHANGED, EntryKind.ACK_WITHHELD,
                          EntryKind.SLOT_NOT_GRANTED, EntryKind.SLOT_RELEASED, EntryKind.SLOT_TAKEN_OVER,
                          EntryKind.TOO_LATE})


class LogListener:
    """The engine's listener. `released` gets the names of hooks whose recovery is no longer pending; `closed`, that an
    event has come to its end."""

    def __init__(self, log: Log, released: Callable[[str], None], closed: Callable[[], None]) -> None:
        self._log, self._released, self._closed = log, released, closed

    def on_transition(self, before: State, after: State, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            self._log_entry(before, entry)
            if entry.what is Phase.HELD:
                self._log_withheld(after, entry)
        for name, hook in after.hooks.items():
            if hook.stage in RUNNING and (name not in before.hooks or before.hooks[name].run != hook.run):
                self._log.info("hook.started", event=hook.event_id, hook=name,
                               phase="recover" if hook.stage is Stage.RECOVERING else "prepare",
                               attempt=hook.attempt, limit_s=round(hook.limit_s, 3))
        for name, hook in before.hooks.items():
            if name not in after.hooks or _changed_nothing(hook, after.hooks[name]):
                self._released(name)
        if any(entry.what is Phase.CLOSED for entry in entries):
            self._closed()

    def on_journal_unwritable(self, trouble: JournalUnwritable) -> None:
        self._log.error("journal.unwritable", reason=trouble,
                        consequence="nothing is acknowledged until the journal can be written")

    def on_journal_writable(self) -> None:
        self._log.info("journal.writable")

    def _log_withheld(self, after: State, entry: Entry) -> None:
        """An event without participants is left to the platform: there is nothing to do about it."""
        case = after.cases.get(entry.event_id)
        takes_part = any(entry.event_id in hook.wanted_by for hook in after.hooks.values())
        if case is None or not takes_part:
            return
        failed = required_failures(after, case)
        event = shlex.quote(entry.event_id)
        self._log.warning(
            "acknowledgement.withheld", event=entry.event_id, reason=entry.note, failed=" ".join(failed),
            hint=(f"tideover show {event} shows the reason; fix it before the platform starts the event, or "
                  "" if failed else "")
            + f"tideover acknowledge {event} sends it by hand")

    def _log_entry(self, before: State, entry: Entry) -> None:
        match entry.subject:
            case HookRun(name, phase, attempt, report):
                write = self._log.warning if report.outcome.is_failure else self._log.info
                took_s = None if report.duration_s is None else round(report.duration_s, 3)
                write("hook.finished", event=entry.event_id, hook=name, phase=phase.value, attempt=attempt,
                     outcome=report.outcome.value, exit_status=report.exit_status,
                     duration_s=took_s, note=report.note)
            case Pause(id=name) if entry.what is EntryKind.PAUSE_EVIDENCE:
                self._log.info(event_line_name(entry.what), event=entry.event_id, pause=name, note=entry.note)
            case Pause(id=name, length_s=length_s, uncertainty_s=uncertainty_s, cause=cause):
                self._log.warning("pause.detected", event=entry.event_id, pause=name, cause=cause.value,
                                  length_s=length_s, uncertainty_s=uncertainty_s)
            case ClockCheck() as check:
                write = self._log.warning if check.verdict is Verdict.BAD else self._log.info
                write(event_line_name(entry.what), event=entry.event_id, verdict=check.verdict.value,
                     offset_s=check.offset_s, error_bound_s=check.error_bound_s, note=entry.note)
            case _ if isinstance(entry.what, Phase):
                known = before.cases.get(entry.event_id)
                came_from = {"from": known.phase.value if known else "new"}
                self._log.info("event.phase-changed", event=entry.event_id, to=entry.what.value, **came_from,
                               outcome=entry.subject.value if isinstance(entry.subject, Outcome) else None,
                               note=entry.note)
            case Event(kind=kind, not_before=not_before, started=started):
                write = self._log.warning if entry.what in WORTH_A_LOOK else self._log.info
                write(event_line_name(entry.what), event=entry.event_id, kind=kind.value, started=started,
                               not_before=utc_text(not_before), note=entry.note)
            case _:
                write = (self._log.error if entry.what in GRAVE else
                        self._log.warning if entry.what in WORTH_A_LOOK else self._log.info)
                write(event_line_name(entry.what), event=entry.event_id, note=entry.note)


def _changed_nothing(before: HookState, after: HookState) -> bool:
    """Whether a prepare has just reported "nothing changed": no recovery is pending, so no note is kept."""
    return before.stage in RUNNING and after.stage is Stage.PREPARED and not after.needs_recover


def event_line_name(what: EntryKind | Phase) -> str:
    """Given what happened, return the line's name."""
    return f"event.{what.value.removeprefix('event ').replace(' ', '-')}"


# --- Notifications

class NotifyListener:
    """Gives each change of an event of this VM to the notification program."""

    def __init__(self, notifier: Notifier, moment: Callable[[], Moment]) -> None:
        self._notifier, self._moment = notifier, moment

    def on_transition(self, before: State, after: State, entries: tuple[Entry, ...]) -> None:
        for news in notifications_of(before, after, entries, self._moment()):
            self._notifier.take(news)

    def on_journal_unwritable(self, trouble: JournalUnwritable) -> None:
        """The program is run all the same."""

    def on_journal_writable(self) -> None:
        """Nothing to report."""


def open_notifier(settings: NotifySettings, log: Log, state: Path, *, drill: bool) -> Notifier:
    """Given [notify] with a command, return what runs it, and say in the log if it cannot be run."""
    reason = why_not_run(settings.command[0])
    if reason is not None:
        log.error("notify.cannot-run", program=settings.command[0], reason=reason,
                  consequence="events are not reported; everything else works")

    def ended(end: NotifyEnd) -> None:
        event, phase, duration_s = end.what.event_id, end.what.phase.value, round(end.duration_s, 3)
        if end.why:
            log.warning("notify.failed", event=event, phase=phase, reason=end.why, duration_s=duration_s)
        else:
            log.debug("notify.done", event=event, phase=phase, duration_s=duration_s)

    return Notifier(
        settings, state, lambda news: record_until(state / FILE, news), ended,
        lambda news: log.warning("notify.dropped", event=news.event_id, phase=news.phase.value,
                                 reason="the program is slower than the events change"),
        lambda news, line: log.info("notify.output", event=news.event_id, phase=news.phase.value, line=line),
        drill=drill)


def record_until(journal: Path, news: Notification) -> bytes:
    """Given the journal's path and a notification, return the event's record up to that change, as JSON. A reader of
    its own: the engine's belongs to the engine's thread."""
    rows: list[Row] = []
    with suppress(JournalUnreadable, JournalUnwritable), closing(Journal.reading(journal)) as reader:
        rows = reader.rows(news.event_id)
    places = [place for place, row in enumerate(rows) if row.what is news.phase and row.at <= news.at.utc]
    shown = rows[:places[-1] + 1] if places else rows
    return json.dumps(record_of(shown).as_json() if shown else {"event_id": news.event_id}).encode()


# --- Metrics

CONSEQUENCE = "no metrics are served; everything else works"


class MetricsExport:
    """The figures of one agent and the ways they are handed out. `start`, then `close`."""

    def __init__(self, settings: MetricsSettings, log: Log, figures: MetricsCollector,
                 moment: Callable[[], Moment]) -> None:
        self._settings, self._log, self.figures = settings, log, figures
        self._writing = Trouble(log, "metrics-file", lambda: moment().raw_s)
        self._asked = Trouble(log, "metrics", lambda: moment().raw_s)
        self._page: MetricsPage | None = None
        self._textfile: Textfile | None = None
        self._has_failed = False            # to listen

    def start(self) -> None:
        from tideover.metrics.exporters import Textfile
        self.listen()
        if self._settings.textfile:
            self._textfile = Textfile(Path(self._settings.textfile), self.figures.text, self._writing.report)

    def listen(self) -> None:
        """Open the page where it is wanted and not open: at the start, and from time to time where that failed."""
        from tideover.metrics.collector import CONTENT_TYPE
        from tideover.metrics.exporters import MetricsPage
        address = self._settings.listen
        if address is None or self._page is not None:
            return
        try:
            self._page = MetricsPage(address.host, address.port, self.figures.text, CONTENT_TYPE, self._asked.report)
        except (OSError, RuntimeError) as trouble:      # no more descriptors or threads: for now
            if not self._has_failed:
                self._log.error("metrics.listen-failed", address=address.text, reason=trouble, consequence=CONSEQUENCE,
                                hint="set another address with [metrics] listen, or stop the program that listens "
                                     "there; the agent tries again")
            self._has_failed = True
        else:
            if self._has_failed:
                self._log.info("metrics.listening")
            self._has_failed = False

    def polled(self, news: ob.Observation) -> None:
        """A poll has ended. On the poller's thread."""
        self.figures.polled(news.trouble if isinstance(news, ob.PollFailed) else None)

    def close(self) -> None:
        for part in (self._page, self._textfile):
            if part is not None:
                part.close()


class CompositeListener:
    """Several listeners of the engine, as one."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def on_transition(self, before: State, after: State, entries: tuple[Entry, ...]) -> None:
        for listener in self._listeners:
            listener.on_transition(before, after, entries)

    def on_journal_unwritable(self, trouble: JournalUnwritable) -> None:
        for listener in self._listeners:
            listener.on_journal_unwritable(trouble)

    def on_journal_writable(self) -> None:
        for listener in self._listeners:
            listener.on_journal_writable()


def open_metering(settings: MetricsSettings, log: Log, present: Callable[[], Present],
                  moment: Callable[[], Moment], before: MetricsCollector | None = None) -> MetricsExport | None:
    """Given an owner's [metrics] that ask for figures, return them; None without the library, which is logged.

    `before`: the figures of the agent whose place this one takes, which go on.
    """
    reason = why_not()
    if reason is not None:
        log.error("metrics.unavailable", reason=reason, consequence=CONSEQUENCE)
        return None
    from tideover.metrics.collector import MetricsCollector
    if before is None:
        before = MetricsCollector(present, moment)
    else:
        before.go_on(present, moment)
    return MetricsExport(settings, log, before, moment)
