"""Every pause of a real guest is found and measured, and none is invented; the truth is the hypervisor's own."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from .blackouts import Truth
from .cases import CASES, STALL_S, Case
from .conftest import ROWS
from .play import Play
from .table import Row

pytestmark = pytest.mark.slow

OUTSIDE_SAMPLES_S = 2.5              # some of them stand in the agent's memory before the stop
PATIENCE_S = 15.0                    # an incident waits 10 s for outside time at most
SECOND_THOUGHTS_S = 1.5              # a second claim of the same stop would come in this time
MACHINE = ("vm-pause", "suspend")
STOPS = sum(case.cause in MACHINE for case in CASES)      # they stand first
LARGEST_MEDIAN_ERROR_S = 0.005
ENOUGH_FOR_A_MEDIAN, ONE_RUN_ALLOWANCE = 3, 3     # the limits are the owner's for medians; a single run is not one

@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_stopped_and_for_how_long(case: Case, run: int, play: Play, tell: Callable[[Row], None]) -> None:
    """The machine's stops are claimed once each with the truth inside the bounds; no other trouble is called one."""
    event = ""
    if case.event_started:
        event = play.begin_event()
        time.sleep(OUTSIDE_SAMPLES_S)
    began = time.time()
    truth = case.play(play)
    play.machine.wait_for_guest()
    play.stage.ear.wait_for("pause.detected", began, PATIENCE_S)
    ahead_s = play.machine.ahead_s()
    time.sleep(SECOND_THOUGHTS_S)
    claims = play.claims(began)
    tell(_row(case, truth, claims, ahead_s))
    play.machine.set_clock()
    if event:
        play.end_event(event)
    _judge(case, truth, [claim for _, claim in claims])


@pytest.mark.usefixtures("booted")
@pytest.mark.parametrize("case", CASES[:STOPS], ids=[case.name for case in CASES[:STOPS]])
def test_how_soon_and_how_exactly(case: Case) -> None:
    """Over the runs: the widest bound, and the medians (the table has the worst)."""
    rows = [row for row in ROWS if row.case == case.name and row.cause == case.cause]
    assert rows, "it was not found"
    assert max(row.uncertainty_s or 0.0 for row in rows) <= case.within_s
    allowance = 1 if len(rows) >= ENOUGH_FOR_A_MEDIAN else ONE_RUN_ALLOWANCE
    assert median(row.seen_after_s or 0.0 for row in rows) < case.seen_within_s * allowance
    if case.needs_outside_time:
        assert median(abs(row.error_s or 0.0) for row in rows) < LARGEST_MEDIAN_ERROR_S * allowance


def _judge(case: Case, truth: Truth, claims: list[dict[str, Any]]) -> None:
    stops = [claim for claim in claims if claim["cause"] in MACHINE]
    if case.cause not in MACHINE:
        assert stops == [], f"a stop of the machine was invented: {json.dumps(stops, indent=1)}"
        assert case.cause in [claim["cause"] for claim in claims]
        return
    assert len(stops) == 1, f"{truth.length_s:.3f} s were claimed as {json.dumps(claims, indent=1)}"
    assert truth.is_within(stops[0]["length_s"], stops[0]["uncertainty_s"]), json.dumps(stops[0], indent=1)


def _row(case: Case, truth: Truth, claims: list[tuple[float, dict[str, Any]]], ahead_s: float) -> Row:
    exact = case.cause in MACHINE
    right = [claim for claim in claims if claim[1]["cause"] == case.cause] or claims
    if not right:
        return Row(case.name, truth.length_s, ahead_s=ahead_s)
    at, claim = right[0]
    others = [other["cause"] for _, other in claims if other is not claim]
    return Row(case.name, truth.length_s if exact or truth.length_s == STALL_S else None, claim["length_s"],
               claim["uncertainty_s"], at - truth.resumed_at if exact else None, claim["cause"], ahead_s,
               "; ".join([*([f"also {', '.join(others)}"] if others else []), claim["evidence"][-1]]))
