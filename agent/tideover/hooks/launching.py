"""What a hook's process is started with, on every system. Values; the start itself is in `process`."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """Whom it runs as. `change_to` is what must be given up for: (uid, gid, groups); None: we are that user already,
    as always on Windows."""

    name: str
    home: str
    change_to: tuple[int, int, tuple[int, ...]] | None = None


class UnusableAccountError(Exception):
    """One sentence why hooks cannot be run as that user, with what to do."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything a hook's process is started with."""

    path: str
    phase: str
    environment: Mapping[str, str]
    directory: str
    record: bytes               # standard input
    account: Account
    umask: int
    ended_file: str             # made by whoever sees it end when no agent is there to hear of it
