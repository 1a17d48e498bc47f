"""Programs that only answer a question: bounded in time and output, and ended with what they have started."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tideover.system.commands import CommandEnd, finish_command, start_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs of sh")


def ended(script: str, deadline_s: float = 5.0, most_bytes: int = 1000, *, with_errors: bool = False) -> CommandEnd:
    return finish_command(start_command(["sh", "-c", script], os.environ, with_errors=with_errors), deadline_s, most_bytes)


def living(word: str) -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] if word.encode() in path.read_bytes() else []
        except OSError:
            continue      # it has ended meanwhile
    return found


def test_a_program_that_prints_without_end_is_ended_at_the_bound_and_costs_no_memory():
    """One that is read to its deadline can bring gigabytes (the memory of the agent, with an application prepared)."""
    began_s = time.monotonic()
    found = ended("exec yes", deadline_s=30.0)
    assert (found.was_cut, len(found.output)) == (True, 1000)
    assert time.monotonic() - began_s < 10


def test_errors_are_bounded_and_kept_apart():
    assert ended("echo said; echo why >&2; exit 3", with_errors=True) == CommandEnd(b"said\n", b"why\n", 3, False)
    assert ended("exec yes >&2", with_errors=True).was_cut
    assert ended("echo said; echo why >&2") == CommandEnd(b"said\nwhy\n", b"", 0, False)


def test_a_program_that_leaves_a_child_with_its_output_behind_has_ended_when_it_has_and_the_child_ends_too():
    length = f"61.{os.getpid()}"
    began_s = time.monotonic()
    assert ended(f"sleep {length} & echo said", deadline_s=30.0) == CommandEnd(b"said\n", b"", 0, False)
    assert time.monotonic() - began_s < 10
    until_none(length)


@pytest.mark.slow
def test_a_program_that_hangs_is_ended_with_its_children_also_when_it_has_closed_its_output():
    for closed in ("", "exec >&- 2>&-; "):
        length = f"62.{os.getpid()}"
        with pytest.raises(subprocess.TimeoutExpired):
            ended(f"trap '' TERM; {closed}sleep {length} & sleep {length}", deadline_s=0.2)
        until_none(length)


def until_none(word: str) -> None:
    end_s = time.monotonic() + 10
    while living(word):
        assert time.monotonic() < end_s
        time.sleep(0.02)
