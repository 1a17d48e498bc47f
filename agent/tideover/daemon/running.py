"""One process and what it is told from outside: to end, to read its configuration anew. Decides nothing else.

Whoever tells it so (`signals`, a service) only raises a flag and wakes the loop: all work is done on the engine's own
thread, between two news.
"""
from __future__ import annotations

import gc
import os
import sys
import threading
import time

from tideover import observations as ob
from tideover import systemd
from tideover.configuration import Loaded, load_settings
from tideover.daemon.agent import Agent
from tideover.daemon.opening import require_safe
from tideover.daemon.signals import obey
from tideover.errors import ConfigurationError, WrongUseError
from tideover.lifecycle import Phase, Stage, State
from tideover.logs import Sink
from tideover.settings import cautions_about

STOP_LIMIT_S = 75.0
"""A stop that recovers first ends after this, recovered or not: the unit's stop timeout is 90 s."""


def run_agent(loaded: Loaded, *, drill: bool = False, log_sink: Sink | None = None) -> int:
    """Run an agent until it is told to end; return the exit status. Raise WrongUseError if it cannot start.

    `log_sink`: where log lines go; None: standard error, or the journal behind it.
    """
    running = Running(loaded, drill=drill, log_sink=log_sink)
    ended = threading.Event()
    obey(running.end_soon, running.read_soon, ended)
    threading.excepthook = _die
    try:
        running.run()
    finally:
        running.close()
        ended.set()
    return 0


class Running:
    """The agent that runs now, the configuration it has, and the one it will have."""

    def __init__(self, loaded: Loaded, *, drill: bool = False, log_sink: Sink | None = None) -> None:
        self._loaded, self._drill, self._log_sink = loaded, drill, log_sink
        self._agent = self._made(loaded)
        self._waiting: Loaded | None = None     # read and found good; an open event keeps the old one in force
        self._must_end = self._must_read = False
        self._ending: systemd.Ending | None = None
        self._told = ""
        period_s = systemd.watchdog_period_s(os.environ)
        self._feed = systemd.watchdog_feeder(period_s) if period_s else None
        self._longest_wait_s = period_s / systemd.FEEDS if period_s else None

    def end_soon(self, why: systemd.Ending | None = None) -> None:
        """From any thread or signal handler: a second one ends at once what the first one still waits for.

        `why`: where whoever says so knows; None: the service manager is asked.
        """
        self._ending = why or self._ending
        self._must_end = True
        self._agent.engine.stop()

    def read_soon(self) -> None:
        """From any thread or signal handler: the configuration may have changed."""
        self._must_read = True
        self._agent.engine.stop()

    def look_now(self) -> None:
        """From any thread: somebody set the clock, or the machine slept, says the system. The clocks are read now."""
        self._agent.watch.look_now()

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
        systemd.notify("STOPPING=1")
        self._agent.close()

    def _made(self, loaded: Loaded) -> Agent:
        return Agent(loaded, drill=self._drill, log_sink=self._log_sink)

    def _begin(self) -> None:
        for caution in cautions_about(self._loaded.settings):
            self._agent.log.warning("configuration.caution", what=caution)
        self._agent.start()
        self._agent.engine.show_life(self._show_life, self._longest_wait_s)
        systemd.notify("READY=1")

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
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
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
        engine, why = self._agent.engine, self._ending or systemd.why_we_end(os.environ)
        if why is not systemd.Ending.STOP:
            self._agent.log.info("agent.keeps", reason=why.value, hooks=" ".join(engine.state.hooks))
            return
        limit = threading.Timer(STOP_LIMIT_S, engine.stop)
        limit.daemon = True
        limit.start()
        engine.take(ob.StopRequested())
        engine.run_until(is_all_tried)
        limit.cancel()

    # --- what systemd is told -----------------------------------------------------------------------------------------

    def _show_life(self) -> None:
        if self._feed is not None:
            self._feed()
        words = state_in_words(self._agent.engine.state)
        if self._waiting is not None:
            words += "; a new configuration waits for its end"
        if words != self._told:
            self._told = words
            systemd.notify(f"STATUS={words}")


def is_between_events(state: State) -> bool:
    """Whether nothing is under way that began under the configuration in force."""
    return not state.hooks and all(case.phase is Phase.WATCHING for case in state.cases.values())


def is_all_tried(state: State) -> bool:
    """Whether a stop has nothing more to wait for: all is recovered, or failed for good and told."""
    return all(hook.stage is Stage.OWED for hook in state.hooks.values())


def state_in_words(state: State) -> str:
    """Given a state, return it as one line for `systemctl status`."""
    events = [f"{case.event.kind.value} {case.phase.value}" for case in state.cases.values()
              if case.phase is not Phase.WATCHING]
    return ", ".join(events) if events else "No event is open"


def _die(trouble: threading.ExceptHookArgs) -> None:
    """A bug on any thread ends the process: the service manager starts it again, and the journal knows where it was."""
    sys.excepthook(trouble.exc_type, trouble.exc_value or trouble.exc_type(), trouble.exc_traceback)
    sys.stderr.flush()
    os._exit(70)        # EX_SOFTWARE (sysexits.h); the other threads are not waited for
