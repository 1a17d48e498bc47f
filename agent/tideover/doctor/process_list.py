"""Which programs run on this machine: where to look is chosen here, once."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its number, its short name (15 characters, proc(5)), and the words of its command line."""

    pid: int
    name: str
    words: tuple[str, ...]


if sys.platform == "win32":
    from tideover.winapi.processes import names

    def list_processes(names_in: Callable[[str], list[str]], text: Callable[[str], str]) -> Iterator[Process]:
        """Return every process, by the name of its program; its command line is not for us to read."""
        for pid, name in sorted(names().items()):
            yield Process(pid, name, (name,))

else:
    def list_processes(names_in: Callable[[str], list[str]], text: Callable[[str], str]) -> Iterator[Process]:
        """Given how to list a folder and to read a file of the machine, return every process (proc(5))."""
        for pid in sorted(int(name) for name in names_in("/proc") if name.isdecimal()):
            yield Process(pid, text(f"/proc/{pid}/comm").strip(),
                          tuple(text(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")))
