"""The small process between the agent and one run of a hook on Linux: subreaper, output, OOM score.

A process can leave its parent (fork twice), its session, its environment and its files, but it stays a descendant of
the nearest subreaper above it (prctl(2)). One supervisor a run therefore knows the run's processes, and no other's. It
is the parent of what they leave behind, takes the hook's exit status, and tells the agent. It does not depend on the
agent: if that dies, it reads on what the hook prints, so that no process is stopped by a full pipe or killed by
SIGPIPE.

It is forked from the agent and runs Python without an exec: 2 ms instead of 15. A fork in a program with threads is
safe as long as the child takes no lock that another thread may have held. This one calls the system and nothing else:
it logs nothing, opens no database, and ends by `_exit`. All files but its own are closed first.

Talk over `line`, a socket pair: one message when the hook has been started (with the read end of its output) or could
not be, one when it has ended. The agent sends one byte when it takes no more output; if its end closes without, the
agent is dead.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import errno
import fcntl
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tideover.hooks.environment import SpawnSpec, encoded

MESSAGE = struct.Struct("=iii")
STARTED, NOT_STARTED, ENDED = 1, 2, 3       # (hook's pid, are orphans ours), (errno, 0), (wait status, 0)
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
TITLE = b"tideover-hook"                    # as ps and killall know it: not the agent
MFD_NOEXEC_SEAL = 0x8                       # memfd_create(2), Linux 6.3; where vm.memfd_noexec = 2 it is required
READ_AT_ONCE = 64 * 1024                    # a pipe's usual size (pipe(7))
FLOOD_WAIT_S = 0.02                         # between two reads when no agent reads: a flood is slowed down, not served
LEFT_PIPE_BYTES = 256 * 1024                # so much can be printed at once while the reader below waits
# What remains for writers that outlive a run: 0.6 MiB of memory, waits in read(2), and takes at most LEFT_PIPE_BYTES
# and 256 reads at once, so that a program that prints without end costs hardly any time. dd tells by fewer reads than
# asked for that the last writer is gone.
READ_ON = """
while :; do
    set -- $(dd bs=65536 count=256 2>&1 >/dev/null)
    whole=${1%+*} part=${1#*+}
    test $((whole + part)) -eq 256 || exit 0
    sleep 0.05
done"""
READ_ON_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
OOM_SCORE = Path("/proc/self/oom_score_adj")    # proc(5)
_prctl = ctypes.CDLL(None).prctl            # looked up before a fork, not after it


def fork_supervisor(plan: SpawnSpec, record_name: str, group: str) -> tuple[int, socket.socket]:
    """Given a plan, a name for the record's file in memory and the control group that the run is to have ('': none),
    fork a supervisor that starts the hook.

    Return its process number and our end of the line to it. Raise OSError if the system cannot.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        try:
            gc.disable()
            _supervise(theirs, plan, record_name, group)
        finally:
            os._exit(1)
    theirs.close()
    return pid, ours


def let_go(line: socket.socket) -> None:
    """Given our end of a line, tell the supervisor that we take no more output, and that we know how the run ended."""
    with suppress(OSError):
        line.send(b".")
    line.close()


def read_message(line: socket.socket) -> tuple[int, int, int] | None:
    """Given our end of a line on which something can be read, return the message; None: the supervisor is dead."""
    try:
        data = line.recv(MESSAGE.size)
    except OSError:
        return None
    if len(data) != MESSAGE.size:
        return None
    kind, first, second = MESSAGE.unpack(data)
    return kind, first, second


def receive_start(line: socket.socket) -> tuple[int, bool, int]:
    """Given our end of the line, wait for the start; return the hook's process number, whether orphans of the run stay
    the supervisor's, and the read end of the output. Raise OSError, with the errno of the start, if there was none."""
    data, files, _, _ = socket.recv_fds(line, MESSAGE.size, 1)
    kind, first, second = MESSAGE.unpack(data) if len(data) == MESSAGE.size else (0, 0, 0)
    if kind == STARTED and files:
        return first, bool(second), files[0]
    for file in files:
        os.close(file)
    if kind == NOT_STARTED:
        raise OSError(first, os.strerror(first))
    if kind == STARTED:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    raise OSError(errno.ECHILD, "its supervisor process was killed")


def _supervise(line: socket.socket, plan: SpawnSpec, record_name: str, group: str) -> None:
    os.setsid()
    os.chdir("/")
    _prctl(PR_SET_NAME, TITLE, 0, 0, 0)
    is_subreaper = _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    _close_all_but(line.fileno())
    woken = _wake_at_each_end()
    try:
        hook, output = _start(plan, record_name)
    except OSError as error:
        line.sendall(MESSAGE.pack(NOT_STARTED, error.errno or errno.EIO, 0))
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD})
    with suppress(OSError):
        socket.send_fds(line, [MESSAGE.pack(STARTED, hook.pid, is_subreaper)], [output])
    _enter(group, hook.pid)
    if not _attend(line, woken, hook, output):
        with suppress(OSError):
            Path(plan.ended_file).touch(0o600)
    if _is_written_to(output):
        _leave_a_reader(output)
    os._exit(0)


FOR_THE_AGENT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that are sent to the agent, and to all its processes by mistake: they end no run."""


def _close_all_but(kept: int) -> None:
    """Above all our own locks, and the pipe that the agent's log is read from."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    os.closerange(3, kept)
    os.closerange(kept + 1, highest + 1)


def _wake_at_each_end() -> int:
    """Return a file that can be read from when a child has ended: pidfds are newer (Linux 5.3), and for one child."""
    woken, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *FOR_THE_AGENT):
        signal.signal(number, _ignore)
    return woken


def _ignore(number: int, frame: object) -> None:
    """A handler, and not SIG_IGN, which the hook would inherit. All are blocked once the hook runs."""


def _start(plan: SpawnSpec, record_name: str) -> tuple[subprocess.Popen[bytes], int]:
    record = _open_memory(record_name)
    with os.fdopen(record, "wb", closefd=False) as writer:
        writer.write(plan.record)
    os.lseek(record, 0, os.SEEK_SET)
    output, inlet = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output, False)
    give_up_protection(OOM_SCORE)
    uid, gid, groups = plan.account.change_to or (None, None, None)
    environment = {encoded(name): encoded(value) for name, value in plan.environment.items()}
    hook = subprocess.Popen(
        [plan.path, *plan.arguments], stdin=record, stdout=inlet, stderr=inlet, cwd="/", env=environment,
        start_new_session=True, umask=plan.conditions.umask, user=uid, group=gid, extra_groups=groups)
    os.close(inlet)
    os.close(record)
    return hook, output


def _open_memory(name: str) -> int:
    """Return a file in memory for the record: a hook that never reads it blocks no writer."""
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create(name, os.MFD_CLOEXEC)


def give_up_protection(score: Path) -> None:
    """Given the file of our own score: when memory runs out, what protects the agent (OOMScoreAdjust) is not for hooks
    and what they start."""
    with suppress(OSError, ValueError):
        if int(score.read_text()) < 0:
            score.write_text("0")


def _enter(group: str, hook: int) -> None:
    """A second net, for when we are killed. After the start, for it takes the kernel some 14 ms: what the hook starts
    meanwhile is known by its parents alone."""
    for _ in range(2 if group else 0):      # a sweep of empty groups may come between
        with suppress(OSError):
            Path(group).mkdir(mode=0o755, exist_ok=True)
            Path(group, "cgroup.procs").write_text(str(hook))
            return


def _attend(line: socket.socket, woken: int, hook: subprocess.Popen[bytes], output: int) -> bool:
    """Return when the hook has ended and the agent has read what it wanted, or is dead: whether it had that."""
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(line, select.POLLIN)
    has_agent, has_ended, was_let_go = True, False, False
    while has_agent or not has_ended:
        for file, _ in poll.poll():
            if file == woken:
                with suppress(BlockingIOError):
                    os.read(woken, READ_AT_ONCE)
            elif file == line.fileno():
                has_agent, was_let_go = False, _is_let_go(line)
                poll.unregister(line)
                poll.register(output, select.POLLIN)
            elif not _read_some(output):
                poll.unregister(output)
        status = _reap(hook.pid)
        if status is not None:
            has_ended, hook.returncode = True, status
            with suppress(OSError):
                line.sendall(MESSAGE.pack(ENDED, status, 0))
    return was_let_go


def _is_let_go(line: socket.socket) -> bool:
    try:
        return bool(line.recv(1))
    except OSError:
        return False


def _read_some(output: int) -> bool:
    """Discard what is there; return whether more can come."""
    try:
        data = os.read(output, READ_AT_ONCE)
    except BlockingIOError:
        return True
    time.sleep(FLOOD_WAIT_S)
    return bool(data)


def _reap(hook: int) -> int | None:
    """Take the exit status of every child that has ended, those that came to us too; return the hook's."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == hook:
                found = ended[1]
    return found


def _is_written_to(output: int) -> bool:
    """Return whether any process still has the other end open."""
    asked = select.poll()
    asked.register(output, select.POLLIN)
    return not any(events & select.POLLHUP for _, events in asked.poll(0))


def _leave_a_reader(output: int) -> None:
    """A process of its own, so that we can end: what the run left behind then gets the parent that it wants, init."""
    if os.fork() > 0:
        return
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with suppress(OSError):
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, LEFT_PIPE_BYTES)
    os.set_blocking(output, True)
    os.dup2(output, 0)
    with suppress(OSError):
        os.execve("/bin/sh", ["sh", "-c", READ_ON, "tideover-read-on"], READ_ON_ENVIRONMENT)
    while _read_some(0):        # no shell: we do it ourselves, with more memory
        pass
