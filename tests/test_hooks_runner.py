"""One run of one hook: how it is started, what it is given, what it answers."""
from __future__ import annotations

import grp
import os
import pwd
import signal
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hooks_tried import UNTIL_GO, Bench, await_that, end, is_alive, read_pid
from sampling import thinned
from tideover.hooks.environment import UnusableAccountError
from tideover.hooks.posix_trust import find_account
from tideover.model import HookOutcome, HookPhase, Kind

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.mark.parametrize(("status", "outcome"), [
    (0, "done"), (3, "nothing"), (4, "refused"), (75, "not-yet"), (1, "failed"), *(
        pytest.param(status, "failed", marks=pytest.mark.slow) for status in (2, 127, 255))])
def test_the_exit_status_says_what_came_of_it(bench: Bench, status: int, outcome: str) -> None:
    report = bench.say(f"exit {status}")
    assert (report.outcome.value, report.exit_status) == (outcome, status)


def test_death_by_a_signal_is_a_failure_without_an_exit_status(bench: Bench) -> None:
    report = bench.say("kill -SEGV $$")
    assert (report.outcome, report.exit_status, report.note) == (HookOutcome.FAILED, None, "ended by SIGSEGV")


def test_an_exit_status_is_the_hooks_whatever_the_agent_does_with_its_children(bench: Bench) -> None:
    """Were a lost one called 0, the event would be acknowledged for a hook that may have failed."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        report = bench.say("exit 3")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (report.outcome, report.exit_status) == (HookOutcome.NOTHING, 3)


def test_the_answer_names_the_run_that_was_asked_for(bench: Bench) -> None:
    run = bench.start(bench.order(bench.write("10-web", 'echo "$@"'), HookPhase.RECOVER))
    answer = bench.answer()
    assert (answer.name, answer.phase, answer.run) == ("web", HookPhase.RECOVER, run.run)
    assert answer.report.output == "recover\n"


def test_a_hook_sees_a_clean_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of the agent's environment reaches a hook."""
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    report = bench.say("cd /; unset OLDPWD; env")
    own = dict(line.split("=", 1) for line in report.output.splitlines() if not line.startswith("cwd="))
    ours = {name for name in own if name.startswith("TIDEOVER_")}
    assert set(own) - ours == {"PATH", "LANG", "HOME", "PWD"}       # PWD is the shell's own
    assert own["HOME"] == (os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir)
    assert own["TIDEOVER_STATE_DIR"] == str(bench.state / "said")
    assert "TIDEOVER_DRILL" not in own


def test_a_hook_in_a_drill_knows_it() -> None:
    bench = Bench(drill=True)
    assert bench.say('test "$TIDEOVER_DRILL" = 1').outcome is HookOutcome.DONE
    bench.close()


def test_a_hostile_event_adds_no_variable_and_stops_no_hook(bench: Bench) -> None:
    spec = bench.write("10-a", 'env -0 | tr "\\n\\0" "#\\n"')
    odd = "id\nLD_PRELOAD=/evil\0\x1b[2J\ud800" + "x" * 200_000
    bench.start(replace(bench.order(spec), event_id=odd, kind=Kind.UNKNOWN))
    report = bench.answer().report
    assert report.outcome is HookOutcome.DONE
    assert not [line for line in report.output.splitlines() if line.startswith("LD_PRELOAD") or "#" in line]


def test_the_record_is_standard_input(bench: Bench) -> None:
    spec = bench.write("10-a", "cksum; cat /dev/stdin | wc -c")
    bench.start(bench.order(spec), b"x" * 1_048_576)
    assert bench.answer().report.output.split()[1] == "1048576"


def test_a_hook_that_never_reads_its_record_delays_no_other(bench: Bench) -> None:
    bench.start(bench.order(bench.write("10-a", "exit 0")), b"x" * 1_048_576)
    assert bench.answer().report.outcome is HookOutcome.DONE


def test_both_outputs_are_kept_and_logged_by_line(bench: Bench) -> None:
    report = bench.say(r"echo one; printf 't\033[31mwo\377' >&2")
    assert report.output == "one\nt\x1b[31mwo\ufffd"
    assert bench.lines == ["one", "t[31mwo\ufffd"]


def test_a_hook_that_closes_its_outputs_is_still_waited_for(bench: Bench) -> None:
    report = bench.say("exec >/dev/null 2>&1 <&-; sleep 0.03; exit 3")
    assert (report.outcome, report.duration_s > 0.025) == (HookOutcome.NOTHING, True)


def test_a_hook_that_says_nothing_is_waited_for_without_turning_round(bench: Bench) -> None:
    """Neither a closed output nor a wakeup may keep the wait from waiting."""
    bench.say("exec >/dev/null 2>&1 <&-; sleep 0.03")
    assert bench.readings < 20


def test_a_child_that_keeps_the_pipe_is_not_waited_for_and_not_harmed(bench: Bench) -> None:
    """The hook has ended when its own process has; what it left behind must not die of SIGPIPE at its next word."""
    report = bench.say("(while :; do echo still here; echo >> words; sleep 0.005; done) & echo $! > child; echo ready")
    child = read_pid(bench.state / "said" / "child")
    assert (report.outcome, "ready\n" in report.output) == (HookOutcome.DONE, True)
    words = bench.state / "said" / "words"
    await_that(words.exists)
    so_far = len(words.read_text())
    await_that(lambda: len(words.read_text()) > so_far + 1)
    assert is_alive(child)
    end(child)


def test_a_flood_from_a_child_that_keeps_the_pipe_does_not_hold_the_answer(bench: Bench) -> None:
    report = bench.say("yes & echo $! > child; exit 0")
    end(read_pid(bench.state / "said" / "child"))
    assert report.outcome is HookOutcome.DONE
    assert len(report.output) <= 65536


@pytest.mark.slow
def test_a_flood_of_output_costs_neither_memory_nor_the_deadline(bench: Bench) -> None:
    """It is read as fast as it comes; a hook that prints for ever still has a deadline."""
    def memory_kib() -> int:
        return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])

    before = memory_kib()
    report = bench.say("head -c 300000000 /dev/zero")
    assert (report.outcome, len(report.output)) == (HookOutcome.DONE, 65536)
    endless = bench.run(bench.write("20-endless", "exec yes"), limit_s=0.5)
    assert (endless.outcome, endless.duration_s < 5) == (HookOutcome.TIMED_OUT, True)
    assert memory_kib() - before < 8 * 1024


# ---- what cannot be started ----

def test_a_script_without_its_interpreter_says_so(bench: Bench) -> None:
    report = bench.run(bench.write("10-a", "exit 0", "#!/nowhere/python"))
    assert (report.outcome, report.exit_status) == (HookOutcome.FAILED, None)
    assert "interpreter" in report.note


def test_a_file_that_is_no_program_says_so(bench: Bench) -> None:
    report = bench.run(bench.write("10-a", "exit 0", ""))
    assert (report.outcome, "#!/bin/sh" in report.note) == (HookOutcome.FAILED, True)


def test_a_hook_that_is_gone_by_recover_is_a_failure(bench: Bench) -> None:
    spec = bench.write("10-a", "exit 0")
    Path(spec.path).unlink()
    report = bench.run(spec, HookPhase.RECOVER)
    assert (report.outcome, "put it back" in report.note) == (HookOutcome.FAILED, True)


def test_a_hook_renumbered_while_it_is_prepared_is_recovered_where_it_lies_by_now(bench: Bench) -> None:
    """The NAME is the hook: a new number takes no recover away from it, and the record says which file was run."""
    spec = bench.write("10-a", 'echo "$(basename "$0") $1 $(cat kept)"; echo this > kept')
    bench.run(spec)
    Path(spec.path).rename(bench.hooks / "15-a")
    bench.write("15-a~", "exit 1")
    bench.write("15-ab", "exit 1")
    report = bench.run(spec, HookPhase.RECOVER)
    assert (report.outcome, report.output, report.note) == (
        HookOutcome.DONE, "15-a recover this\n", "10-a is now 15-a")


def test_a_renumbered_hook_is_held_to_the_same_rights(bench: Bench) -> None:
    spec = bench.write("10-a", "touch ran")
    Path(spec.path).rename(bench.hooks / "15-a")
    (bench.hooks / "15-a").chmod(0o777)
    report = bench.run(spec, HookPhase.RECOVER)
    assert (report.outcome, "15-a" in report.note, "chmod go-w" in report.note) == (HookOutcome.REFUSED, True, True)
    assert not (bench.state / "a" / "ran").exists()


def test_of_two_files_that_a_renumbered_hook_could_be_none_is_run(bench: Bench) -> None:
    spec = bench.write("10-a", "exit 0")
    Path(spec.path).rename(bench.hooks / "15-a")
    bench.write("16-a", "exit 0")
    report = bench.run(spec, HookPhase.RECOVER)
    assert (report.outcome, "put it back" in report.note) == (HookOutcome.FAILED, True)


def test_a_prepare_is_run_of_the_very_file_that_was_wanted(bench: Bench) -> None:
    """Nothing of it is pending yet, and the catalogue knows where it lies by now."""
    spec = bench.write("10-a", "exit 0")
    Path(spec.path).rename(bench.hooks / "15-a")
    assert bench.run(spec).outcome is HookOutcome.FAILED


def test_a_hook_that_lost_its_run_bit_is_a_failure(bench: Bench) -> None:
    spec = bench.write("10-a", "exit 0")
    Path(spec.path).chmod(0o644)
    report = bench.run(spec)
    assert (report.outcome, "chmod a+rx" in report.note) == (HookOutcome.FAILED, True)


def test_an_environment_that_is_too_long_is_a_failure(bench: Bench) -> None:
    bench.environment["LONG"] = "x" * 200_000
    report = bench.say("exit 0")
    assert (report.outcome, "too long" in report.note) == (HookOutcome.FAILED, True)


def test_a_hook_is_given_its_environment_file_as_it_stands_at_each_run(bench: Bench) -> None:
    """Over the table of the configuration; values literally; what is printed is hidden as any other value."""
    file = bench.directory / "web.env"
    bench.environment |= {"BOTH": "table", "TABLE": "table"}
    bench.environment_file = str(file)
    spec = bench.write("10-web", 'test "$BOTH $TABLE $QUOTED" = "file table \\"a b=c\\"" && echo "$TOKEN"')
    for token in ("first-token", "second-token"):
        file.write_text(f'# of the web server\n\n  BOTH=file\r\nQUOTED="a b=c"\nEMPTY=\nTOKEN={token}\n')
        file.chmod(0o600)
        report = bench.run(spec)
        assert (report.outcome, report.output, report.note) == (HookOutcome.DONE, "${TOKEN}\n", "")


@pytest.mark.parametrize(("content", "mode", "why"), thinned([
    (None, 0, "cannot be read (no such file or directory)"),
    (b"TOKEN=hunter2hunter2\n", 0o644, "can be read by everybody: chmod go-r"),
    (b"TOKEN=hunter2hunter2\n", 0o620, "chmod g-w"),
    (b"FINE=x\nhunter2hunter2\n", 0o600, "line 2: expected NAME=value"),
    (b"export TOKEN=hunter2hunter2\n", 0o600, "line 1: expected NAME=value"),
    (b"TIDEOVER_DRILL=hunter2hunter2\n", 0o600, "line 1: names that begin with TIDEOVER_ are reserved"),
    (b"TOKEN=hunter2\0hunter2\n", 0o600, "line 1: a value cannot contain a NUL"),
    (b"TOKEN=hunter2hunter2\xff\n", 0o600, "is not UTF-8"),
    (b"#" * 131_073, 0o600, "is longer than 128 KiB"),
], 3))
def test_prepare_is_refused_without_its_environment_file_and_recover_runs_without_it(
        bench: Bench, content: bytes | None, mode: int, why: str) -> None:
    """Each says why, and neither repeats what stands in the file. What the table sets holds for recover."""
    file = bench.directory / "web.env"
    bench.environment["TABLE"], bench.environment_file = "table", str(file)
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    spec = bench.write("10-web", 'echo "$TABLE, token=$TOKEN"')
    prepare, recover = bench.run(spec), bench.run(spec, HookPhase.RECOVER)
    assert (prepare.outcome, prepare.begun, why in prepare.note) == (HookOutcome.REFUSED, False, True), prepare.note
    assert (recover.outcome, recover.output) == (HookOutcome.DONE, "table, token=\n")
    assert recover.note == f"run without its environment file: {prepare.note}" and "hunter2" not in recover.note


def test_a_pipe_is_no_environment_file_and_nothing_waits_for_it(bench: Bench) -> None:
    bench.environment_file = str(bench.directory / "pipe")
    os.mkfifo(bench.environment_file, 0o600)
    report = bench.say("exit 0")
    assert (report.outcome, "is not a regular file" in report.note) == (HookOutcome.REFUSED, True)


def test_a_refused_hook_is_never_run(bench: Bench) -> None:
    report = bench.say("touch ran", refused="because")
    assert (report.outcome, report.exit_status, report.note) == (HookOutcome.REFUSED, None, "because")
    assert not bench.state.exists()


def test_a_file_that_others_could_write_since_it_was_read_is_not_run(bench: Bench) -> None:
    """The check is made again right before each start."""
    spec = bench.write("10-a", "touch ran")
    assert bench.run(spec).outcome is HookOutcome.DONE
    (bench.state / "a" / "ran").unlink()
    bench.hooks.chmod(0o777)
    report = bench.run(spec)
    assert (report.outcome, report.exit_status, "chmod go-w" in report.note) == (HookOutcome.REFUSED, None, True)
    assert not (bench.state / "a" / "ran").exists()


def test_a_hook_finds_what_lies_beside_it(bench: Bench) -> None:
    """It is started by its path, so $0 is its path."""
    (bench.hooks / "beside.sh").write_text("echo found\n")
    assert bench.say('. "$(dirname "$0")/beside.sh"').output == "found\n"


@pytest.mark.slow
def test_a_run_whose_time_is_made_shorter_ends_by_the_shorter_one(bench: Bench) -> None:
    """NotBefore has moved: what is left up to it counts, not what was when the hook was begun."""
    run = bench.start(bench.order(bench.write("10-a", "echo begun; sleep 60")))
    await_that(lambda: bench.lines == ["begun"])
    bench.runner.shorten(run.key, 0.3)
    bench.runner.shorten(run.key, 50.0)
    report = bench.answer().report
    assert report.outcome is HookOutcome.TIMED_OUT and "longer than 0.3 s" in report.note


def test_without_time_nothing_is_started(bench: Bench) -> None:
    spec = bench.write("10-a", "touch ran")
    assert bench.run(spec, limit_s=0.0).outcome is HookOutcome.TIMED_OUT
    assert not (bench.state / "a").exists()


# ---- the state directory ----

@pytest.mark.parametrize("ends", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_state_directory_lives_from_prepare_to_a_recover_that_worked(bench: Bench, ends: int) -> None:
    spec = bench.write("10-a", """
        case $1 in
        prepare) test ! -e kept && echo x > kept ;;
        recover) test -e kept && if test -e tried; then exit "$ENDS"; else touch tried; exit 1; fi ;;
        esac""")
    bench.environment["ENDS"] = str(ends)
    assert bench.run(spec).outcome is HookOutcome.DONE
    assert bench.run(spec, HookPhase.RECOVER).outcome is HookOutcome.FAILED
    assert (bench.state / "a" / "kept").exists()
    assert bench.run(spec, HookPhase.RECOVER).exit_status == ends
    assert not (bench.state / "a").exists()


def test_state_directories_cannot_be_seen_by_other_users(bench: Bench) -> None:
    bench.say("exit 0")
    assert stat.S_IMODE(bench.state.stat().st_mode) == 0o711
    assert stat.S_IMODE((bench.state / "said").stat().st_mode) == 0o700


def test_modes_that_were_loosened_are_corrected(bench: Bench) -> None:
    bench.say("exit 0")
    bench.state.chmod(0o777)
    (bench.state / "said").chmod(0o777)
    test_state_directories_cannot_be_seen_by_other_users(bench)


def test_a_link_in_the_place_of_a_state_directory_is_not_followed(bench: Bench) -> None:
    bench.state.mkdir()
    (bench.state / "said").symlink_to(bench.hooks)
    report = bench.say("exit 0")
    assert (report.outcome, "state directory" in report.note) == (HookOutcome.FAILED, True)


@as_root
def test_a_directory_that_is_another_users_holds_no_state(bench: Bench) -> None:
    """That user could put links where root makes directories and gives them away."""
    bench.state.mkdir()
    os.chown(bench.state, NOBODY.pw_uid, NOBODY.pw_gid)
    report = bench.say("exit 0")
    assert (report.outcome, "belongs to user id" in report.note) == (HookOutcome.FAILED, True)
    assert list(bench.state.iterdir()) == []


def test_forgetting_removes_the_state_directory_after_what_runs(bench: Bench) -> None:
    spec = bench.write("10-a", f"{UNTIL_GO}; touch kept")
    bench.start(bench.order(spec))
    bench.runner.forget("a")
    bench.go()
    assert bench.answer().report.outcome is HookOutcome.DONE
    await_that(lambda: not (bench.state / "a").exists())
    await_that(lambda: not list((bench.state / ".gone").iterdir()))
    bench.runner.forget("never-there")


# ---- one answer a run ----

@pytest.mark.slow
def test_two_runs_of_one_hook_never_overlap(bench: Bench) -> None:
    spec = bench.write("10-a", "mkdir alone || exit 9; sleep 0.02; rmdir alone")
    for _ in range(4):
        bench.start(bench.order(spec))
    assert [bench.answer().report.exit_status for _ in range(4)] == [0, 0, 0, 0]


def test_hooks_run_side_by_side(bench: Bench) -> None:
    """Each waits for the other's sign."""
    one = bench.write("10-one", "touch ../two/sign 2>/dev/null; until test -e sign; do sleep 0.01; "
                                "touch ../two/sign 2>/dev/null; done")
    two = bench.write("10-two", "touch ../one/sign 2>/dev/null; until test -e sign; do sleep 0.01; "
                                "touch ../one/sign 2>/dev/null; done")
    for spec in (one, two):
        bench.start(bench.order(spec))
    assert {bench.answer().report.outcome for _ in range(2)} == {HookOutcome.DONE}


def test_one_start_has_one_answer(bench: Bench) -> None:
    """Also when it is asked for twice, or called off when it is over."""
    run = bench.order(bench.write("10-a", UNTIL_GO))
    bench.start(run)
    bench.start(run)
    bench.go()
    assert bench.answer().report.outcome is HookOutcome.DONE
    bench.runner.cancel(run.key)
    bench.runner.cancel("hook:unknown:prepare:1")
    bench.close()
    assert bench.answers.empty()


def test_a_run_called_off_before_its_turn_is_never_begun(bench: Bench) -> None:
    bench.start(bench.order(bench.write("10-a", UNTIL_GO)))
    later = bench.start(bench.order(bench.write("20-a", "touch ran")))
    bench.runner.cancel(later.key)
    bench.go()
    assert [bench.answer().report.outcome for _ in range(2)] == [HookOutcome.DONE, HookOutcome.STOPPED]
    assert not (bench.state / "a" / "ran").exists()


def test_closing_ends_what_runs_and_answers_for_it(bench: Bench) -> None:
    bench.start(bench.order(bench.write("10-a", "echo $$ > pid; sleep 60")))
    pid = read_pid(bench.state / "a" / "pid")
    later = bench.order(bench.write("10-b", "touch ran"))
    bench.runner.close()
    assert bench.answer().report.outcome is HookOutcome.STOPPED
    assert not is_alive(pid)
    bench.start(later)
    assert bench.answer().report.outcome is HookOutcome.STOPPED
    assert not (bench.state / "b").exists()


@pytest.mark.slow
def test_runs_leave_no_files_open_and_no_threads(bench: Bench) -> None:
    strangers = set(threading.enumerate())      # the main thread, and what tests before this one have left
    bench.say("exit 0")

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(set(threading.enumerate()) - strangers)

    await_that(lambda: held()[1] == 0)
    before = held()
    for _ in range(10):
        bench.say("exit 0")
    await_that(lambda: held() <= before)


# ---- users ----

def user_with_groups() -> pwd.struct_passwd:
    members = {name for group in grp.getgrall() for name in group.gr_mem}
    found = [entry for entry in pwd.getpwall() if entry.pw_name in members and entry.pw_uid]
    return found[0] if found else NOBODY


@as_root
def test_a_hook_runs_as_its_user_with_its_groups_and_no_others(bench: Bench) -> None:
    user = user_with_groups()
    groups = os.getgroups()
    try:
        os.setgroups([*groups, 54321])      # one of ours that it must not have
        report = bench.say('id -u; id -g; id -G; echo "$HOME"; echo x > mine', user=user.pw_name)
    finally:
        os.setgroups(groups)
    uid, gid, hooks_groups, home = report.output.splitlines()
    assert (int(uid), int(gid), home) == (user.pw_uid, user.pw_gid, user.pw_dir)
    assert {int(group) for group in hooks_groups.split()} == set(os.getgrouplist(user.pw_name, user.pw_gid))
    assert (bench.state / "said" / "mine").stat().st_uid == user.pw_uid


@as_root
def test_a_state_directory_is_its_users_and_goes_with_the_setting(bench: Bench) -> None:
    for user, uid in ((None, 0), ("nobody", NOBODY.pw_uid), (None, 0)):
        assert bench.say("touch mine", user=user).outcome is HookOutcome.DONE
        status = (bench.state / "said").stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (uid, 0o700)
        (bench.state / "said" / "mine").unlink()


@as_root
def test_another_users_hook_cannot_see_the_state_of_its_neighbours(bench: Bench) -> None:
    bench.say("echo secret > secret")
    spec = replace(bench.write("20-spy", "ls .. || cat ../said/secret && exit 9; exit 0"), user="nobody")
    report = bench.run(spec)
    assert (report.exit_status, "secret\n" in report.output.replace("cat:", "")) == (0, False)


@pytest.mark.slow
@as_root
def test_a_hook_of_another_user_is_ended_too(bench: Bench) -> None:
    report = bench.run(replace(
        bench.write("10-a", "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"), user="nobody"), limit_s=0.15)
    assert report.outcome is HookOutcome.TIMED_OUT
    assert not is_alive(read_pid(bench.state / "a" / "pid"))


def test_an_unknown_user_is_refused(bench: Bench) -> None:
    report = bench.say("exit 0", user="no-such-user")
    assert (report.outcome, report.exit_status) == (HookOutcome.REFUSED, None)


@as_root
def test_an_agent_of_an_ordinary_user_refuses_other_users() -> None:
    """Played in a child that has given root up."""
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY.pw_uid)
        try:
            find_account("root")
            os._exit(1)
        except UnusableAccountError as refused:
            own = find_account("nobody").change_to is None
            os._exit(0 if "as user root" in str(refused) and own else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_signal_that_the_agent_ignores_still_reaches_its_hooks(bench: Bench) -> None:
    """Python ignores SIGPIPE; a hook with a pipeline relies on it."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    assert bench.say("kill -PIPE $$").note == "ended by SIGPIPE"


def test_a_prepared_hook_has_a_private_directory_that_bears_witness_until_it_has_recovered(bench: Bench) -> None:
    spec = replace(bench.write("10-web", "exit 0"), timeout_s=7.0, umask=0o027)
    assert bench.runner.witnesses() == ()
    bench.run(spec)
    [witness] = bench.runner.witnesses()
    assert witness.spec == spec and (witness.event_id, witness.kind) == ("event-1", Kind.FREEZE)
    bench.run(replace(spec, path=bench.write("10-web", "exit 1").path), HookPhase.RECOVER)
    assert [one.name for one in bench.runner.witnesses()] == ["web"], "a recover that failed is still pending"
    bench.run(replace(spec, path=bench.write("10-web", "exit 3").path), HookPhase.RECOVER)
    assert bench.runner.witnesses() == ()
    assert not [file for file in bench.state.rglob("*.json")]


def test_a_witness_that_is_no_longer_true_goes_with_its_directory(bench: Bench) -> None:
    bench.run(bench.write("10-web", "exit 3"))
    bench.runner.forget("web")
    await_that(lambda: not bench.runner.witnesses())


def test_what_lies_among_the_private_directories_and_is_none_bears_no_witness(bench: Bench) -> None:
    bench.run(bench.write("10-web", "exit 0"))
    (bench.state / "file").write_text("")
    (bench.state / "link").symlink_to("/")
    assert [one.name for one in bench.runner.witnesses()] == ["web"]
