"""One run of one hook, from its start to its report. Never raises for what a hook or the system does."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tideover.hooks.beginning import CannotStartError, begin
from tideover.hooks.environment import environment_marks
from tideover.hooks.file_names import find_renumbered
from tideover.hooks.lived_time import LivedTime
from tideover.hooks.marks import Identity, RunMarks
from tideover.hooks.orders import Order, Surroundings
from tideover.hooks.output import Output
from tideover.hooks.parts import HookProcess, end_runs, read_process, signal_name
from tideover.hooks.traces import RunTrace
from tideover.model import HookOutcome, HookPhase, HookReport
from tideover.system.clocks import read_boot_id
from tideover.system.descriptors import RESERVE

MEANINGS: Mapping[int, HookOutcome] = {
    0: HookOutcome.DONE, 3: HookOutcome.NOTHING, 4: HookOutcome.REFUSED, 75: HookOutcome.NOT_YET,
}


@dataclass(frozen=True, slots=True)
class _Ending:
    """Why we ended a tree, and how that went."""

    outcome: HookOutcome
    left: set[Identity]         # processes that could not be ended
    follows_all: bool           # whether detached processes were found as well


def carry_out(order: Order, around: Surroundings, after: Callable[[Callable[[], None]], None]) -> HookReport:
    """Given an order, its surroundings and who takes what is to be done after the answer, run the hook and return how
    that ended."""
    order, moved = _where_it_lies(order)
    report = _carry_out(order, around, after)
    return replace(report, note="; ".join(filter(None, (moved, report.note)))) if moved else report


def _where_it_lies(order: Order) -> tuple[Order, str]:
    """Return what to run, and a word where that is another file than was prepared. An owner may renumber a hook that is
    owed a recover: its NAME is the hook."""
    spec = order.run.spec
    path = find_renumbered(spec.path) if order.run.phase is HookPhase.RECOVER else None
    if path is None:
        return order, ""
    moved = f"{Path(spec.path).name} is {Path(path).name} by now"
    return replace(order, run=replace(order.run, spec=replace(spec, path=path))), moved


def _carry_out(order: Order, around: Surroundings, after: Callable[[Callable[[], None]], None]) -> HookReport:
    begun = around.read_moment()
    output = Output(lambda line: around.log_line(order.run.spec.name, line), order.owners, around.lines_at_most)
    try:
        with RESERVE.lent():
            process = begin(order, around)
    except CannotStartError as fault:
        return HookReport(fault.outcome, None, begun.utc, 0.0, note=fault.why, begun=False)
    _leave_trace(order, around, process)
    ending = _attend(order, around, process, output)
    status = process.finish(output.take)
    after(process.tidy_up)
    outcome, note = _judge(order.limit.seconds, status, ending)
    duration_s = around.read_moment().raw_s - begun.raw_s
    exit_status = status if status is not None and status >= 0 else None
    return HookReport(outcome, exit_status, begun.utc, duration_s, output.finish(), note)


def _leave_trace(order: Order, around: Surroundings, process: HookProcess) -> None:
    """Leave a clue for the agent after us. Without one (a full disk), the hook's environment still tells."""
    try:
        keeper = read_process(os.getpid())
        if keeper is not None:
            around.traces.write(RunTrace(
                order.trace, read_boot_id(), keeper.identity, process.leader, process.channels, process.supervisor,
                process.group))
    except OSError as error:
        around.log_line(order.run.spec.name, f"(tideover cannot note down that it runs: {error.strerror})")


def _attend(order: Order, around: Surroundings, process: HookProcess, output: Output) -> _Ending | None:
    """Wait until the hook has ended. If that was our doing, return why."""
    lived = LivedTime(order.limit.seconds, around.read_moment().raw_s)
    while not process.has_exited:
        lived.limit(order.limit.seconds)
        if order.bell.has_rung:
            return _end(order, around, process, output, HookOutcome.STOPPED)
        if lived.is_over():
            return _end(order, around, process, output, HookOutcome.TIMED_OUT)
        process.watch(lived.next_wait_s(), output.take)
        lived.count(around.read_moment().raw_s)
    return _end(order, around, process, output, HookOutcome.FAILED) if process.was_abandoned else None


def _end(order: Order, around: Surroundings, process: HookProcess, output: Output, outcome: HookOutcome) -> _Ending:
    """End the hook's whole tree."""
    marks = RunMarks(
        environment_marks(order.trace.title, order.trace_id, process.directory), process.leader, process.channels,
        process.supervisor, process.group)
    grace_s = around.graces.call_off_s if outcome is HookOutcome.STOPPED else around.graces.timeout_s
    with RESERVE.lent():        # who belongs to it stands in files of /proc
        left = end_runs([marks], grace_s, lambda seconds: process.linger(seconds, output.take))
    return _Ending(outcome, left, process.follows_all)


def _judge(limit_s: float, status: int | None, ending: _Ending | None) -> tuple[HookOutcome, str]:
    """Return what the end of a run means, and why where the outcome alone does not say."""
    if ending is not None:
        why = {HookOutcome.TIMED_OUT: f"took longer than {limit_s:.3g} s", HookOutcome.STOPPED: "called off"}.get(
            ending.outcome, "the process that watched over it was killed")
        pids = ", ".join(str(identity.pid) for identity in sorted(ending.left, key=lambda left: left.pid))
        rest = f", but these could not be: {pids}" if pids else ""
        unseen = "" if ending.follows_all else "; detached ones could not be found"
        return ending.outcome, f"{why}; its processes were ended{rest}{unseen}"
    if status is None:
        return HookOutcome.FAILED, "its exit status was lost"
    if status < 0:
        return HookOutcome.FAILED, f"ended by {signal_name(-status)}"
    return MEANINGS.get(status, HookOutcome.FAILED), ""
