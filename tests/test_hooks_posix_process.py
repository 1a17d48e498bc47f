"""What a hook has started ends with it when its time is over, wherever it went; and nothing else ever does."""
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from hooks_tried import Bench, await_that, end, in_a_process_of_its_own, is_alive, read_pid
from tideover.hooks.environment import ProcessIdentity, RunFingerprint, environment_markers
from tideover.hooks.posix_process import end_members, find_members, read_process, send_signal
from tideover.hooks.runner import GracePeriods
from tideover.model import HookOutcome, HookReport, HookSpec

NO_ENVIRONMENT = frozenset({b"NOBODY=HAS"})
REPOSITORY = Path(__file__).parents[1]

pytestmark = pytest.mark.slow      # processes by the dozen


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def call_off(bench: Bench, spec: HookSpec, *written: str) -> tuple[HookReport, list[int]]:
    """Given a hook that never ends, start it, wait until it has written those numbers, and call it off."""
    run = bench.start(bench.order(spec))
    pids = [read_pid(bench.state / spec.name / file) for file in written]
    assert all(is_alive(pid) for pid in pids)
    bench.runner.cancel(run.key)
    return bench.answer().report, pids


# How a child gets away, and the one thing that still gives it away.
SILENT = "</dev/null >/dev/null 2>&1"
ESCAPES = {
    "is the hook's child": f"env -i setsid sh -c 'echo $$ > pid; cd /; exec sleep 60' {SILENT} &",
    "is deaf to SIGTERM": "sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' &",
    "has the hook's session": f"(env -i sh -c 'echo $$ > pid; cd /; exec sleep 60' {SILENT} &)",
    "has the hook's environment": f"(setsid sh -c 'echo $$ > pid; cd /; exec sleep 60' {SILENT} &)",
    "has the hook's outputs": "(env -i setsid sh -c 'echo $$ > pid; cd /; exec sleep 60' </dev/null &)",
    "has the hook's directory": f"(env -i setsid sh -c 'echo $$ > pid; exec sleep 60' {SILENT} &)",
}

DAEMON = f"(env -i setsid sh -c 'echo $$ > daemon; cd /; exec sleep 60' {SILENT} &)\n"


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_of_the_tree_is_left(bench: Bench, escape: str) -> None:
    """Also while another hook runs, so that an orphan could be of either."""
    other = bench.start(bench.order(bench.write("10-other", "echo $$ > pid; sleep 60")))
    read_pid(bench.state / "other" / "pid")
    report, (child,) = call_off(bench, bench.write("10-a", ESCAPES[escape] + "\nsleep 60"), "pid")
    assert report.outcome is HookOutcome.STOPPED
    assert not is_alive(child)
    bench.runner.cancel(other.key)
    assert bench.answer().name == "other"


@pytest.mark.slow
def test_a_hook_deaf_to_sigterm_is_killed_with_its_children(bench: Bench) -> None:
    spec = bench.write("10-a", """
        trap '' TERM
        sh -c 'echo $$ > child; while :; do sleep 1; done' &
        echo $$ > leader
        while :; do sleep 1; done""")
    report = bench.run(spec, limit_s=0.2)
    assert (report.outcome, report.exit_status) == (HookOutcome.TIMED_OUT, None)
    assert "took longer than 0.2 s" in report.note
    assert not any(is_alive(read_pid(bench.state / "a" / file)) for file in ("leader", "child"))


def test_a_hook_may_tidy_up_when_its_time_is_over(bench: Bench) -> None:
    """SIGTERM comes first, and its last words are kept."""
    report = bench.run(bench.write("10-a", "trap 'echo tidied; exit 0' TERM; sleep 60 & wait"), limit_s=0.1)
    assert (report.outcome, report.exit_status, report.output) == (HookOutcome.TIMED_OUT, 0, "tidied\n")


@pytest.mark.slow
def test_a_tree_that_forks_as_fast_as_it_dies_is_ended(bench: Bench) -> None:
    """Each process of it lives for a moment, deaf to SIGTERM; only one look after the other catches them all."""
    spec = bench.write("10-a", "trap '' TERM; f() { sleep 0.01; f & }; f; echo $$ > pid; sleep 60")
    report, _ = call_off(bench, spec, "pid")
    assert report.outcome is HookOutcome.STOPPED
    assert find_members(RunFingerprint(environment_markers("a:prepare:1", "trace-1", str(bench.state / "a")))) == set()


def test_what_shows_no_mark_for_a_moment_is_not_lost() -> None:
    """A process that is just starting a program has neither environment nor files; it was seen, so it is ended."""
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read(1)
    shown = read_process(child.pid)
    assert shown is not None
    looks = iter([{shown.identity}])
    assert end_members(lambda: next(looks, set()), 0.1, time.sleep) == set()
    assert child.wait(10) == -signal.SIGKILL
    child.stdout.close()


def test_a_tree_counts_as_ended_when_it_stays_so() -> None:
    """One look may miss a process that forks and ends meanwhile."""
    child = subprocess.Popen(["sleep", "60"])
    shown = read_process(child.pid)
    assert shown is not None
    looks = iter([set(), {shown.identity}])
    assert end_members(lambda: next(looks, set()), 0.1, time.sleep) == set()
    assert child.wait(10) == -signal.SIGTERM


@pytest.mark.slow
def test_a_run_called_off_is_gone_at_once() -> None:
    """Also when all of it is deaf: within the half second that the contract's proof leaves."""
    bench = Bench(GracePeriods())
    run = bench.start(bench.order(bench.write("10-a", "trap '' TERM; echo $$ > pid; while :; do sleep 1; done")))
    pid = read_pid(bench.state / "a" / "pid")
    began = time.monotonic()
    bench.runner.cancel(run.key)
    assert bench.answer().report.outcome is HookOutcome.STOPPED
    assert time.monotonic() - began < 1.5
    assert not is_alive(pid)
    bench.close()


def test_a_hook_that_ended_just_before_the_call_off_ended_by_itself(bench: Bench) -> None:
    """Its answer is its own, and it is not called stopped."""
    run = bench.start(bench.order(bench.write("10-a", "exit 3")))
    await_that(lambda: not bench.answers.empty())
    bench.runner.cancel(run.key)
    assert bench.answer().report.outcome is HookOutcome.NOTHING


# ---- and nothing else ----

@pytest.mark.slow
def test_a_daemon_of_a_hook_that_worked_outlives_whatever_comes_later(bench: Bench) -> None:
    """A later run of the same hook, of another one, and the end of the agent."""
    first = bench.write("10-a", f"{DAEMON} sleep 60 & echo $! > child; exit 0")
    assert bench.run(first).outcome is HookOutcome.DONE
    left = [read_pid(bench.state / "a" / file) for file in ("daemon", "child")]
    for spec in (bench.write("10-a", "sleep 60"), bench.write("20-b", "sleep 60")):
        assert bench.run(spec, limit_s=0.1).outcome is HookOutcome.TIMED_OUT
    bench.close()
    assert [is_alive(pid) for pid in left] == [True, True]
    for pid in left:
        end(pid)


@pytest.mark.parametrize(("called_off", "lets_go"), [("first", "second"), ("second", "first")])
def test_what_a_hook_side_by_side_has_started_is_not_touched(called_off: str, lets_go: str) -> None:
    """It has let an orphan go that nothing but its parentage marks: whose it is cannot be known."""
    def play(bench: Bench) -> None:
        runs = {}
        for name in ("first", "second"):
            runs[name] = bench.start(bench.order(bench.write(
                f"10-{name}", (DAEMON if name == lets_go else "") + "echo $$ > pid; sleep 60")))
            read_pid(bench.state / name / "pid")
        orphan = read_pid(bench.state / lets_go / "daemon")
        bench.runner.cancel(runs[called_off].key)
        assert bench.answer().name == called_off
        assert is_alive(orphan)
        end(orphan)

    in_a_process_of_its_own(play)


def test_what_a_daemon_starts_later_is_not_of_the_hook_that_runs_then() -> None:
    """A service that was restarted by prepare forks workers whenever it likes."""
    def play(bench: Bench) -> None:
        place = bench.directory
        bench.say(f"(env -i setsid sh -c 'cd /; until test -e {place}/go; do sleep 0.01; done; (sleep 60 & "
                  f"echo $! > {place}/worker); exec sleep 60' {SILENT} & echo $! > {place}/daemon)")
        run = bench.start(bench.order(bench.write("20-b", "echo $$ > pid; sleep 60")))
        read_pid(bench.state / "b" / "pid")
        (place / "go").touch()
        left = [read_pid(place / file) for file in ("worker", "daemon")]
        bench.runner.cancel(run.key)
        assert bench.answer().report.outcome is HookOutcome.STOPPED
        assert [is_alive(pid) for pid in left] == [True, True]
        for pid in left:
            end(pid)

    in_a_process_of_its_own(play)


def test_a_child_of_another_part_of_the_agent_is_not_of_the_hook() -> None:
    """It was started while the hook ran, by this process, in this session."""
    def play(bench: Bench) -> None:
        run = bench.start(bench.order(bench.write("10-a", "echo $$ > pid; sleep 60")))
        read_pid(bench.state / "a" / "pid")
        others = subprocess.Popen(["sleep", "60"])
        bench.runner.cancel(run.key)
        assert bench.answer().report.outcome is HookOutcome.STOPPED
        assert others.poll() is None
        others.kill()
        others.wait()

    in_a_process_of_its_own(play)


def test_what_was_there_before_the_hook_is_not_of_it(bench: Bench) -> None:
    """Whatever else speaks for it."""
    before, after = (
        subprocess.Popen(["sleep", "60"], env={"MARK": str(bench.directory)}) for _ in range(2))
    try:
        marks = RunFingerprint(frozenset({f"MARK={bench.directory}".encode()}))
        await_that(lambda: len(find_members(marks)) == 2)
        leader = read_process(after.pid)
        assert leader is not None
        assert find_members(replace(marks, leader=leader.identity)) == {leader.identity}
    finally:
        for child in (before, after):
            child.kill()
            child.wait()


@pytest.mark.parametrize("refusal", [PermissionError(), psutil.AccessDenied(1)], ids=["psutil 5", "psutil 7"])
def test_where_the_process_table_is_hidden_a_run_is_known_by_its_marks(bench: Bench, monkeypatch: pytest.MonkeyPatch,
                                                                       refusal: Exception) -> None:
    """/proc with hidepid=1: psutil reads all of the table or nothing."""
    def children(self: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        raise refusal

    monkeypatch.setattr(psutil.Process, "children", children)
    child = subprocess.Popen(["sleep", "60"], env={"MARK": str(bench.directory)})
    try:
        own = read_process(os.getpid())
        assert own is not None
        marks = RunFingerprint(frozenset({f"MARK={bench.directory}".encode()}), supervisor=own.identity)
        await_that(lambda: [one.pid for one in find_members(marks)] == [child.pid])
    finally:
        child.kill()
        child.wait()


def test_a_number_that_went_to_another_process_while_the_tree_was_read_is_not_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    parent = subprocess.Popen(["sleep", "60"])
    try:
        monkeypatch.setattr(psutil.Process, "children", lambda self, recursive=False: [psutil.Process(stranger.pid)])
        watched = read_process(parent.pid)
        assert watched is not None
        assert find_members(RunFingerprint(NO_ENVIRONMENT, supervisor=watched.identity)) == set()
    finally:
        for one in (stranger, parent):
            one.kill()
            one.wait()


def test_a_failed_hook_keeps_what_it_left_behind(bench: Bench) -> None:
    """Trees are ended on a timeout, a call-off and the agent's end only."""
    bench.say("sleep 60 & echo $! > child; exit 1")
    child = read_pid(bench.state / "said" / "child")
    assert is_alive(child)
    end(child)


def test_a_number_used_again_is_not_signalled() -> None:
    """The same number with another start is another process."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        now = read_process(child.pid)
        assert now is not None
        send_signal({ProcessIdentity(child.pid, now.identity.start_ticks - 1)}, signal.SIGKILL)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05)
        send_signal({now.identity}, signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
        send_signal({now.identity}, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()


def test_a_session_whose_leader_is_another_process_by_now_is_not_the_hooks() -> None:
    stranger = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        await_that(lambda: psutil.Process(stranger.pid).children())
        now = read_process(stranger.pid)
        assert now is not None
        before = ProcessIdentity(stranger.pid, now.identity.start_ticks - 1)
        assert find_members(RunFingerprint(NO_ENVIRONMENT, before)) == set()
        assert find_members(RunFingerprint(frozenset(), before)) == set()
        assert len(find_members(RunFingerprint(NO_ENVIRONMENT, now.identity))) == 2
    finally:
        os.killpg(stranger.pid, signal.SIGKILL)
        stranger.wait()


def test_a_name_of_a_process_cannot_mislead_the_table(bench: Bench) -> None:
    """A name may hold brackets and spaces; the numbers come after its last bracket."""
    bench.hooks.joinpath("x) Z 1 1").symlink_to("/bin/sleep")
    child = subprocess.Popen([str(bench.hooks / "x) Z 1 1"), "60"])
    try:
        await_that(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "x) Z 1 1\n")
        found = read_process(child.pid)
        assert found is not None
        assert (found.parent, found.session, found.has_ended) == (os.getpid(), os.getsid(0), False)
    finally:
        child.kill()
        child.wait()


# ---- orphans that ended ----

def test_hooks_that_end_at_once_keep_their_exit_status(bench: Bench) -> None:
    """Many side by side, each leaving an orphan: reaping the orphans of one takes no status of another."""
    specs = [bench.write(f"10-h{number}", f"(setsid true &); exit {number + 10}") for number in range(6)]
    for _ in range(4):
        for spec in specs:
            bench.start(bench.order(spec))
        answers = [bench.answer() for _ in specs]
        assert sorted(answer.report.exit_status or 0 for answer in answers) == [10, 11, 12, 13, 14, 15]
        assert all(answer.report.exit_status == int(answer.name[1:]) + 10 for answer in answers)


# ---- time that nobody lived ----

@pytest.mark.slow
def test_a_stop_of_the_agent_is_not_counted_against_a_hook(bench: Bench) -> None:
    """The limit is 1.5 s; the agent is stopped for 1.8 s; the hook, which needs 2.2 s, has lived 0.8 s when it ends."""
    spec = bench.write("10-a", "echo $$ > pid; sleep 2.2")
    agent = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "hooks_agent.py"), str(bench.state), spec.path, "1.5", "1"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY / "agent")})
    read_pid(bench.state / "a" / "pid")
    time.sleep(0.15)
    agent.send_signal(signal.SIGSTOP)
    time.sleep(1.8)
    agent.send_signal(signal.SIGCONT)
    assert agent.communicate(timeout=20)[0] == "done\n"


def test_without_pidfds_ends_are_still_noticed_and_trees_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 5.3 have none, and some sandboxes forbid them."""
    def forbidden(pid: int, flags: int = 0) -> int:
        raise PermissionError(errno.EPERM, "forbidden")

    monkeypatch.setattr(os, "pidfd_open", forbidden)
    assert bench.say("exit 3").outcome is HookOutcome.NOTHING
    report, pids = call_off(bench, bench.write("10-b", "setsid sleep 60 & echo $! > child; wait"), "child")
    assert report.outcome is HookOutcome.STOPPED
    assert not any(map(is_alive, pids))
