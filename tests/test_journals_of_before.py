"""What an older version wrote down is taken over; what a newer one wrote is refused, and nothing is forgotten by it."""
from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lives import DONE, GOOD, ME, Life, document_at, event, hook
from sampling import thinned
from tideover import effects as fx, observations as ob
from tideover.effects import RunHook
from tideover.hooks.orphans import note_of, read_witness
from tideover.journal import Journal, JournalUnreadable, LastingJournal, database
from tideover.lifecycle import Phase, State
from tideover.lifecycle.state import RecoveredBy
from tideover.model import EntryKind, HookPhase, Kind
from tideover.policy import Policy
from tideover.record import record_of, records_of

STORED = sorted((Path(__file__).parent / "journals").glob("*/*.sql"))
I13 = Path(__file__).parent / "journals/i13"
PHASES = {"141ab53": 11, "i13": 11, "b9b928e": 12}
GONE = Policy(hooks=())


def opened(stored: Path, directory: Path) -> Journal:
    db = sqlite3.connect(directory / "journal.db")
    db.executescript(stored.read_text(encoding="utf-8"))
    db.close()
    return Journal(directory / "journal.db")


def recovered_to_the_end(life: Life) -> set[str]:
    """The event is gone, the clock is good, every hook does its work, and each application connects again, in another
    instance; return which were recovered."""
    for name in [name for name, one in life.state.hooks.items() if one.spec.is_application]:
        life.see(ob.ApplicationConnected(name, "two"))
    life.see(ob.Polled(document_at((), life.now, "9"), ME))
    for _ in range(12):
        life.judged(GOOD).settle(DONE).stop_ended()
        life.after(130.0).judged(GOOD)
    return {run.spec.name for run in life.begun if isinstance(run, fx.RunHook) and run.phase is HookPhase.RECOVER}


@pytest.mark.parametrize("boot", ["boot-1", pytest.param("boot-2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stored", thinned(STORED, 2), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_an_older_version_had_prepared_is_recovered_from_its_journal(tmp_path, stored, boot):
    """In each phase, whatever that was called then, and with hooks that have left the directory since."""
    journal = opened(stored, tmp_path)
    life = Life(GONE, state=journal.load(), boot_id=boot)
    pending = set(stored.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- pending:").split())
    assert pending <= recovered_to_the_end(life)
    assert not life.state.hooks and not life.state.cases
    assert records_of(journal.rows())[0].event_id == "e1"


def text_of(stored: Path) -> str:
    return stored.read_text(encoding="utf-8")


@pytest.mark.parametrize("version", sorted({path.parent.name for path in STORED}))
def test_a_journal_stands_for_each_phase_that_the_older_version_knew(version):
    told = {text_of(path).splitlines()[1].removeprefix("-- phase: ") for path in STORED if path.parent.name == version}
    assert len(told) == PHASES[version], "each phase but closed, after which nothing is open"


@pytest.mark.parametrize("stored", thinned(STORED, 2), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_older_journals_history_reads_in_the_words_of_today(tmp_path, stored):
    """Each word is one of today, which reading it requires, and the newest phase is the open case's."""
    journal = opened(stored, tmp_path)
    [case] = journal.load().cases.values()
    assert [row.what for row in journal.rows() if isinstance(row.what, Phase)][-1] is case.phase
    record = record_of(journal.rows()).as_json()
    assert record["status"] == case.phase.value
    assert (record["acknowledged_at"] is None) is not case.acknowledged


def test_every_old_word_becomes_the_word_of_the_vocabulary(tmp_path):
    """What can stand in a journal of format 2, also what the stored ones do not hold."""
    old = ["taken over", "watching", "acknowledging", "asking", "holding", "acknowledged", "holding", "started", "underway",
           "clock followed", "recover owed", "left the list", "hook prepare cut short", "events left out no more", "lingering"]
    opened(I13 / "held.sql", tmp_path).close()
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("DELETE FROM entries")
    db.executemany("INSERT INTO entries (at, event_id, what, note) VALUES (?, 'e1', ?, '')",
                   [("2026-11-20T10:00:00+00:00", word) for word in old])
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()
    assert [row.what.value for row in Journal(tmp_path / "journal.db").rows()] == [
        "vm changed", "observed", "manual acknowledgement", "acknowledging", "held", "acknowledgement accepted", "acknowledged",
        "event started", "started", "clock convergence", "recovery failed", "removed", "hook prepare interrupted",
        "events no longer left out", "recovered"]


def test_what_an_older_version_knew_of_a_case_is_known_under_the_new_names_of_its_fields(tmp_path):
    """(old file, field of today, whether its value says what happened then.)"""
    for stem, knows in (("agent-was-down", lambda case: case.agent_was_down),
                        ("pause-before-start", lambda case: case.pending_pause.id == "p1"),
                        ("recovered-by-hand", lambda case: case.recovered_by is RecoveredBy.OPERATOR),
                        ("stopped-service", lambda case: case.recovered_by is RecoveredBy.SERVICE_STOP),
                        ("other-spelling", lambda case: (case.id, case.current_id) == ("e1", "E1"))):
        directory = tmp_path / stem
        directory.mkdir()
        [case] = opened(I13 / f"{stem}.sql", directory).load().cases.values()
        assert knows(case), stem


def test_an_older_format_is_changed_once_in_the_file_and_in_memory_alone_for_a_reader(tmp_path):
    """A reader leaves the file as the agent that writes it knows it."""
    db = sqlite3.connect(tmp_path / "journal.db")
    db.executescript(text_of(I13 / "acknowledged.sql"))
    db.close()
    path = tmp_path / "journal.db"
    before = path.read_bytes()
    reader = Journal.reading(path)
    assert [case.phase.value for case in reader.load().cases.values()] == ["acknowledged"] and path.read_bytes() == before
    reader.close()
    for _ in range(2):
        writer = Journal(path)
        assert [case.phase.value for case in writer.load().cases.values()] == ["acknowledged"]
        writer.close()
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (database.VERSION,)


def test_values_of_environment_tables_that_an_older_version_stored_are_in_no_byte_of_the_journal_any_more(tmp_path):
    """Those of hooks that are pending, and those in pages that were given free."""
    secret = "hunter2-" * 40
    stored = next(path for path in STORED if path.stem == "acknowledged").read_text(encoding="utf-8")
    db = sqlite3.connect(tmp_path / "journal.db")
    db.executescript(stored.replace('"environment":[]', f'"environment":[["PASSWORD","{secret}"]]'))
    db.execute("INSERT INTO hooks SELECT name || n.n, body FROM hooks, (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3) AS n")
    db.execute("DELETE FROM hooks WHERE name NOT IN ('first', 'second')")
    db.commit()
    db.close()
    assert secret in (tmp_path / "journal.db").read_text("latin-1")
    journal = Journal(tmp_path / "journal.db")
    assert set(journal.load().hooks) == {"first", "second"}
    assert not [file for file in tmp_path.iterdir() if "hunter2" in file.read_text("latin-1")]


def test_after_a_downgrade_the_journal_is_refused_in_a_sentence_and_private_directories_bring_recovery(tmp_path):
    opened(STORED[0], tmp_path).close()
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalUnreadable, match="a newer version of tideover wrote it"):
        Journal.reading(tmp_path / "journal.db")
    told: list[str] = []
    journal = LastingJournal(tmp_path / "journal.db", lambda why, kept_as: told.append(f"{why}: {kept_as}"))
    assert "newer version" in told[0] and "journal.db.unreadable-" in told[0] and journal.load() == State()
    life = Life(GONE, state=journal.load())
    life.see(ob.Restarted("boot-1", None, (witness(),)))
    assert recovered_to_the_end(life) == {"drain"} and not life.state.hooks


# --- the second witness -------------------------------------------------------------------------------------------

def witness(name: str = "drain", event_id: str = "e1") -> ob.Witness:
    run = RunHook(hook(name, 20), HookPhase.PREPARE, 1, 1, 60.0, event_id,
                  Kind.REBOOT)
    return read_witness(name, note_of(run))


def test_a_private_directory_of_which_the_journal_knows_nothing_brings_a_checked_clock_then_recover_and_is_reported():
    life = Life(GONE).see(ob.Restarted("boot-1", 1.0, (witness(),)))
    assert life.phase() == "checking-clock" and life.running() == [], "no application recovers while the clock may be wrong"
    assert [entry.note for entry in life.entries if entry.what is EntryKind.FOUND_PREPARED]
    life.judged(GOOD)
    assert life.running() == ["drain recover"] and life.reasons() == ["restarted"], "it was prepared in another boot"
    life.settle(DONE)
    assert not life.state.hooks and life.phase() == "closed"


def test_a_private_directory_without_a_note_is_recovered_by_the_hook_of_that_name_else_reported():
    life = Life().see(ob.Restarted("boot-1", 1.0, (ob.Witness("drain"), ob.Witness("gone"))))
    life.judged(GOOD)
    assert life.running() == ["drain recover"]
    assert ["gone" in entry.note for entry in life.entries if entry.what is EntryKind.RECOVERY_IMPOSSIBLE] == [True]


def test_a_private_directory_of_a_hook_that_the_journal_takes_for_not_begun_makes_its_recovery_pending():
    """A journal that lost its newest rows."""
    life = Life(Policy(hooks=(hook("a", 10), hook("b", 20)))).polled(event())
    assert life.state.hooks["b"].stage.value == "queued"
    life.see(ob.Restarted("boot-1", 1.0, (ob.Witness("a"), ob.Witness("b"))))
    assert recovered_to_the_end(life) == {"a", "b"} and not life.state.cases


@pytest.mark.parametrize("note", ["", "{", "[]", '{"order": "x"}', '{"order": 1}', "[" * 9000])
def test_a_damaged_note_is_one_that_says_nothing(note):
    assert read_witness("drain", note) == ob.Witness("drain")
