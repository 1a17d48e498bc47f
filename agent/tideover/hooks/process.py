"""One started hook: what it prints, that it has ended. Platform part: Linux.

Starts it and waits; never decides when it has had its time, and ends nothing but what it could not start properly. It
is started by its path and not through /proc/self/fd: a script would see that as its own name ($0), could not find what
lies beside it, and its interpreter could not open it as another user. The check of the path is good until the start
(see `permission`). Between the agent and the hook stands a `supervisor`.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tideover.hooks.launching import Launch
from tideover.hooks.marks import Identity, RunMarks
from tideover.hooks.permission import SHOWN_PATH
from tideover.hooks.plain_text import plain
from tideover.hooks.process_tree import (
    GROUP_PREFIX,
    end_runs,
    find_delegated_group,
    is_running,
    read_process,
    remove_empty_groups,
)
from tideover.hooks.supervisor import ENDED, READ_AT_ONCE, fork_supervisor, let_go, read_message, receive_start

DRAIN_AT_MOST = 1024 * 1024     # of what a hook left in its pipe; whoever still holds that may write for ever
REAP_WITHIN_S = 2.0             # a supervisor that is done ends within milliseconds
REAP_ROUND_S = 0.002
START_GRACE_S = 0.1             # for a hook that was started and cannot be attended
SYSTEM_PATHS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
LANG_WITHOUT_ONE = "C.UTF-8"


class HookProcess:
    """A hook that runs. Owned by one thread."""

    def __init__(
        self, supervisor: int, line: socket.socket, hook: int, output: int, record_name: str, directory: str,
        group: str, *, is_followed: bool,
    ) -> None:
        self._line, self._output, self._is_followed = line, output, is_followed
        self.directory, self.group = directory, group
        self.has_exited = False
        self.was_abandoned = False      # its supervisor is dead; it may still run
        seen, watching = read_process(hook), read_process(supervisor)
        self.leader = seen.identity if seen else Identity(hook, 0)
        self.supervisor: Identity | None = watching.identity if watching else Identity(supervisor, 0)
        # as /proc/PID/fd shows the hook's input and output
        self.channels = frozenset({f"/memfd:{record_name} (deleted)", _link_of(output)})
        self._status: int | None = None
        self._poll = select.poll()
        for file in (output, line.fileno()):
            self._poll.register(file, select.POLLIN)
        self._is_talking = True

    @property
    def follows_all(self) -> bool:
        """Return whether every process of the run can be found, however it has detached itself."""
        return self._is_followed and self.supervisor is not None and is_running(self.supervisor)

    def listen_to(self, bell: int) -> None:
        self._poll.register(bell, select.POLLIN)

    def watch(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Wait for its output, its exit or a bell, at most `seconds`; take what it prints."""
        for file, _ in self._poll.poll(seconds * 1000):
            if file == self._output:
                self._take(take)
            elif file == self._line.fileno():
                self._poll.unregister(file)
                self._hear()
            else:
                self._poll.unregister(file)     # it stays readable: told once is enough

    def _hear(self) -> None:
        message = read_message(self._line)
        self.has_exited = True
        if message is not None and message[0] == ENDED:
            self._status = message[1]
        else:
            self.was_abandoned = True

    def linger(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Take what it prints for `seconds`, or until it exits."""
        until, had_exited = time.monotonic() + seconds, self.has_exited
        while (left_s := until - time.monotonic()) > 0 and self.has_exited == had_exited:
            self.watch(left_s, take)

    def finish(self, take: Callable[[bytes], None]) -> int | None:
        """Take what is left in the pipe and the exit status (negative: the signal), None if it is not known.

        What the hook left behind with the pipe is read on by others from here.
        """
        drained = 0
        while self._is_talking and drained < DRAIN_AT_MOST and (size := self._take(take)):
            drained += size
        os.close(self._output)
        let_go(self._line)
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def tidy_up(self) -> None:
        """After `finish`, and after its answer was given: take the supervisor's exit status."""
        if self.supervisor is not None:
            reap(self.supervisor.pid)
        if self.group:
            remove_empty_groups(Path(self.group).parent)

    def _take(self, take: Callable[[bytes], None]) -> int:
        """Take what is in the pipe; return how many bytes that were. 0: nothing now, or nobody holds it any more."""
        try:
            data = os.read(self._output, READ_AT_ONCE)
        except BlockingIOError:
            return 0
        if data:
            take(data)
        else:
            self._is_talking = False
            self._poll.unregister(self._output)
        return len(data)


def launch(plan: Launch) -> HookProcess:
    """Given a plan, start the hook in a session of its own. Raise OSError if the system cannot."""
    record_name = f"tideover-{os.getpid()}-{time.monotonic_ns()}"
    base = find_delegated_group()
    group = f"{base}/{GROUP_PREFIX}{record_name}" if base else ""
    supervisor, line = fork_supervisor(plan, record_name, group)
    try:
        hook, is_followed, output = receive_start(line)
    except OSError:
        _end_what_began(supervisor)
        line.close()
        reap(supervisor)
        raise
    return HookProcess(supervisor, line, hook, output, record_name, plan.directory, group, is_followed=is_followed)


def _end_what_began(supervisor: int) -> None:
    """The hook may run although we got no file to hear it by."""
    watching = read_process(supervisor)
    if watching is not None and not watching.has_ended:
        end_runs([RunMarks(frozenset(), supervisor=watching.identity)], START_GRACE_S, time.sleep)


def reap(supervisor: int) -> None:
    """Given a supervisor that is done, wait for its end."""
    until = time.monotonic() + REAP_WITHIN_S
    with suppress(ChildProcessError):
        while os.waitpid(supervisor, os.WNOHANG)[0] == 0 and time.monotonic() < until:
            time.sleep(REAP_ROUND_S)


def _link_of(file: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{file}").readlink())
    except OSError:
        return "-"


def standing_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Given the agent's own environment, return the two of its variables that a hook may see."""
    paths = [path for path in own.get("PATH", "").split(":") if path]
    missing = [path for path in SYSTEM_PATHS if path not in paths and (not paths or path.endswith("sbin"))]
    return {"PATH": ":".join(paths + missing), "LANG": own.get("LANG") or LANG_WITHOUT_ONE}


def why_not_started(error: OSError, path: str) -> str:
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


def signal_name(number: int) -> str:
    """Given a signal's number, return its name."""
    known = {known.value: known.name for known in signal.Signals}
    return known.get(number, f"signal {number}")
