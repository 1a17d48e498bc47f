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
from tideover.doctor.process_list import Process, list_processes
from tideover.system.rights import user_id

LONGEST_TEXT = 262_144      # bytes read of any one file of another program
COMMAND_S = 2.0             # for the time daemon's own tools: the doctor waits for nobody longer than a few seconds


__all__ = ["Machine", "Process", "this_machine"]


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
        return tuple(one for one in list_processes(self.names_in, self.text) if one.pid != os.getpid())


def this_machine() -> Machine:
    """Return the machine this process runs on."""
    return Machine(Surroundings(run=_run_briefly), dict(os.environ), socket.gethostname(), user_id())


def _run_briefly(arguments: Sequence[str]) -> Ended:
    return run(arguments, COMMAND_S)
