"""From an order to a running hook, or to one sentence why not: its file, its user, its directory, its start."""
from __future__ import annotations

import errno
import os

from tideover.effects import RunHook
from tideover.hooks.account import Account, UnusableAccountError, find_account
from tideover.hooks.environment import Place, hook_environment
from tideover.hooks.orders import Order, Surroundings
from tideover.hooks.permission import SHOWN_PATH, find_refusal, trusted_users
from tideover.hooks.plain_text import plain
from tideover.hooks.process import HookProcess, Launch, launch
from tideover.model import HookOutcome


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
    if run.limit_s <= 0:
        raise CannotStartError(HookOutcome.TIMED_OUT, "not started: no time was left for it")
    if run.spec.refused is not None:
        raise CannotStartError(HookOutcome.REFUSED, run.spec.refused)
    account = _find_account(run)
    _check_file(run.spec.path)
    directory = _open_directory(run.spec.name, account, around)
    place = Place(account.home, directory, around.standing, around.told)
    environment = hook_environment(run, order.trace_id, place)
    return _start(order, around, Launch(
        run.spec.path, run.phase.value, environment, directory, order.record, account))


def _find_account(run: RunHook) -> Account:
    try:
        return find_account(run.spec.user)
    except UnusableAccountError as fault:
        raise CannotStartError(HookOutcome.REFUSED, str(fault)) from None


def _check_file(path: str) -> None:
    try:
        reason = find_refusal(path, trusted_users(), set())
    except OSError as error:
        raise CannotStartError(HookOutcome.FAILED, _explain(error, path)) from None
    if reason is not None:
        raise CannotStartError(HookOutcome.REFUSED, reason)


def _open_directory(name: str, account: Account, around: Surroundings) -> str:
    try:
        directory = around.states.open(name, account)
        if around.states.is_spare(directory):
            around.log_line(name, f"(tideover keeps its state in {directory}: there is no room where it belongs)")
        return directory
    except OSError as error:
        raise CannotStartError(
            HookOutcome.FAILED,
            f"its state directory {error.filename} cannot be made: {error.strerror}. Make room or mend its rights"
        ) from None


def _start(order: Order, around: Surroundings, plan: Launch) -> HookProcess:
    try:
        bell = order.bell.open()
        process = launch(plan)
    except OSError as error:
        raise CannotStartError(HookOutcome.FAILED, _explain(error, plan.path)) from None
    around.children.add(order.run.key, process.leader.pid)
    process.listen_to(bell)
    return process


def _explain(error: OSError, path: str) -> str:
    """Given why a program could not be started (execve(2)), return one sentence with what to do."""
    shown = plain(path, SHOWN_PATH)
    if error.errno == errno.ENOENT and os.access(path, os.F_OK):
        return f"the interpreter that the first line of {shown} names does not exist: install it or mend the line"
    reasons = {
        errno.ENOENT: f"{shown} is gone: put it back, so that what it prepared can be recovered",
        errno.EACCES: f"{shown} may not be run by this user: chmod a+rx it, let its directories be entered, "
                      "and see that its file system is not mounted noexec",
        errno.ENOEXEC: f"{shown} is no program: begin a script with a line such as #!/bin/sh",
        errno.ETXTBSY: f"{shown} is being written: put a new file beside it and rename that",
        errno.EAGAIN: f"{shown} cannot be started: too many processes. Raise the limit (TasksMax, ulimit -u)",
    }
    return reasons.get(error.errno or 0, f"{shown} cannot be started: {error.strerror}")
