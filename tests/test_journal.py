"""The memory: what is written comes back, what cannot be read is never overwritten."""
from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from lives import BAD, FAILED, GOOD, Life, at, event, pause, report, started
from running_agent import environment
from sampling import thinned
from tideover import observations as ob
from tideover.daemon.agent import is_confirmed
from tideover.effects import RunHook
from tideover.errors import WrongUseError
from tideover.journal import Journal, JournalUnreadable, set_aside
from tideover.journal.codec import from_json, to_json
from tideover.journal.store import PRUNED_AT_ONCE
from tideover.lifecycle import Entry, Phase, State
from tideover.model import ClockCheck, EntryKind, Event, HookPhase, HookRun, Moment, Pause
from tideover.record import each_pause, events_of_pauses, evidence_of_pauses, pauses_of, record_of, records_of
from tideover.system.file_lock import Lock, read_holder

NOW = at(0)


def lives():
    """States of all sorts."""
    yield Life().polled(event())
    yield Life().polled(event(), event("e2", resources=("vm-2",))).settle(FAILED)
    yield Life().polled(event()).settle().acknowledged().polled(started(event())).paused().judged(BAD)
    yield Life().polled(event()).settle().polled().settle(FAILED)


@pytest.mark.parametrize("life", list(lives()))
def test_every_state_comes_back_as_it_was_written(tmp_path, life):
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), life.state, life.entries)
    journal.close()
    assert Journal(tmp_path / "j.db").load() == life.state


@pytest.mark.parametrize("noun", [event(), pause(), GOOD, HookRun("a", HookPhase.PREPARE, 1, report())])
def test_every_noun_of_the_record_survives_its_text(noun):
    assert from_json(type(noun), to_json(noun)) == noun


def test_an_older_journals_noun_takes_defaults_for_what_it_lacks():
    assert from_json(ClockCheck, '{"verdict":"good"}') == ClockCheck(GOOD.verdict)
    with pytest.raises(KeyError):
        from_json(Event, '{"id":"e1"}')


def test_only_what_changed_is_written(tmp_path):
    journal = Journal(tmp_path / "j.db")
    life = Life().polled(event(), event("e2"))
    journal.commit(NOW, State(), life.state, ())
    before = life.state
    changes = sqlite3.connect(tmp_path / "j.db").execute("PRAGMA data_version").fetchone()
    journal.commit(NOW, before, before, ())
    assert journal.load() == before and changes


@pytest.mark.parametrize("seed", thinned(range(20), 2))
def test_a_damaged_journal_is_noticed_or_read_right_and_never_overwritten(tmp_path, seed):
    """Either it opens and gives a state, or it says that it is damaged; bytes are never lost to it."""
    life = Life().polled(event()).settle()
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), life.state, life.entries * 50)
    journal.close()
    path = tmp_path / "j.db"
    damaged = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range(200):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    path.write_bytes(damaged)
    try:
        opened = Journal(path)
        opened.load()
    except JournalUnreadable as trouble:
        assert "journal" in str(trouble) or "state" in str(trouble)
        kept = set_aside(path, "unreadable")
        assert len(kept.read_bytes()) == len(damaged)
        assert Journal(path).load() == State()


@pytest.mark.parametrize("body", ["no JSON", "5", "null", "[1]", "{}", pytest.param("[" * 100_000, id="deep")])
@pytest.mark.parametrize("version", ["3", "2"])
def test_a_row_that_holds_something_else_is_damage_and_no_exception_of_ours(tmp_path, body, version):
    """Also in a journal of an older format, whose rows are changed when it is opened."""
    life = Life().polled(event()).settle().paused()
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), life.state, [*life.entries, Entry("e1", EntryKind.PAUSE, "", pause("p1"))])
    journal.close()
    db = sqlite3.connect(tmp_path / "j.db")
    for table, column in (("cases", "body"), ("hooks", "body"), ("entries", "subject")):
        db.execute(f"UPDATE {table} SET {column} = ?", (body,))
    db.execute(f"PRAGMA user_version = {version}")
    db.commit()
    db.close()
    read = (Journal.load, Journal.rows, lambda opened: list(opened.rows_of_pauses()), Journal.newest_rows)
    for one in read:
        with pytest.raises(JournalUnreadable):
            one(Journal(tmp_path / "j.db"))


def test_no_text_of_the_world_can_keep_the_journal_from_being_written(tmp_path):
    """JSON of a platform or of an application can hold half of a surrogate pair, which no database takes. An exception
    that the write does not know would end the agent with an application prepared."""
    hostile = "\ud800 \0 \x1b[2J"
    life = Life().polled(replace(event(hostile), description=hostile, extra={hostile: hostile})).settle()
    life.see(ob.AckSettled(hostile, 1, ob.AckOutcome.REFUSED, hostile))
    journal = Journal(tmp_path / "journal.db")
    journal.commit(life.now, State(), life.state, [*life.entries, Entry(hostile, EntryKind.NOTICED, hostile, event(hostile))])
    journal.remember_vm(hostile)
    [case] = journal.load().cases.values()
    assert case.event.description == "? \0 \x1b[2J"
    assert journal.rows(hostile)
    journal.commit(life.now, life.state, State(), ())
    assert not journal.load().cases


def test_a_newer_versions_journal_is_refused(tmp_path):
    Journal(tmp_path / "j.db").close()
    db = sqlite3.connect(tmp_path / "j.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalUnreadable, match="newer version"):
        Journal(tmp_path / "j.db")


def test_the_journal_is_its_owners_alone(tmp_path):
    Journal(tmp_path / "j.db")
    assert (tmp_path / "j.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_second_process_cannot_take_the_lock_and_learns_which_process_has_it(tmp_path):
    lock = Lock(tmp_path)
    told = textwrap.dedent(f"""
        from pathlib import Path
        from tideover.errors import WrongUseError
        from tideover.system.file_lock import Lock
        try:
            Lock(Path({str(tmp_path)!r}))
        except WrongUseError as trouble:
            print(trouble)
    """)
    answer = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, env=environment())
    assert "another tideover" in answer.stdout and str(read_holder(tmp_path).pid) in answer.stdout
    lock.release()
    assert read_holder(tmp_path) is None
    Lock(tmp_path).release()


def test_a_state_directory_that_is_not_there_is_reported_in_a_sentence(tmp_path):
    with pytest.raises(WrongUseError, match="cannot use the state directory"):
        Lock(tmp_path / "gone")


def test_a_wrong_clock_removes_a_portion_of_the_history_at_once_and_never_all_of_it(tmp_path):
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), State(), [Entry(f"e{n}", EntryKind.NOTICED, "", event(f"e{n}")) for n in range(300)])
    assert journal.forget_before(at(86400.0 * 4000), 86400.0) == 50
    assert [row.event_id for row in journal.rows()][:2] == ["e50", "e51"]


@pytest.mark.parametrize(("entry", "rows_at_most", "text_at_most"), [
    pytest.param(Entry("e1", EntryKind.CHANGED, "NotBefore moved", event()), 1010, 1 << 20, marks=pytest.mark.slow),
    pytest.param(Entry("e1", EntryKind.CHANGED, "NotBefore moved", replace(event(), extra={"Odd": "x" * 20_000})), 1010, 3 << 20,
                 marks=pytest.mark.slow),
    (Entry("e1", EntryKind.PREPARE_RUN, "drain: not-yet", HookRun("drain", HookPhase.PREPARE, 1, report())), 1010, 1 << 20)])
def test_an_event_that_says_the_like_without_end_fills_no_disk(tmp_path, entry, rows_at_most, text_at_most):
    """Its first rows stay, and its newest."""
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), State(), [Entry("e1", EntryKind.NOTICED, "", event()), Entry("e1", Phase.PREPARING)])
    for batch in range(12):
        journal.commit(at(batch + 1), State(), State(), [entry] * 100)
    journal.commit(at(99), State(), State(), [Entry("e1", Phase.RECOVERING), Entry("e1", Phase.CLOSED)])
    journal.close()
    journal = Journal(tmp_path / "j.db")        # the count is not only this process's
    journal.commit(at(100), State(), State(), [entry])
    rows = journal.rows("e1")
    assert [row.what for row in rows][:2] == [EntryKind.NOTICED, Phase.PREPARING] and rows[-1].at == at(100).utc
    assert [row.what for row in rows][-3:-1] == [Phase.RECOVERING, Phase.CLOSED] and len(rows) <= rows_at_most
    assert sum(len(to_json(row.subject)) for row in rows if row.subject) <= text_at_most


def test_a_status_reads_the_newest_rows_and_what_it_needs_of_older_ones(tmp_path):
    journal = Journal(tmp_path / "j.db")
    open_ = Life().polled(event("open")).settle(FAILED)
    many = [Entry("", EntryKind.LEFT_OUT)] * 3000
    journal.commit(NOW, State(), open_.state, [*open_.entries, Entry("", EntryKind.PAUSE, "", pause("p1")),
                                               Entry("", EntryKind.PAUSE, "", pause("p2")), Entry("", EntryKind.CLOCK_CHECKED, "", GOOD), *many])
    rows = journal.newest_rows(100)
    assert len(rows) < 120 and [row.subject.id for row in rows if isinstance(row.subject, Pause)] == ["p2"]
    assert [row.subject for row in rows if isinstance(row.subject, ClockCheck)] == [GOOD]
    assert any(row.what is Phase.HELD and "drain" in row.note for row in rows), "why the platform is not told"
    assert [row.subject.id for row in journal.rows_of_pauses()] == ["p1", "p2"]


def test_what_is_older_than_the_owner_keeps_is_removed_and_what_is_open_is_not(tmp_path):
    journal = Journal(tmp_path / "j.db")
    open_ = Life().polled(event("open"))
    old = [Entry("old", EntryKind.NOTICED, "", event("old")), Entry("", EntryKind.PAUSE, "", pause())]
    journal.commit(NOW, State(), open_.state, [*old, *open_.entries])
    journal.commit(at(86400.0), open_.state, open_.state, [Entry("new", EntryKind.NOTICED, "", event("new"))])
    later = Moment(at(86400.0 * 3).utc, 0.0)
    assert journal.forget_before(later, 2.5 * 86400.0) == 2
    assert [record.event_id for record in records_of(journal.rows())] == ["open", "new"]


def test_a_journal_becomes_smaller_when_its_old_rows_go(tmp_path):
    """A year later, a storm of events takes no more disk than any other year."""
    path = tmp_path / "j.db"
    journal = Journal(path)
    for number in range(PRUNED_AT_ONCE):
        entries = tuple(Entry(f"e{number}", EntryKind.NOTICED, "x" * 4000) for _ in range(5))
        journal.commit(NOW, State(), State(), entries)
    assert journal.checkpoint()
    largest = path.stat().st_size
    assert journal.forget_before(at(86400.0 * 400), 86400.0 * 365) == 5 * PRUNED_AT_ONCE
    assert journal.checkpoint()
    assert path.stat().st_size < largest / 10
    assert Journal(path).rows() == []


def test_a_record_tells_the_whole_story_in_the_contracts_words(tmp_path):
    life = Life().polled(event()).settle().acknowledged().polled(started(event())).paused(7.0).judged().after(5.0)
    life.settle().polled()
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), life.state, life.entries)
    record = record_of(journal.rows("e1")).as_json()
    assert (record["status"], record["outcome"], record["kind"], record["event_source"]) == (
        "closed", "resumed", "freeze", "platform")
    assert record["not_before"] == "2026-11-20T10:15:00.000Z", "kept, though a Started document has none"
    assert [(run["name"], run["phase"], run["outcome"]) for run in record["hooks"]] == [
        ("drain", "prepare", "done"), ("drain", "recover", "done")]
    assert [run["limit_s"] for run in record["hooks"]] == [run.limit_s for run in life.begun if isinstance(run, RunHook)]
    assert (record["pauses"][0]["length_s"], record["pauses"][0]["cause"]) == (7.0, "vm-pause")
    assert (record["clock"]["verdict"], record["clock"]["offset_s"]) == ("good", 0.001)
    assert all(record[name] for name in ("noticed_at", "acknowledged_at", "started_at", "ended_at", "closed_at"))
    assert [entry["what"] for entry in record["timeline"]][:2] == ["noticed", "preparing"]


def test_unknown_values_are_null_never_zero(tmp_path):
    life = Life().polled(event(notice_s=None, expected_s=None))
    journal = Journal(tmp_path / "j.db")
    journal.commit(NOW, State(), life.state, life.entries)
    record = record_of(journal.rows("e1")).as_json()
    for name in ("not_before", "expected_pause_s", "acknowledged_at", "started_at", "outcome"):
        assert record[name] is None, name
    assert record["clock"]["offset_s"] is None and record["clock"]["verdict"] == "unknown"


def test_a_pause_is_listed_once_with_every_event_it_belongs_to():
    life = Life().polled(event(), event("e2")).settle().acknowledged().acknowledged().paused()
    journal_rows = [_row(entry) for entry in life.entries]
    [told] = [known.as_json() for known in pauses_of(journal_rows)]
    assert told["event_ids"] == ["e1", "e2"] and isinstance(pause(), Pause)


@pytest.mark.parametrize(("length_s", "uncertainty_s", "told_s"), [
    (7.0, 0.0002, 0.001), (7.0, 0.031, 0.031), (7.0, 0.0310001, 0.032), (7.0, 1e-12, 0.001), (7.0004, 0.0009, 0.002),
    (7.0, 0.0, 0.0), (7.0, None, None), (None, 0.0021, 0.003)])
def test_the_uncertainty_of_a_pause_is_never_shown_smaller_than_it_is(length_s, uncertainty_s, told_s):
    """Also to hooks and in the story; 0 is only what is exact, as the step of a clock that was set is."""
    known = replace(pause(), length_s=length_s, uncertainty_s=uncertainty_s)
    assert pauses_of([_row(Entry("e1", EntryKind.PAUSE, "", known))])[0].as_json()["uncertainty_s"] == told_s
    if length_s is None or uncertainty_s is None:
        return
    life = Life().polled(event()).settle().acknowledged().polled(started(event()))
    life.see(ob.Resumed(known)).judged().after(6.0)
    assert life.runs()[0].facts.pause_uncertainty_s == told_s
    assert any(entry.note.endswith(f"± {told_s:.3f} s") for entry in life.entries if entry.what is EntryKind.PAUSE)


def _row(entry: Entry):
    from tideover.record import Row
    return Row(NOW.utc, entry.event_id, entry.what, entry.note, entry.subject)


def test_evidence_that_came_later_stands_with_its_pause_which_is_listed_once(tmp_path):
    """In the record, in the list of pauses, and where that is read a page at a time."""
    journal, known = Journal(tmp_path / "j.db"), pause("p1")
    fuller = replace(known, evidence=("a gap", "the drift token changed"))
    journal.commit(NOW, State(), State(), [Entry("e1", EntryKind.PAUSE, "", known),
                                           Entry("e1", EntryKind.PAUSE_EVIDENCE, "", fuller)])
    [listed], [streamed] = pauses_of(journal.rows()), each_pause(
        journal.rows_of_pauses(), events_of_pauses(journal.rows_of_pauses_of_events()),
        evidence_of_pauses(journal.rows_of_evidence_of_pauses()))
    assert listed == streamed and listed.event_ids == ("e1",)
    assert listed.pause.evidence == record_of(journal.rows("e1")).pauses[0].evidence == fuller.evidence


@pytest.mark.parametrize(("check", "confirmed"), [
    (None, False), (GOOD, True), (BAD, False), (replace(GOOD, checked_at=None), False),
    (replace(GOOD, checked_at=at(-7200.0).utc), False), (replace(GOOD, checked_at=at(86400.0 * 4000).utc), False)])
def test_old_events_go_only_by_a_clock_that_time_servers_stand_behind_now(check, confirmed):
    """Also not where the clock was set since they were asked."""
    assert is_confirmed(check, NOW) is confirmed


def test_every_entry_comes_back_as_what_it_was_also_where_a_phase_has_the_word_of_another_entry(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    said = [Entry("e1", what) for what in (*EntryKind, *Phase)]
    journal.commit(NOW, State(), State(), said)
    assert [row.what for row in journal.rows("e1")] == [entry.what for entry in said]
