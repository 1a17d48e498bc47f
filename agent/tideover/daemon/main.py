"""The agent's process: signals, service manager, reload, what is done at a stop, its time limit, unforeseen exceptions.

What the manager says only raises a flag and wakes the loop: all work is done on the engine's own thread, between two
news.
"""
from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tideover import __version__, observations as ob
from tideover.config_file import Loaded, load_settings, load_tolerantly
from tideover.daemon.agent import Agent
from tideover.daemon.policy_source import catalogue_of, config_warnings
from tideover.daemon.startup import require_trusted, require_trusted_named
from tideover.errors import ConfigurationError, TideoverError, WrongUseError
from tideover.hooks.description import missing_settings
from tideover.journal import JournalUnwritable
from tideover.lifecycle import Phase, Stage, State
from tideover.logs import HOURLY_S, LineWriter, Log, Sink, open_sink, to_lines
from tideover.sd_notify import Systemd
from tideover.service_manager import ServiceManager, StopReason
from tideover.system.process import RESERVE, log_trace, return_free_memory, use_one_heap
from tideover.threads import reason_of, start_task

# --- Signal handlers
# Whatever the way, it only raises a flag and wakes the loop. A Windows service is notified by the service manager
# instead, and calls the same two verbs (`Running.end_soon`, `Running.read_soon`).

if sys.platform == "win32":
    from tideover.winapi.base import on_console_close, on_stop_request

    def install_signal_handlers(end_soon: Callable[[], None], read_soon: Callable[[], None],
                                ended: threading.Event) -> None:
        """Call `request_stop` at Ctrl-C, Ctrl-Break, the console's or the machine's end, or when another process asks
        for it. `ended` is set when all is put away. A console program has no reload signal."""
        on_console_close(end_soon, ended)
        on_stop_request(end_soon)

else:
    import signal

    def install_signal_handlers(end_soon: Callable[[], None], read_soon: Callable[[], None],
                                ended: threading.Event) -> None:
        """Call `request_stop` at SIGTERM and SIGINT, `request_reload` at SIGHUP. `ended` is set when all is put
        away."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: end_soon())
        signal.signal(signal.SIGHUP, lambda *_: read_soon())


# --- The process

FAULTS_KEPT = 64
RESTORE_AGAIN_S = 1.0       # between two tries to start an agent where the last one was
LOGGED_TIMES = 3              # such tries that are logged
STOP_LIMIT_S = 75.0
"""A stop that recovers first ends after this, recovered or not: the unit's stop timeout is 90 s."""


def start_agent(config: Path | None, *, drill: bool = False, manager: ServiceManager | None = None) -> int:
    """Given what --config names (or None), run an agent as `run_agent` does.

    With a configuration that cannot be used there is no agent to recover what an earlier one has prepared: so that is
    done first. Raise ConfigurationError, WrongUseError.
    """
    manager = manager or Systemd(os.environ)
    try:
        loaded = load_settings(config, os.environ)
        require_trusted(loaded)
        require_trusted_named(loaded)
    except (ConfigurationError, WrongUseError) as trouble:
        _recover_instead(trouble, config, manager, drill=drill)
        raise
    return run_agent(loaded, drill=drill, manager=manager)


def _recover_instead(refusal: TideoverError, config: Path | None, manager: ServiceManager, *, drill: bool) -> None:
    from tideover.daemon.offline import recover_instead_of_agent
    log_format, lines = "text", LineWriter()
    try:
        loaded = load_tolerantly(config, os.environ)
        log_format = loaded.settings.log.format
        log = Log(log_format, "info", lines.through(_sink_of(manager, log_format)))
        recover_instead_of_agent(loaded, log, manager.still_starting, drill=drill)
    except TideoverError as trouble:
        if trouble.cause != refusal.cause:
            log = Log(log_format, "info", lines.through(_sink_of(manager, log_format)))
            log.error("recover.not-tried", reason=trouble)
    finally:
        lines.close()


def _sink_of(manager: ServiceManager, log_format: str) -> Sink:
    return open_sink(log_format) if manager.write_line is None else to_lines(log_format, manager.write_line)


def run_agent(loaded: Loaded, *, drill: bool = False, manager: ServiceManager | None = None) -> int:
    """Run an agent until its service manager ends it (None: systemd, or a terminal, which speak through `main`).

    Return the exit status. Raise WrongUseError if it cannot start.
    """
    manager = manager or Systemd(os.environ)
    use_one_heap()
    running = AgentProcess(loaded, manager, drill=drill)
    ended = threading.Event()
    if isinstance(manager, Systemd):
        install_signal_handlers(running.request_stop, running.request_reload, ended)
    else:
        manager.listen(running)
    threading.excepthook = ThreadFaults(running.log).log
    try:
        running.run()
    except (OSError, MemoryError, ImportError, RuntimeError):
        log_trace(*sys.exc_info())     # one sentence is too little of an agent that has run
        raise
    finally:
        running.close()
        ended.set()
    return 0


class AgentProcess:
    """The agent that runs now, the configuration it has, and the one it will have."""

    def __init__(self, loaded: Loaded, manager: ServiceManager, *, drill: bool = False) -> None:
        self._loaded, self._manager, self._drill = loaded, manager, drill
        self._lines = LineWriter()
        self._agent = self._build_agent(loaded)
        self._waiting: Loaded | None = None     # read and found good; an open event keeps the old one in force
        self._must_end = self._must_read = False
        self._shown_status = ""

    def log(self) -> Log:
        """Return the log of the agent that runs now."""
        return self._agent.log

    def request_stop(self) -> None:
        """Any thread, any signal handler: a second call ends at once what the first one still waits for."""
        self._must_end = True
        self._agent.engine.stop()

    def request_reload(self) -> None:
        """Any thread, any signal handler: the configuration may have changed."""
        self._must_read = True
        self._agent.engine.stop()

    def check_clocks(self) -> None:
        """Any thread: the system reports that the machine slept or its clock was set."""
        self._agent.check_clocks()

    def run(self) -> None:
        """Return when a signal says so, and what the owner wants to be done first is done."""
        open_events = len(self._agent.engine.state.cases)
        self._begin()
        self._agent.log.info("agent.started", version=__version__, pid=os.getpid(),
                             source=self._agent.platform.source_kind, mode=self._agent.settings.policy.mode,
                             hooks=len(self._agent.choices.catalogue.hooks), open_events=open_events)
        while not self._must_end:
            self._agent.engine.run_until(self._may_change)
            if self._must_read:
                self._must_read = False
                self._read()
            if self._may_change(self._agent.engine.state):
                self._change()
        if self._agent.settings.policy.on_stop == "recover" and self._agent.engine.state.hooks:
            self._recover_first()

    def close(self) -> None:
        self._manager.stopping()
        self._agent.close()
        self._agent.end_notifications()
        self._agent.log.info("agent.stopped", open_events=len(self._agent.engine.state.cases))
        self._lines.close()

    def _build_agent(self, loaded: Loaded, before: Agent | None = None) -> Agent:
        """`before`: the agent whose place this one takes in the same process."""
        sink = self._lines.through(_sink_of(self._manager, loaded.settings.log.format))
        return Agent(loaded, drill=self._drill, log_sink=sink, before=before, recent_log=self._lines.recent)

    def _begin(self) -> None:
        for caution in config_warnings(self._loaded.settings):
            self._agent.log.warning("configuration.warning", what=caution)
        for file, reason in catalogue_of(self._loaded.settings).faults:
            self._agent.log.warning("hook.cannot-run", file=file, reason=reason)
        RESERVE.fill()
        self._agent.start()
        self._agent.engine.set_heartbeat(self._heartbeat, self._manager.longest_silence_s)
        return_free_memory()
        self._manager.ready()
        start_task("hook-settings", self._log_missing_settings)

    def _log_missing_settings(self) -> None:
        """On a thread of its own: the hooks are asked, and the start does not wait for them."""
        settings = self._loaded.settings
        for spec, why in missing_settings(settings, catalogue_of(settings)):
            self._agent.log.warning("hook.cannot-run", file=spec.path, reason=why)

    # --- a new configuration ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        """What is faulty is refused, and what holds goes on holding."""
        try:
            loaded = load_settings(self._loaded.file, os.environ)
            require_trusted(loaded)
            require_trusted_named(loaded)
            self._waiting = loaded
        except ConfigurationError as trouble:
            self._agent.log.error("configuration.refused", reason=trouble, faults="; ".join(trouble.faults))
        except WrongUseError as trouble:
            self._agent.log.error("configuration.refused", reason=trouble)
        else:
            if not self._may_change(self._agent.engine.state):
                self._agent.log.info("configuration.reload-deferred",
                                     reason="an event is open; the configuration is applied when it is over")

    def _may_change(self, state: State) -> bool:
        """What is not written yet lives in the present agent only, and the store that it knows may be no longer
        configured in the next one."""
        return (self._waiting is not None and is_between_events(state) and not self._agent.engine.trouble
                and not (state.leaving and self._agent.reaches_store))

    def _change(self) -> None:
        """A new agent takes the old one's place and goes on with the figures of the process; where it cannot, the old
        configuration holds. ImportError: it needs a module whose file was removed or replaced since the start."""
        wanted, self._waiting = self._waiting, None
        assert wanted is not None
        before, held = self._agent, self._loaded
        self._manager.reloading()
        before.close(wanted.settings)
        try:
            self._replace(before, wanted)
        except (TideoverError, ImportError, OSError, RuntimeError) as trouble:
            before.log.error("configuration.refused", reason=trouble)
            self._restore(before, held)
        self._agent.log.info("configuration.read", file=self._loaded.file or "none")

    def _replace(self, before: Agent, loaded: Loaded) -> None:
        """Build and start an agent in the place of the closed one. Raise what prevents it; then nothing is left of
        it."""
        with RESERVE.available():
            agent = self._build_agent(loaded, before)
        with ExitStack() as on_failure:
            on_failure.callback(agent.close)
            self._agent, self._loaded = agent, loaded
            self._begin()
            on_failure.pop_all()

    def _restore(self, before: Agent, loaded: Loaded) -> None:
        """Start an agent with the configuration that held, as soon as the system gives what it needs (descriptors,
        threads, a disk that can be written). Return without one when the process is to end. Raise WrongUseError."""
        times = 0
        while not self._must_end:
            try:
                return self._replace(before, loaded)
            except (OSError, RuntimeError, JournalUnwritable) as trouble:
                times += 1
                if times <= LOGGED_TIMES:
                    before.log.error("agent.cannot-start", reason=trouble, times=times,
                                     consequence="it is tried again each second; no event is seen meanwhile")
            self._manager.watchdog_ping()
            time.sleep(RESTORE_AGAIN_S)
        return None

    # --- the end ----------------------------------------------------------------------------------------------------

    def _recover_first(self) -> None:
        """Where the machine or the service starts again at once, the next agent goes on instead."""
        engine, why = self._agent.engine, self._manager.stop_reason()
        if why is not StopReason.STOP:
            self._agent.log.info("agent.stopping-with-hooks-prepared", reason=why.value,
                                 hooks=" ".join(engine.state.hooks))
            return
        is_done = threading.Event()

        def limit() -> None:
            if not is_done.wait(STOP_LIMIT_S):
                engine.stop()

        start_task("stop-limit", limit)
        engine.handle(ob.StopRequested())
        engine.run_until(is_every_recover_tried)
        is_done.set()

    # --- what is reported to the service manager ----------------------------------------------------------------------

    def _heartbeat(self) -> None:
        self._manager.watchdog_ping()
        words = state_in_words(self._agent.engine.state)
        if self._waiting is not None:
            words += "; a new configuration is applied after it"
        if words != self._shown_status:
            self._shown_status = words
            self._manager.set_status(words)


def is_between_events(state: State) -> bool:
    """Whether nothing is under way that began under the configuration in force."""
    return not state.hooks and all(case.phase is Phase.OBSERVED for case in state.cases.values())


def is_every_recover_tried(state: State) -> bool:
    """Whether a stop has nothing more to wait for: all is recovered, or failed for good and reported, or is of an
    application that is away, which the next agent asks."""
    return all(hook.stage is Stage.RECOVER_FAILED
               or (hook.stage is not Stage.RECOVERING and not state.is_reachable(hook.spec))
               for hook in state.hooks.values())


def state_in_words(state: State) -> str:
    """Given a state, return it as one line for the service manager's status."""
    events = [f"{case.event.kind.value} {case.phase.value}" for case in state.cases.values()
              if case.phase is not Phase.OBSERVED]
    return ", ".join(events) if events else "No event is open"


class ThreadFaults:
    """Unforeseen exceptions on threads beside the engine's. They end nothing: an application may be prepared.

    Each is logged with its trace once, then hourly with its count."""

    def __init__(self, log: Callable[[], Log]) -> None:
        """`log`: the agent's; a new configuration brings another."""
        self._log, self._lock = log, threading.Lock()
        self._met: dict[tuple[str, int, str], tuple[int, float]] = {}      # where and what: how often, when logged

    def log(self, met: threading.ExceptHookArgs) -> None:
        """Any thread."""
        *_, (frame, line) = traceback.walk_tb(met.exc_traceback) if met.exc_traceback else [(None, 0)]
        place = frame.f_code.co_filename if frame is not None else ""
        key, now_s = (place, line, met.exc_type.__name__), time.monotonic()
        with self._lock:
            times, logged_s = self._met.get(key, (0, 0.0))
            is_logged = times == 0 or now_s - logged_s >= HOURLY_S
            if times or len(self._met) < FAULTS_KEPT:
                self._met[key] = (times + 1, now_s if is_logged else logged_s)
        if is_logged:
            trace = "".join(traceback.format_exception(met.exc_type, met.exc_value, met.exc_traceback))
            self._log().error("thread.failed", thread=met.thread.name if met.thread else "",
                              reason=reason_of(met.exc_value or met.exc_type()), times=times + 1,
                              consequence="its task counts as failed; the agent continues. Please report this",
                              trace=trace if times == 0 else "")
