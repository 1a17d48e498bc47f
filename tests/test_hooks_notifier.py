"""[notify] command: a program hears of each change of an event of this VM, and nothing ever waits for it."""
from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hooks_tried import await_that, is_alive
from lives import GOOD, ME, Life, at, document_at, event, hook, pause, started
from running_agent import world
from tideover import observations as ob
from tideover.config_file import load_settings
from tideover.daemon.agent import Agent
from tideover.effects import RunFacts
from tideover.hooks.notifier import Notifier, NotifyEnd
from tideover.lifecycle import Phase
from tideover.lifecycle.notifications import QUEUED_AT_MOST, Notification, enqueue, notifications_of
from tideover.model import Kind
from tideover.policy import Policy
from tideover.settings import NotifySettings, read_settings
from tideover.settings.values import LINUX

TWO = Policy(hooks=(hook("first", 10),))


def news(event_id: str = "e1", phase: Phase = Phase.HELD) -> Notification:
    return Notification(event_id, phase, at(0), Kind.FREEZE)


class ReportedLife(Life):
    """A life, and what is to be reported of it."""

    def __init__(self, policy: Policy = TWO) -> None:
        self.reported: list[Notification] = []
        super().__init__(policy)

    def see(self, *observations: ob.Observation) -> Life:
        for seen in observations:
            before, known = self.state, len(self.entries)
            super().see(seen)
            self.reported += notifications_of(before, self.state, self.entries[known:], self.now)
        return self

    def phases(self) -> list[str]:
        return [one.phase.value for one in self.reported]


# --- what is reported

def test_each_change_of_phase_of_an_own_event_is_reported_with_what_is_known_of_it() -> None:
    life = ReportedLife()
    life.polled(event()).settle().acknowledged().polled(started(event())).see(ob.Resumed(pause(now=life.now)))
    life.judged(GOOD).after(6).settle().polled()
    assert life.phases() == ["preparing", "acknowledging", "acknowledged", "started", "checking-clock", "settling", "recovering",
                             "recovered", "closed"]
    first, last = life.reported[0], life.reported[-1]
    assert (first.event_id, first.kind, first.reason) == ("e1", Kind.FREEZE, "")
    assert (first.facts.seconds_left, first.facts.expected_pause_s) == (900.0, 5.0)
    assert (last.reason, last.facts.pause_s, last.facts.clock.value) == ("resumed", 5.0, "good")


def test_an_event_that_no_hook_wants_is_reported_too_and_so_is_a_pause_that_was_not_announced() -> None:
    life = ReportedLife(Policy())
    life.polled(event())
    assert life.phases() == ["preparing", "held"]
    life.polled().see(ob.Resumed(pause("p9", now=life.now)))
    assert (life.reported[-1].event_id, life.reported[-1].kind) == ("p9", Kind.UNANNOUNCED)


def test_other_machines_report_their_own_events() -> None:
    """A scale set of 50 machines that see one event sends one message, and one each of an event that names them all."""
    theirs = ReportedLife().polled(event("e2", resources=("vm-2", "vm-3")))
    theirs.polled()
    assert theirs.reported == []        # type: ignore[attr-defined]
    shared = ReportedLife().polled(event("e3", resources=(ME.upper(), "vm-2")))
    assert shared.reported[0].event_id == "e3"      # type: ignore[attr-defined]


def test_an_own_event_of_a_kind_that_is_not_acted_on_is_reported() -> None:
    life = ReportedLife(replace(TWO, act_on=frozenset({Kind.REBOOT}))).polled(event())
    assert life.phases() == ["observed"]        # type: ignore[attr-defined]


# --- what waits when the program is slow

def test_of_each_event_the_newest_phase_is_kept() -> None:
    queue: tuple[Notification, ...] = ()
    dropped = []
    for number in range(40):
        for phase in (Phase.PREPARING, Phase.HELD) if number < 8 else (Phase.CLOSED,):
            queue, gone = enqueue(queue, news(f"e{number % 8}", phase))
            dropped += [gone] if gone else []
            assert len(queue) <= QUEUED_AT_MOST
    assert {one.event_id: one.phase for one in queue} == {f"e{number}": Phase.CLOSED for number in range(8)}
    newest = {one.event_id: place for place, one in enumerate(queue)}
    assert len(newest) == 8
    assert len(dropped) == 48 - len(queue)


def test_when_more_events_wait_than_there_is_room_for_the_oldest_goes() -> None:
    queue: tuple[Notification, ...] = ()
    for number in range(20):
        queue, _ = enqueue(queue, news(f"e{number}"))
    assert [one.event_id for one in queue] == [f"e{number}" for number in range(4, 20)]


# --- the runs

class Played:
    """A notifier with a program of the test's own."""

    def __init__(self, home: Path, script: str, *arguments: str, limit_s: float = 10.0) -> None:
        self.home, self.program = home, home / "program"
        self.program.write_text(f"#!/bin/sh\n{script.replace('HOME_OF_TEST', str(home))}\n")
        self.program.chmod(0o755)
        self.ends: list[NotifyEnd] = []
        self.dropped: list[Notification] = []
        self.lines: list[str] = []
        self.notifier = Notifier(
            NotifySettings(None, (str(self.program), *arguments)), home, lambda one: json.dumps({"event_id": one.event_id}).encode(),
            self.ends.append, self.dropped.append, lambda one, line: self.lines.append(line), limit_s=limit_s)

    def until(self, runs: int, patience_s: float = 20.0) -> list[NotifyEnd]:
        end_s = time.monotonic() + patience_s
        while len(self.ends) < runs:
            assert time.monotonic() < end_s, self.lines
            time.sleep(0.001)
        return self.ends


def test_the_program_has_the_record_its_arguments_and_the_variables_of_a_hook(tmp_path: Path) -> None:
    played = Played(tmp_path, 'cat > HOME_OF_TEST/stdin; env > HOME_OF_TEST/env; echo "$1|$2|$PWD" > HOME_OF_TEST/arguments', "a b", "--x=$HOME")
    told = replace(news("E 1", Phase.CLOSED), reason="resumed", facts=RunFacts(pause_s=7.0))
    played.notifier.take(told)
    [end] = played.until(1)
    assert end.why == ""
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert json.loads((tmp_path / "stdin").read_text()) == {"event_id": "E 1"}
    assert (tmp_path / "arguments").read_text() == "a b|--x=$HOME|/\n"
    assert (environment["TIDEOVER_EVENT_PHASE"], environment["TIDEOVER_EVENT_ID"], environment["TIDEOVER_KIND"]) == (
        "closed", "E 1", "freeze")
    assert (environment["TIDEOVER_REASON"], environment["TIDEOVER_PAUSE_S"], environment["TIDEOVER_PHASE"]) == ("resumed", "7.000", "")
    assert not [name for name in environment if name not in ("HOME", "LANG", "PATH", "PWD", "SHLVL", "_", "OLDPWD")
                and not name.startswith("TIDEOVER_")]


@pytest.mark.slow
def test_a_program_that_hangs_is_ended_with_all_its_processes_and_the_next_news_comes_after_it(tmp_path: Path) -> None:
    played = Played(tmp_path, 'echo $TIDEOVER_EVENT_ID >> HOME_OF_TEST/begun; [ $TIDEOVER_EVENT_ID = slow ] || exit 0\n'
                    '(setsid sh -c "trap \'\' TERM; echo \\$\\$ > HOME_OF_TEST/detached; sleep 600" &)\nsleep 600', limit_s=0.7)
    began_s = time.monotonic()
    played.notifier.take(news("slow"))
    played.notifier.take(news("quick"))
    assert time.monotonic() - began_s < 0.5
    first, second = played.until(2)
    assert "it took longer than 0.7 s; its processes were ended" in first.why
    assert second.why == ""
    assert (tmp_path / "begun").read_text().split() == ["slow", "quick"]
    pid = int((tmp_path / "detached").read_text())
    assert not is_alive(pid)


@pytest.mark.parametrize(("script", "mode", "why"), [
    ("exit 7", 0o755, "exit status 7"), ("kill -9 $$", 0o755, "ended by SIGKILL"), ("exit 0", 0o777, "can be written by everybody"),
    ("exit 0", 0o644, "may not be run by this user")])
def test_a_run_that_fails_says_why(tmp_path: Path, script: str, mode: int, why: str) -> None:
    played = Played(tmp_path, script)
    played.program.chmod(mode)
    played.notifier.take(news())
    [end] = played.until(1)
    assert why in end.why


def test_what_it_prints_goes_to_the_log_without_an_address_that_may_hold_a_token(tmp_path: Path) -> None:
    url = "https://hooks.example/services/T0/B0/secret"
    played = Played(tmp_path, 'echo "posting to $1"; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23; do echo $i; done', url)
    played.notifier.take(news())
    played.until(1)
    assert played.lines[0] == "posting to ${argument 1}"
    assert len(played.lines) == 21


def test_a_program_that_runs_when_the_agent_stops_is_killed_with_all_its_processes(tmp_path: Path) -> None:
    played = Played(tmp_path, '(setsid sh -c "trap \'\' TERM; echo \\$\\$ > HOME_OF_TEST/detached; exec sleep 600" &)\nsleep 600', limit_s=600.0)
    played.notifier.take(news("running"))
    played.notifier.take(news("waiting"))
    end_s = time.monotonic() + 20
    while not (tmp_path / "detached").exists() or not (tmp_path / "detached").read_text().strip():
        assert time.monotonic() < end_s
        time.sleep(0.001)
    played.notifier.end()
    pid = int((tmp_path / "detached").read_text())
    assert not is_alive(pid)
    played.notifier.take(news("late"))
    [end] = played.until(1)
    assert (end.what.event_id, end.why) == ("running", "the agent stopped")


# --- with a real agent

@pytest.mark.slow
def test_a_program_that_hangs_delays_nothing_of_an_event_and_hears_of_its_end(tmp_path: Path) -> None:
    """The whole event is over before the first run of the program is; the newest phase comes after it."""
    program = tmp_path / "tell"
    program.write_text(f'#!/bin/sh\ncat > {tmp_path}/record-$TIDEOVER_EVENT_PHASE\necho "$TIDEOVER_EVENT_PHASE" >> {tmp_path}/told\n'
                       f'[ $TIDEOVER_EVENT_PHASE != preparing ] || while [ ! -e {tmp_path}/release ]; do sleep 0.05; done\nexit 1\n')
    program.chmod(0o755)
    with world(tmp_path) as it:
        it.hook("10-first")
        it.configure(f'[notify]\ncommand = ["{program}"]\nuser = ""')
        it.start()
        it.live_through_freeze(stopped_s=1.2)
        meanwhile = (tmp_path / "told").read_text().split()
        (tmp_path / "release").touch()
        it.until(lambda: "closed" in (tmp_path / "told").read_text().split())
        said = it.said()
    told = (tmp_path / "told").read_text().split()
    assert told == ["preparing", "acknowledging", "acknowledged", "started", "checking-clock", "settling", "recovering",
                    "recovered", "closed"]
    for phase in ("acknowledging", "started", "closed"):
        assert json.loads((tmp_path / f"record-{phase}").read_text())["status"] == phase
    assert meanwhile == ["preparing"]
    assert "notify.failed" in said
    assert "exit status 1" in said


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")
def test_run_by_root_the_program_has_the_unprivileged_account_unless_another_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for above in list(tmp_path.parents)[:2]:
        above.chmod(above.stat().st_mode | 0o055)
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o1777)
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\nid -un >> {out}/users\n")
    program.chmod(0o755)
    with world(tmp_path) as it:
        it.configure(f'[notify]\ncommand = ["{program}"]')
        it.start()
        it.freeze()
        it.until(lambda: (out / "users").exists() and len((out / "users").read_text().split()) >= 2)
    assert set((out / "users").read_text().split()) == {"nobody"}


# --- its configuration

@pytest.mark.parametrize("text", ['command = ["tell"]', 'command = "https://x/secret"', "command = [7]", 'command = ["bin/tell", "secret"]'])
def test_a_command_that_is_none_is_refused_without_repeating_it(text: str) -> None:
    from tideover.errors import ConfigurationError
    with pytest.raises(ConfigurationError) as refused:
        read_settings(f"[notify]\n{text}\n", file="t", defaults=LINUX)
    assert "the absolute path of a program" in refused.value.faults[0]
    assert "secret" not in refused.value.faults[0]


def agent_with_an_event(home: Path, script: str) -> Agent:
    """Given what its program for notifications does, return an agent in this process, without a platform, that has seen
    an event."""
    program = home / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (home / "tideover.toml").write_text(
        f'[source]\nkind = "none"\n[notify]\nuser = ""\ncommand = ["{program}"]\n'
        f'[paths]\nhooks = "{home}/hooks.d"\nstate = "{home}/state"\nruntime = "{home}/run"\n')
    agent = Agent(load_settings(home / "tideover.toml", {}))
    now = agent.clocks.moment()
    for seen in (ob.Restarted("boot"), ob.Polled(document_at((event(),), now), ME)):
        agent.engine.handle(seen)
    return agent


def test_an_agent_reports_to_its_program(tmp_path: Path) -> None:
    """In this process, and without a platform: one document is enough."""
    agent = agent_with_an_event(tmp_path, f"echo $TIDEOVER_EVENT_PHASE >> {tmp_path}/phases")
    try:
        await_that(lambda: (tmp_path / "phases").exists() and "held" in (tmp_path / "phases").read_text())
    finally:
        agent.close()


def test_a_reload_leaves_a_running_program_and_the_stop_after_it_ends_it(tmp_path: Path) -> None:
    first = agent_with_an_event(tmp_path, f"echo $$ > {tmp_path}/pid\nexec sleep 300")
    await_that(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    first.close()
    second = Agent(load_settings(tmp_path / "tideover.toml", {}), before=first)
    pid = int((tmp_path / "pid").read_text())
    after_reload = is_alive(pid)
    second.close()
    second.end_notifications()
    assert after_reload and not is_alive(pid)
