"""The drill shows the whole life of an event, judges by what it measured itself, and leaves nothing behind."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tideover.cli import main
from tideover.drill import DrillPlan, hooks_that_run
from tideover.drill.checks import DrillEvidence, ObservedRun, all_checks_passed, check_evidence, runs_from_notes
from tideover.drill.environment import Outage
from tideover.drill.sandbox import NOTEBOOK, SAMPLE_HOOKS, sample_hook_names
from tideover.lifecycle import Phase
from tideover.model import (
    Cause,
    ClockCheck,
    HookOutcome,
    HookPhase,
    HookReport,
    HookRun,
    HookSpec,
    Kind,
    Outcome,
    Pause,
    Verdict,
    utc,
)
from tideover.record import EventRecord

AGENT = Path(__file__).parents[1] / "agent"
FREEZE = DrillPlan(Kind.FREEZE, 5.0, acknowledged=True)
AT = 1_800_000_000.0


def run(hook: str, order: int, phase: HookPhase, at: float, clock: str = "-") -> ObservedRun:
    return ObservedRun(hook, order, phase, AT + at, AT + at + 0.1, worked=True, clock=clock)


def stall(length_s: float) -> Pause:
    return Pause("p", utc(AT + 6.0), 0.0, length_s, 0.03, Cause.PROCESS_STALL)


def record(**changes: Any) -> EventRecord:
    ended = HookRun("any", HookPhase.PREPARE, 1, HookReport(HookOutcome.DONE, 0, utc(AT), 0.1))
    whole = EventRecord("E", utc(AT), phase=Phase.CLOSED, outcome=Outcome.RESUMED, acknowledged_at=utc(AT + 1.0),
                        hooks=(ended,) * 4, pauses=(stall(5.01),))
    return replace(whole, **changes)


GOOD = DrillEvidence(
    FREEZE, (run("first", 10, HookPhase.PREPARE, 0.0), run("second", 20, HookPhase.PREPARE, 0.2),
             run("second", 20, HookPhase.RECOVER, 8.0, "good"), run("first", 10, HookPhase.RECOVER, 8.2, "good")),
    "by the hooks' own notes", record(), ClockCheck(Verdict.GOOD, 0.0001, 0.001, utc(AT + 7.0)), posts=(AT + 0.4,),
    acknowledged_ids=("E",), event_id="E", stop=Outage(4.999, 5.001, AT + 1.0, AT + 6.0),
    numbers=((AT - 0.1, 1), (AT + 0.1, 2), (AT + 8.5, 3)), ntp_queries=1)


def held(seen: DrillEvidence) -> list[bool | None]:
    return [finding.held for finding in check_evidence(seen)]


def test_a_life_as_it_should_be_holds_every_promise():
    assert held(GOOD) == [True] * 5


@pytest.mark.parametrize(("promise", "change"), [
    (1, {"runs": GOOD.runs[:3]}),
    (1, {"runs": (*GOOD.runs[:2], GOOD.runs[3], GOOD.runs[2])}),
    (1, {"runs": (*GOOD.runs, run("third", 5, HookPhase.RECOVER, 8.4, "good"))}),
    (1, {"numbers": ((AT, 1), (AT + 3.0, 2), (AT + 9, 3))}),
    (1, {"numbers": ((AT, 1), (AT + 0.1, 2), (AT + 9, 2))}),
    (1, {"numbers": ((AT, 1), (AT + 0.1, 2))}),
    (2, {"posts": (AT + 0.4, AT + 0.5)}),
    (2, {"posts": (), "acknowledged_ids": ()}),
    (2, {"posts": (AT + 0.15,)}),
    (2, {"acknowledged_ids": ("another",)}),
    (3, {"record": record(pauses=())}),
    (3, {"record": record(pauses=(stall(5.1),))}),
    (4, {"check": None}),
    (4, {"ntp_queries": 0}),
    (4, {"check": replace(GOOD.check, verdict=Verdict.BAD)}),
    (4, {"check": replace(GOOD.check, checked_at=utc(AT + 8.1))}),
    (4, {"check": replace(GOOD.check, offset_s=0.1)}),
    (4, {"runs": (*GOOD.runs[:2], replace(GOOD.runs[2], clock="bad"), GOOD.runs[3])}),
    (5, {"record": record(phase=Phase.RECOVERING, outcome=None)}),
    (5, {"record": record(outcome=Outcome.MISSED)}),
    (5, {"record": record(acknowledged_at=None)}),
    (5, {"record": record(hooks=())}),
])
def test_each_promise_breaks_on_its_own_evidence(promise, change):
    """What the agent claims does not help it: the drill's own measurements decide."""
    seen = replace(GOOD, **change)
    assert held(seen)[promise - 1] is False
    assert not all_checks_passed(check_evidence(seen))


def test_hooks_that_all_have_nothing_to_do_fail_no_drill():
    """They were run and prepared nothing, so there was nothing to recover; no hook at all would be a failure."""
    idle = tuple(replace(one, needs_recover=False) for one in GOOD.runs[:2])
    assert held(replace(GOOD, runs=idle, numbers=None))[0] is None
    assert held(replace(GOOD, runs=(), numbers=None))[0] is False


def test_nothing_may_be_acknowledged_after_a_withdrawal():
    withdrawn = replace(GOOD, stop=None, posts=(), acknowledged_ids=(), withdrawn_at=AT + 0.3,
                        record=record(outcome=Outcome.CANCELLED, acknowledged_at=None, pauses=()))
    assert held(withdrawn) == [True, True, None, None, True]
    assert held(replace(withdrawn, posts=(AT + 0.4,)))[1] is False


def test_a_failed_prepare_allows_no_request():
    failed = replace(GOOD, runs=(replace(GOOD.runs[0], worked=False), *GOOD.runs[1:]))
    assert held(replace(failed, posts=(), acknowledged_ids=(), record=record(acknowledged_at=None))) == [True] * 5


def test_a_restart_that_is_none_is_not_passed_off_as_a_measured_pause():
    seen = replace(GOOD, plan=replace(FREEZE, kind=Kind.REBOOT), stop=None, away=GOOD.stop, record=record(pauses=()))
    assert held(seen) == [True, True, None, True, True]
    assert "boot id" in check_evidence(seen)[2].evidence[0]


def test_the_notes_of_the_sample_hooks_are_read_with_what_did_not_end(tmp_path):
    notes = tmp_path / "notes"
    notes.write_text("1.5 10-notes prepare begun -\n1.6 10-notes prepare done -\n1.7 20-traffic prepare begun -\nha")
    first, second = runs_from_notes(notes)
    assert (first.hook, first.order, first.ended_at, first.worked) == ("notes", 10, 1.6, True)
    assert (second.hook, second.ended_at, second.worked) == ("traffic", None, False)


def test_an_event_is_announced_so_far_ahead_that_no_hook_is_short_of_time():
    from tideover.drill import OwnHooks
    specs = tuple(HookSpec(name, order, "", timeout_s=100.0) for name, order in (("a", 10), ("b", 10), ("c", 20)))
    plan = replace(FREEZE, own=OwnHooks("/x", specs, (), 5.0))
    assert plan.budget_s == 200.0
    assert plan.notice_s > 205.0


def test_a_pause_at_the_limit_is_stopped_for_a_little_longer_so_that_it_counts():
    assert replace(FREEZE, pause_s=1.0).away_s > 1.05
    assert replace(FREEZE, pause_s=1.5).away_s == 1.5
    assert replace(FREEZE, kind=Kind.REBOOT, pause_s=1.0).away_s == 1.0, "a process that is gone is no stall"


def test_hooks_that_such_an_event_spares_are_not_counted():
    spared = HookSpec("a", 10, "", min_pause_s=9.0)
    assert hooks_that_run(Kind.FREEZE, 5, (spared,)) == ()
    assert hooks_that_run(Kind.FREEZE, 9, (spared,)) == (spared,)


def test_every_sample_hook_may_be_run_twice_and_recovered_without_having_been_prepared(tmp_path):
    """The contract asks it of every hook, so the ones that newcomers copy must do it."""
    shutil.copyfile(SAMPLE_HOOKS / NOTEBOOK, tmp_path / NOTEBOOK)
    environment = {"PATH": os.environ["PATH"], "NOTEBOOK": str(tmp_path / "notebook"), "COUNTER": str(tmp_path),
                   "DRAIN_S": "0", "TIDEOVER_STATE_DIR": str(tmp_path), "TIDEOVER_KIND": "freeze"}
    environment |= {"TIDEOVER_REASON": "resumed", "TIDEOVER_CLOCK": "good"}
    for name in sample_hook_names():
        shutil.copyfile(SAMPLE_HOOKS / name, tmp_path / name)
        (tmp_path / name).chmod(0o755)
        for phase in ("recover", "prepare", "prepare", "recover", "recover"):
            if name == "30-counter":        # the application's part: it stands still when it is asked to
                (tmp_path / "saved").unlink(missing_ok=True)
                if phase == "prepare":
                    (tmp_path / "saved").write_text("7")
            subprocess.run([tmp_path / name, phase], env=environment | {"TIDEOVER_PHASE": phase}, check=True,
                           input=b"{}", capture_output=True, timeout=5)
    assert len(runs_from_notes(tmp_path / "notebook.log")) == 5 * len(sample_hook_names())


# --- the command -------------------------------------------------------------------------------------------------

def start_drill(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(AGENT), "TMPDIR": str(tmp_path), "COLUMNS": "100"}
    return subprocess.Popen([sys.executable, "-m", "tideover", "drill", *words], text=True, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def hold_drill(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    drill = start_drill(tmp_path, *words)
    told, trouble = drill.communicate(timeout=60)
    return drill.returncode, told, trouble


@pytest.mark.parametrize("words", [("--pause", "900ms"), ("--pause", "long"), ("--kind", "frieze"), ("--pause", "1h")])
def test_wrong_use_is_reported_in_a_sentence(tmp_path, words):
    from tideover.cli import main
    assert main(["drill", *words]) == 2
    assert list(tmp_path.iterdir()) == []


def test_without_proc_the_drill_says_so_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tideover.drill.environment.PROCESS_TABLE", tmp_path / "missing")
    assert main(["drill"]) == 2
    said = capsys.readouterr().err
    assert "/proc is not mounted" in said
    assert "Traceback" not in said


def test_a_path_longer_than_its_column_stays_whole_on_a_line_of_its_own(monkeypatch, capsys):
    from tideover.cli.drill import _show_finding, _show_line
    from tideover.drill import CheckResult, TimelineLine
    monkeypatch.setenv("COLUMNS", "61")
    path = "/srv/" + "very-long-name/" * 6 + "agent.log"
    _show_line(TimelineLine(1.0, "agent", f"writes to {path} now"))
    _show_finding(CheckResult("G1", "a check", True, (f"it stands in {path} there",)))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.count(path) == 2


def test_a_folder_where_a_socket_has_no_room_is_reported(tmp_path, monkeypatch, capsys):
    import tempfile

    from tideover.cli import main
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert main(["drill"]) == 2
    assert "too long" in capsys.readouterr().err
    assert list(deep.iterdir()) == []


@pytest.mark.slow
def test_a_freeze_holds_every_promise_and_leaves_nothing_behind(tmp_path):
    status, told, trouble = hold_drill(tmp_path, "--pause", "1.5s")
    assert (status, trouble) == (0, ""), told
    assert told.count("✓") == 5
    assert "Every check passed." in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_drill_of_a_second_says_that_it_stops_for_longer_and_holds_every_promise(tmp_path):
    status, told, trouble = hold_drill(tmp_path, "--pause", "1s")
    assert (status, trouble) == (0, ""), told
    said = " ".join(told.split())
    assert "1.1 s paused" in said and "paused for 1.1 s" in said and "a little longer than 1 s" in said


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "not_shown", "requests"), [
    ("reboot", 1, 1), ("redeploy", 1, 1), ("preempt", 1, 1), ("terminate", 1, 1), ("unknown", 0, 0)])
def test_every_kind_can_be_drilled(tmp_path, kind, not_shown, requests):
    status, told, trouble = hold_drill(tmp_path, "--kind", kind, "--pause", "1.5s", "--json")
    verdict = json.loads(told)
    assert (status, trouble, verdict["held"]) == (0, "", True), told
    assert [check["held"] for check in verdict["checks"]].count(None) == not_shown
    assert verdict["measured"]["acknowledgements"] == requests
    assert verdict["record"]["kind"] == kind
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="applications cannot connect on Windows yet")
def test_an_application_takes_part_beside_the_sample_hooks_also_over_a_reboot():
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        status, told, trouble = hold_drill(Path(short), "--kind", "reboot", "--pause", "1.5s", "--json")
    assert (status, trouble) == (0, ""), told
    runs = [(run["name"], run["phase"]) for run in json.loads(told)["record"]["hooks"] if run["kind"] == "application"]
    assert runs == [("feed", "prepare"), ("feed", "recover")]


@pytest.mark.slow
def test_a_withdrawn_event_is_recovered_at_once(tmp_path):
    status, told, trouble = hold_drill(tmp_path, "--cancel", "--json")
    verdict = json.loads(told)
    assert (status, trouble) == (0, ""), told
    assert verdict["record"]["outcome"] == "cancelled"
    assert verdict["measured"]["acknowledgements"] == 0
    assert {hook["name"] for hook in verdict["measured"]["hooks"]} - {"feed"} == {"notes", "traffic"}


def own_hooks(tmp_path: Path, **texts: str) -> Path:
    (tmp_path / "hooks").mkdir(mode=0o755)
    for name, text in texts.items():
        hook = tmp_path / "hooks" / name.strip("_").replace("_", "-")
        hook.write_text(f"#!/bin/sh\n{text}\n")
        hook.chmod(0o755)
    file = tmp_path / "own.toml"
    file.write_text(f'[paths]\nhooks = "{tmp_path}/hooks"\n[hook.first]\nenvironment = {{ LOG = "{tmp_path}/log" }}\n')
    return file


@pytest.mark.slow
def test_the_owners_hooks_run_with_their_settings_and_know_that_it_is_a_drill(tmp_path):
    file = own_hooks(tmp_path, _10_first='echo "$1 $TIDEOVER_DRILL" >> "$LOG"', _20_idle="exit 3")
    status, told, trouble = hold_drill(tmp_path, "--hooks", "--pause", "1.2s", "--config", str(file))
    assert (status, trouble) == (0, ""), told
    assert (tmp_path / "log").read_text() == "prepare 1\nrecover 1\n"
    assert "1 prepared, 1 recovered" in told


@pytest.mark.slow
def test_an_interrupted_drill_recovers_the_owners_hooks_first(tmp_path):
    file = own_hooks(tmp_path, _10_first='echo "$1" >> "$LOG"')
    drill = start_drill(tmp_path, "--hooks", "--pause", "60s", "--config", str(file))
    assert drill.stdout is not None
    while "paused for" not in drill.stdout.readline():
        pass
    drill.send_signal(signal.SIGINT)
    _, trouble = drill.communicate(timeout=30)
    assert drill.returncode == 1
    assert "interrupted" in trouble and "Traceback" not in trouble
    assert (tmp_path / "log").read_text() == "prepare\nrecover\n"
    assert not list(tmp_path.glob("tideover-drill-*"))


@pytest.mark.slow
def test_what_cannot_be_recovered_is_reported_and_its_folder_kept(tmp_path):
    file = own_hooks(tmp_path, _10_first='test "$1" = prepare')
    status, told, _ = hold_drill(tmp_path, "--hooks", "--pause", "1.2s", "--config", str(file))
    assert status == 1
    assert "Still prepared: first" in told.replace("\n", " ")
    assert len(list(tmp_path.glob("tideover-drill-*"))) == 1


@pytest.mark.slow
def test_an_agent_that_dies_is_reported_and_its_hooks_are_ended(tmp_path):
    drill = start_drill(tmp_path)
    assert drill.stdout is not None
    told = ""
    while "runs the prepare hooks" not in told:
        told += drill.stdout.readline()
    while "traffic" not in (notes_of(tmp_path)):
        pass
    (folder,) = tmp_path.glob("tideover-drill-*")
    pid = int(told.partition("(pid ")[2].partition(")")[0])
    os.kill(pid, signal.SIGKILL)
    rest, trouble = drill.communicate(timeout=30)
    assert (drill.returncode, trouble) == (1, "")
    assert "ended from outside (signal 9)" in rest.replace("\n", " ")
    assert str(folder) in rest
    assert (folder / "agent.log").exists()
    mark = f"TIDEOVER_STATE_DIR={folder}".encode()
    assert not [entry for entry in Path("/proc").glob("[0-9]*") if mark in environment_of(entry)]


def environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def notes_of(tmp_path: Path) -> str:
    return "".join(file.read_text() for file in tmp_path.glob("tideover-drill-*/notebook.log"))
