"""A platform that takes no acknowledgement: nothing is sent, nothing held, and the event starts in its own time."""
from __future__ import annotations

from dataclasses import replace

import pytest

from lives import DONE, FAILED, Life, event
from tideover import observations as ob
from tideover.status import sentence

MIGRATION = replace(event(notice_s=60.0, expected_s=None), takes_acknowledgement=False, source="gcp")
BEGUN = replace(MIGRATION, started=True)


@pytest.mark.parametrize("outcome", [DONE, FAILED])
def test_whatever_becomes_of_the_hooks_nothing_is_sent_and_nothing_held(outcome):
    life = Life().polled(MIGRATION).settle(outcome)
    assert life.phase() == "preparing" and life.acknowledgements() == 0
    assert sentence(life.state).startswith("the platform to start the event, in its own time")


def test_a_pause_says_that_it_has_started_where_the_platform_does_not():
    life = Life().polled(MIGRATION).settle().after(40.0).paused(1.5)
    assert life.phase() == "checking-clock"
    life.judged().after(6.0).settle().polled()
    assert life.outcome() == "resumed" and life.running() == []


def test_a_migration_whose_pause_was_not_detected_is_resumed_and_not_cancelled():
    """Its minute was over: the source says so, the platform never does."""
    life = Life().polled(MIGRATION).settle().after(61.0).polled(BEGUN)
    assert life.phase() == "started"
    life.after(5.0).polled().judged().settle()
    assert life.outcome() == "resumed"


def test_one_that_is_withdrawn_before_its_minute_is_over_is_cancelled():
    life = Life().polled(MIGRATION).settle().after(20.0).polled().settle()
    assert life.outcome() == "cancelled"


def test_a_pause_long_before_a_planned_window_is_not_its_start():
    planned = replace(MIGRATION, not_before=event(notice_s=3000.0).not_before)
    life = Life().polled(planned).settle().after(5.0).paused(1.5)
    assert life.phase() == "preparing"


def test_an_acknowledgement_by_hand_sends_nothing():
    life = Life().polled(MIGRATION).settle()
    life.see(ob.AcknowledgeRequested("e1"))
    assert life.acknowledgements() == 0 and life.phase() == "preparing"
