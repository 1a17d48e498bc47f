"""What the journal keeps of the decisions, and that deciding again gives the same."""
from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lives import DONE, ME, Life, at, document_at, event, hook, report, started
from tideover import observations as ob
from tideover.journal import Journal
from tideover.journal.recording import STRETCHES, recordings_of
from tideover.lifecycle import Phase, State, step
from tideover.lifecycle.replay import Decision, Recording, effects_by_key, entry_lines, replay
from tideover.model import HookReport, Moment
from tideover.policy import Policy
from walk import WORLDS, alphabet

TWO = Policy(hooks=(hook("first", 10), hook("second", 20)))


class RecordedLife(Life):
    """A life whose every step is written into a journal, as the engine does it."""

    def __init__(self, journal: Journal, policy: Policy = TWO) -> None:
        self.journal = journal
        super().__init__(policy)

    def see(self, *observations: ob.Observation) -> Life:
        for seen in observations:
            before, known = self.state, len(self.entries)
            super().see(seen)
            entries = tuple(self.entries[known:])
            if self.state != before or entries:
                decision = Decision(self.now, seen, self.policy, entry_lines(entries), effects_by_key(self.state, self.now))
                self.journal.commit(self.now, before, self.state, entries)
                self.journal.record_step(before, self.state, decision)
        return self


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


def recorded(journal: Journal) -> list[list[Recording]]:
    return recordings_of(journal.recording())


def whole_life(life: Life, event_id: str = "e1") -> Life:
    life.polled(event(event_id)).settle().settle().acknowledged().polled(started(event(event_id)))
    life.paused(pause_id=f"p-{event_id}").judged().after(6).settle().settle()
    return life.polled()


def test_an_event_decided_again_has_the_same_phases_and_effects(journal: Journal) -> None:
    life = whole_life(RecordedLife(journal))
    assert life.outcome() == "resumed"
    [_, [again]] = recorded(journal)
    found = replay(again)
    assert found.differences == ()
    assert [phase.value for _, _, phase in found.phases] == [
        "preparing", "acknowledging", "acknowledged", "started", "checking-clock", "settling", "recovering", "recovered", "closed"]
    assert [key for _, effect in found.effects for key in [effect.key]] == [
        "hook:first:prepare:1", "hook:second:prepare:2", "acknowledge:e1:1", "clock:e1:1", "hook:second:recover:3",
        "hook:first:recover:4"]


@pytest.mark.parametrize("rounds", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_any_life_decided_again_is_the_same(tmp_path: Path, rounds: int) -> None:
    """Random lives of every world the laws know; the seed is shown."""
    seed = random.randrange(2**32)
    dice, written, repeated = random.Random(seed), 0, 0
    for number in range(rounds):
        for world in WORLDS:
            journal = Journal(tmp_path / f"{number} {world.name}.db")
            state = State()
            for turn in range(30):
                seen = dice.choice(list(alphabet(state, world)))
                now = Moment(seen.now.utc + timedelta(seconds=turn), seen.now.raw_s + turn)
                move = step(state, seen.observation, world.policy, now)
                if move.state != state or move.entries:
                    decision = Decision(now, seen.observation, world.policy, entry_lines(move.entries), effects_by_key(move.state, now))
                    journal.commit(now, state, move.state, move.entries)
                    journal.record_step(state, move.state, decision)
                    written += 1
                state = move.state
            again = [replay(one) for stretch in recorded(journal) for one in stretch]
            journal.close()
            repeated += sum(found.steps for found in again)
            assert [found.differences for found in again if found.differences] == [], seed
    assert repeated > written / 2 > 10 * rounds, seed
    print(f"seed {seed}: {written} decisions, {repeated} repeated")


def test_another_decision_than_the_recorded_one_is_reported_by_step_entry_and_effect(journal: Journal) -> None:
    whole_life(RecordedLife(journal))
    [_, [again]] = recorded(journal)
    other = replace(again, decisions=tuple(replace(one, policy=replace(one.policy, hooks=(hook("first", 10, timeout_s=7.0),)))
                                           for one in again.decisions))
    first = replay(other).differences[0]
    assert (first.what, first.seen) == ("effect hook:first:prepare:1", "Polled")
    assert "limit_s 60.0" in first.recorded
    assert "limit_s 7.0" in first.replayed
    entries = [one for one in replay(other).differences if one.what == "entries"]
    assert "acknowledging" in entries[0].replayed + entries[0].recorded


@pytest.mark.slow
def test_a_recording_is_bounded_and_its_newest_part_can_still_be_decided_again(journal: Journal) -> None:
    """NotBefore moves with each poll: issue of one event that writes on and on."""
    life = RecordedLife(journal)
    for turn in range(2600):
        life.now_s += 1.0
        life.polled(event(notice_s=90000.0 + 2 * turn))
    rows = journal.recording()
    assert len(rows) <= 1000
    assert sum(len(text) for *_, text in rows) <= 2 * 1024 * 1024
    again = [replay(one) for one in recorded(journal)[-1]]
    assert sum(found.steps for found in again) > 500
    assert not any(found.differences for found in again)
    assert any(phase is Phase.PREPARING for found in again for _, _, phase in found.phases) or life.phase() == "scheduled"


@pytest.mark.slow
def test_of_a_document_of_a_megabyte_with_each_poll_no_more_is_kept_than_of_any(journal: Journal) -> None:
    life = RecordedLife(journal)
    theirs = [event(f"other-{number}", resources=(f"vm-{number}" * 20,)) for number in range(2, 400)]
    for turn in range(40):
        life.now_s += 1.0
        life.polled(event(notice_s=90000.0 + 2 * turn), *theirs)
    assert sum(len(text) for *_, text in journal.recording()) <= 3 * 1024 * 1024
    assert not any(replay(one).differences for one in recorded(journal)[-1])


@pytest.mark.slow
def test_the_recordings_of_the_newest_events_are_kept(journal: Journal) -> None:
    life = RecordedLife(journal)
    for number in range(25):
        life.now_s += 1000.0
        whole_life(life, f"e{number}")
    stretches = recorded(journal)
    assert len(stretches) == STRETCHES
    told = [replay(one).phases for [one] in stretches]
    assert {event_id for phases in told for _, event_id, _ in phases} == {f"e{number}" for number in range(15, 25)}


def test_an_event_open_over_a_restart_of_the_agent_stays_one_stretch(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    life = RecordedLife(first)
    life.polled(event()).settle(DONE, "first")
    first.close()
    second = Journal(tmp_path / "journal.db")
    life.journal, life.state = second, second.load()
    whole_life(life.restarted())
    *_, stretch = recorded(second)
    second.close()
    assert len(stretch) == 2
    assert [replay(one).differences for one in stretch] == [(), ()]
    phases = [phase.value for one in stretch for _, _, phase in replay(one).phases]
    assert (phases[0], phases[-1]) == ("preparing", "closed")


def test_a_write_that_failed_leaves_no_gap_within_a_segment(journal: Journal) -> None:
    life = RecordedLife(journal)
    life.polled(event()).settle(DONE, "first")
    skipped = life.state
    unwritten = step(skipped, ob.Polled(document_at((), at(9)), ME), TWO, at(9)).state
    life.state = unwritten          # decided on while the disk was full
    life.stop_ended()
    assert [replay(one).differences for stretch in recorded(journal) for one in stretch] == [(), (), ()]


def test_what_a_hook_printed_is_not_recorded_twice(journal: Journal) -> None:
    life = RecordedLife(journal).polled(event())
    life.see(ob.HookSettled("first", life.runs()[0].phase, 1, replace(report(), output="PRINTED-BY-THE-HOOK")))
    assert any(isinstance(row.subject.report, HookReport) and "PRINTED" in row.subject.report.output
               for row in journal.rows() if hasattr(row.subject, "report"))
    assert "PRINTED" not in json.dumps(journal.recording())
    assert replay(recorded(journal)[-1][0]).differences == ()
