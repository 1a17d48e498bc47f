"""The whole agent on Windows: an event's life, kills and cancellations in it, the commands beside it."""
from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agents import World, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_an_event_from_its_announcement_to_its_record(here: World) -> None:
    """Batch hooks prepare, one acknowledgement is sent, the stop is measured, the clock checked, hooks recover in reverse."""
    here.hook("10-first.cmd")
    here.hook("20-second.cmd")
    here.start()
    assert here.ask("status")["agent"]["alive"] is True
    event = here.metadata.add_event("Freeze", duration_s=5)
    here.until(lambda: here.metadata.status_of(event) == "Started")
    here.until(lambda: ["second", "prepare-ended"] in here.lines())
    time.sleep(0.5)
    with here.stopped():
        time.sleep(3)
    here.until(lambda: ["first", "recover-ended"] in here.lines())
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    record = here.record()
    assert here.begun() == ["first prepare", "second prepare", "second recover", "first recover"]
    assert (record["outcome"], record["clock"]["verdict"], len(here.metadata.acknowledgements)) == ("resumed", "good", 1)
    (pause,) = record["pauses"]
    assert abs(pause["length_s"] - 3) < 1 and pause["uncertainty_s"] < 0.5
    assert [line[2:] for line in here.lines() if line[1] == "recover"] == [["freeze", "resumed", "good"]] * 2
    assert here.stop() == 0
    assert "agent.stopped" in here.said()


def test_a_cancelled_event_stops_prepare_with_its_tree_and_recovers(here: World) -> None:
    here.hook("10-first.cmd")
    here.hook("20-slow.cmd", "if %1 == prepare ping -n 60 127.0.0.1 > nul")
    here.start()
    event = here.metadata.add_event("Freeze", duration_s=5)
    here.until(lambda: "slow prepare" in here.begun())
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert here.begun() == ["first prepare", "slow prepare", "slow recover", "first recover"]
    assert (here.record()["outcome"], here.metadata.acknowledgements) == ("cancelled", [])
    assert ["slow", "prepare-ended"] not in here.lines()


def test_an_agent_killed_while_it_prepares_leaves_nothing_unrecovered(here: World) -> None:
    here.hook("10-first.cmd")
    here.hook("20-slow.cmd", "if %1 == prepare ping -n 6 127.0.0.1 > nul")
    here.start()
    event = here.metadata.add_event("Freeze", duration_s=5)
    here.until(lambda: "slow prepare" in here.begun())
    here.kill()
    time.sleep(0.5)
    here.start()
    here.until(lambda: here.metadata.acknowledgements)
    assert here.begun().count("slow prepare") == 2
    here.until(lambda: here.metadata.status_of(event) == "Started")
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert here.begun()[-2:] == ["slow recover", "first recover"]
    assert len(here.metadata.acknowledgements) == 1


def test_a_hook_that_never_ends_holds_the_acknowledgement_and_its_tree_is_ended(here: World) -> None:
    here.configure("[hook.stuck]\ntimeout = '2s'\n")
    here.hook("10-stuck.cmd", "if %1 == prepare ping -n 600 127.0.0.1 > nul")
    here.start()
    event = here.metadata.add_event("Freeze", duration_s=5, not_before_in_s=60)
    here.until(lambda: any(run["outcome"] == "timed-out" for run in here.record().get("hooks", ())))
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert here.metadata.acknowledgements == []
    assert here.begun() == ["stuck prepare", "stuck recover"]


def test_recover_by_hand_without_the_agent_runs_what_is_pending(here: World) -> None:
    here.hook("10-first.cmd")
    here.start()
    here.metadata.add_event("Freeze", duration_s=5)
    here.until(lambda: here.metadata.acknowledgements)
    here.kill()
    assert here.ask("status")["agent"]["alive"] is False
    done = here.command("recover", "--yes")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert here.begun() == ["first prepare", "first recover"]


def test_a_second_agent_is_refused_in_a_sentence(here: World) -> None:
    here.start()
    refused = here.command("run")
    assert refused.returncode == 3
    assert "another tideover (process" in refused.stderr and "Traceback" not in refused.stderr


def test_the_commands_beside_the_agent_speak_utf8_and_their_exit_status_is_the_contracts(here: World) -> None:
    here.hook("10-first.cmd", "echo prepared")
    assert here.command("config", "check").returncode == 0
    here.configure("[hook.first]\nenvironment = { WORD = 'größer ≠ kleiner' }\n")
    assert "größer ≠ kleiner" in here.command("config", "show", "--secrets").stdout
    checked = here.command("hooks", "check")
    assert (checked.returncode, "1 of 1" in checked.stdout) == (0, True), checked
    ran = here.command("hooks", "run", "first", "prepare")
    assert (ran.returncode, "prepared" in ran.stdout) == (0, True), ran
    here.configure("[hooks]\ntimeout = 5\n")
    faulty = here.command("config", "check")
    assert (faulty.returncode, "hooks.timeout" in faulty.stderr) == (2, True), faulty
    here.configure()
    assert here.command("clock").returncode == 0
    assert here.command("pauses").returncode == 0


@pytest.mark.parametrize("words", [[], ["--kind", "reboot"], ["--cancel"]], ids=["freeze", "reboot", "cancelled"])
def test_the_drill_holds_every_promise_it_can_show(here: World, words: list[str]) -> None:
    drill = here.ask("drill", "--pause", "3s", *words)
    assert drill["held"] is True, drill
    assert {one["held"] for one in drill["checks"]} <= {True, None}
    assert {"notes", "traffic", "feed"} <= {hook["name"] for hook in drill["measured"]["hooks"]}
