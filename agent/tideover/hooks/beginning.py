"""From an order to a running hook, or to one sentence why not: its file, its user, its directory, its start."""
from __future__ import annotations

import errno
import time

from tideover.effects import RunHook
from tideover.hooks.environment import Place, hook_environment
from tideover.hooks.file_names import find_hook_refusal
from tideover.hooks.launching import Account, Launch, UnusableAccountError
from tideover.hooks.orders import Order, Surroundings
from tideover.hooks.parts import HookProcess, find_account, launch, trusted_users, why_not_started
from tideover.hooks.traces import note_of
from tideover.model import HookOutcome, HookPhase

BUSY_AT_MOST_S = 5.0        # a file that is still being written by then is no installation in progress
BUSY_ROUND_S = 0.05


class CannotStartError(Exception):
    """Nothing was started; outcome and one sentence why."""

    def __init__(self, outcome: HookOutcome, why: str) -> None:
        super().__init__(why)
        self.outcome, self.why = outcome, why


def begin(order: Order, around: Surroundings) -> HookProcess:
    """Given an order and its surroundings, start the hook. Raise CannotStartError if nothing was started."""
    run = order.run
    if order.bell.has_rung:
        raise CannotStartError(HookOutcome.STOPPED, "called off before it was started")
    if order.limit.seconds <= 0:
        raise CannotStartError(HookOutcome.TIMED_OUT, "not started: no time was left for it")
    if run.spec.refused is not None:
        raise CannotStartError(HookOutcome.REFUSED, run.spec.refused)
    account = _find_account(run)
    _check_file(run.spec.path)
    directory = _open_directory(run, account, around)
    place = Place(account.home, directory, around.standing, order.owners, around.told)
    environment = hook_environment(run, order.trace_id, place)
    return _start(order, Launch(
        run.spec.path, run.phase.value, environment, directory, order.record, account, run.spec.umask,
        str(around.traces.ended_file(order.trace))))


def _find_account(run: RunHook) -> Account:
    try:
        return find_account(run.spec.user)
    except UnusableAccountError as fault:
        raise CannotStartError(HookOutcome.REFUSED, str(fault)) from None


def _check_file(path: str) -> None:
    try:
        reason = find_hook_refusal(path, trusted_users(), set())
    except OSError as error:
        raise CannotStartError(HookOutcome.FAILED, why_not_started(error, path)) from None
    if reason is not None:
        raise CannotStartError(HookOutcome.REFUSED, reason)


def _open_directory(run: RunHook, account: Account, around: Surroundings) -> str:
    name, note = run.spec.name, note_of(run) if run.phase is HookPhase.PREPARE else ""
    try:
        directory = around.states.open(name, account, note)
        if around.states.is_spare(directory):
            around.log_line(name, f"(tideover keeps its state in {directory}: there is no room where it belongs)")
        return directory
    except OSError as error:
        raise CannotStartError(
            HookOutcome.FAILED,
            f"its state directory {error.filename} cannot be made: {error.strerror}. Make room or mend its rights"
        ) from None


def _start(order: Order, plan: Launch) -> HookProcess:
    try:
        bell = order.bell.open()
        process = _launch(order, plan)
    except OSError as error:
        raise CannotStartError(HookOutcome.FAILED, why_not_started(error, plan.path)) from None
    process.listen_to(bell)
    return process


def _launch(order: Order, plan: Launch) -> HookProcess:
    """A file is busy for as long as somebody has it open for writing, an installer for example, or a process that was
    just forked from one: that passes."""
    for _ in range(round(min(BUSY_AT_MOST_S, order.limit.seconds) / BUSY_ROUND_S)):
        try:
            return launch(plan)
        except OSError as error:
            if error.errno != errno.ETXTBSY or order.bell.has_rung:
                raise
        time.sleep(BUSY_ROUND_S)
    return launch(plan)
