"""The machine as the doctor may look at it: its files under a root, its environment, who asks. Writes nothing."""
from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tideover.clock import Surroundings
from tideover.clock.ended import Ended
from tideover.clock.programs import run

LONGEST_TEXT = 262_144      # bytes read of any one file of another program
COMMAND_S = 2.0             # for the time daemon's own tools: the doctor waits for nobody longer than a few seconds


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its number, its short name (15 characters, proc(5)), and the words of its command line."""

    pid: int
    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """Given where its files are and who looks, the machine."""

    surroundings: Surroundings = field(default_factory=Surroundings)
    environment: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    user_id: int = 0

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
    def processes(self) -> tuple[Process, ...]:
        """All processes but this one, as they were when first asked for."""
        numbers = [int(name) for name in self.names_in("/proc") if name.isdecimal()]
        return tuple(Process(number, self.text(f"/proc/{number}/comm").strip(),
                             tuple(self.text(f"/proc/{number}/cmdline").rstrip("\0").split("\0")))
                     for number in sorted(numbers) if number != os.getpid())


def this_machine() -> Machine:
    """Return the machine this process runs on."""
    return Machine(Surroundings(run=_run_briefly), dict(os.environ), socket.gethostname(), os.geteuid())


def _run_briefly(arguments: Sequence[str]) -> Ended:
    return run(arguments, COMMAND_S)
