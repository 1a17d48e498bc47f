"""What seldom happens to an event, its hooks and this machine, and what is done then."""
from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from lives import BAD, FAILED, GOOD, NOTHING, PREPARE, Life, event, hook, started
from tideover import effects as fx, observations as ob
from tideover.errors import TideoverError
from tideover.lifecycle import Phase, Stage
from tideover.lifecycle.manual import find_case
from tideover.model import EntryKind, HookRun, HookSpec, Kind, utc_if_any
from tideover.observations import AckOutcome
from tideover.policy import Policy
from tideover.record import Row, records_of

FREEZE = event()
ANOTHER = ob.AnotherVm("id-of-another-vm")


def entries(life: Life, what: EntryKind) -> list[str]:
    return [entry.event_id for entry in life.entries if entry.what is what]


# --- acknowledgements

@pytest.mark.parametrize("outcome", [AckOutcome.REFUSED, AckOutcome.LOST])
def test_an_acknowledgement_that_fails_once_the_event_has_started_changes_nothing(outcome):
    life = Life().polled(FREEZE).settle()
    attempt = life.state.cases["e1"].ack_attempts
    life.polled(started(FREEZE))
    before = life.state
    assert life.see(ob.AckSettled("e1", attempt, outcome)).state == before
    assert life.see(ob.AckSettled("e1", attempt, AckOutcome.ACCEPTED)).state != before, "an acceptance still counts"


def test_an_acknowledgement_by_hand_of_an_event_that_is_unknown_or_acknowledged_does_nothing():
    life = Life().polled(FREEZE).settle().acknowledged()
    before = life.state
    assert life.see(ob.AcknowledgeRequested("unknown"), ob.AcknowledgeRequested("e1")).state == before


def test_no_event_is_meant_by_the_beginning_of_two_ids():
    life = Life().polled(event("e1"), event("e2"))
    with pytest.raises(TideoverError, match="2 open event ids begin with it"):
        find_case(life.state, "e", "cannot acknowledge")


# --- pauses and recovery

def test_a_pause_that_is_reported_twice_is_recorded_once():
    life = Life().polled(FREEZE).settle().acknowledged().polled(started(FREEZE)).paused(pause_id="p1")
    life.paused(pause_id="p1")
    assert [pause.id for pause in life.state.cases["e1"].pauses] == ["p1"]


def test_a_not_before_that_passes_while_a_hook_runs_does_not_shorten_its_run():
    """The platform may stop the machine at any time now, and until it does the hook goes on as begun."""
    life = Life(Policy(hooks=(hook(timeout_s=20.0),))).polled(event(notice_s=14.0))
    assert life.runs()[0].limit_s == 9.0
    life.now_s += 10.0
    life.polled(event(notice_s=14.0))
    assert [run.limit_s for run in life.runs()] == [9.0]


def test_a_recovery_that_failed_for_good_is_the_record_of_the_events_that_recover_and_of_no_other():
    other = event("e2", kind=Kind.REBOOT, resources=("vm-2",))
    life = Life().polled(FREEZE, other).settle().polled(other)
    for wait_s in (5.0, 30.0, 120.0, 0.0):
        life.settle(FAILED, exit_status=1).after(wait_s + 0.1)
    assert entries(life, EntryKind.RECOVER_FAILED) == ["e1"]


def test_recover_by_hand_without_a_clock_check_keeps_the_verdict_and_with_one_records_it():
    life = Life().polled(FREEZE).settle().acknowledged()
    life.see(ob.RecoverRequested("e1", BAD))
    assert entries(life, EntryKind.CLOCK_CHECKED) == ["e1"]
    assert life.runs()[0].facts.clock is BAD.verdict


def test_a_stopped_service_has_nothing_to_give_back_for_an_event_of_another_machine():
    life = Life().polled(event("e2", resources=("vm-2",)))
    before = life.state
    assert life.see(ob.StopRequested()).state == before


def test_a_hook_that_is_stopped_and_says_that_it_changed_nothing_is_not_recovered():
    life = Life().polled(FREEZE).polled()
    assert life.running() == []
    life.stop_ended(NOTHING)
    assert life.begun_runs() == ["drain prepare"] and not life.state.hooks and life.phase() == "closed"


# --- another machine, restarts, private directories

def test_another_vm_recovers_what_is_prepared_on_its_disk_and_forgets_the_other_machines_events():
    watched = event("e2", resources=("vm-9",))
    life = Life().polled(FREEZE, watched).settle().see(ANOTHER)
    assert entries(life, EntryKind.VM_CHANGED) == ["e1"]
    assert list(life.state.cases) == ["e1"] and life.phase() == "checking-clock"
    assert life.judged(GOOD).after(5.0).running() == ["drain recover"]
    assert life.reasons() == ["restarted"]


def test_another_vm_goes_on_with_a_recovery_that_has_begun():
    life = Life().polled(FREEZE).settle().acknowledged().see(ob.RecoverRequested("e1"))
    life.see(ANOTHER)
    assert life.phase() == "recovering" and life.running() == ["drain recover"]
    life.settle()
    assert life.phase() == "closed", "the event is not listed for this machine and is not waited for"


def test_what_a_stopped_service_gave_back_is_not_prepared_again_on_another_vm():
    """The start after a stop prepares again; here the event is of the machine that the disk was copied from."""
    life = Life().polled(FREEZE).settle().acknowledged().see(ob.StopRequested())
    life.see(ANOTHER).restarted()
    assert life.running() == ["drain recover"]
    life.settle().polled()
    assert life.phase() == "closed" and life.begun_runs().count("drain prepare") == 1


def test_a_private_directory_that_could_not_be_removed_is_found_again_for_the_same_event():
    """Its recovery was given up before the clock was checked; at the next start the directory is still there."""
    found = ob.Restarted("boot-1", 1.0, (ob.Witness("drain"),))
    life = Life().see(found)
    assert life.phase("found-drain") == "checking-clock"
    life.see(ob.ForgetRequested("drain"))
    assert not life.state.hooks
    life.paused().see(found)
    assert len(life.state.cases["found-drain"].pauses) == 1, "what was seen of it is kept"
    assert list(life.state.cases) == ["found-drain"] and life.state.hooks["drain"].stage is Stage.RECOVER_PENDING


def test_private_directories_that_name_one_event_are_of_one_event():
    """The journal lost it, and knows no more of it than the directories of its hooks."""
    witnesses = tuple(ob.Witness(name, hook(name, order), "e7", Kind.FREEZE) for name, order in (("drain", 20), ("flush", 30)))
    life = Life().see(ob.Restarted("boot-1", 1.0, witnesses))
    assert list(life.state.cases) == ["e7"] and {known.event_id for known in life.state.hooks.values()} == {"e7"}
    life.judged().settle().settle()
    assert life.phase("e7") == "closed" and life.begun_runs() == ["flush recover", "drain recover"]


@pytest.mark.parametrize(("boot_id", "reason"), [("boot-1", "resumed"), ("boot-0", "restarted"), ("", "resumed")])
def test_a_hook_of_which_only_its_private_directory_knows_is_told_whether_the_machine_has_restarted_since(boot_id, reason):
    witness = ob.Witness("drain", hook("drain"), "e7", Kind.FREEZE, boot_id)
    life = Life().see(ob.Restarted("boot-1", 1.0, (witness,))).judged()
    [run] = life.runs()
    assert (run.phase.value, run.reason) == ("recover", reason)


def test_the_record_says_why_a_recover_was_asked_for():
    life = Life().polled(FREEZE).settle().acknowledged()
    life.see(ob.RecoverRequested(because="no agent could start"))
    assert [entry.note for entry in life.entries if entry.what is Phase.RECOVERING] == ["no agent could start"]


@pytest.mark.parametrize(("event_id", "told"), [("e1", ("e1", Kind.FREEZE)), ("", ("", Kind.UNKNOWN))])
def test_a_hook_that_is_prepared_is_recovered_though_the_journal_has_lost_its_event(event_id, told):
    life = Life().polled(FREEZE).settle()
    hooks = {name: replace(state, event_id=event_id) for name, state in life.state.hooks.items()}
    life.state = replace(life.state, cases=MappingProxyType({}), hooks=MappingProxyType(hooks))
    [run] = life.restarted().runs()
    assert (run.phase.value, run.event_id, run.kind) == ("recover", *told)


def test_the_record_of_a_run_that_an_older_journal_did_not_date_says_only_that_it_was_cut_short():
    life = Life().polled(FREEZE)
    undated = {name: replace(state, begun_at=None) for name, state in life.state.hooks.items()}
    life.state = replace(life.state, hooks=MappingProxyType(undated))
    life.restarted()
    [entry] = [entry for entry in life.entries if "the agent ended during the run" in entry.note]
    assert not isinstance(entry.subject, HookRun)


# --- values of others

def test_a_moment_beyond_the_calendar_is_none():
    assert utc_if_any(1e300) is None and utc_if_any(float("nan")) is None
    assert str(utc_if_any(0.0)) == "1970-01-01 00:00:00+00:00"


def test_a_row_of_no_event_belongs_to_no_record():
    life = Life().polled(FREEZE)
    rows = [Row(life.now.utc, entry.event_id, entry.what, entry.note, entry.subject) for entry in life.entries]
    nobodys = replace(rows[0], event_id="")
    assert [record.event_id for record in records_of([nobodys, *rows])] == ["e1"]


def test_a_record_is_of_this_vm_by_what_became_of_it_and_else_by_its_name():
    theirs = Life().polled(event("e9", resources=("vm-2",))).polled()
    rows = [Row(theirs.now.utc, entry.event_id, entry.what, entry.note, entry.subject) for entry in theirs.entries]
    [closed], [listed] = records_of(rows), records_of(rows[:2])
    assert not closed.concerns("vm-2")
    assert listed.concerns("vm-2") and not listed.concerns("vm-1") and listed.concerns("")


def test_an_application_that_connects_while_it_is_awaited_is_asked_to_prepare_once():
    """After a start of the agent a run waits for its application, and is sent to the instance that connects."""
    spec = HookSpec("media", 30, "", is_application=True)
    life = Life(Policy(hooks=(spec,))).polled(event())
    life.see(ob.ApplicationConnected("media", "one")).settle()
    assert [run.phase for run in life.begun if isinstance(run, fx.RunHook)] == [PREPARE]
    life.acknowledged().see(ob.ApplicationGone("media"), ob.ApplicationConnected("media", "two"))
    assert [run.phase for run in life.begun if isinstance(run, fx.RunHook)] == [PREPARE, PREPARE]
