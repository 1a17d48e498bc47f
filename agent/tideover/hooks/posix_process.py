"""Which processes belong to one run of a hook, and how they are ended. Platform part: Linux, /proc.

The run's processes are the descendants of its supervisor, whatever they have left: their parent (fork twice), their
session (setsid), their environment (env -i). Where no supervisor lives any more (somebody killed it), they are known by
the marks that are left, and what bears none is not found. psutil is not used: it knows a process by its start in wall
time, which moves when the clock is set, and the clock being set is this program's business.

Whoever a hook left behind by ending by itself is not ours to end: nothing here runs but on a timeout, a call-off, the
end of the agent, or for the runs of an agent that died.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import signal
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import count
from pathlib import Path

from tideover.hooks.marks import Identity, RunMarks

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

    identity: Identity
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
        Identity(pid, int(fields[19])), int(fields[1]), int(fields[2]), int(fields[3]),
        fields[0] in ENDED_STATES and threads <= 1)


def is_running(process: Identity) -> bool:
    """Given a process, return whether it is still there, and more than a zombie."""
    now = read_process(process.pid)
    return now is not None and now.identity == process and not now.has_ended


def read_processes() -> dict[int, Process]:
    """Return all processes that /proc shows us, by number."""
    found = (read_process(int(entry.name)) for entry in os.scandir("/proc") if entry.name.isdecimal())
    return {process.identity.pid: process for process in found if process is not None}


def find_members(marks: RunMarks) -> set[Identity]:
    """Given the marks of a run, return its living processes."""
    table = read_processes()
    supervisor = table.get(marks.supervisor.pid) if marks.supervisor else None
    if supervisor is not None and supervisor.identity == marks.supervisor and not supervisor.has_ended:
        members = _descendants({supervisor.identity.pid}, table) - {supervisor.identity.pid}
    else:
        members = _descendants({pid for pid, process in table.items() if _may_belong(process, marks)
                                and _is_marked(process, marks, table)}, table)
    members |= _descendants(_group_members(marks.group) & table.keys(), table)
    return {table[pid].identity for pid in members - {1, os.getpid()} if not table[pid].has_ended}


def _descendants(pids: set[int], table: Mapping[int, Process]) -> set[int]:
    """Given processes and all processes, return the former with their children, and theirs."""
    children: dict[int, list[int]] = {}
    for pid, process in table.items():
        children.setdefault(process.parent, []).append(pid)
    found, ahead = set(pids), list(pids)
    while ahead:
        for child in children.get(ahead.pop(), ()):
            if child not in found:
                found.add(child)
                ahead.append(child)
    return found


def end_members(find: Callable[[], set[Identity]], grace_s: float, linger: Callable[[float], None]) -> set[Identity]:
    """Given how to find the processes, end them: SIGTERM, after `grace_s` SIGKILL, until none is left.

    `linger` waits for so many seconds; time is counted by waits, so that a pause of the machine does not use the grace
    up. Return those that could not be ended.
    """
    told: set[Identity] = set()
    seen: set[Identity] = set()     # a process that is just starting a program, or ending, shows no mark for a moment
    left: set[Identity] = set()
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
            send_signal(left - told, signal.SIGTERM)
            told |= left
        if left:
            linger(ROUND_S)
    return left


def end_runs(runs: Collection[RunMarks], grace_s: float, linger: Callable[[float], None]) -> set[Identity]:
    """Given the marks of runs, end all their processes (see `end_members`); return those that could not be ended."""
    return end_members(lambda: set().union(*(find_members(marks) for marks in runs)), grace_s, linger)


def send_signal(processes: set[Identity], number: signal.Signals) -> None:
    """Given processes, send each the signal, unless its number is another's by now or it is not ours to signal.

    The oldest first: a script that tidies up at SIGTERM hears of it before it sees its children die.
    """
    for identity in sorted(processes, key=lambda one: (one.start_ticks, one.pid)):
        try:
            _send(identity, number)
        except (ProcessLookupError, PermissionError):
            pass        # gone meanwhile; or it has changed its user, which the next look reports as left


def _send(identity: Identity, number: signal.Signals) -> None:
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


def _may_belong(process: Process, marks: RunMarks) -> bool:
    return process.identity.pid not in (1, os.getpid()) and (
        marks.leader is None or not process.identity.is_older_than(marks.leader))


def _is_marked(process: Process, marks: RunMarks, table: Mapping[int, Process]) -> bool:
    if process.identity == marks.leader or _is_in_session(process, marks, table):
        return True
    environment = _read(f"/proc/{process.identity.pid}/environ").split(b"\0")
    return (bool(marks.environment) and marks.environment.issubset(environment)) or _has_channel(process, marks)


def _is_in_session(process: Process, marks: RunMarks, table: Mapping[int, Process]) -> bool:
    """A session keeps its leader's number from being used again; but one that died out and came again is a stranger's.
    It is the run's own as long as the leader is there."""
    if marks.leader is None or marks.leader.pid not in (process.session, process.group):
        return False
    leader = table.get(marks.leader.pid)
    return leader is not None and leader.identity == marks.leader


def _has_channel(process: Process, marks: RunMarks) -> bool:
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
    becomes of a supervisor is told in its messages.
    """
    if os.getpid() != 1:
        return
    session = os.getsid(0)
    for process in read_processes().values():
        if process.has_ended and process.parent == 1 and process.session != session:
            with suppress(ChildProcessError):       # another thread was here before
                os.waitpid(process.identity.pid, os.WNOHANG)
