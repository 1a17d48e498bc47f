"""Who came to us as a child, and whose exit status is whose. Platform part: Linux.

The agent makes itself the parent of what its hooks leave behind, so that nothing of a tree can get out of sight. An
orphan that ends must then be reaped by us, but never in the place of a part of the agent that waits for its own child.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import os

from tideover.hooks.process_tree import read_processes

PR_SET_CHILD_SUBREAPER = 36     # prctl(2), Linux 3.4


def become_subreaper() -> bool:
    """Make this process the one that orphans below it go to. Return whether the system allows it."""
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Children:
    """The hooks' processes that this agent started itself, by the key of their run.

    `expect` is called by one thread only; the rest from any. Each step is one operation on a set or a dictionary, and
    their order alone makes it safe: what is being born is known before it exists, and forgotten after it is reaped.
    """

    def __init__(self) -> None:
        self._unborn: set[str] = set()
        self._born: dict[str, int] = {}
        self._sole: set[str] = set()

    def expect(self, key: str) -> None:
        """A process for this run is going to be started."""
        if self._unborn or self._born:
            self._sole.clear()
        elif not _has_children():
            self._sole.add(key)
        self._unborn.add(key)

    def add(self, key: str, pid: int) -> None:
        """The process of this run is here."""
        self._born[key] = pid

    def drop(self, key: str) -> None:
        """The process of this run is reaped, or there never was one."""
        self._born.pop(key, None)
        self._unborn.discard(key)
        self._sole.discard(key)

    def is_sole(self, key: str) -> bool:
        """Return whether every orphan that has come to us since is this run's: there was no child, and no other run."""
        return key in self._sole

    def reap_adopted(self) -> None:
        """Take the exit status of orphans that came to us and have ended, and of nobody else.

        A child of another part of the agent shares the agent's session; an orphan of a hook cannot.
        """
        if not _has_ended_child():
            return
        own, session = os.getpid(), os.getsid(0)
        ended = [process for process in read_processes().values()
                 if process.has_ended and process.parent == own and process.session != session]
        if self._unborn - set(self._born):
            return      # one of them may be a hook whose number we do not know yet: the next time will do
        known = set(self._born.values())
        for process in ended:
            if process.identity.pid not in known:
                _reap(process.identity.pid)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass            # another thread was here before


def _has_children() -> bool:
    try:
        _peek()
    except ChildProcessError:
        return False
    return True


def _has_ended_child() -> bool:
    try:
        return _peek() is not None
    except ChildProcessError:
        return False


def _peek() -> object:
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
