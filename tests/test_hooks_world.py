"""The world of a run: where it starts, what of it is ended, and that what it leaves behind does not depend on us."""
from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from hooks_tried import UNTIL_GO, Bench, await_that, end, is_alive, read_pid
from tideover.hooks.orphans import OrphanRun, end_orphans
from tideover.hooks.supervisor import give_up_protection
from tideover.model import HookOutcome, HookPhase

REPOSITORY = Path(__file__).parents[1]
RUN = OrphanRun("a", HookPhase.PREPARE, 1, "trace-1")
# Leaves its parent, its session, its environment, its directory and its files, all at once.
DETACHED = """setsid env -i /bin/sh -c 'cd /; exec </dev/null >/dev/null 2>&1; (setsid sh -c "echo \\$\\$ > HERE/detached; exec sleep 60" &)'"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def detached(bench: Bench) -> str:
    return DETACHED.replace("HERE", str(bench.directory))


def agent_with(bench: Bench, script: str) -> subprocess.Popen[bytes]:
    """An agent in a process of its own that runs the hook `a`."""
    spec = bench.write("10-a", script)
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "hooks_agent.py"), str(bench.state), spec.path, "60", "1"],
        env={"PYTHONPATH": str(REPOSITORY / "agent"), **os.environ}, stdout=subprocess.DEVNULL)


def supervisor_of(hook: int) -> int:
    return psutil.Process(hook).ppid()


# ---- where it starts ----

def test_a_hook_starts_in_the_root_with_the_usual_umask_and_three_files(bench: Bench) -> None:
    """An application that it starts keeps no directory of ours, and makes files that others may read."""
    (bench.hooks / "10-bare").write_text("#!/bin/sh\npwd; umask; ls -C /proc/self/fd; echo > $TIDEOVER_STATE_DIR/made\n")
    (bench.hooks / "10-bare").chmod(0o755)
    report = bench.run(replace(bench.write("10-a", ""), name="bare", path=str(bench.hooks / "10-bare")))
    assert report.output.split() == ["/", "0022", "0", "1", "2", "3"]       # 3 is ls's own
    assert stat.S_IMODE((bench.state / "bare" / "made").stat().st_mode) == 0o644


def test_a_hook_has_the_umask_of_its_table(bench: Bench) -> None:
    assert bench.say("umask", umask=0o027).output == "0027\n"


@pytest.mark.parametrize(("agents", "hooks"), [("-900", "0"), ("0", "0"), ("300", "300")])
def test_what_protects_the_agent_when_memory_runs_out_does_not_protect_hooks(tmp_path: Path, agents: str, hooks: str) -> None:
    """A process that is preferred stays so: only a privilege could take that back."""
    score = tmp_path / "oom_score_adj"
    score.write_text(agents)
    give_up_protection(score)
    assert score.read_text() == hooks


@pytest.mark.slow
def test_a_start_that_meets_a_file_still_being_written_is_tried_again(bench: Bench) -> None:
    """An installer that has not closed it yet, or a process that was just forked from one."""
    spec = bench.write("10-a", "exit 3")
    writer = Path(spec.path).open("a")      # noqa: SIM115
    threading.Timer(0.12, writer.close).start()
    assert bench.run(spec).outcome is HookOutcome.NOTHING


# ---- what is ended ----

def test_a_process_that_left_everything_is_ended_while_another_hook_runs(bench: Bench) -> None:
    """Which of the two it came from is known by its supervisor; the other's is not touched."""
    other = bench.start(bench.order(bench.write("10-other", "sleep 60 & echo $! > child; wait")))
    child = read_pid(bench.state / "other" / "child")
    run = bench.start(bench.order(bench.write("10-a", detached(bench) + "\nsleep 60")))
    escaped = read_pid(bench.directory / "detached")
    bench.runner.cancel(run.key)
    report = bench.answer().report
    assert (report.outcome, report.note) == (HookOutcome.STOPPED, "cancelled; its processes were ended")
    assert (is_alive(escaped), is_alive(child)) == (False, True)
    bench.runner.cancel(other.key)
    bench.answer()


@pytest.mark.slow
def test_a_process_that_left_everything_is_ended_after_the_agent_was_killed(bench: Bench) -> None:
    agent = agent_with(bench, detached(bench) + "\necho $$ > pid; sleep 60")
    pids = [read_pid(bench.state / "a" / "pid"), read_pid(bench.directory / "detached")]
    await_that(lambda: list((bench.state / ".running").glob("*.json")))
    agent.kill()
    agent.wait()
    assert all(map(is_alive, pids))
    assert [ended.left for ended in end_orphans(bench.state, [RUN])] == [0]
    assert not any(map(is_alive, pids))


def test_a_run_whose_supervisor_is_killed_has_failed_and_says_what_could_not_be_found(bench: Bench) -> None:
    bench.start(bench.order(bench.write("10-a", "echo $$ > pid; sleep 60")))
    hook = read_pid(bench.state / "a" / "pid")
    await_that(lambda: list((bench.state / ".running").glob("*.json")))     # the agent has heard that it runs
    os.kill(supervisor_of(hook), signal.SIGKILL)
    report = bench.answer().report
    assert (report.outcome, report.exit_status) == (HookOutcome.FAILED, None)
    assert "supervisor process was killed" in report.note and "detached ones could not be found" in report.note
    assert not is_alive(hook)


def test_a_run_whose_supervisor_is_killed_at_its_start_may_have_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook may have been started, and have changed something, before the agent heard of it: it is recovered."""
    def killed(plan: object) -> None:
        raise OSError(errno.ECHILD, "its supervisor process was killed")

    monkeypatch.setattr("tideover.hooks.posix_process.launch", killed)
    bench.start(bench.order(bench.write("10-a", "exit 0")))
    report = bench.answer().report
    assert (report.outcome, report.begun) == (HookOutcome.FAILED, True)


def test_a_hook_cannot_take_its_supervisor_for_the_agent(bench: Bench) -> None:
    """Tools that look for the agent by its name do not find it, and a signal that is meant for the agent ends no run."""
    bench.start(bench.order(bench.write("10-a", f"echo $$ > pid; {UNTIL_GO}; exit 3")))
    supervisor = supervisor_of(read_pid(bench.state / "a" / "pid"))
    assert Path(f"/proc/{supervisor}/comm").read_text() == "tideover-hook\n"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(supervisor, number)
    bench.go()
    assert bench.answer().report.outcome is HookOutcome.NOTHING


def test_a_supervisor_holds_none_of_the_agents_files(bench: Bench) -> None:
    """Neither the pipe that its log is read from, nor the locks of its journal."""
    lock = (bench.directory / "lock").open("w")
    bench.start(bench.order(bench.write("10-a", f"echo $$ > pid; {UNTIL_GO}")))
    supervisor = supervisor_of(read_pid(bench.state / "a" / "pid"))
    await_that(lambda: list((bench.state / ".running").glob("*.json")))     # it has told of the start, and closed the record
    held = [str(file.readlink()) for file in Path(f"/proc/{supervisor}/fd").iterdir()]
    assert {name for name in held if not name.startswith(("pipe:", "socket:", "anon_inode:"))} == {"/dev/null"}
    assert len(held) <= 8
    lock.close()
    bench.go()
    bench.answer()


# ---- what is left ----

def leave_talking(bench: Bench) -> int:
    """A hook ends well and leaves a program that goes on printing; return its number."""
    report = bench.say("sh -c 'echo $$ > child; while :; do echo served; sleep 0.01; done' &\nexit 0")
    assert report.outcome is HookOutcome.DONE
    return read_pid(bench.state / "said" / "child")


def reader_of(pid: int) -> list[int]:
    """Who reads what that process prints."""
    pipe = link(pid, 1)         # its own file is opened a moment after it was started
    return [other for other in psutil.pids() if other != pid and link(other, 0) == pipe != ""]


def link(pid: int, file: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/{file}").readlink())
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGKILL, None])
def test_an_application_that_a_hook_started_outlives_the_agent(bench: Bench, way: signal.Signals | None) -> None:
    """It prints on, whether the agent ends or is killed, and does not die of its next word."""
    agent = agent_with(bench, "sh -c 'echo $$ > child; while :; do echo served; sleep 0.01; done' &\nexit 0")
    child = read_pid(bench.state / "a" / "child")
    if way:
        time.sleep(0.2)
        agent.send_signal(way)
    agent.wait()
    time.sleep(0.3)
    assert end_orphans(bench.state, []) == ()
    assert is_alive(child)
    end(child)


@pytest.mark.slow
def test_what_a_hook_left_is_not_ended_although_no_agent_saw_its_end(bench: Bench) -> None:
    """The agent is killed, the hook goes on, prints more than a pipe holds, ends by itself, and leaves a program."""
    agent = agent_with(bench, "echo $$ > pid; until test -e go; do sleep 0.01; done; head -c 500000 /dev/zero\n"
                              "sleep 60 & echo $! > child; exit 0")
    hook = read_pid(bench.state / "a" / "pid")
    await_that(lambda: list((bench.state / ".running").glob("*.json")))
    agent.kill()
    agent.wait()
    (bench.state / "a" / "go").touch()
    child = read_pid(bench.state / "a" / "child")
    await_that(lambda: not is_alive(hook) and list((bench.state / ".running").glob("*.ended")))
    assert end_orphans(bench.state, [RUN]) == ()
    assert is_alive(child)
    assert list((bench.state / ".running").iterdir()) == []
    end(child)


def test_what_reads_on_is_small_and_goes_with_the_last_writer(bench: Bench) -> None:
    child = leave_talking(bench)
    await_that(lambda: any("read-on" in Path(f"/proc/{pid}/cmdline").read_text() for pid in reader_of(child)))
    readers = reader_of(child)
    kib = sum(int(line.split()[1]) for pid in readers for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
              if line.startswith("Pss:"))
    assert kib < 1024
    assert os.getpid() not in readers and all(os.getpid() != psutil.Process(pid).ppid() for pid in readers)
    end(child)
    await_that(lambda: not any(map(is_alive, readers)))


@pytest.mark.slow
def test_a_program_that_prints_without_end_costs_no_core(bench: Bench) -> None:
    """Neither the agent nor the reader, nor the program itself: its pipe is read at a bounded pace."""
    assert bench.say("yes & echo $! > child; exit 0").outcome is HookOutcome.DONE
    child = read_pid(bench.state / "said" / "child")
    await_that(lambda: reader_of(child) != [] and os.getpid() not in reader_of(child))
    own, before = time.process_time(), ticks(child)
    time.sleep(1.0)
    used_s = (ticks(child) - before) / os.sysconf("SC_CLK_TCK")
    assert (time.process_time() - own < 0.2, used_s < 0.4) == (True, True)
    end(child)


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
