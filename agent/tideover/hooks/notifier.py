"""Runs the program of `[notify] command`: one at a time behind a bounded queue, its time limit and variables.

Nothing waits for it, and nothing depends on what becomes of it.
"""
from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tideover.effects import RunHook
from tideover.errors import Refusal
from tideover.hooks.environment import (
    DRILL_NAME,
    HookPaths,
    RunFingerprint,
    SpawnSpec,
    UnusableAccountError,
    UserAccount,
    environment_markers,
    hook_environment,
)
from tideover.hooks.output import HookOutput
from tideover.hooks.runner import ActiveTimer
from tideover.hooks.trust import (
    find_account,
    find_hook_refusal,
    find_obstacle,
    standing_environment,
    trusted_users,
)
from tideover.lifecycle.notifications import Notification, enqueue
from tideover.model import HookPhase, HookSpec
from tideover.record import trace_id
from tideover.settings import NotifySettings
from tideover.system.clocks import read_raw_s
from tideover.system.process import RESERVE
from tideover.threads import reason_of, start_task

if sys.platform == "win32":
    import tideover.hooks.windows_process as processes
else:
    import tideover.hooks.posix_process as processes

LIMIT_S = 10.0              # of one run (contract)
GRACE_S = 1.0               # between SIGTERM and SIGKILL
START_WAIT_S = 1.0          # at the agent's stop, for a program that is just being started
STOPPED = "the agent stopped"
LINES_AT_MOST = 20          # of what one run prints, in the log
NAME = "notify"
PHASE_NAME = "TIDEOVER_EVENT_PHASE"


@dataclass(frozen=True, slots=True)
class NotifyEnd:
    """How one run ended. `why`: "" if it worked, else one sentence."""

    what: Notification
    why: str
    duration_s: float


class Notifier:
    """Takes notifications from any thread and never blocks. What waits when the agent is replaced by one with another
    configuration is still run; `end` is for the end of the process, which does not wait for the program."""

    def __init__(self, settings: NotifySettings, state: Path, read_record: Callable[[Notification], bytes],
                 ended: Callable[[NotifyEnd], None], dropped: Callable[[Notification], None],
                 log_line: Callable[[Notification, str], None], *, drill: bool = False,
                 limit_s: float = LIMIT_S) -> None:
        """`state`: the state directory. `read_record`: the event's record as JSON; it, `ended`, and `log_line`, which
        gets each line that the program prints, are called on the notifier's thread. `dropped`: there was no room."""
        self._settings, self._state, self._read_record = settings, state, read_record
        self._ended, self._dropped, self._log_line = ended, dropped, log_line
        self._marks = {DRILL_NAME: "1"} if drill else {}
        self._limit_s = limit_s
        self._lock = threading.Lock()               # never held while the system is asked for anything
        self._starting = threading.Lock()           # held while a program is started, and while its tree is ended
        self._queue: tuple[Notification, ...] = ()
        self._is_running = self._is_ending = False
        self._started: RunFingerprint | None = None     # of the run under way
        self._runs = 0

    @property
    def is_running(self) -> bool:
        """Whether a notification is being reported, or waits."""
        return self._is_running

    def take(self, news: Notification) -> None:
        """Report this as soon as what waits before it has been reported."""
        with self._lock:
            if self._is_ending:
                return
            self._queue, dropped = enqueue(self._queue, news)
            starts, self._is_running = not self._is_running, True
        if dropped is not None:
            self._dropped(dropped)
        if starts:
            start_task(NAME, self._run_all, self._failed)

    def end(self) -> None:
        """Take nothing more, and kill the whole tree of the run under way: past the agent it would have no limit."""
        with self._lock:
            self._is_ending, self._queue = True, ()
        if self._starting.acquire(timeout=START_WAIT_S):
            try:
                if self._started is not None:
                    with RESERVE.available():
                        processes.end_runs([self._started], 0.0, time.sleep)
            finally:
                self._starting.release()

    def _run_all(self) -> None:
        while (news := self._next()) is not None:
            began_s = read_raw_s()
            why = self._run(news)
            self._ended(NotifyEnd(news, why, read_raw_s() - began_s))

    def _next(self) -> Notification | None:
        with self._lock:
            if not self._queue:
                self._is_running = False
                return None
            news, *rest = self._queue
            self._queue = tuple(rest)
            return news

    def _failed(self, reason: str) -> None:
        """The thread met what was not foreseen, or there is none: what waits is tried with the next news."""
        with self._lock:
            self._is_running = False
            waiting = self._queue[:1]
        for news in waiting:
            self._ended(NotifyEnd(news, reason, 0.0))

    # --- one run ----------------------------------------------------------------------------------------------------

    def _run(self, news: Notification) -> str:
        """Run the program once; return why it failed, "" if it worked."""
        try:
            account = notify_account(self._settings.user)
            reason = why_not_run(self._settings.command[0])
            if reason is not None:
                return f"refused: {reason}"
            self._runs += 1
            plan = self._plan(news, account)
            with self._starting:            # so that `end` finds either no run, or all of one
                if self._is_ending:
                    return STOPPED
                with RESERVE.available():
                    process = processes.launch(plan)
                self._started = _marks_of(plan, process)
        except UnusableAccountError as fault:
            return str(fault)
        except OSError as error:
            return processes.why_not_started(error, self._settings.command[0])
        output = HookOutput(lambda line: self._log_line(news, line), hidden_arguments(self._settings.command),
                            LINES_AT_MOST)
        is_in_time = self._attend(process, output)
        left = 0 if is_in_time else self._end(plan, process, output)
        status = process.finish(output.take)
        output.finish()
        with self._starting:
            self._started = None
        process.tidy_up()
        if self._is_ending:
            return STOPPED
        if not is_in_time:
            return (f"it took longer than {self._limit_s:g} s; its processes were ended"
                    f"{f', but {left} could not be killed' if left else ''}")
        if status is None:
            return "its exit status was lost"
        return "" if status == 0 else (
            f"ended by {processes.signal_name(-status)}" if status < 0 else f"exit status {status}")

    def _plan(self, news: Notification, account: UserAccount) -> SpawnSpec:
        path, *arguments = self._settings.command
        run = RunHook(HookSpec(NAME, 0, path), HookPhase.RECOVER, self._runs, 1, self._limit_s, news.event_id,
                      news.kind, news.reason, news.facts)
        place = HookPaths(account.home, "", standing_environment(os.environ), {}, self._marks)
        environment = {**hook_environment(run, trace_id(news.event_id), place), PHASE_NAME: news.phase.value,
                       "TIDEOVER_PHASE": ""}
        beside = self._state / NAME             # never made: a name in the state directory
        return SpawnSpec(path, tuple(arguments), environment, str(beside), self._read_record(news), account, run.spec,
                         str(beside / "ended"))

    def _attend(self, process: processes.HookProcess, output: HookOutput) -> bool:
        """Wait for its end; return whether it came in time. A pause of the machine takes nothing of it."""
        lived = ActiveTimer(self._limit_s, read_raw_s())
        while not process.has_exited:
            if lived.is_over():
                return False
            process.watch(lived.next_wait_s(), output.take)
            lived.count(read_raw_s())
        return not process.was_abandoned

    def _end(self, plan: SpawnSpec, process: processes.HookProcess, output: HookOutput) -> int:
        """End its whole tree; return how many of it are left."""
        with RESERVE.available():
            return len(processes.end_runs([_marks_of(plan, process)], GRACE_S,
                                          lambda seconds: process.linger(seconds, output.take)))


def _marks_of(plan: SpawnSpec, process: processes.HookProcess) -> RunFingerprint:
    markers = environment_markers(plan.environment["TIDEOVER_RUN"], plan.environment["TIDEOVER_TRACE_ID"], "")
    return RunFingerprint(markers, process.leader, process.channels, process.supervisor, process.group)


def notify_account(user: str | None) -> UserAccount:
    """Given [notify] user, return the account that the program runs as: this process's own where that may not be
    changed, as on Windows. Raise UnusableAccountError."""
    may_change = hasattr(os, "geteuid") and os.geteuid() == 0
    return find_account(user if may_change else None)


def why_not_run(path: str) -> Refusal | None:
    """Given the program, return why it is not run, by the rule for hooks; None: it may be, and can."""
    try:
        standing = standing_environment(os.environ)
        return find_hook_refusal(path, trusted_users(), set()) or find_obstacle(path, standing.get("PATH", ""))
    except OSError as error:
        return Refusal(f"{shlex.quote(path)} cannot be read: {reason_of(error)}", "correct [notify] command")


def hidden_arguments(command: Sequence[str]) -> Mapping[str, str]:
    """Given the program with its arguments, return those that may hold a secret, addresses with a token in them, by the
    names that stand for them where the program prints one."""
    return {f"argument {number}": argument for number, argument in enumerate(command[1:], start=1)
            if "://" in argument}
