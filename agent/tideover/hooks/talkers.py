"""Programs that a hook left behind with its pipe: read on, so that their next word does not fail."""
from __future__ import annotations

import threading
from collections.abc import Callable

from tideover.threads import start_task

TALKERS_AT_MOST = 32            # one thread and one pipe each
TALKER = "hook-left-talking"


def let_talk(read_out: Callable[[], None]) -> bool:
    """Given what reads a pipe out and closes it, do that on a thread. Return whether there is room for one."""
    if sum(thread.name == TALKER for thread in threading.enumerate()) >= TALKERS_AT_MOST:
        return False
    return start_task(TALKER, read_out) is not None
