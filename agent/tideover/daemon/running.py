"""One process under its service manager, which ends it or has it read its configuration again. Decides nothing else.

What the manager says only raises a flag and wakes the loop: all work is done on the engine's own thread, between two
news.
"""
from __future__ import annotations

import gc
import os
import sys
import threading

from tideover import observations as ob
from tideover.configuration import Loaded, load_settings
from tideover.daemon.agent import Agent
from tideover.daemon.choices import catalogue_of, cautions_of
from tideover.daemon.opening import require_safe
from tideover.daemon.signals import obey
from tideover.errors import EXIT_BUG, ConfigurationError, WrongUseError
from tideover.lifecycle import Phase, Stage, State
from tideover.logs import to_lines
from tideover.supervision import Ending, ServiceManager
from tideover.systemd import Systemd

STOP_LIMIT_S = 75.0
"""A stop that recovers first ends after this, recovered or not: the unit's stop timeout is 90 s."""


def run_agent(loaded: Loaded, *, drill: bool = False, manager: ServiceManager | None = None) -> int:
    """Run an agent until its service manager ends it (None: systemd, or a terminal, which speak through `signals`).

    Return the exit status. Raise WrongUseError if it cannot start.
    """
    running = Running(loaded, manager or Systemd(os.environ), drill=drill)
    ended = threading.Event()
    if manager is None:
        obey(running.end_soon, running.read_soon, ended)
    else:
        manager.listen(running)
    threading.excepthook = _die
    try:
        running.run()
    finally:
        running.close()
        ended.set()
    return 0


class Running:
    """The agent that runs now, the configuration it has, and the one it will have."""

    def __init__(self, loaded: Loaded, manager: ServiceManager, *, drill: bool = False) -> None:
        self._loaded, self._manager, self._drill = loaded, manager, drill
        self._agent = self._made(loaded)
        self._waiting: Loaded | None = None     # read and found good; an open event keeps the old one in force
        self._must_end = self._must_read = False
        self._told = ""

    def end_soon(self) -> None:
        """Any thread, any signal handler: a second call ends at once what the first one still waits for."""
        self._must_end = True
        self._agent.engine.stop()

    def read_soon(self) -> None:
        """Any thread, any signal handler: the configuration may have changed."""
        self._must_read = True
        self._agent.engine.stop()

    def look_now(self) -> None:
        """Any thread: the machine slept, or somebody set its clock, says the system."""
        self._agent.look_now()

    def run(self) -> None:
        """Return when a signal says so, and what the owner wants to be done first is done."""
        self._begin()
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

    def _made(self, loaded: Loaded) -> Agent:
        write_line = self._manager.write_line
        sink = to_lines(loaded.settings.log.format, write_line) if write_line is not None else None
        return Agent(loaded, drill=self._drill, log_sink=sink)

    def _begin(self) -> None:
        for caution in cautions_of(self._loaded.settings):
            self._agent.log.warning("configuration.caution", what=caution)
        for file, reason in catalogue_of(self._loaded.settings).faults:
            self._agent.log.warning("hook.cannot-run", file=file, reason=reason)
        self._agent.start()
        self._agent.engine.show_life(self._show_life, self._manager.longest_silence_s)
        self._manager.ready()

    # --- a new configuration ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        """What is faulty is refused, and what holds goes on holding."""
        try:
            loaded = load_settings(self._loaded.file, os.environ)
            require_safe(loaded.file)
            self._waiting = loaded
        except ConfigurationError as trouble:
            self._agent.log.error("configuration.refused", reason=trouble, faults="; ".join(trouble.faults))
        except WrongUseError as trouble:
            self._agent.log.error("configuration.refused", reason=trouble)
        else:
            if not self._may_change(self._agent.engine.state):
                self._agent.log.info("configuration.waits", reason="an event is open; it is applied when that is over")

    def _may_change(self, state: State) -> bool:
        """What is not written yet lives in the present agent only."""
        return self._waiting is not None and is_between_events(state) and not self._agent.engine.trouble

    def _change(self) -> None:
        """A new agent takes the old one's place, as after a restart; where it cannot, the old configuration holds."""
        wanted, self._waiting = self._waiting, None
        assert wanted is not None
        self._manager.reloading()
        self._agent.close()
        try:
            self._agent, self._loaded = self._made(wanted), wanted
        except WrongUseError as trouble:
            self._agent.log.error("configuration.refused", reason=trouble)
            self._agent = self._made(self._loaded)
        self._begin()
        gc.collect()            # the parts of an agent know each other; the old one's connections go with its parts
        self._agent.log.info("configuration.read", file=self._loaded.file or "none")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _recover_first(self) -> None:
        """Where the machine or the service starts again at once, the next agent goes on instead."""
        engine, why = self._agent.engine, self._manager.why_we_end()
        if why is not Ending.STOP:
            self._agent.log.info("agent.keeps", reason=why.value, hooks=" ".join(engine.state.hooks))
            return
        limit = threading.Timer(STOP_LIMIT_S, engine.stop)
        limit.daemon = True
        limit.start()
        engine.take(ob.StopRequested())
        engine.run_until(is_all_tried)
        limit.cancel()

    # --- what the service manager is told -----------------------------------------------------------------------------

    def _show_life(self) -> None:
        self._manager.feed()
        words = state_in_words(self._agent.engine.state)
        if self._waiting is not None:
            words += "; a new configuration waits for its end"
        if words != self._told:
            self._told = words
            self._manager.say(words)


def is_between_events(state: State) -> bool:
    """Whether nothing is under way that began under the configuration in force."""
    return not state.hooks and all(case.phase is Phase.WATCHING for case in state.cases.values())


def is_all_tried(state: State) -> bool:
    """Whether a stop has nothing more to wait for: all is recovered, or failed for good and told."""
    return all(hook.stage is Stage.OWED for hook in state.hooks.values())


def state_in_words(state: State) -> str:
    """Given a state, return it as one line for whoever asks the service manager."""
    events = [f"{case.event.kind.value} {case.phase.value}" for case in state.cases.values()
              if case.phase is not Phase.WATCHING]
    return ", ".join(events) if events else "No event is open"


def _die(trouble: threading.ExceptHookArgs) -> None:
    """A bug on any thread ends the process: the service manager starts it again, and the journal knows where it was."""
    sys.excepthook(trouble.exc_type, trouble.exc_value or trouble.exc_type(), trouble.exc_traceback)
    sys.stderr.flush()
    os._exit(EXIT_BUG)  # the other threads are not waited for
