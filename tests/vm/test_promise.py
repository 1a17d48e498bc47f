"""The whole promise in a real guest: prepared, released, stopped, held back until the clock is good, carried on."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from .agent import Choices, HookRan
from .blackouts import Truth, stop_and_continue
from .play import Play
from .table import Row

pytestmark = pytest.mark.slow

STOPPED_S = 10.0
TOLERANCE_S = 0.25                   # the default of [clock] tolerance
SAID_LATE_S = 0.2                    # between a hook's look at the clock and the lab's hearing of it, emulated
UNITS = "/usr/lib/systemd/system"
HOOKS = ["first", "second"]


def _stop_with_an_announced_freeze(play: Play) -> tuple[str, Truth]:
    """Announce, let the agent prepare and agree, stop for ten seconds; return the event's id and the truth."""
    since = time.time()
    event = play.begin_event()
    prepared = play.hooks_run(since)
    assert [(ran.name, ran.phase) for ran in prepared] == [(name, "prepare") for name in HOOKS]
    agreed = next(given for given in play.cloud.service.acknowledgements if given.event_id == event)
    assert agreed.at >= prepared[-1].at - SAID_LATE_S, "the platform was released before the hooks were ready"
    time.sleep(2)
    truth = stop_and_continue(play.machine, STOPPED_S)
    assert play.machine.ahead_s() < -0.9 * STOPPED_S, "the lab did not stop the guest's clocks"
    play.cloud.service.remove_event(event)
    return event, truth


def _carried_over_a_freeze(play: Play, *, closed_within_s: float) -> tuple[dict[str, Any], list[HookRan], Truth]:
    """With the time daemon that runs, which is stopped then; return the record, the runs of recover and the truth."""
    event, truth = _stop_with_an_announced_freeze(play)
    play.expect(f"event={event} to=closed", truth.resumed_at, closed_within_s)
    recovered = play.hooks_run(truth.resumed_at)
    record = play.record(event)
    play.stop_time_daemon()
    return record, recovered, truth


def test_recover_waits_until_the_clock_is_good(play: Play, tell: Callable[[Row], None]) -> None:
    """No recover starts while the clock is ten seconds behind; a time daemon that steps ends the wait."""
    play.configure(Choices())
    play.start_time_daemon("steps")
    record, recovered, truth = _carried_over_a_freeze(play, closed_within_s=60)
    tell(_row("promise: daemon steps", record, recovered, truth))
    assert [(ran.name, ran.phase, ran.reason, ran.clock) for ran in recovered] == [
        (name, "recover", "resumed", "good") for name in reversed(HOOKS)]
    assert all(abs(ran.ahead_s) <= TOLERANCE_S + SAID_LATE_S for ran in recovered), recovered
    assert (record["outcome"], record["clock"]["verdict"]) == ("resumed", "good")
    _judge_pause(record, truth)


def test_with_a_daemon_that_repairs_slowly_recover_runs_at_the_deadline_and_says_so(
        play: Play, tell: Callable[[Row], None]) -> None:
    """Applications wait for a good clock as long as their owner chose, and get a bad verdict."""
    play.configure(Choices(deadline="15s"))
    play.start_time_daemon("slews")
    record, recovered, truth = _carried_over_a_freeze(play, closed_within_s=60)
    tell(_row("promise: daemon slews", record, recovered, truth))
    assert [(ran.name, ran.clock) for ran in recovered] == [(name, "bad") for name in reversed(HOOKS)]
    assert all(ran.ahead_s < -TOLERANCE_S for ran in recovered), "the clock was good"
    assert 14.5 <= recovered[0].at - truth.resumed_at <= 25
    assert (record["outcome"], record["clock"]["verdict"]) == ("resumed", "bad")
    _judge_pause(record, truth)


def test_the_remedy_makes_a_slow_daemon_quick(play: Play, tell: Callable[[Row], None]) -> None:
    """Made to measure again, the same daemon has the clock right long before it would have by itself."""
    play.configure(Choices(deadline="60s", remedy="daemon"))
    play.start_time_daemon("slews")
    record, recovered, truth = _carried_over_a_freeze(play, closed_within_s=90)
    tell(_row("promise: with the remedy", record, recovered, truth))
    assert {ran.clock for ran in recovered} == {"good"}
    assert record["clock"]["good_after_s"] < 30
    _judge_pause(record, truth)


@pytest.mark.extra
def test_without_the_remedy_the_same_daemon_takes_minutes(play: Play, tell: Callable[[Row], None]) -> None:
    """The yardstick for the remedy: recover waits as long as the owner lets it, and the record says for how long."""
    play.configure(Choices(deadline="300s"))
    play.start_time_daemon("slews")
    record, recovered, truth = _carried_over_a_freeze(play, closed_within_s=320)
    tell(_row("promise: without the remedy", record, recovered, truth))
    assert {ran.clock for ran in recovered} == {"good"}
    assert record["clock"]["good_after_s"] > 60
    _judge_pause(record, truth)


def test_after_a_reboot_in_the_middle_hooks_are_recovered(play: Play) -> None:
    """A new boot ends what was prepared for it: outcome restarted, each hook recovered once."""
    play.start_time_daemon("steps")
    play.machine.run(f"ln -sf {UNITS}/chrony.service /etc/systemd/system/multi-user.target.wants/ && sync")
    event = play.begin_event("Reboot")
    reset = time.time()
    play.machine.monitor.ask("system_reset")
    play.expect("agent.started", reset, 120)
    play.cloud.service.remove_event(event)
    play.expect(f"event={event} to=closed", reset, 60)
    recovered = play.hooks_run(reset)
    assert [(ran.name, ran.phase, ran.reason) for ran in recovered] == [
        (name, "recover", "restarted") for name in reversed(HOOKS)]
    play.machine.wait_for_guest()
    assert play.record(event)["outcome"] == "restarted"


def _judge_pause(record: dict[str, Any], truth: Truth) -> None:
    stops = [pause for pause in record["pauses"] if pause["cause"] == "vm-pause"]
    assert len(stops) == 1, json.dumps(record, indent=1)
    assert truth.is_within(stops[0]["length_s"], stops[0]["uncertainty_s"]), (truth, stops)


def _row(case: str, record: dict[str, Any], recovered: list[HookRan], truth: Truth) -> Row:
    pause = next((one for one in record["pauses"] if one["cause"] == "vm-pause"), None)
    good_after_s = record["clock"]["good_after_s"]
    said = (f"recover began {recovered[0].at - truth.resumed_at:.1f} s after the resume, clock {recovered[0].clock} "
            f"({recovered[0].ahead_s:+.3f} s)" if recovered else "recover did not run")
    return Row(case, truth.length_s, pause and pause["length_s"], pause and pause["uncertainty_s"],
               cause=pause["cause"] if pause else "", ahead_s=recovered[0].ahead_s if recovered else None,
               remarks=said + (f", good after {good_after_s} s" if good_after_s is not None else ""))
