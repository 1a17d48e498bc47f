"""The wiring of applications: who may take part, their runs, their listeners. Not loaded where none is configured."""
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tideover.daemon.startup import make_directory
from tideover.effects import RunHook
from tideover.engine import Engine
from tideover.errors import WrongUseError, system_reason
from tideover.hooks.runner import HookRunner
from tideover.journal import JournalUnwritable
from tideover.lifecycle import Entry, Phase, State
from tideover.lifecycle.hook_stages import unanswered_outcome
from tideover.logs import Log
from tideover.model import HookReport, HookSpec, Moment, utc_text
from tideover.observations import ApplicationConnected, HookSettled, Observation
from tideover.policy import Policy
from tideover.record import trace_id
from tideover.settings import Settings

if TYPE_CHECKING:
    from tideover.applications.server import ApplicationServer

DIRECTORY_MODE = 0o755           # apart from the control socket, so that containers can mount it
REMOVED = "there is no [application.{}] in the configuration any more"
NOT_SERVED = "applications cannot connect: {}"


class ApplicationService:
    """Serves applications and listeners while some may connect; carries out the runs of the first, and tells the second
    of each change of phase. On the engine's thread, but for `never_connected`."""

    def __init__(self, settings: Settings, runner: HookRunner, log: Log, read_moment: Callable[[], Moment],
                 post: Callable[[Observation], None], before: ApplicationService | None = None) -> None:
        """`before`: of the agent whose place this one takes in the same process."""
        self._have_connected: set[str] = set(before._have_connected) if before is not None else set()
        self._settings, self._runner, self._log, self._read_moment = settings, runner, log, read_moment
        self._post = post
        self._engine: Engine | None = None
        self._policy: Callable[[], Policy] | None = None
        self._on_problem: Callable[[str | None], None] = lambda reason: None
        self._server: ApplicationServer | None = None
        self.reason = "no agent runs"   # why none can connect

    @property
    def address(self) -> str:
        """Where they connect: a socket, on Windows the name of a pipe."""
        from tideover.applications.transport import address_of
        return address_of(self._settings.paths)

    def open(self, engine: Engine, policy: Callable[[], Policy], on_problem: Callable[[str | None], None]) -> None:
        """Listen, if the configuration names an application or a listener, or a recovery of an application is pending.
        Before anything is carried out. Where that fails it is logged, and none can connect."""
        self._engine, self._policy, self._on_problem, self.reason = engine, policy, on_problem, ""
        self._open()

    def look_after(self) -> None:
        """Listen again where that failed, or where another process removed the socket. Not on the engine's thread."""
        if self._server is None and self.reason and self._engine is not None:
            self._open()
        elif self._server is not None and self._server.is_replaced():
            self._log.warning("applications.socket-replaced", socket=self.address,
                              what="another process removed or replaced it; the agent listens again")
            try:
                self._make_directory()
            except WrongUseError as trouble:
                self._cannot(f"{trouble.operation}: {trouble.cause}")
            else:
                self._server.listen_again(lambda trouble: self._cannot(system_reason(trouble)))

    def _open(self) -> None:
        engine = self._engine
        assert engine is not None
        pending = any(hook.spec.is_application for hook in engine.state.hooks.values())
        if not (self._settings.application or self._settings.applications.listeners or pending):
            return
        from tideover.applications.admission import ApplicationAccess
        from tideover.applications.server import ApplicationServer
        try:
            self._make_directory()
            access = ApplicationAccess(self._find, self._listeners, self._settings.applications.connections)
            self._server = ApplicationServer(
                Path(self.address), self._post_seen, access, read_moment=self._read_moment, phase=self._phase,
                keep_witness=self._runner.keep_witness, log=self._log_line, on_problem=self._on_problem)
            self.reason = ""
        except WrongUseError as trouble:
            self._cannot(f"{trouble.operation}: {trouble.cause}")
        except (OSError, RuntimeError) as trouble:
            self._cannot(str(trouble))

    def _make_directory(self) -> None:
        """Raise WrongUseError if it cannot be."""
        if sys.platform != "win32":             # a pipe lies in no directory
            make_directory(Path(self.address).parent, DIRECTORY_MODE)

    def close(self, wanted: Settings | None = None) -> None:
        """`wanted`: the configuration that takes the place of this one, None where there is none: applications without
        a table in it are sent that reason."""
        names = self._settings.application.keys() - wanted.application.keys() if wanted is not None else ()
        if self._server is not None:
            self._server.close({name: REMOVED.format(name) for name in names})

    def never_connected(self) -> list[str]:
        """Return the applications of the configuration that have not connected since the process's start. Any
        thread."""
        return sorted(self._settings.application.keys() - self._have_connected)

    # --- The runs of applications, for the handler of hooks

    def start(self, effect: RunHook) -> None:
        if self._server is not None:
            self._server.start(effect, trace_id(effect.event_id))
            return
        outcome = unanswered_outcome(effect.spec, effect.phase, may_have_begun=bool(effect.resumed_instance))
        report = HookReport(outcome, None, self._read_moment().utc, 0.0, note=NOT_SERVED.format(self.reason),
                            begun=False)
        self._post(HookSettled(effect.spec.name, effect.phase, effect.run, report))

    def cancel(self, effect: RunHook) -> None:
        if self._server is not None:
            self._server.cancel(effect)

    def adjust(self, effect: RunHook) -> None:
        if self._server is not None:
            self._server.shorten(effect)

    # --- News, as a listener of the engine

    def on_transition(self, before: State, after: State, entries: tuple[Entry, ...]) -> None:
        if self._server is None:
            return
        for entry in entries:
            if isinstance(entry.what, Phase):
                case = after.cases.get(entry.event_id) or before.cases.get(entry.event_id)
                event = case.event if case is not None else None
                self._server.tell_listeners({
                    "event_id": entry.event_id, "phase": entry.what.value, "kind": event.kind.value if event else None,
                    "not_before": utc_text(event.not_before) if event else None, "why": entry.note})

    def on_journal_unwritable(self, trouble: JournalUnwritable) -> None:
        """It is no news for applications."""

    def on_journal_writable(self) -> None:
        """It is no news for applications."""

    # --- What the server tells and asks, on its thread

    def _post_seen(self, seen: Observation) -> None:
        if isinstance(seen, ApplicationConnected):
            self._have_connected.add(seen.name)
        self._post(seen)

    def _find(self, name: str) -> HookSpec | None:
        """Also one whose table was removed while its recovery is pending."""
        assert self._engine is not None and self._policy is not None
        known = next((spec for spec in self._policy().hooks if spec.is_application and spec.name == name), None)
        hook = self._engine.state.hooks.get(name)
        return known or (hook.spec if hook is not None and hook.spec.is_application else None)

    def _listeners(self) -> tuple[str | None, ...]:
        return (*self._settings.applications.listeners, *(one.user for one in self._settings.application.values()))

    def _phase(self) -> str:
        assert self._engine is not None
        phases = [case.phase for case in self._engine.state.cases.values() if case.phase is not Phase.OBSERVED]
        return phases[-1].value if phases else Phase.CLOSED.value

    def _log_line(self, name: str, sentence: str) -> None:
        self._log.info("application.message", application=name, message=sentence)

    def _cannot(self, reason: str) -> None:
        if reason == self.reason:               # it is logged already, and is tried again
            return
        self.reason = reason
        self._log.error("applications.listen-failed", reason=reason, socket=self.address,
                        consequence="applications cannot connect, so none can prepare")
