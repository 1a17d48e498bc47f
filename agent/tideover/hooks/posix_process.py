"""A hook's processes on Linux: how they are started, found and ended, also those that have left their parent.

The run's processes are the descendants of its supervisor, whatever they have left: their parent (fork twice), their
session (setsid), their environment (env -i). Where no supervisor lives any more (it was killed), they are known by
the marks that are left, and what bears none is not found.

The tree and the environments are psutil's reading of /proc. Which process is meant is not: psutil knows it by its
start in wall time, which before psutil 7.1 moves when the clock is set, and the clock being set is this program's
business. So a process is known by field 22 of /proc/PID/stat, and signalled by a pidfd, which leaves no gap between
check and signal.

Processes that a hook left behind by ending by itself are not ended: nothing here runs but on a timeout, a call-off, the
end of the agent, or for the runs of an agent that died.
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
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import count
from pathlib import Path

import psutil

from tideover.hooks.environment import ProcessIdentity, RunFingerprint, SpawnSpec
from tideover.hooks.posix_trust import SHOWN_PATH
from tideover.hooks.supervisor import ENDED, READ_AT_ONCE, fork_supervisor, let_go, read_message, receive_start
from tideover.text_safety import drop_controls

# --- The process tree of a run

ROUND_S = 0.05          # between two looks at the tree
KILL_ROUNDS = 40        # two seconds: a tree that still grows or hangs in the kernel then is reported, not waited for
EMPTY_LOOKS = 2         # a look is not atomic: a process that forks and ends while we look may be missed once
CGROUP_ROOTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
DELEGATED = ("trusted.delegate", "user.delegate")     # as systemd marks such a group
GROUP_PREFIX = "hook-"
ENDED_STATES = b"ZX"    # zombie, dead (proc(5))


@dataclass(frozen=True, slots=True)
class Process:
    """One row of the process table (proc(5), /proc/PID/stat)."""

    identity: ProcessIdentity
    parent: int
    group: int
    session: int
    has_ended: bool         # a zombie: only its exit status is left


def read_process(pid: int) -> Process | None:
    """Given a number, return the process that has it now, None if there is none."""
    text = _read(f"/proc/{pid}/stat")
    if not text:
        return None
    # The name is in brackets and may contain anything, so count from its end (proc(5)).
    fields = text[text.rindex(b")") + 2:].split()
    threads = int(fields[17])       # a main thread that ended before its siblings looks like a zombie as well
    return Process(
        ProcessIdentity(pid, int(fields[19])), int(fields[1]), int(fields[2]), int(fields[3]),
        fields[0] in ENDED_STATES and threads <= 1)


def is_running(process: ProcessIdentity) -> bool:
    """Given a process, return whether it is still there, and more than a zombie."""
    now = read_process(process.pid)
    return now is not None and now.identity == process and not now.has_ended


def find_members(marks: RunFingerprint) -> set[ProcessIdentity]:
    """Given the marks of a run, return its living processes."""
    members: dict[int, Process] = {}
    if not (marks.supervisor and is_running(marks.supervisor) and _add_descendants(marks.supervisor.pid, members)):
        for marked in _marked(marks):
            if marked.identity.pid not in members:
                members[marked.identity.pid] = marked
                _add_descendants(marked.identity.pid, members)
    for pid in sorted(_group_members(marks.group) - members.keys()):
        process = read_process(pid)
        if process is not None:
            members[pid] = process
            _add_descendants(pid, members)
    return {process.identity for pid, process in members.items()
            if pid not in (1, os.getpid()) and not process.has_ended}


def _add_descendants(pid: int, members: dict[int, Process]) -> bool:
    """Given a process, add its children and theirs to the members. Return False if the tree cannot be read: psutil
    reads all of the process table or none of it, and /proc mounted with hidepid=1 shows only root all of it."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, PermissionError):      # PermissionError: before psutil 6
        return False
    parents = {pid, *members}
    for child in children:
        # One read tells whose child it is and which process: its number may be another's since psutil looked.
        process = read_process(child.pid)
        if process is not None and process.parent in parents:
            members[child.pid] = process
            parents.add(child.pid)
    return True


def end_members(find: Callable[[], set[ProcessIdentity]], grace_s: float,
                linger: Callable[[float], None]) -> set[ProcessIdentity]:
    """Given how to find the processes, end them: SIGTERM, after `grace_s` SIGKILL, until none is left.

    `linger` waits for so many seconds; time is counted by waits, so that a pause of the machine does not use the grace
    up. Return those that could not be ended.
    """
    signalled: set[ProcessIdentity] = set()
    # a process that is just starting a program, or ending, shows no mark for a moment
    seen: set[ProcessIdentity] = set()
    left: set[ProcessIdentity] = set()
    empty_looks = 0
    grace_rounds = round(grace_s / ROUND_S)
    for turn in count():
        left = find() | {one for one in seen if is_running(one)}
        seen |= left
        empty_looks = 0 if left else empty_looks + 1
        if empty_looks == EMPTY_LOOKS or turn == grace_rounds + KILL_ROUNDS:
            break
        if turn >= grace_rounds:
            send_signal(left, signal.SIGKILL)
        else:
            send_signal(left - signalled, signal.SIGTERM)
            signalled |= left
        if left:
            linger(ROUND_S)
    return left


def end_runs(runs: Collection[RunFingerprint], grace_s: float, linger: Callable[[float], None]) -> set[ProcessIdentity]:
    """Given the marks of runs, end all their processes (see `end_members`); return those that could not be ended."""
    return end_members(lambda: set().union(*(find_members(marks) for marks in runs)), grace_s, linger)


def send_signal(processes: set[ProcessIdentity], number: signal.Signals) -> None:
    """Given processes, send each the signal, unless its number is another's by now or it is not ours to signal.

    The oldest first: a script that tidies up at SIGTERM hears of it before it sees its children die.
    """
    for identity in sorted(processes, key=lambda one: (one.start_ticks, one.pid)):
        try:
            _send(identity, number)
        except (ProcessLookupError, PermissionError):
            pass        # gone meanwhile; or it has changed its user, which the next look reports as left


def _send(identity: ProcessIdentity, number: signal.Signals) -> None:
    handle = _open_handle(identity.pid)
    try:
        now = read_process(identity.pid)
        if now is None or now.identity != identity:
            return
        if handle is None:
            os.kill(identity.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    finally:
        if handle is not None:
            os.close(handle)


def _open_handle(pid: int) -> int | None:
    """Return a pidfd, which stays with its process; None where the kernel (before 5.3) or a sandbox has none."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def _group_members(group: str) -> set[int]:
    return {int(pid) for pid in _read(f"{group}/cgroup.procs").split()} if group else set()


def find_delegated_group() -> Path | None:
    """Return our own control group if systemd has left what is below it to us (Delegate=), None if not."""
    for root in CGROUP_ROOTS:
        if (root / "cgroup.controllers").exists():
            lines = _read("/proc/self/cgroup").decode("utf-8", "surrogateescape").splitlines()
            group = root / next((line[4:] for line in lines if line.startswith("0::/")), "")
            return group if any(_has_mark(group, name) for name in DELEGATED) else None
    return None


def _has_mark(group: Path, name: str) -> bool:
    try:
        return os.getxattr(group, name) == b"1"
    except OSError:
        return False


def remove_empty_groups(above: Path) -> None:
    """Given our control group, remove those below it whose run has ended and left nothing."""
    with suppress(OSError):
        for group in above.glob(f"{GROUP_PREFIX}*"):
            with suppress(OSError):         # something lives in it
                group.rmdir()


def _marked(marks: RunFingerprint) -> list[Process]:
    """Return the processes that bear a mark of the run, the oldest first."""
    leader = read_process(marks.leader.pid) if marks.leader else None
    # A session keeps its leader's number from being used again; but a number that was freed and is used again belongs
    # to another program. It is the run's own as long as the leader is there.
    session = leader.identity.pid if leader is not None and leader.identity == marks.leader else None
    found = [process for pid in psutil.pids() if pid not in (1, os.getpid())
             and (process := read_process(pid)) is not None
             and (marks.leader is None or not process.identity.is_older_than(marks.leader))
             and (process.identity == marks.leader or session in (process.session, process.group)
                  or _has_environment(pid, marks.environment) or _has_channel(process, marks))]
    return sorted(found, key=lambda process: (process.identity.start_ticks, process.identity.pid))


def _has_environment(pid: int, entries: frozenset[bytes]) -> bool:
    if not entries:
        return False
    try:
        environment = psutil.Process(pid).environ()
    except (psutil.Error, OSError):         # it has ended, or is not ours to look at
        return False
    return entries <= {os.fsencode(f"{name}={value}") for name, value in environment.items()}


def _has_channel(process: Process, marks: RunFingerprint) -> bool:
    return any(_link(f"/proc/{process.identity.pid}/fd/{number}") in marks.channels for number in range(3))


def _read(path: str) -> bytes:
    """Given a file of /proc, return what it says; nothing if its process is gone or is not ours to look at."""
    try:
        with FileIO(path) as file:
            return file.readall()
    except OSError:
        return b""


def _link(path: str) -> str:
    """Given a link of /proc, return where it points, '' if that cannot be read."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def reap_adopted() -> None:
    """As the first process of a container we are given everybody's orphans: take the exit status of those that ended.

    A child that another part of the agent waits for shares the agent's session, an orphan of a hook cannot; and what
    becomes of a supervisor stands in its messages.
    """
    if os.getpid() != 1:
        return
    session = os.getsid(0)
    try:
        children = psutil.Process().children()
    except (psutil.Error, PermissionError):     # see `_add_descendants`
        return
    for child in children:
        process = read_process(child.pid)
        if process is not None and process.has_ended and process.session != session:
            with suppress(ChildProcessError):       # another thread was here before
                os.waitpid(child.pid, os.WNOHANG)


# --- One hook's process
# Starts it and waits; never decides when it has had its time, and ends nothing but what it could not start properly. It
# is started by its path and not through /proc/self/fd: a script would see that as its own name ($0), could not find
# what
# lies beside it, and its interpreter could not open it as another user. The check of the path is good until the start
# (see `posix_trust`). Between the agent and the hook stands a `supervisor`.

DRAIN_AT_MOST = 1024 * 1024     # of what a hook left in its pipe; a process that still holds that may write for ever
REAP_WITHIN_S = 2.0             # a supervisor that is done ends within milliseconds
REAP_ROUND_S = 0.002
START_GRACE_S = 0.1             # for a hook that was started and cannot be attended


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
        self.leader = seen.identity if seen else ProcessIdentity(hook, 0)
        self.supervisor: ProcessIdentity | None = watching.identity if watching else ProcessIdentity(supervisor, 0)
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

    def listen_to(self, wakeup: int) -> None:
        self._poll.register(wakeup, select.POLLIN)

    def watch(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Wait for its output, its exit or a wakeup, at most `seconds`; take what it prints."""
        for file, _ in self._poll.poll(seconds * 1000):
            if file == self._output:
                self._take(take)
            elif file == self._line.fileno():
                self._poll.unregister(file)
                self._read_supervisor()
            else:
                self._poll.unregister(file)     # it stays readable: one notification is enough

    def _read_supervisor(self) -> None:
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
        """Take what is in the pipe; return how many bytes that were. 0: nothing now, or no process has it open any
        more."""
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


def launch(plan: SpawnSpec) -> HookProcess:
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
        end_runs([RunFingerprint(frozenset(), supervisor=watching.identity)], START_GRACE_S, time.sleep)


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


def why_not_started(error: OSError, path: str) -> str:
    """Given why a program could not be started (execve(2)), return one sentence with what to do."""
    shown = drop_controls(path, SHOWN_PATH)
    if error.errno == errno.ENOENT and os.access(path, os.F_OK):
        return f"the interpreter that the first line of {shown} names does not exist: install it or correct the line"
    reasons = {
        errno.ENOENT: f"{shown} is gone: put it back, so that what it prepared can be recovered",
        errno.EACCES: f"{shown} may not be run by this user: chmod a+rx it, let its directories be entered, "
                      "and see that its file system is not mounted noexec",
        errno.ENOEXEC: f"{shown} is not executable: begin a script with a line such as #!/bin/sh",
        errno.ETXTBSY: f"{shown} is being written: put a new file beside it and rename that",
        errno.EAGAIN: f"{shown} cannot be started: too many processes. Raise the limit (TasksMax, ulimit -u)",
    }
    return reasons.get(error.errno or 0, f"{shown} cannot be started: {error.strerror}")


def signal_name(number: int) -> str:
    """Given a signal's number, return its name."""
    known = {known.value: known.name for known in signal.Signals}
    return known.get(number, f"signal {number}")
