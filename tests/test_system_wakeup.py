"""A wakeup is never lost and never blocks, whichever side comes first."""
from __future__ import annotations

import gc
import os
import select
from pathlib import Path

import pytest

from tideover.system.wakeup import Wakeup


def is_due(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup], [], [], 0)[0])


def test_a_wakeup_before_anything_waits_is_kept_until_it_is_taken_back() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    assert wakeup.is_set and is_due(wakeup)
    wakeup.clear()
    assert not wakeup.is_set and not is_due(wakeup)
    wakeup.clear()
    wakeup.set()
    assert is_due(wakeup)
    wakeup.close()


def test_a_wakeup_opens_nothing_before_it_is_waited_for() -> None:
    """A thousand runs that wait for their turn hold no descriptor."""
    gc.collect()            # what earlier tests left open would be closed in the middle
    before = len(list(Path("/proc/self/fd").iterdir()))
    wakeups = [Wakeup() for _ in range(100)]
    for one in wakeups:
        one.set()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_closed_wakeup_is_set_without_harm_and_waited_for_no_more() -> None:
    wakeup = Wakeup()
    descriptor = wakeup.fileno()
    wakeup.close()
    other = os.dup(0)       # has the number by now
    wakeup.set()
    wakeup.clear()
    wakeup.close()
    assert other == descriptor and os.get_inheritable(other) is False
    os.close(other)
    with pytest.raises(OSError, match="closed"):
        wakeup.fileno()
