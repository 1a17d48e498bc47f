"""What a person does by hand says and means the same whether an agent works there or not."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from running_agent import World, environment, world

FREEZES = '[policy]\nacknowledge = "never"'


@contextmanager
def held(home: Path, *, agent: bool, body: str = ":") -> Iterator[tuple[World, str]]:
    """A freeze for which the one hook has prepared and that waits for its owner; then with the agent or without one."""
    with world(home) as here:
        here.hook("10-first", body)
        here.configure(FREEZES)
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "holding")
        if not agent:
            here.kill()
        yield here, event


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_recover_by_hand_says_what_it_recovered(tmp_path, agent):
    with held(tmp_path, agent=agent) as (here, event):
        unknown, asked = here.command("recover", "no-such-event"), here.ask("recover", event.upper())
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr == "tideover: cannot recover no-such-event: no such event is open. tideover status lists them.\n"
        assert asked == {"ok": True, "were_owed": ["first"], "still_owed": []}
        assert here.begun() == ["first prepare", "first recover"]
        assert here.command("recover").stdout == "Nothing is owed.\n"


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_recover_by_hand_says_its_result_in_one_sentence(tmp_path, agent):
    with held(tmp_path / "good", agent=agent) as (here, _):
        answer = here.command("recover")
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "Recovered: first.\n", "")
    with held(tmp_path / "bad", agent=agent, body='[ "$1" = prepare ] || exit 1') as (here, _):
        answer = here.command("recover")
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr == "tideover: recover is still owed: first. tideover show last tells why.\n"


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_whoever_is_recovered_by_hand_is_told_how_the_clock_is(tmp_path, agent):
    """Its owner decides that it carries on; that the clock is wrong it must hear all the same."""
    with held(tmp_path, agent=agent, body=f'echo "$TIDEOVER_CLOCK $TIDEOVER_CLOCK_OFFSET_S" > {tmp_path}/told') as (here, _):
        assert here.time_server is not None
        here.time_server.offset_s = 30.0
        assert here.command("recover").returncode == 0
        verdict, offset_s = (tmp_path / "told").read_text().split()
        assert verdict == "bad" and -31 < float(offset_s) < -29
        assert here.record()["clock"]["verdict"] == "bad"


def posts(here: World) -> int:
    return sum(request.method == "POST" for request in here.metadata.requests)


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_what_is_acknowledged_by_hand_is_told_to_the_platform_once(tmp_path, agent):
    """Also by an agent that is started later, and though the platform lists the event as Scheduled on and on."""
    with world(tmp_path, start_after_s=600.0) as here:
        here.hook("10-first")
        here.configure(FREEZES)
        event = here.freeze(not_before_in_s=600)
        if agent:
            here.start()
            here.until(lambda: here.record()["status"] == "holding")
        first, second = here.command("acknowledge", event), here.command("acknowledge", event.upper())
        assert (first.returncode, first.stdout) == (0, f"{event}: the platform has accepted it\n")
        assert (second.returncode, second.stdout) == (0, f"{event.upper()}: it is acknowledged already\n")
        if agent:
            here.kill()
        here.configure()                                # from now on it would be acknowledged when ready
        here.start()
        here.until(lambda: here.record()["status"] == "holding")
        assert here.ask("acknowledge", event) == {"ok": True, "why": "it is acknowledged already", "event_id": event}
        assert posts(here) == 1 and here.record()["acknowledged_at"] is not None


@pytest.mark.slow
def test_an_agent_that_had_no_answer_hears_of_the_acknowledgement_by_hand_that_followed(tmp_path):
    from tideover.simulator import Fault
    with world(tmp_path, start_after_s=600.0) as here:
        here.metadata.misbehave(Fault(status=503), method="POST", times=1)
        here.hook("10-first")
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "doubting")
        here.kill()
        asked = posts(here)
        assert here.command("acknowledge", event).returncode == 0
        here.start()
        here.until(lambda: here.record()["status"] == "holding" and len(here.metadata.requests) > 12)
        assert posts(here) == asked + 1


@pytest.mark.slow
def test_what_cannot_be_acknowledged_is_told_for_its_true_reason(tmp_path):
    with held(tmp_path, agent=True) as (here, event):
        unknown = here.command("acknowledge", "no-such-event")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr == ("tideover: cannot acknowledge no-such-event: no such event is open. "
                                  "tideover status lists them.\n")
        assert here.command("recover").returncode == 0
        recovered = here.command("acknowledge", event)
        assert recovered.returncode == 1
        assert recovered.stderr.startswith(f"tideover: cannot acknowledge {event}: its applications were recovered by hand")
        assert here.metadata.acknowledgements == []


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_nobody_acknowledges_for_another_vm(tmp_path, agent):
    with world(tmp_path) as here:
        here.configure()
        event = here.freeze(resources=["vm-of-somebody-else"])
        if agent:
            here.start()
            here.until(lambda: here.ask("status")["events"])
        answer = here.command("acknowledge", event)
        assert answer.returncode == 1 and "this VM" in answer.stderr
        assert posts(here) == 0


@pytest.mark.slow
def test_an_event_acknowledged_by_hand_in_another_spelling_stays_one_event(tmp_path):
    with held(tmp_path, agent=False) as (here, event):
        here.metadata.remove_event(event)
        here.freeze(id=event.lower(), not_before_in_s=600)
        assert here.command("acknowledge", event).returncode == 0
        assert [record["event_id"] for record in here.records()] == [event]
        assert here.record()["acknowledged_at"] is not None
        assert here.metadata.acknowledgements[0].event_id == event.lower(), "the platform is told its own spelling"


@pytest.mark.slow
def test_recover_inside_a_recover_hook_answers_at_once_with_what_is_pending(tmp_path):
    """It does not wait for the run that waits for it."""
    with world(tmp_path) as here:
        call = f'{sys.executable} -m tideover recover --config {tmp_path}/tideover.toml 2> {tmp_path}/told; echo $? >> {tmp_path}/told'
        here.hook("10-self", f'[ "$1" = prepare ] || {{ PYTHONPATH={environment()["PYTHONPATH"]}; export PYTHONPATH; {call}; }}')
        here.configure('[hook.self]\ntimeout = "15s"')
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["self prepare", "self recover"]
        told = (tmp_path / "told").read_text()
        assert told.startswith("tideover: recover is still owed: self. The agent runs it") and told.endswith("\n1\n")
        assert [run["outcome"] for run in here.record()["hooks"]] == ["done", "done"]
