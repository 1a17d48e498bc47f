"""The disk breaks: the applications are prepared and recovered all the same, and nothing is acknowledged that cannot be
remembered."""
from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from faults.disks import BreakingDisk, Disk, own_mounts
from faults.table import trial
from lives import FAILED, Life, at, event, pause, started
from running_agent import World, world
from test_engine import POLICY, FullDisk, World as EngineWorld, documents, engine_on
from tideover import effects as fx, observations as ob
from tideover.engine import Engine
from tideover.errors import WrongUseError
from tideover.journal import Journal, JournalUnreadable, JournalUnwritable, LastingJournal
from tideover.lifecycle import Entry, Phase, State
from tideover.model import Document
from tideover.record import record_of
from tideover.system.file_lock import Lock

slow = pytest.mark.slow
PROTECTED = "prepared and recovered, told in log and status, no acknowledgement before it can be remembered"


@pytest.fixture
def disk(tmp_path):
    with own_mounts():
        made = Disk(tmp_path / "state")
        yield made
        made.remove()


KEEPS = 'if [ "$1" = prepare ]; then echo x > kept || exit 1; else test -e kept || exit 1; fi'
"""A hook that cannot recover without what it noted down when it prepared."""


def begin(here: World) -> str:
    here.hook("10-first", KEEPS)
    here.hook("20-second", KEEPS)
    here.start()
    return here.metadata.add_event("Freeze", duration_s=5, not_before_in_s=600)


def expect_protection_without_a_word(here: World) -> None:
    """Both are prepared, nothing is acknowledged, and log and status say why."""
    here.until(lambda: here.begun()[-2:] == ["first prepare", "second prepare"])
    time.sleep(1.0)
    assert here.metadata.acknowledgements == [] and here.agents[-1].poll() is None
    assert "journal.unwritable" in here.said()
    assert here.ask("status")["journal"]["writable"] is False
    assert "The journal cannot be written" in here.command("status").stdout
    assert "cannot write its journal" in here.command("doctor").stdout


def expect_recovery(here: World, event_id: str) -> None:
    """From here on all is as ever: acknowledged once, recovered, and the record is whole."""
    here.until(lambda: here.metadata.acknowledgements)
    here.until(lambda: here.record()["status"] == "started")
    here.metadata.remove_event(event_id)
    here.until(lambda: here.record()["status"] == "closed")
    assert here.begun()[-4:] == ["first prepare", "second prepare", "second recover", "first recover"]
    assert len(here.metadata.acknowledgements) == 1
    assert "journal.writable" in here.said() and here.ask("status")["journal"] == {"writable": True, "reason": ""}
    record = here.record()
    assert [(run["name"], run["phase"]) for run in record["hooks"]] == [
        ("first", "prepare"), ("second", "prepare"), ("second", "recover"), ("first", "recover")]
    assert record["noticed_at"] and record["acknowledged_at"] and record["closed_at"]
    assert "Traceback" not in here.said()


@slow
def test_a_disk_that_is_full_when_an_event_comes(tmp_path, disk):
    with trial("disk full, before an event", "a tmpfs of 1 MiB, filled", PROTECTED), world(tmp_path) as here:
        here.hook("10-first", KEEPS)
        here.hook("20-second", KEEPS)
        here.start()
        disk.fill()
        event_id = here.freeze(not_before_in_s=600)
        expect_protection_without_a_word(here)
        disk.make_room()
        expect_recovery(here, event_id)


@slow
def test_a_disk_that_fills_up_while_an_event_is_under_way(tmp_path, disk):
    """What was prepared is recovered although not a row can be written."""
    with trial("disk full, in an event", "a tmpfs of 1 MiB, filled", "all recovered; the rows follow later"), \
            world(tmp_path) as here:
        event_id = begin(here)
        here.until(lambda: here.record()["status"] == "started")
        disk.fill()
        here.metadata.remove_event(event_id)
        here.until(lambda: here.begun()[-2:] == ["second recover", "first recover"])
        time.sleep(0.5)
        disk.make_room()
        here.until(lambda: here.record()["status"] == "closed")
        assert len(here.record()["hooks"]) == 4 and "Traceback" not in here.said()


@slow
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_an_agent_that_starts_on_such_a_disk_protects_all_the_same(tmp_path, disk, how):
    with trial(f"disk {how}, at the start", "a tmpfs of 1 MiB", PROTECTED), world(tmp_path) as here:
        disk.fill() if how == "full" else disk.read_only()
        event_id = begin(here)
        expect_protection_without_a_word(here)
        assert "no space in the state directory" in here.said(), "hooks note down in the spare place what they must restore"
        disk.make_room() if how == "full" else disk.writable()
        expect_recovery(here, event_id)


@slow
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_an_agent_killed_while_prepared_recovers_after_a_start_on_such_a_disk(tmp_path, disk, how):
    """What is pending stands in the journal and its log, which can still be read."""
    with trial(f"disk {how}, at a start that owes", "kill -9 while prepared", "what stood in the journal is recovered"), \
            world(tmp_path) as here:
        event_id = begin(here)
        here.until(lambda: here.metadata.acknowledgements and here.record()["status"] == "started")
        here.kill()
        disk.fill() if how == "full" else disk.read_only()
        here.start()
        here.metadata.remove_event(event_id)
        here.until(lambda: here.begun() == ["first prepare", "second prepare", "second recover", "first recover"])
        disk.make_room() if how == "full" else disk.writable()
        here.freeze(not_before_in_s=600)
        here.until(lambda: len(here.metadata.acknowledgements) == 2)
        assert [len(record["hooks"]) for record in here.records()] == [4, 2], "nothing of the record is lost"


@slow
@pytest.mark.parametrize("when", ["idle", "prepared"])
def test_a_disk_that_becomes_read_only_while_the_agent_runs(tmp_path, when):
    """The kernel gives the file system up: open files cannot be written any more either."""
    with trial(f"disk read-only, while {when}", "ext4 given up by the kernel (abort)", PROTECTED), own_mounts():
        disk = BreakingDisk(tmp_path / "state")
        try:
            with world(tmp_path) as here:
                here.hook("10-first")
                here.hook("20-second", f'[ "$1" = recover ] || [ {when} = idle ] || while [ ! -e {tmp_path}/go ]; do sleep 0.05; done')
                here.start()
                if when == "idle":
                    disk.give_up()
                event_id = here.freeze(not_before_in_s=600)
                if when == "prepared":
                    here.until(lambda: "second prepare" in here.begun())
                    time.sleep(0.2)
                    disk.give_up()
                    (tmp_path / "go").touch()
                expect_protection_without_a_word(here)
                here.metadata.start_event(event_id)     # the platform keeps its own time
                here.metadata.remove_event(event_id)
                here.until(lambda: here.begun()[-2:] == ["second recover", "first recover"])
                here.kill()
                disk.repair()
                here.start()
                here.freeze(not_before_in_s=600)
                here.until(lambda: len(here.metadata.acknowledgements) == 1)
                assert "Traceback" not in here.said()
        finally:
            disk.remove()


@slow
def test_a_journal_that_another_process_has_locked(tmp_path):
    """News does not queue up behind it: hooks and documents are taken in as they come."""
    with trial("journal locked", "another process holds its write lock", PROTECTED), world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-second")
        here.start()
        other = sqlite3.connect(tmp_path / "state" / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        event_id = here.freeze(not_before_in_s=600)
        expect_protection_without_a_word(here)
        other.execute("ROLLBACK")
        other.close()
        expect_recovery(here, event_id)


@slow
@pytest.mark.parametrize("what", ["directory", "journal", "log"])
def test_a_journal_that_is_removed_while_the_agent_runs_is_written_again_as_a_whole(tmp_path, what):
    """SQLite calls a write to a file without a name a success; the agent must not."""
    with trial(f"{what} removed", "rm -r while prepared, then kill -9", "written anew before anything is acknowledged"), \
            world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-second", f'[ "$1" = recover ] || while [ ! -e {tmp_path}/go ]; do sleep 0.05; done')
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: "second prepare" in here.begun())
        time.sleep(0.2)
        state = tmp_path / "state"
        if what == "directory":
            shutil.rmtree(state)
        else:
            (state / ("journal.db" if what == "journal" else "journal.db-wal")).unlink()
        (tmp_path / "go").touch()
        here.until(lambda: here.metadata.acknowledgements)
        here.kill()
        assert here.record()["noticed_at"] and [run["name"] for run in here.record()["hooks"]] == ["first", "second"]
        here.start()
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed")
        assert {"second recover", "first recover"} <= set(here.begun())
        assert {one.event_id for one in here.metadata.acknowledgements} == {event_id}


@slow
def test_a_second_agent_cannot_slip_into_a_directory_that_was_made_again(tmp_path):
    with trial("state directory removed", "and a second agent started", "one of the two refuses, nobody is told twice"), \
            world(tmp_path) as here:
        here.hook("10-first")
        first = here.start()
        shutil.rmtree(tmp_path / "state")
        here.start()
        here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        time.sleep(1.0)
        assert len(here.metadata.acknowledgements) == 1 and first.poll() is None
        assert "is using it" in here.said()


@slow
@pytest.mark.parametrize("what", ["newer", "other-vm"])
def test_a_journal_that_is_not_for_this_agent_is_set_aside_and_the_agent_goes_on(tmp_path, what):
    with trial(f"journal of {'a newer version' if what == 'newer' else 'another VM'}", "user_version 99, another vmId",
               "set aside under another name, told, and all is protected"), world(tmp_path) as here:
        (tmp_path / "state").mkdir()
        journal = Journal(tmp_path / "state" / "journal.db")
        life = Life().polled(event("theirs")).settle()
        journal.commit(at(0), State(), life.state, life.entries)
        journal.remember_vm("another-vm")
        journal.close()
        if what == "newer":
            with sqlite3.connect(tmp_path / "state" / "journal.db") as db:
                db.execute("PRAGMA user_version = 99")
        event_id = begin(here)
        here.until(lambda: here.metadata.acknowledgements and here.record()["status"] == "started")
        assert "journal.quarantined" in here.said()
        [aside] = [path for path in (tmp_path / "state").glob("journal.db.*") if not path.name.endswith(("-wal", "-shm"))]
        assert ("unreadable" if what == "newer" else "other-vm") in aside.name
        records = here.records()
        pending = ["theirs"] if what == "other-vm" else []
        assert [record["event_id"] for record in records] == [*pending, event_id], "only what is prepared is taken over"
        assert not pending or records[0]["timeline"][0]["what"] == "vm changed"


@slow
def test_an_acknowledgement_by_hand_that_could_not_be_remembered_is_not_sent(tmp_path, disk):
    with trial("disk full, by hand", "tideover acknowledge without an agent", "refused before anything is sent"), \
            world(tmp_path) as here:
        here.configure('[policy]\nacknowledge = "never"')
        event_id = begin(here)
        here.until(lambda: here.record()["status"] == "held")
        here.kill()
        disk.fill()
        answer = here.command("acknowledge", event_id)
        assert answer.returncode == 1 and answer.stderr.count("\n") == 1 and "Traceback" not in answer.stderr
        assert here.metadata.acknowledgements == []


# ---- damage at random bytes ----

def damaged_journal(path: Path, seed: int) -> Life:
    """A journal of an open event, with bytes changed at random: few or many, in a heap or all over."""
    life = Life().polled(event(), event("e2", resources=("vm-2",))).settle(FAILED).polled(started(event()), event("e2"))
    journal = Journal(path)
    journal.commit(at(0), State(), life.state, life.entries * 10)
    journal.remember_vm("vm-id-1")
    journal.close()
    chance, content = random.Random(seed), bytearray(path.read_bytes())
    begin_at, reach = chance.randrange(len(content)), chance.choice([16, 512, len(content)])
    for _ in range(chance.choice([1, 8, 200])):
        content[(begin_at + chance.randrange(reach)) % len(content)] = chance.randrange(256)
    if chance.random() < 0.1:
        del content[chance.randrange(len(content)):]
    path.write_bytes(content)
    return life


def open_damaged(home: Path, seed: int) -> str:
    """Return what became of it: gone on with, or set aside. Never anything but that, and never a byte lost."""
    home.mkdir()
    path = home / "journal.db"
    damaged_journal(path, seed)
    content = path.read_bytes()
    told: list[Path | None] = []
    journal = LastingJournal(path, lambda reason, kept_as: told.append(kept_as))
    state = journal.load()
    assert not told or not state.cases
    assert journal.vm_id() is not None and (journal.last_at() is None or journal.last_at().tzinfo)  # type: ignore[union-attr]
    for case in state.cases.values():
        assert case.event.id in ("e1", "e2")
    try:
        [record_of(journal.rows(name)).as_json() for name in ("e1", "e2") if journal.rows(name)]
    except JournalUnreadable:
        pass                # a page of the history that is only looked at when somebody asks for it
    after = Life(state=state).polled().state
    try:
        journal.commit(at(1), state, after, [Entry("e1", Phase.CLOSED)])
    except JournalUnwritable:
        return "cannot be written"
    if told:
        assert told[0] is not None and told[0].read_bytes() == content       # at the opening, or met by the commit
    journal.close()
    assert Journal(path).load() == after
    return "set aside" if told else "gone on with"


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_journal_is_set_aside_or_gone_on_with(tmp_path, seed):
    open_damaged(tmp_path / "state", seed)


@slow
def test_journals_damaged_in_hundreds_of_ways(tmp_path):
    with trial("journal damaged", "random bytes, 400 seeds", "set aside or gone on with, no byte lost, no traceback") as tried:
        tried.times = 400
        ways = [open_damaged(tmp_path / str(seed), seed) for seed in range(tried.times)]
        assert ways.count("set aside") > 100 and ways.count("gone on with") > 20, {way: ways.count(way) for way in ways}


@slow
def test_agents_on_damaged_journals_carry_an_event_through(tmp_path):
    with trial("journal damaged", "an agent started on it, 8 seeds", "runs, protects, acknowledges once") as tried:
        tried.times = 8
        for seed in range(tried.times):
            home = tmp_path / str(seed)
            home.mkdir()
            with world(home) as here:
                (home / "state").mkdir()
                damaged_journal(home / "state" / "journal.db", seed)
                event_id = begin(here)
                here.until(lambda here=here: here.metadata.acknowledgements)
                here.metadata.remove_event(event_id)
                here.until(lambda here=here: here.begun()[-2:] == ["second recover", "first recover"])
                assert here.agents[-1].poll() is None and "Traceback" not in here.said(), seed


@slow
@pytest.mark.parametrize("how", ["overwritten", "emptied"])
def test_a_journal_damaged_while_the_agent_runs(tmp_path, how):
    with trial(f"journal {how}", "while the agent runs", "protected; what is in memory is written anew"), \
            world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-second")
        here.start()
        path = tmp_path / "state" / "journal.db"
        with path.open("r+b") as file:
            file.write(random.Random(1).randbytes(path.stat().st_size)) if how == "overwritten" else file.truncate(0)
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.begun() == ["first prepare", "second prepare"])
        here.until(lambda: here.metadata.acknowledgements)
        here.metadata.remove_event(event_id)
        here.until(lambda: here.begun()[-2:] == ["second recover", "first recover"])
        assert here.agents[-1].poll() is None and "Traceback" not in here.said()
        here.kill()
        here.start()
        time.sleep(0.5)
        assert here.agents[-1].poll() is None and "Traceback" not in here.said()


@slow
def test_an_agent_that_a_cut_index_of_the_journal_ends_recovers_when_it_is_started_again(tmp_path):
    """SQLite maps the index of its log: whoever may write the state directory and truncates it ends the process by
    SIGBUS. The service manager starts it again."""
    with trial("journal's index truncated", "while prepared; by root", "the next agent recovers"), world(tmp_path) as here:
        here.hook("10-first")
        agent = here.start()
        event_id = here.freeze()
        here.until(lambda: here.record().get("acknowledged_at"))
        with (tmp_path / "state" / "journal.db-shm").open("r+b") as index:
            index.truncate(0)
        here.until(lambda: agent.poll() is not None)
        assert agent.poll() == -signal.SIGBUS
        here.start()
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["first prepare", "first recover"]


# ---- the journal itself: fast ----

def lasting(path: Path) -> tuple[LastingJournal, list[Path | None]]:
    told: list[Path | None] = []
    return LastingJournal(path, lambda reason, kept_as: told.append(kept_as)), told


def test_a_journal_whose_file_is_gone_is_put_down_again_with_all_it_had(tmp_path):
    path = tmp_path / "state" / "journal.db"
    path.parent.mkdir()
    journal, told = lasting(path)
    first, second = Life().polled(event()), Life().polled(event()).settle()
    journal.remember_vm("vm-id-1")
    journal.commit(at(0), State(), first.state, first.entries)
    shutil.rmtree(path.parent)
    journal.commit(at(1), first.state, second.state, second.entries[len(first.entries):])
    found = Journal(path)
    assert (found.load(), found.vm_id(), told) == (second.state, "vm-id-1", [])
    assert [row.what for row in found.rows("e1")] == [entry.what for entry in second.entries if entry.event_id == "e1"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_journal_in_the_place_of_ours_is_set_aside(tmp_path):
    path = tmp_path / "journal.db"
    journal, told = lasting(path)
    path.rename(tmp_path / "moved")
    path.write_bytes(b"somebody else's")
    life = Life().polled(event())
    journal.commit(at(0), State(), life.state, life.entries)
    assert told[0] is not None and told[0].read_bytes() == b"somebody else's" and Journal(path).load() == life.state


def test_without_a_place_to_write_each_commit_says_so_until_there_is_one(tmp_path):
    path = tmp_path / "file" / "journal.db"
    path.parent.write_text("no directory")
    journal, _ = lasting(path)
    life = Life().polled(event())
    for _ in range(2):
        with pytest.raises(JournalUnwritable):
            journal.commit(at(0), State(), life.state, life.entries)
    assert journal.load() == State()
    path.parent.unlink()
    journal.commit(at(0), State(), life.state, life.entries)
    assert Journal(path).load() == life.state


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_journal_that_was_damaged_while_open_is_quarantined_and_written_again(tmp_path, at_once):
    """Also where that cannot be done at once: what had not changed since is written then as well."""
    path, troubles = tmp_path / "journal.db", [JournalUnwritable("cannot write", "no room", "Make room.")]

    def hold() -> None:
        if troubles and not at_once:
            raise troubles.pop()

    journal, _ = lasting(path)
    life = Life().polled(event(), event("e2", resources=("vm-2",)))
    journal.commit(at(0), State(), life.state, life.entries * 3000)
    journal.close()
    told: list[Path | None] = []
    journal = LastingJournal(path, lambda reason, kept_as: told.append(kept_as), hold)
    damage(path)
    after = life.settle().state
    before = Life().polled(event(), event("e2", resources=("vm-2",))).state
    if not at_once:
        with pytest.raises(JournalUnwritable):
            journal.commit(at(1), before, after, [])
    journal.commit(at(1), before, after, [])
    assert told and Journal(path).load() == after


def test_a_journal_in_use_stays_the_same_file_while_it_is_read(tmp_path):
    path = tmp_path / "journal.db"
    journal, told = lasting(path)
    before, life = path.stat().st_ino, Life().polled(event())
    for number in range(3):
        journal.commit(at(number), State(), life.state, life.entries)
        reader = Journal.reading(path)
        assert reader.load() == life.state
        reader.close()
    assert (path.stat().st_ino, told) == (before, []) and len(journal.rows("e1")) == 3 * len(life.entries)


def test_the_same_vm_in_other_letters_is_no_other_vm(tmp_path):
    """Its journal would be set aside, and with it what is pending."""
    world_, journal, renewed = EngineWorld(), Journal(tmp_path / "j.db"), []
    engine = Engine(journal, {kind: world_ for kind in (fx.RunHook, fx.Acknowledge, fx.CheckClock, fx.WatchClosely)},
                    lambda seen: POLICY, lambda: at(0), world_, lambda: renewed.append(vm_id))
    for vm_id in ("0aa1-bb", "0AA1-BB"):
        engine.handle(ob.Polled(Document((), 0.0, 0.0, "1", None), "vm-1", vm_id))
    assert renewed == [] and journal.vm_id() == "0aa1-bb"


def test_a_vm_that_could_not_be_remembered_is_remembered_with_the_next_document(tmp_path):
    class Full(Journal):
        full = True

        def remember_vm(self, vm_id: str) -> None:
            if self.full:
                raise JournalUnwritable("cannot write the journal", "no space left on device", "Make room.")
            super().remember_vm(vm_id)

    world_, journal = EngineWorld(), Full(tmp_path / "j.db")
    engine = engine_on(None, world_, journal)
    for _ in range(2):
        engine.handle(ob.Polled(Document((), 0.0, 0.0, "1", None), "vm-1", "vm-id-1"))
        assert journal.vm_id() == ("" if journal.full else "vm-id-1")
        journal.full = False


def test_an_acknowledgement_that_has_left_is_not_sent_again_when_the_disk_fills_up_meanwhile(tmp_path):
    world_, journal = EngineWorld(), FullDisk(tmp_path / "j.db")
    engine = engine_on(None, world_, journal)
    engine.handle(ob.Restarted("boot-1"))
    engine.handle(documents()[0])
    while world_.answers and not isinstance(world_.answers[0], ob.AckSettled):
        engine.handle(world_.answers.pop(0))
    journal.full = True
    engine.handle(ob.Resumed(pause("p1")))
    journal.full = False
    engine.handle(ob.Resumed(pause("p2")))
    assert [key for key in world_.done if "acknowledge" in key] == ["acknowledge:e1:1"]


def test_the_lock_can_be_held_where_no_file_can_be_made_and_by_one_only(tmp_path):
    with own_mounts():
        disk = Disk(tmp_path / "state")
        disk.read_only()
        lock = Lock(tmp_path / "state")
        with pytest.raises(WrongUseError, match="is using it"):
            Lock(tmp_path / "state")
        disk.writable()
        lock.renew()
        with pytest.raises(WrongUseError, match="is using it"):
            Lock(tmp_path / "state")
        lock.release()


def test_no_other_user_can_take_the_lock_or_read_it(tmp_path):
    (tmp_path / "agent.lock").touch(0o644)
    Lock(tmp_path)
    assert (tmp_path / "agent.lock").stat().st_mode & 0o777 == 0o600
