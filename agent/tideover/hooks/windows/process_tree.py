"""Which processes belong to one run of a hook, and how they are ended.

Each run has a job object, which no process of it can leave and which ends them all at once, by our death at the latest.
The job's name follows from the run, so that whoever comes after us finds one that somebody still holds.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from tideover.hooks.marks import Identity, RunMarks
from tideover.winapi.jobs import Job
from tideover.winapi.processes import created_at, end_process, parents

ROUND_S = 0.05          # between two looks at the tree
KILL_ROUNDS = 40        # two seconds: what hangs in the kernel then is reported, not waited for


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs."""

    identity: Identity


def job_name(environment: frozenset[bytes]) -> str:
    """Given what only a run's environment has, return the name of its job, in the namespace of all sessions."""
    return f"Global\\tideover-hook-{hashlib.sha256(b'|'.join(sorted(environment))).hexdigest()[:40]}"


def read_process(pid: int) -> Process | None:
    """Given a number, return the process that has it now, None if there is none."""
    created = created_at(pid)
    return None if created is None else Process(Identity(pid, created))


def is_running(process: Identity) -> bool:
    """Given a process, return whether it still runs."""
    return created_at(process.pid) == process.start_ticks


def find_members(marks: RunMarks) -> set[Identity]:
    """Given the marks of a run, return its living processes: those in its job; and the first one, with what it
    started, where that never came into the job."""
    pids: set[int] = set()
    job = Job.open(job_name(marks.environment))
    if job is not None:
        with suppress(OSError):
            pids |= job.pids()
        job.close()
    if marks.leader is not None and is_running(marks.leader):
        pids |= {marks.leader.pid, *_descendants(marks.leader)}
    found = (read_process(pid) for pid in pids)
    return {process.identity for process in found if process is not None}


def end_runs(runs: Collection[RunMarks], grace_s: float, linger: Callable[[float], None]) -> set[Identity]:
    """Given the marks of runs, end all their processes; return those that could not be ended.

    There is no signal to end in peace that a program without a console or a window hears, so `grace_s` is not used.
    `linger` waits for so many seconds.
    """
    left: set[Identity] = set()
    for turn in count():
        for marks in runs:
            _end_job(marks)
        left = set().union(*(find_members(marks) for marks in runs))
        if not left or turn == KILL_ROUNDS:
            break
        for process in left:
            with suppress(OSError):         # it has ended meanwhile; or it may not be ended, which the next look tells
                end_process(process.pid, process.start_ticks)
        linger(ROUND_S)
    return left


def _end_job(marks: RunMarks) -> None:
    job = Job.open(job_name(marks.environment))
    if job is not None:
        with suppress(OSError):
            job.end()
        job.close()


def _descendants(leader: Identity) -> set[int]:
    """A parent's number may be another's by now: a child that is older than its parent is not its child."""
    table, found = parents(), set[int]()
    ahead = [leader]
    while ahead:
        above = ahead.pop()
        for pid, parent in table.items():
            if parent != above.pid or pid in found:
                continue
            created = created_at(pid)
            if created is not None and created >= above.start_ticks:
                found.add(pid)
                ahead.append(Identity(pid, created))
    return found


def reap_adopted() -> None:
    """Windows gives orphans to no one."""
