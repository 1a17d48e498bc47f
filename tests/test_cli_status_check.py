"""`tideover status --check`: one line and an exit status for a monitoring system."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lives import DONE, FAILED, NOTHING, REFUSED, event, hook
from running_agent import world
from test_api import STATUS, Place, place  # noqa: F401
from tideover.api import protocol
from tideover.policy import Policy
from tideover.status import problems_of
from tideover.system.file_lock import Lock
from told_lives import ToldLife

SOURCE = {"kind": "azure", "platform": "Azure", "silence": None, "takes_acknowledgement": True, "silent_s": 1.0,
          "last_answer_at": "2026-11-20T10:00:00.000Z", "failures": 0, "reason": ""}
ANSWERING = STATUS | {"journal": {"writable": True, "reason": ""}, "source": SOURCE}


def told(life: ToldLife) -> list[str]:
    return problems_of(ANSWERING | {key: value for key, value in life.status().items() if key in ("events", "hooks")})


def test_an_agent_that_polls_and_waits_is_healthy_also_while_an_event_goes_its_way() -> None:
    life = ToldLife()
    assert told(life) == []
    life.polled(event())
    assert told(life) == []
    life.settle(DONE).acknowledged()
    assert told(life) == []


@pytest.mark.parametrize(("outcome", "required", "problems"), [
    (FAILED, True, ["the acknowledgement of e1 is held: prepare of drain failed"]),
    (REFUSED, True, ["the acknowledgement of e1 is held: prepare of drain failed"]),
    (FAILED, False, []), (NOTHING, True, [])])
def test_an_acknowledgement_held_by_a_failed_preparation_needs_a_look(outcome: Any, required: bool, problems: list[str],
                                                                      ) -> None:
    life = ToldLife(Policy(hooks=(hook(required=required), hook("other", 30))))
    life.polled(event()).settle(outcome, exit_status=1).settle(DONE)
    assert told(life) == problems


def test_an_event_that_the_owner_acknowledges_by_hand_is_held_and_healthy() -> None:
    life = ToldLife(Policy(hooks=()))
    life.polled(event())
    assert life.status()["events"][0]["phase"] == "held" and told(life) == []


def test_a_recovery_whose_retries_are_used_up_needs_a_look() -> None:
    life = ToldLife()
    life.polled(event()).settle(DONE).acknowledged().polled()
    for _ in range(5):
        life.settle(FAILED, exit_status=1).after(200)
    assert told(life) == ["recovery of drain failed"]


@pytest.mark.parametrize(("part", "problem"), [
    ({"source": SOURCE | {"silent_s": 61.0, "reason": "timed out"}}, "no successful poll for 61 s: timed out"),
    ({"source": SOURCE | {"silence": "source none reads no events"}}, "no events can be received: source none reads"),
    ({"journal": {"writable": False, "reason": "no space left"}}, "the journal cannot be written: no space left")])
def test_what_the_agent_cannot_do_is_one_line_and_exit_status_1(
        place: Place, capsys: pytest.CaptureFixture[str], part: dict[str, Any], problem: str) -> None:  # noqa: F811
    lock = Lock(place.state)
    with place.answering({"ok": True, "status": ANSWERING | part}):
        assert place.command("status", "--check") == 1
        line = capsys.readouterr().out
        assert line.startswith(f"PROBLEM: {problem}") and line.count("\n") == 1
        assert place.command("status", "--check", "--json") == 1
        document = json.loads(capsys.readouterr().out)
        assert (document["healthy"], document["exit_status"], len(document["problems"])) == (False, 1, 1)
    with place.answering({"ok": True, "status": ANSWERING}):
        assert place.command("status", "--check") == 0
        assert capsys.readouterr().out == "OK: the agent waits for the next event\n"
    lock.release()


def test_no_agent_and_one_that_does_not_answer_are_exit_status_3(
        place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(protocol, "RELOAD_WAIT_S", 0.02)
    assert place.command("status", "--check") == 3
    assert capsys.readouterr().out == "NO AGENT: no agent is running\n"
    with place.held_by_another():
        assert place.command("status", "--check", "--json") == 3
        document = json.loads(capsys.readouterr().out)
        assert not document["healthy"] and "does not answer" in document["problems"][0]


def test_check_and_watch_exclude_each_other(place: Place, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert place.command("status", "--check", "--watch") == 2


@pytest.mark.slow
def test_a_service_that_can_receive_no_event_does_not_look_healthy(tmp_path: Path) -> None:
    with world(tmp_path) as real:
        real.configure()
        path = tmp_path / "tideover.toml"
        path.write_text(path.read_text().replace('kind = "azure"', 'kind = "none"'))
        real.start(asks=False)
        until(lambda: real.command("status", "--check").returncode != 3)
        answer = real.command("status", "--check")
        assert (answer.returncode, answer.stderr) == (1, "") and "no events can be received" in answer.stdout
        path.write_text(path.read_text().replace('kind = "none"', 'kind = "azure"'))
        real.kill()
        real.start()
        until(lambda: real.command("status", "--check").returncode == 0)


def until(question: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not question():
        assert time.monotonic() < end
        time.sleep(0.1)


FLEET = {"store": "etcd://a:2379", "group": "web", "slots": 1, "last_answer_at": "2026-11-20T10:00:00.000Z", "failing_since": None,
         "reason": ""}


def test_a_store_of_the_fleet_that_cannot_be_used_needs_a_look() -> None:
    assert problems_of(ANSWERING | {"fleet": FLEET}) == []
    assert problems_of(ANSWERING | {"fleet": FLEET | {"failing_since": "2026-11-20T10:05:00.000Z", "reason": "connection refused"}}) == [
        "the fleet's store cannot be used since 2026-11-20T10:05:00.000Z: connection refused"]
