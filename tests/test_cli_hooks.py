"""`tideover hooks run`: a hook run by hand gets what the agent would give it, of an event that is made up."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lives import BEGIN, Life, event
from running_agent import environment
from tideover.cli import main
from tideover.hooks.environment import HookPaths, hook_environment
from tideover.model import EntryKind
from tideover.record import Row, record_of

SAYS = """#!/bin/sh
set -u
env > HERE/env
cat > HERE/record
"""
RECOVERS = SAYS + """[ "$1" = prepare ] || \
echo "$TIDEOVER_REASON|$TIDEOVER_PAUSE_S|$TIDEOVER_PAUSE_UNCERTAINTY_S|$TIDEOVER_CLOCK|$TIDEOVER_CLOCK_OFFSET_S"
"""


class Trial:
    """A configuration with one hook, tried by the command itself."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys
        (home / "hooks.d").mkdir()
        file = home / "hooks.d" / "10-web"
        file.write_text(RECOVERS.replace("HERE", str(home)))
        file.chmod(0o755)
        (home / "tideover.toml").write_text(
            "[paths]\n" + "".join(f'{name} = "{home}/{place}"\n' for name, place in
                                  (("hooks", "hooks.d"), ("state", "state"), ("runtime", "run"))))

    def run(self, phase: str, *words: str) -> dict[str, Any]:
        status = main(["hooks", "run", "web", phase, *words, "--json", "--config", str(self.home / "tideover.toml")])
        told: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert status == 0, told
        return told

    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.home / "env").read_text().splitlines())

    def record(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.home / "record").read_text())
        return told


@pytest.fixture
def trial(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.delenv("TIDEOVER_DRILL", raising=False)
    return Trial(tmp_path, capsys)


def told_by_the_agent(phase: str) -> set[str]:
    """The names of what the agent tells a hook, when an event is prepared for and when it is withdrawn."""
    life = Life().polled(event())
    if phase == "recover":
        life.settle().polled()
    [run] = life.runs()
    return {name for name in hook_environment(run, "trace", HookPaths("/", "/s", {}, {}, {})) if name.startswith("TIDEOVER_")}


@pytest.mark.parametrize("phase", ["prepare", "recover"])
def test_a_hook_tried_by_hand_gets_every_variable_that_the_agent_sets(trial: Trial, phase: str) -> None:
    trial.run(phase)
    told = {name for name in trial.environment() if name.startswith("TIDEOVER_")}
    assert told == told_by_the_agent(phase)


def test_what_is_not_known_by_hand_is_empty_and_the_clock_unknown_as_the_agent_says_it(trial: Trial) -> None:
    """A hook under `set -u` must not die of a variable that is only there when the agent runs it."""
    assert trial.run("recover")["output"] == "cancelled|||unknown|\n"
    assert trial.run("recover", "--kind", "unannounced")["output"] == "resumed|||unknown|\n"


def test_a_recover_by_hand_gets_the_reason_the_pause_and_the_clock_of_the_options(trial: Trial) -> None:
    """In its environment and in the record on its standard input alike."""
    told = trial.run("recover", "--kind", "reboot", "--reason", "restarted", "--pause", "7s", "--clock", "bad")
    assert told["output"] == "restarted|7.000|0.050|bad|\n"
    record = trial.record()
    assert (record["kind"], record["pauses"][0]["length_s"], record["clock"]["verdict"]) == ("reboot", 7.0, "bad")
    assert trial.run("recover", "--pause", "250ms")["output"].startswith("resumed|0.250|")
    assert trial.run("recover", "--reason", "resumed")["output"] == "resumed|||unknown|\n"
    assert trial.run("recover", "--reason", "cancelled", "--clock", "good")["output"] == "cancelled|||good|\n"


def test_prepare_by_hand_does_not_get_what_comes_after_it(trial: Trial) -> None:
    trial.run("prepare", "--reason", "resumed", "--pause", "7s", "--clock", "bad")
    assert not {"TIDEOVER_REASON", "TIDEOVER_PAUSE_S", "TIDEOVER_CLOCK"} & trial.environment().keys()
    assert (trial.record()["pauses"], trial.record()["clock"]["verdict"]) == ([], "unknown")


def test_a_hook_tried_by_hand_is_in_a_drill_only_where_the_caller_says_so(
        trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.run("prepare")
    assert "TIDEOVER_DRILL" not in trial.environment()
    monkeypatch.setenv("TIDEOVER_DRILL", "1")
    trial.run("prepare")
    assert trial.environment()["TIDEOVER_DRILL"] == "1"


@pytest.mark.parametrize("phase", ["prepare", "recover"])
def test_a_hook_tried_by_hand_reads_a_whole_record(trial: Trial, phase: str) -> None:
    trial.run(phase, "--kind", "reboot")
    record = trial.record()
    assert record.keys() == record_of([Row(BEGIN, "e1", EntryKind.NOTICED, "", event())]).as_json().keys()
    assert (record["event_id"], record["kind"], record["outcome"]) == ("by-hand", "reboot", None)
    assert (trial.environment()["TIDEOVER_EVENT_ID"], trial.environment()["TIDEOVER_TRACE_ID"]) == (
        "by-hand", record["trace_id"])
    assert record["clock"]["verdict"] == "unknown" and record["clock"]["offset_s"] is None


@pytest.mark.slow
def test_a_hook_that_is_tried_shows_its_output_as_it_comes(trial: Trial) -> None:
    """The user sees where it waits; and all of it, however much it prints."""
    (trial.home / "hooks.d" / "10-web").write_text(
        f"#!/bin/sh\necho begun\nuntil test -e {trial.home}/go; do sleep 0.01; done\nseq 1500\n")
    command = subprocess.Popen(
        [sys.executable, "-m", "tideover", "hooks", "run", "web", "prepare", "--config", str(trial.home / "tideover.toml")],
        stdout=subprocess.PIPE, text=True, env=environment())
    assert command.stdout is not None
    assert command.stdout.readline() == "begun\n"
    (trial.home / "go").touch()
    lines = command.stdout.read().splitlines()
    assert lines[:1500] == [str(number) for number in range(1, 1501)] and lines[1500].startswith("web prepare: done")
    assert command.wait() == 0
    command.stdout.close()


def test_a_check_says_no_for_a_file_that_is_no_hook(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["hooks", "check", "--config", str(trial.home / "tideover.toml")]
    assert main(words) == 0
    (trial.home / "hooks.d" / "web.sh").touch()
    assert main(words) == 1
    assert "web.sh: its name is not NN-name" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="a Unix socket")
def test_a_check_names_an_application_whose_user_does_not_exist(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    configuration = trial.home / "tideover.toml"
    configuration.write_text(configuration.read_text() + '\n[application.media]\nuser = "no-such-user"\n')
    assert main(["hooks", "check", "--config", str(configuration)]) == 1
    assert "[application.media]: its user no-such-user does not exist" in " ".join(capsys.readouterr().out.split())


def test_a_hook_whose_environment_file_is_missing_is_refused_in_list_and_status_as_in_check(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hooks = tmp_path / "hooks.d"
    hooks.mkdir()
    (hooks / "10-first").write_text("#!/bin/sh\nexit 0\n")
    (hooks / "10-first").chmod(0o755)
    config = tmp_path / "tideover.toml"
    config.write_text(f'[paths]\nhooks = "{hooks}"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n'
                      f'[hook.first]\nenvironment_file = "{tmp_path}/missing"\n')
    told = {}
    for words in ("check", "list"):
        main(["hooks", words, "--json", "--config", str(config)])
        told[words] = json.loads(capsys.readouterr().out)
    assert told["list"]["hooks"][0]["refused"] == told["check"]["refused"][0]["why"]
    main(["status", "--json", "--config", str(config)])
    assert json.loads(capsys.readouterr().out)["catalogue"] == {"ready": 0, "refused": ["10-first"], "disabled": []}
