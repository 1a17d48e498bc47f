"""One started hook: its leading process, what it prints, that it has ended. Platform part: Linux.

Starts it and waits; never decides when it has had its time, and ends nothing. It is started by its path and not
through /proc/self/fd: a script would see that as its own name ($0), could not find what lies beside it, and its
interpreter could not open it as another user. The check of the path is good until the start (see `permission`).
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tideover.hooks.environment import encoded
from tideover.hooks.launching import Launch
from tideover.hooks.marks import Identity
from tideover.hooks.permission import SHOWN_PATH
from tideover.hooks.plain_text import plain
from tideover.hooks.process_tree import read_process
from tideover.hooks.talkers import let_talk

READ_AT_ONCE = 64 * 1024        # a pipe's usual size (pipe(7))
DRAIN_AT_MOST = 1024 * 1024     # of what a hook left in its pipe; whoever still holds that may write for ever
WITHOUT_PIDFD_S = 0.05          # how often to look for the end where the kernel cannot tell us
MFD_NOEXEC_SEAL = 0x8           # memfd_create(2), Linux 6.3; where vm.memfd_noexec = 2 nothing else is allowed
LOST = -1                       # not an exit status: Popen only wants to know that there is nothing to wait for
PATH_WITHOUT_ONE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LANG_WITHOUT_ONE = "C.UTF-8"


class HookProcess:
    """A hook that runs. Owned by one thread."""

    def __init__(self, popen: subprocess.Popen[bytes], output: int, channels: frozenset[str], directory: str) -> None:
        self._popen, self._output = popen, output
        self.channels = channels                            # as /proc/PID/fd shows its input and its output
        self.directory = directory
        self.has_exited = False
        started = read_process(popen.pid)
        self.leader = started.identity if started else Identity(popen.pid, 0)
        self._exit = _open_exit(popen.pid)
        self._poll = select.poll()
        for file in (output, self._exit):
            if file is not None:
                self._poll.register(file, select.POLLIN)
        self._is_talking = True

    def listen_to(self, bell: int) -> None:
        self._poll.register(bell, select.POLLIN)

    def watch(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Wait for its output, its exit or a bell, at most `seconds`; take what it prints."""
        if self._exit is None:
            seconds = min(seconds, WITHOUT_PIDFD_S)
        for file, _ in self._poll.poll(max(1, round(seconds * 1000))):
            if file == self._output:
                self._take(take)
            else:
                self._poll.unregister(file)     # it stays readable: told once is enough
        if not self.has_exited:
            self.has_exited = _has_exited(self._popen.pid)

    def linger(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Take what it prints for `seconds`, or until it exits."""
        until, had_exited = time.monotonic() + seconds, self.has_exited
        while (left_s := until - time.monotonic()) > 0 and self.has_exited == had_exited:
            self.watch(left_s, take)

    def finish(self, take: Callable[[bytes], None]) -> int | None:
        """Take what is left in the pipe and the exit status (negative: the signal), None if it has not ended at all.

        A daemon that the hook left behind with the pipe must not die of SIGPIPE at its next word: it is read on.
        """
        drained = 0
        while self._is_talking and drained < DRAIN_AT_MOST and (size := self._take(take)):
            drained += size
        if not (self._is_talking and let_talk(partial(_read_out, self._output))):
            os.close(self._output)
        if self._exit is not None:
            os.close(self._exit)
        return self._reap()

    def _reap(self) -> int | None:
        # Not Popen's own wait(): it calls an exit status that somebody else took a 0, and 0 lets the platform go ahead.
        try:
            pid, status = os.waitpid(self._popen.pid, os.WNOHANG)
        except ChildProcessError:
            self._popen.returncode = LOST
            return None
        if pid == 0:
            return None
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        return self._popen.returncode

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
    with ExitStack() as handed_over, ExitStack() as kept:
        record = _open_memory()
        handed_over.callback(os.close, record)
        _fill(record, plan.record)
        output, inlet = os.pipe2(os.O_CLOEXEC)
        handed_over.callback(os.close, inlet)
        kept.callback(os.close, output)
        os.set_blocking(output, False)
        channels = frozenset(str(Path(f"/proc/self/fd/{file}").readlink()) for file in (record, inlet))
        process = HookProcess(_start(plan, record, inlet), output, channels, plan.directory)
        kept.pop_all()
        return process


def _start(plan: Launch, record: int, inlet: int) -> subprocess.Popen[bytes]:
    uid, gid, groups = plan.account.change_to or (None, None, None)
    environment = {encoded(name): encoded(value) for name, value in plan.environment.items()}
    return subprocess.Popen(
        [plan.path, plan.phase], stdin=record, stdout=inlet, stderr=inlet, cwd=plan.directory, env=environment,
        start_new_session=True, umask=0o077, user=uid, group=gid, extra_groups=groups)


def _open_memory() -> int:
    """Return a file in memory for the record: a hook that never reads it keeps nobody waiting."""
    name = f"tideover-{os.getpid()}-{time.monotonic_ns()}"
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create(name, os.MFD_CLOEXEC)


def _fill(file: int, record: bytes) -> None:
    with os.fdopen(file, "wb", closefd=False) as writer:
        writer.write(record)
    os.lseek(file, 0, os.SEEK_SET)


def _open_exit(pid: int) -> int | None:
    """Return a file that can be read from once that child has ended, None where there is none (Linux before 5.3)."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _has_exited(pid: int) -> bool:
    """Return whether that child has ended; its exit status stays where it is, and with it its number stays its own."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _read_out(output: int) -> None:
    os.set_blocking(output, True)
    while os.read(output, READ_AT_ONCE):
        pass
    os.close(output)


def standing_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Given the agent's own environment, return the two of its variables that a hook may see."""
    return {"PATH": own.get("PATH") or PATH_WITHOUT_ONE, "LANG": own.get("LANG") or LANG_WITHOUT_ONE}


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
