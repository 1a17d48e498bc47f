"""The private directory of each hook, from its first prepare to its recovery. Knows nothing of when that is.

The directory above them is 0711, so that a hook's user reaches its own and sees no other; each one is 0700 and its
user's. A directory that is done with is first renamed away, at once, and deleted later: what a next prepare finds is
empty, however long the deletion takes.
"""
from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from tideover.hooks.parts import Account
from tideover.system.directories import give_to, make_directory, make_own_directory

ABOVE_MODE, OWN_MODE = 0o711, 0o700
GONE = ".gone"


class StateDirectories:
    """The state directories under one directory of the agent's."""

    def __init__(self, above: Path) -> None:
        self._above = above.resolve()
        self._gone = self._above / GONE

    def path(self, name: str) -> str:
        """Given a hook's name, return the path of its state directory, without links, whether it is there or not."""
        return str(self._above / name)

    def open(self, name: str, account: Account) -> str:
        """Given a hook's name and its account, return the path of its state directory, made if need be.

        Raise OSError if it cannot be made or cannot be handed to that user.
        """
        make_own_directory(self._above, ABOVE_MODE)
        own = self._above / name
        make_directory(own, OWN_MODE)
        give_to(own, account.change_to[:2] if account.change_to else None)
        return str(own)

    def retire(self, name: str) -> None:
        """Given a hook's name, take its state directory away, if there is one. Raise OSError if that fails."""
        own = self._above / name
        if own.is_dir():
            make_own_directory(self._gone, OWN_MODE)
            gone = self._gone / f"{name}.{os.getpid()}.{time.monotonic_ns()}"
            try:
                own.rename(gone)
            except PermissionError:     # Windows, where some process is at home in it: what lies there goes
                gone.mkdir()
                for entry in own.iterdir():
                    entry.rename(gone / entry.name)

    def sweep(self) -> None:
        """Delete what was taken away, as far as it can be. May take long: never on the engine's thread."""
        with suppress(OSError):     # there is none, or it is not ours: what did matter was told when it was taken away
            for old in list(self._gone.iterdir()):
                shutil.rmtree(old, ignore_errors=True)
