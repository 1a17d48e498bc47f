"""One run of a hook: its time limit, the grace between SIGTERM and SIGKILL, what its exit status means, its report."""
from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tideover.effects import RunHook
from tideover.hooks.directory import find_renumbered
from tideover.hooks.environment import (
    DRILL_NAME,
    HookPaths,
    ProcessIdentity,
    RunFingerprint,
    SpawnSpec,
    UnusableAccountError,
    UserAccount,
    environment_markers,
    hook_environment,
)
from tideover.hooks.environment_file import OwnerVariables
from tideover.hooks.orphans import OrphanRun, RunFile, RunFiles, note_of, read_witness
from tideover.hooks.output import LINES_AT_MOST, HookOutput
from tideover.hooks.state_directory import StateDirectories
from tideover.hooks.trust import find_account, find_hook_refusal, standing_environment, trusted_users
from tideover.model import HookOutcome, HookPhase, HookReport, Moment
from tideover.observations import HookSettled, Observation, Witness
from tideover.system.clocks import read_boot_id, read_moment
from tideover.system.process import RESERVE
from tideover.system.wakeup import FOR_HOOKS, Wakeup
from tideover.threads import NO_THREAD, reason_of, start_task

if sys.platform == "win32":
    from tideover.hooks import windows_process as processes
else:
    from tideover.hooks import posix_process as processes

# --- Active time: a deadline that excludes pauses of this process
# A deadline which a pause of the machine, or a stop of the agent, crosses must not fall due at the resume: the hook did
# not have that time. What one wait lasted longer than it was asked to is therefore counted only up to a small
# allowance.

SLICE_S = 0.25          # the longest single wait, so the most that is counted wrongly is one slice and its allowance
ALLOWANCE_S = 0.1       # a busy machine wakes us late; beyond that we did not run


class ActiveTimer:
    """Counts down `limit_s` from the reading `now_s`."""

    def __init__(self, limit_s: float, now_s: float) -> None:
        self._limit_s, self._left_s = limit_s, limit_s
        self._begun_s = self._last_s = now_s

    def limit(self, limit_s: float) -> None:
        """Given what the limit is by now, as time that passed since the beginning whether it was lived or not: it is
        counted down from here, where that is shorter than what is left."""
        if limit_s < self._limit_s:
            self._limit_s = limit_s
            self._left_s = min(self._left_s, limit_s - (self._last_s - self._begun_s))

    def next_wait_s(self) -> float:
        """Return how long to wait before counting again, in seconds."""
        return max(0.0, min(SLICE_S, self._left_s))

    def count(self, now_s: float) -> None:
        """Given the reading after a wait of at most next_wait_s(), take what was lived from what is left."""
        self._left_s -= min(now_s - self._last_s, self.next_wait_s() + ALLOWANCE_S)
        self._last_s = now_s

    def is_over(self) -> bool:
        return self._left_s <= 0.0


# --- The values that describe one run

@dataclass(frozen=True, slots=True)
class GracePeriods:
    """How long a tree has between SIGTERM and SIGKILL, in seconds."""

    timeout_s: float = 1.0      # it had its time, and what it still tidies up now, recover need not
    call_off_s: float = 0.4     # withdrawn event → tree gone and recover started within 1.5 s, a poll included


@dataclass(slots=True)
class RunTimeLimit:
    """How long a run may take, in seconds from its beginning. Made shorter from another thread while it runs."""

    seconds: float

    def shorten(self, seconds: float) -> None:
        self.seconds = min(self.seconds, seconds)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to be run, once."""

    run: RunHook
    record: bytes               # the hook's standard input
    trace_id: str
    wakeup: Wakeup              # set when it is called off
    limit: RunTimeLimit                # what the run's own limit has become by now

    @property
    def trace(self) -> OrphanRun:
        return OrphanRun(self.run.spec.name, self.run.phase, self.run.run, self.trace_id)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all runs of one agent have in common."""

    states: StateDirectories
    traces: RunFiles
    standing: Mapping[str, str]                 # PATH, LANG
    owners: Callable[[str], OwnerVariables]     # a hook's NAME to what its owner sets for it, asked at each run
    extra: Mapping[str, str]                     # TIDEOVER_DRILL
    log_line: Callable[[str, str], None]        # hook's name, line
    lines_at_most: int                          # of one run that are handed on to it
    read_moment: Callable[[], Moment]
    graces: GracePeriods


# --- Start: file, user, directory, process; or one sentence why not

BUSY_AT_MOST_S = 5.0        # a file that is still being written by then is no installation in progress
BUSY_ROUND_S = 0.05


class CannotStartError(Exception):
    """Nothing was started; outcome and one sentence why. `begun`: it may have been started all the same, and ended."""

    def __init__(self, outcome: HookOutcome, why: str, *, begun: bool = False) -> None:
        super().__init__(why)
        self.outcome, self.why, self.begun = outcome, why, begun


def spawn_hook(order: RunRequest, around: RunContext, owners: OwnerVariables) -> processes.HookProcess:
    """Given an order, its surroundings and what its owner sets, start the hook. Raise CannotStartError if nothing was
    started."""
    run = order.run
    if order.wakeup.is_set:
        raise CannotStartError(HookOutcome.STOPPED, "cancelled before it was started")
    if order.limit.seconds <= 0:
        raise CannotStartError(HookOutcome.TIMED_OUT, "not started: no time was left")
    if run.spec.refused is not None:
        raise CannotStartError(HookOutcome.REFUSED, run.spec.refused)
    if owners.trouble and run.phase is HookPhase.PREPARE:
        raise CannotStartError(HookOutcome.REFUSED, str(owners.trouble))
    account = _find_account(run)
    _check_file(run.spec.path)
    directory = _open_directory(run, account, around)
    place = HookPaths(account.home, directory, around.standing, owners.variables, around.extra)
    environment = hook_environment(run, order.trace_id, place)
    return _start(order, SpawnSpec(
        run.spec.path, (run.phase.value,), environment, directory, order.record, account, run.spec,
        str(around.traces.ended_file(order.trace))))


def _find_account(run: RunHook) -> UserAccount:
    try:
        return find_account(run.spec.user)
    except UnusableAccountError as fault:
        raise CannotStartError(HookOutcome.REFUSED, str(fault)) from None


def _check_file(path: str) -> None:
    try:
        reason = find_hook_refusal(path, trusted_users(), set())
    except OSError as error:
        raise CannotStartError(HookOutcome.FAILED, processes.why_not_started(error, path)) from None
    if reason is not None:
        raise CannotStartError(HookOutcome.REFUSED, str(reason))


def _open_directory(run: RunHook, account: UserAccount, around: RunContext) -> str:
    name, note = run.spec.name, note_of(run) if run.phase is HookPhase.PREPARE else ""
    try:
        directory = around.states.open(name, account, note)
        if around.states.is_fallback(directory):
            around.log_line(name, f"(its state is in {directory}: no space in the state directory)")
        return directory
    except OSError as error:
        raise CannotStartError(
            HookOutcome.FAILED,
            f"its state directory {error.filename} cannot be made: {error.strerror}. Free space or correct its "
            "permissions"
        ) from None


def _start(order: RunRequest, plan: SpawnSpec) -> processes.HookProcess:
    try:
        wakeup = order.wakeup.fileno()
        process = _launch(order, plan)
    except OSError as error:
        begun = error.errno == errno.ECHILD     # its supervisor was killed, perhaps after the hook had been started
        raise CannotStartError(HookOutcome.FAILED, processes.why_not_started(error, plan.path), begun=begun) from None
    process.listen_to(wakeup)
    return process


def _launch(order: RunRequest, plan: SpawnSpec) -> processes.HookProcess:
    """A file is busy for as long as a process has it open for writing, an installer for example, or a process that was
    just forked from one: that passes."""
    for _ in range(round(min(BUSY_AT_MOST_S, order.limit.seconds) / BUSY_ROUND_S)):
        try:
            return processes.launch(plan)
        except OSError as error:
            if error.errno != errno.ETXTBSY or order.wakeup.is_set:
                raise
        time.sleep(BUSY_ROUND_S)
    return processes.launch(plan)


# --- One run, from its start to its report

MEANINGS: Mapping[int, HookOutcome] = {
    0: HookOutcome.DONE, 3: HookOutcome.NOTHING, 4: HookOutcome.REFUSED, 75: HookOutcome.NOT_YET,
}


@dataclass(frozen=True, slots=True)
class _RunEnd:
    """Why we ended a tree, and how that went."""

    outcome: HookOutcome
    left: set[ProcessIdentity]         # processes that could not be ended
    follows_all: bool           # whether detached processes were found as well


def run_hook(order: RunRequest, around: RunContext, after: Callable[[Callable[[], None]], None]) -> HookReport:
    """Given an order, its surroundings and who takes what is to be done after the answer, run the hook and return how
    that ended."""
    order, moved = _current_path(order)
    with RESERVE.available():
        owners = around.owners(order.run.spec.name)
    report = _run_hook(order, around, owners, after)
    # What was prepared is recovered: the file may be gone for good.
    without = f"run without its environment file: {owners.trouble}" if owners.trouble and report.begun else ""
    return replace(report, note="; ".join(filter(None, (moved, without, report.note))))


def _current_path(order: RunRequest) -> tuple[RunRequest, str]:
    """Return what to run, and a word where that is another file than was prepared. An owner may renumber a hook that is
    has a recovery pending: its NAME is the hook."""
    spec = order.run.spec
    path = find_renumbered(spec.path) if order.run.phase is HookPhase.RECOVER else None
    if path is None:
        return order, ""
    moved = f"{Path(spec.path).name} is now {Path(path).name}"
    return replace(order, run=replace(order.run, spec=replace(spec, path=path))), moved


def _run_hook(order: RunRequest, around: RunContext, owners: OwnerVariables,
              after: Callable[[Callable[[], None]], None]) -> HookReport:
    begun = around.read_moment()
    output = HookOutput(lambda line: around.log_line(order.run.spec.name, line), owners.variables, around.lines_at_most)
    try:
        with RESERVE.available():
            process = spawn_hook(order, around, owners)
    except CannotStartError as fault:
        return HookReport(fault.outcome, None, begun.utc, 0.0, note=fault.why, begun=fault.begun)
    _write_run_file(order, around, process)
    ending = _supervise(order, around, process, output)
    status = process.finish(output.take)
    after(process.tidy_up)
    outcome, note = _judge(order.limit.seconds, status, ending)
    duration_s = around.read_moment().raw_s - begun.raw_s
    exit_status = status if status is not None and status >= 0 else None
    return HookReport(outcome, exit_status, begun.utc, duration_s, output.finish(), note)


def _write_run_file(order: RunRequest, around: RunContext, process: processes.HookProcess) -> None:
    """Leave a clue for the agent after us. Without one (a full disk), the hook's environment still tells."""
    try:
        keeper = processes.read_process(os.getpid())
        if keeper is not None:
            around.traces.write(RunFile(
                order.trace, read_boot_id(), keeper.identity, process.leader, process.channels, process.supervisor,
                process.group))
    except OSError as error:
        around.log_line(order.run.spec.name, f"(its run marker cannot be written: {error.strerror})")


def _supervise(order: RunRequest, around: RunContext, process: processes.HookProcess,
               output: HookOutput) -> _RunEnd | None:
    """Wait until the hook has ended. If that was our doing, return why."""
    lived = ActiveTimer(order.limit.seconds, around.read_moment().raw_s)
    while not process.has_exited:
        lived.limit(order.limit.seconds)
        if order.wakeup.is_set:
            return _end(order, around, process, output, HookOutcome.STOPPED)
        if lived.is_over():
            return _end(order, around, process, output, HookOutcome.TIMED_OUT)
        process.watch(lived.next_wait_s(), output.take)
        lived.count(around.read_moment().raw_s)
    return _end(order, around, process, output, HookOutcome.FAILED) if process.was_abandoned else None


def _end(order: RunRequest, around: RunContext, process: processes.HookProcess, output: HookOutput,
         outcome: HookOutcome) -> _RunEnd:
    """End the hook's whole tree."""
    marks = RunFingerprint(
        environment_markers(order.trace.title, order.trace_id, process.directory), process.leader, process.channels,
        process.supervisor, process.group)
    grace_s = around.graces.call_off_s if outcome is HookOutcome.STOPPED else around.graces.timeout_s
    with RESERVE.available():        # its processes are read from files of /proc
        left = processes.end_runs([marks], grace_s, lambda seconds: process.linger(seconds, output.take))
    return _RunEnd(outcome, left, process.follows_all)


def _judge(limit_s: float, status: int | None, ending: _RunEnd | None) -> tuple[HookOutcome, str]:
    """Return what the end of a run means, and why where the outcome alone does not say."""
    if ending is not None:
        why = {HookOutcome.TIMED_OUT: f"took longer than {limit_s:.3g} s", HookOutcome.STOPPED: "cancelled"}.get(
            ending.outcome, "its supervisor process was killed")
        pids = ", ".join(str(identity.pid) for identity in sorted(ending.left, key=lambda left: left.pid))
        rest = f", but these PIDs could not be killed: {pids}" if pids else ""
        unseen = "" if ending.follows_all else "; detached ones could not be found"
        return ending.outcome, f"{why}; its processes were ended{rest}{unseen}"
    if status is None:
        return HookOutcome.FAILED, "its exit status was lost"
    if status < 0:
        return HookOutcome.FAILED, f"ended by {processes.signal_name(-status)}"
    return MEANINGS.get(status, HookOutcome.FAILED), ""


# --- The runner

CLOSE_AT_MOST_S = 5.0       # for all runs together: grace, SIGKILL, and what hangs in the kernel is left
GRACES = GracePeriods()
ANSWER_FIRST_S = 0.01       # what is left to do after a run waits so long: the engine acts on its answer first
RECOVERED = frozenset({HookOutcome.DONE, HookOutcome.NOTHING})


def _without_environment(name: str) -> OwnerVariables:
    """What a hook is given where there is no configuration."""
    return OwnerVariables()


def _log_nothing(name: str, line: str) -> None:
    """The default of `log_line`: drops the hook's lines."""


class HookRunner:
    """Answers HookSettled once for each start. All its verbs belong to one thread, the engine's.

    `environment_of` gives the variables that the owner sets for a hook, by its name; it is asked at each run, on
    the run's thread, and what it gives stands in no record. `spare` is where hooks keep their state while
    `hooks_state` cannot be written.
    `log_line` gets a hook's name and one line of what it printed; it is called on the threads of the runs.
    """

    def __init__(
        self, post: Callable[[Observation], None], hooks_state: Path, *, spare: Path | None = None, drill: bool = False,
        environment_of: Callable[[str], OwnerVariables] = _without_environment,
        log_line: Callable[[str, str], None] = _log_nothing, read_moment: Callable[[], Moment] = read_moment,
        graces: GracePeriods = GRACES, lines_at_most: int = LINES_AT_MOST,
    ) -> None:
        self._post = post
        self._around = RunContext(
            StateDirectories(hooks_state, spare), RunFiles(hooks_state), standing_environment(os.environ),
            environment_of,
            {DRILL_NAME: "1"} if drill else {}, log_line, lines_at_most, read_moment, graces)
        self._orders: dict[str, RunRequest] = {}                 # runs in flight, by key
        self._turns: dict[str, threading.Event] = {}        # by hook: set when its newest run, or forgetting, is over
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()
        self._untidied: set[str] = set()                    # what could not be deleted, as it was logged

    def start(self, run: RunHook, record: bytes, trace_id: str) -> None:
        """Begin one run; its answer comes through `post`. A key that is in flight already is not begun again."""
        if run.key in self._orders:
            return
        order = self._orders[run.key] = RunRequest(run, record, trace_id, Wakeup(FOR_HOOKS), RunTimeLimit(run.limit_s))
        if self._closed.is_set():
            order.wakeup.set()
        self._in_turn(run.spec.name, lambda over: self._carry_out(order, over),
                      lambda reason: self._fail(order, reason))

    def cancel(self, key: str) -> None:
        """The run is no longer wanted: its tree is ended. It still gives its answer."""
        order = self._orders.get(key)
        if order is not None:
            order.wakeup.set()

    def shorten(self, key: str, limit_s: float) -> None:
        """The run has less time than it was begun with: at most `limit_s` from its beginning."""
        order = self._orders.get(key)
        if order is not None:
            order.limit.shorten(limit_s)

    def forget(self, name: str) -> None:
        """No recovery of this hook is pending: its state directory goes, after whatever of the hook runs now."""
        self._in_turn(name, lambda over: self._forget(name), lambda reason: self._cannot_forget(name, reason))

    def keep_witness(self, run: RunHook) -> str:
        """Given the prepare of a participant that is no hook, make its private directory, as that of a hook is made;
        return why that failed, "": it did not. Any thread."""
        try:
            self._around.states.open(run.spec.name, find_account(None), note_of(run))
        except OSError as error:
            return f"its state directory {error.filename} cannot be made: {error.strerror}"
        return ""

    def witnesses(self) -> tuple[Witness, ...]:
        """The hooks that have a private directory: their prepare was begun, and they are not recovered."""
        return tuple(read_witness(name, note) for name, note in self._around.states.notes().items())

    def close(self) -> None:
        """End all runs and wait until they have answered."""
        self._closed.set()
        for key in list(self._orders):
            self.cancel(key)
        until_s = self._around.read_moment().raw_s + CLOSE_AT_MOST_S
        for thread in list(self._threads):
            thread.join(max(0.0, until_s - self._around.read_moment().raw_s))

    def _in_turn(self, name: str, act: Callable[[threading.Event], None], failed: Callable[[str], None]) -> None:
        """Do it on a thread of its own, after what was last to be done for that hook. `act` is given what it sets once
        the next may begin; `failed` is called with the reason if it was not completed."""
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

    def _carry_out(self, order: RunRequest, over: threading.Event) -> None:
        afterwards: list[Callable[[], None]] = []
        report = run_hook(order, self._around, afterwards.append)
        self._tidy(order, report)
        self._settle(order, report)
        over.set()
        self._closed.wait(ANSWER_FIRST_S)
        for act in afterwards:
            act()

    def _fail(self, order: RunRequest, reason: str) -> None:
        """The run met an unforeseen exception, or there was no thread for it. It is answered exactly once."""
        begun = reason != NO_THREAD         # how far it came is not known: it may have changed something
        report = HookReport(HookOutcome.FAILED, None, self._around.read_moment().utc, 0.0,
                            note=reason if begun else f"not started: {reason}", begun=begun)
        self._settle(order, report)

    def _settle(self, order: RunRequest, report: HookReport) -> None:
        run = order.run
        if self._orders.pop(run.key, None) is not None:
            order.wakeup.close()
            self._post(HookSettled(run.spec.name, run.phase, run.run, report))

    def _tidy(self, order: RunRequest, report: HookReport) -> None:
        """Before the answer: what is left of a recovered hook would mislead its next prepare."""
        name = order.run.spec.name
        try:
            self._around.traces.erase(order.trace)
            if order.run.phase is HookPhase.RECOVER and report.outcome in RECOVERED:
                self._around.states.discard(name)
        except OSError as error:
            self._around.log_line(name, f"(cleaning up after it failed: {error.strerror})")

    def _forget(self, name: str) -> None:
        try:
            self._around.states.discard(name)
        except OSError as error:
            self._cannot_forget(name, reason_of(error))

    def _cannot_forget(self, name: str, reason: str) -> None:
        self._around.log_line(name, f"(its state directory cannot be removed: {reason})")

    def _tidy_up(self, name: str) -> None:
        """After the answer. What cannot be deleted is logged once, and tried again after each run."""
        trouble = self._around.states.purge()
        extra = f"{reason_of(trouble)}: {trouble.filename}" if trouble is not None else ""
        if extra and extra not in self._untidied:
            self._untidied.add(extra)
            self._around.log_line(name, f"(files that it left cannot be deleted: {extra})")
        processes.reap_adopted()
        RESERVE.fill()
