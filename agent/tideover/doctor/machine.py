"""What doctor's checks may read of the machine: files under a root, environment, processes, the user."""
from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil

from tideover.clock.host import HostAccess, run_command
from tideover.clock.types import CommandResult
from tideover.system.private_files import user_id

# --- Processes

@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process: its number, its program's name, and the words of its command line."""

    pid: int
    name: str
    words: tuple[str, ...]


def list_processes() -> Iterator[ProcessInfo]:
    """Return every process. Of one that is not ours to read, the name alone."""
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        words = process.info["cmdline"] or ()       # None: not ours to read; []: a thread of the kernel
        yield ProcessInfo(process.info["pid"], process.info["name"] or "", tuple(words))


# --- The machine

LONGEST_TEXT = 262_144      # bytes read of any one file of another program
COMMAND_S = 2.0             # for the time daemon's own tools: the doctor waits for no answer longer than a few seconds


@dataclass(frozen=True)
class Machine:
    """Given where its files are and who looks, the machine."""

    surroundings: HostAccess = field(default_factory=HostAccess)
    environment: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    user_id: int = 0
    list_processes: Callable[[], Iterable[ProcessInfo]] = list_processes

    @property
    def root(self) -> Path:
        return self.surroundings.root

    def text(self, absolute: str) -> str:
        """Given a file's path on the machine, return what stands in it, "" if it is not there or not for us."""
        try:
            with self.surroundings.path(absolute).open("rb") as file:
                return file.read(LONGEST_TEXT).decode("utf-8", "replace")
        except OSError:
            return ""

    def has_file(self, absolute: str) -> bool:
        """Given a path on the machine, is there a file, as far as we may see?"""
        try:
            return self.surroundings.path(absolute).is_file()
        except OSError:
            return False

    def names_in(self, absolute: str) -> list[str]:
        """Given a folder's path on the machine, return the names in it, sorted; none if it cannot be read."""
        try:
            return sorted(path.name for path in self.surroundings.path(absolute).iterdir())
        except OSError:
            return []

    @cached_property
    def processes(self) -> tuple[ProcessInfo, ...]:
        """All processes but this one, as they were when first asked for."""
        return tuple(one for one in self.list_processes() if one.pid != os.getpid())


def this_machine() -> Machine:
    """Return the machine this process runs on."""
    return Machine(HostAccess(run=_run_briefly), dict(os.environ), socket.gethostname(), user_id())


def _run_briefly(arguments: Sequence[str]) -> CommandResult:
    return run_command(arguments, COMMAND_S)
