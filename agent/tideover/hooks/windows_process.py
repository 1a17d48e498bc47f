"""A hook's processes on Windows: interpreters by suffix, how they are started and ended (job object), output."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import errno
import hashlib
import msvcrt
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import psutil

from tideover.hooks.environment import (
    DIRECTORY_NAME,
    RUN_NAME,
    TRACE_NAME,
    ProcessIdentity,
    RunFingerprint,
    SpawnSpec,
    encoded,
)
from tideover.hooks.output import drain_leftover_pipe
from tideover.hooks.windows_trust import SHOWN_PATH
from tideover.text_safety import drop_controls
from tideover.winapi.base import close_handle, let_inherit, system_directory, wait_for_any
from tideover.winapi.pipes import PipeEnd, output_pipe
from tideover.winapi.processes import (
    Job,
    Started,
    command_line,
    exit_code,
    has_exited,
    start_in_job,
)
from tideover.winapi.security import for_us_alone, security_attributes

# --- Interpreters: which program runs a hook's file

def command_for(path: str, *arguments: str) -> str:
    """Given a program's file and its arguments (of a hook its phase), return the command line that runs it."""
    match Path(path).suffix.lower():
        case ".cmd" | ".bat":
            # /s: cmd.exe takes the outer quotes away and leaves the rest alone; /d: no AutoRun of some user's
            return f'"{_system("cmd.exe")}" /d /s /c ""{path}" {command_line(arguments)}"'
        case ".ps1":
            # Whether the file may be run was asked of its owner and its rights, which is more than the policy asks
            return command_line([_system("WindowsPowerShell\\v1.0\\powershell.exe"), "-NoLogo", "-NoProfile",
                                 "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", path, *arguments])
        case ".py":
            return command_line([python_program(), path, *arguments])
        case _:
            return command_line([path, *arguments])


def python_program() -> str:
    """Return the Python that runs hooks: ours. The agent's own executable may be its service's, which is no Python."""
    ours = Path(sys.executable)
    beside = ours.with_name("python.exe")
    return str(beside if beside.is_file() else ours)


def _system(name: str) -> str:
    return f"{system_directory()}\\{name}"


# --- The processes of a run
# Each run has a job object, which no process of it can leave and which ends them all at once, by our death at the
# latest.
# The job's name follows from the run, so that the next agent finds a job that is still open in some process.

ROUND_S = 0.05          # between two looks at the tree
KILL_ROUNDS = 40        # two seconds: what hangs in the kernel then is reported, not waited for


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs."""

    identity: ProcessIdentity


def job_name(environment: frozenset[bytes]) -> str:
    """Given what only a run's environment has, return the name of its job, in the namespace of all sessions."""
    return f"Global\\tideover-hook-{hashlib.sha256(b'|'.join(sorted(environment))).hexdigest()[:40]}"


def read_process(pid: int) -> Process | None:
    """Given a number, return the process that has it now, None if there is none."""
    try:
        return Process(_identity_of(psutil.Process(pid)))
    except psutil.Error:        # there is none, or it is not ours to look at
        return None


def is_running(process: ProcessIdentity) -> bool:
    """Given a process, return whether it still runs."""
    now = read_process(process.pid)
    return now is not None and now.identity == process


def find_members(marks: RunFingerprint) -> set[ProcessIdentity]:
    """Given the marks of a run, return its living processes: those in its job; and the first one, with what it
    started, where that never came into the job."""
    pids: set[int] = set()
    job = Job.open(job_name(marks.environment))
    if job is not None:
        with suppress(OSError):
            pids |= job.pids()
        job.close()
    if marks.leader is not None and is_running(marks.leader):
        pids |= {marks.leader.pid, *_descendants(marks.leader.pid)}
    found = (read_process(pid) for pid in pids)
    return {process.identity for process in found if process is not None}


def end_runs(runs: Collection[RunFingerprint], grace_s: float, linger: Callable[[float], None]) -> set[ProcessIdentity]:
    """Given the marks of runs, end all their processes; return those that could not be ended.

    There is no signal to end in peace that a program without a console or a window hears, so `grace_s` is not used.
    `linger` waits for so many seconds.
    """
    left: set[ProcessIdentity] = set()
    for turn in count():
        for marks in runs:
            _end_job(marks)
        left = set().union(*(find_members(marks) for marks in runs))
        if not left or turn == KILL_ROUNDS:
            break
        for process in left:
            with suppress(psutil.Error):    # it has ended meanwhile; or it may not be ended, which the next look tells
                found = psutil.Process(process.pid)
                if _identity_of(found) == process:
                    found.kill()
        linger(ROUND_S)
    return left


def _end_job(marks: RunFingerprint) -> None:
    job = Job.open(job_name(marks.environment))
    if job is not None:
        with suppress(OSError):
            job.end()
        job.close()


def _identity_of(process: psutil.Process) -> ProcessIdentity:
    """Known by its creation in microseconds since 1970: Windows writes that down once, by the wall clock of that
    moment, so steps of the clock later does not move it."""
    return ProcessIdentity(process.pid, round(process.create_time() * 1_000_000))


def _descendants(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.Error:
        return set()


def reap_adopted() -> None:
    """Windows gives orphans no new parent."""


# --- One hook's process

DRAIN_AT_MOST = 1024 * 1024     # of what a hook left in its pipe; a process that still holds that may write for ever
LINE_AT_MOST = 32 * 1024        # bytes; of a longer line what has come is handed on as it is
LEAST_WAIT_S = 0.001            # waits are in whole milliseconds
SETTLE_S = 0.05                 # for what was written just before the end to arrive
_numbers = count()


class HookProcess:
    """A hook that runs. Owned by one thread."""

    def __init__(self, started: Started, output: PipeEnd, job: Job, directory: str) -> None:
        self._started, self._output, self._job = started, output, job
        self.channels: frozenset[str] = frozenset()
        self.directory = directory
        self.has_exited = self.was_abandoned = False
        self.supervisor: ProcessIdentity | None = None     # a job needs none
        self.group, self.follows_all = "", True
        leader = read_process(started.pid)
        self.leader = leader.identity if leader else ProcessIdentity(started.pid, 0)
        self._wakeup: int | None = None
        self._lines = _Lines()
        self._is_talking = True
        self._is_called_off = False

    def listen_to(self, wakeup: int) -> None:
        self._wakeup = wakeup

    def watch(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Wait for its output, its exit or a wakeup, at most `seconds`; take what it prints."""
        waiting = [self._started.handle] if not self.has_exited else []
        if self._is_talking:
            self._output.begin_reading()
            waiting.append(self._output.event)
        if self._wakeup is not None and not self._is_called_off:
            waiting.append(self._wakeup)
        if not waiting:
            time.sleep(seconds)
            return
        woken = wait_for_any(waiting, max(seconds, LEAST_WAIT_S))
        self._is_called_off = self._is_called_off or (woken is not None and waiting[woken] == self._wakeup)
        self._take(take)
        self.has_exited = self.has_exited or has_exited(self._started.handle)

    def linger(self, seconds: float, take: Callable[[bytes], None]) -> None:
        """Take what it prints for `seconds`, or until it exits."""
        until, had_exited = time.monotonic() + seconds, self.has_exited
        while (left_s := until - time.monotonic()) > 0 and self.has_exited == had_exited:
            self.watch(left_s, take)

    def finish(self, take: Callable[[bytes], None]) -> int | None:
        """Take what is left in the pipe and the exit status, None if it has not ended at all.

        A program that the hook left behind with the pipe must not fail at its next word: it is read on.
        """
        drained = 0
        while self._is_talking and drained < DRAIN_AT_MOST:
            self._output.begin_reading()
            if wait_for_any([self._output.event], SETTLE_S) is None:
                break
            drained += self._take(take)
        take(self._lines.rest())
        if not (self._is_talking and drain_leftover_pipe(partial(_read_out, self._output))):
            self._output.close()
        with suppress(OSError):
            self._job.let_go()
        try:
            return exit_code(self._started.handle) if has_exited(self._started.handle) else None
        finally:
            close_handle(self._started.handle)

    def tidy_up(self) -> None:
        """Nothing is left after `finish`."""

    def _take(self, take: Callable[[bytes], None]) -> int:
        """Take what is in the pipe; return how many bytes that were."""
        if not self._is_talking:
            return 0
        data = self._output.finish_reading()
        if data is None:
            self._is_talking = False
            return 0
        if data:
            take(self._lines.add(data))
        return len(data)


class _Lines:
    """Makes UTF-8 lines of what programs of Windows print: line ends of two characters, and words in the console's
    code page where they are no UTF-8."""

    def __init__(self) -> None:
        self._begun = b""

    def add(self, data: bytes) -> bytes:
        whole, end, self._begun = (self._begun + data).rpartition(b"\n")
        if len(self._begun) > LINE_AT_MOST:
            whole, end, self._begun = whole + end + self._begun, b"", b""
        return b"".join(_utf8(line) for line in (whole + end).splitlines(keepends=True))

    def rest(self) -> bytes:
        rest, self._begun = self._begun, b""
        return _utf8(rest)


def _utf8(line: bytes) -> bytes:
    if line.endswith(b"\r\n"):
        line = line[:-2] + b"\n"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("oem", "replace").encode("utf-8")
    return line


def launch(plan: SpawnSpec) -> HookProcess:
    """Given a plan, start the hook in a job of its own. Raise OSError if the system cannot."""
    output, inlet = output_pipe()
    try:
        record = _open_record(plan)
        try:
            job = _create_job(plan)
            started = start_in_job(command_for(plan.path, *plan.arguments), plan.environment,
                                   f"{plan.environment['SystemDrive']}\\",
                                   (msvcrt.get_osfhandle(record), inlet), job)
        finally:
            os.close(record)
    except OSError:
        output.close()
        raise
    finally:
        close_handle(inlet)
    return HookProcess(started, output, job, plan.directory)


def _create_job(plan: SpawnSpec) -> Job:
    marks = frozenset(encoded(f"{name}={plan.environment[name]}") for name in (RUN_NAME, TRACE_NAME, DIRECTORY_NAME))
    return Job.create(job_name(marks), security_attributes(for_us_alone()))


def _open_record(plan: SpawnSpec) -> int:
    """Return a file with the record that is gone when the last of us closes it: a hook that never reads it keeps
    no caller waiting."""
    path = Path(plan.directory).parent / f".record-{os.getpid()}-{next(_numbers)}"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_BINARY | os.O_TEMPORARY, 0o600)
    os.write(file, plan.record)
    os.lseek(file, 0, os.SEEK_SET)
    let_inherit(msvcrt.get_osfhandle(file))
    return file


def _read_out(output: PipeEnd) -> None:
    data: bytes | None = b""
    while data is not None:
        output.begin_reading()
        wait_for_any([output.event], None)
        data = output.finish_reading()
    output.close()


def why_not_started(error: OSError, path: str) -> str:
    """Given why a program could not be started (CreateProcessW), return one sentence with what to do."""
    shown = drop_controls(path, SHOWN_PATH)
    reasons = {
        errno.ENOENT: f"{shown} or the program that runs it is gone: put it back, so that what it prepared can be "
                      "recovered",
        errno.EACCES: f"{shown} may not be run by this user: give it the right to read and execute",
        errno.ENOEXEC: f"{shown} is not a program for this version of Windows",
    }
    return reasons.get(error.errno or 0, f"{shown} cannot be started: {error.strerror}")


def signal_name(number: int) -> str:
    """Nothing is ended by a signal here; an exit status is never negative."""
    return f"signal {number}"
