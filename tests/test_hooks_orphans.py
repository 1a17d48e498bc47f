"""After kill -9 of the agent: what its hooks left alive is found by more than its number, and ended."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hooks_tried import Bench, await_that, is_alive, read_pid
from tideover.hooks.environment import ProcessIdentity, RunFingerprint
from tideover.hooks.orphans import OrphanRun, RunFile, RunFiles, end_orphans
from tideover.hooks.posix_process import find_members, read_process
from tideover.model import HookOutcome, HookPhase
from tideover.system.clocks import read_boot_id

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
RUN = OrphanRun("a", HookPhase.PREPARE, 1, "trace-1")
ENVIRONMENT_CLEARED = "(env -i setsid sh -c 'echo $$ > child; exec sleep 60' </dev/null 2>/dev/null &)"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def crash(bench: Bench, script: str, *written: str) -> list[int]:
    """Given a hook's script, let an agent run it and kill -9 that agent; return the numbers the script has written."""
    spec = bench.write("10-a", script)
    agent = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "hooks_agent.py"), str(bench.state), spec.path, "60", "1"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "agent")})
    pids = [read_pid(bench.state / "a" / file) for file in written]
    await_that(lambda: list((bench.state / ".running").glob("*.json")))
    agent.kill()
    agent.wait()
    assert all(map(is_alive, pids))
    return pids


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with hooks, in a session of its own."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def trace(leader: ProcessIdentity, keeper: ProcessIdentity | None = None, boot_id: str | None = None) -> RunFile:
    return RunFile(RUN, boot_id or read_boot_id(), keeper or ProcessIdentity(2**30, 1), leader, frozenset())


def identity(pid: int) -> ProcessIdentity:
    found = read_process(pid)
    assert found is not None
    return found.identity


def test_what_a_killed_agent_left_is_ended_before_the_hook_runs_again(bench: Bench) -> None:
    """The hook, its child in another session and one without its environment. No two copies of a hook."""
    pids = crash(bench, f"setsid sleep 60 & echo $! > sleeper\n{ENVIRONMENT_CLEARED}\necho $$ > pid; sleep 60",
                 "pid", "sleeper", "child")
    ended = end_orphans(bench.state, [RUN])
    assert not any(map(is_alive, pids))
    assert [(orphan.of, orphan.found >= 3, orphan.left) for orphan in ended] == [(RUN, True, 0)]
    assert end_orphans(bench.state, [RUN]) == ()
    assert bench.run(bench.write("10-a", "exit 0")).outcome is HookOutcome.DONE


def test_a_lost_trace_is_made_good_by_the_environment(bench: Bench) -> None:
    """The agent can die between the start of the hook and its note of it."""
    pids = crash(bench, "(setsid sleep 60 & echo $! > sleeper); echo $$ > pid; exec sleep 60", "pid", "sleeper")
    for file in (bench.state / ".running").iterdir():
        file.unlink()
    assert len(end_orphans(bench.state, [RUN])) == 1
    assert not any(map(is_alive, pids))


def test_a_lost_journal_is_made_good_by_the_trace(bench: Bench) -> None:
    pids = crash(bench, "echo $$ > pid; sleep 60", "pid")
    assert [orphan.of for orphan in end_orphans(bench.state, [])] == [RUN]
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("other", [
    OrphanRun("a", HookPhase.PREPARE, 2, "trace-1"), OrphanRun("a", HookPhase.RECOVER, 1, "trace-1"),
    OrphanRun("a", HookPhase.PREPARE, 1, "trace-2"), OrphanRun("b", HookPhase.PREPARE, 1, "trace-1")])
def test_only_the_run_that_is_named_is_ended(bench: Bench, other: OrphanRun) -> None:
    """Another run may have left a daemon that has every right to live."""
    child = subprocess.Popen(["sleep", "60"], env={
        "TIDEOVER_RUN": RUN.title, "TIDEOVER_TRACE_ID": RUN.trace_id, "TIDEOVER_STATE_DIR": str(bench.state / "a")})
    try:
        marks = RunFingerprint(frozenset({f"TIDEOVER_STATE_DIR={bench.state / 'a'}".encode()}))
        await_that(lambda: find_members(marks))
        assert end_orphans(bench.state, [other]) == ()
        assert end_orphans(bench.directory, [RUN]) == ()        # a second agent's, of the same event
        assert child.poll() is None
        assert len(end_orphans(bench.state, [RUN])) == 1
        assert child.wait(10) == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()


def test_a_process_with_the_number_of_an_old_hook_is_not_touched(
    bench: Bench, stranger: subprocess.Popen[bytes],
) -> None:
    """Never trust a number alone: its start differs, so it is not the process that was meant."""
    now = identity(stranger.pid)
    RunFiles(bench.state).write(trace(ProcessIdentity(now.pid, now.start_ticks - 1)))
    assert end_orphans(bench.state, [RUN]) == ()
    assert stranger.poll() is None
    assert list((bench.state / ".running").iterdir()) == []


def test_after_a_restart_of_the_machine_nothing_is_ended(bench: Bench, stranger: subprocess.Popen[bytes]) -> None:
    """The ticks count from the boot: after another one, number and start may both be the same by chance."""
    RunFiles(bench.state).write(trace(identity(stranger.pid), boot_id="another"))
    assert end_orphans(bench.state, [RUN]) == ()
    assert stranger.poll() is None


def test_the_hook_of_an_agent_that_lives_is_its_own_business(bench: Bench, stranger: subprocess.Popen[bytes]) -> None:
    """A person may run a hook by hand while the service restarts."""
    RunFiles(bench.state).write(trace(identity(stranger.pid), keeper=identity(os.getpid())))
    assert end_orphans(bench.state, [RUN]) == ()
    assert stranger.poll() is None
    RunFiles(bench.state).write(trace(identity(stranger.pid)))
    assert len(end_orphans(bench.state, [])) == 1
    assert stranger.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("damage", [
    b"", b"{", b"[" * 100_000, b"{}", b"\xff", b'{"name": "../../x"}', json.dumps({
        "name": "../../b", "phase": "prepare", "run": 1, "trace_id": "t", "boot_id": "b", "keeper": [1, 1],
        "leader": [1, 1], "channels": []}).encode()])
def test_a_damaged_trace_says_nothing_and_goes(bench: Bench, damage: bytes) -> None:
    RunFiles(bench.state).write(trace(ProcessIdentity(2**30, 1)))
    (file,) = (bench.state / ".running").iterdir()
    file.write_bytes(damage)
    assert end_orphans(bench.state, []) == ()
    assert not file.exists()


def test_a_trace_lives_as_long_as_its_run(bench: Bench) -> None:
    spec = bench.write("10-a", "until test -e ../.running/a.prepare.1.json; do sleep 0.01; done; cp ../.running/* .")
    assert bench.run(spec).outcome is HookOutcome.DONE
    assert list((bench.state / ".running").iterdir()) == []
    kept = json.loads((bench.state / "a" / "a.prepare.1.json").read_text())
    assert kept["keeper"] == [os.getpid(), identity(os.getpid()).start_ticks]
    assert kept["boot_id"] == read_boot_id()


def test_no_state_directory_means_no_orphans(bench: Bench) -> None:
    assert end_orphans(bench.state, []) == ()
