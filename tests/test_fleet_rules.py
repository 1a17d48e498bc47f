"""The rules of a fleet's documents, and what one machine's event makes of them."""
from __future__ import annotations

import random
from dataclasses import replace
from itertools import count
from types import MappingProxyType

import pytest

from lives import FAILED, ME, Life, event, hook, started
from tideover import effects as fx, observations as ob
from tideover.effects import Coordinate, SlotWish
from tideover.fleet_documents import (
    Claim,
    EventMember,
    Holder,
    MemberDocument,
    SlotMember,
    SlotsDocument,
    decode_event,
    decode_member,
    decode_slots,
    encode,
    event_digest,
    event_key,
    member_key,
    slots_key,
)
from tideover.lifecycle import Phase
from tideover.lifecycle.fleet_rules import (
    FleetMember,
    Silence,
    give_back,
    not_ready,
    open_event,
    release_slots,
    take_over,
    take_slot,
    takeover_s_of,
    used,
    write_event,
)
from tideover.lifecycle.fleet_session import BackOff, FleetSessions, ReadKey, StoredValue, TooManyConflicts, WriteKey
from tideover.lifecycle.manual import objections
from tideover.model import EntryKind, Kind
from tideover.observations import AckOutcome, FleetSeen, FleetView, SlotState
from tideover.policy import FleetRules, Policy, Rules

ONE, TWO = FleetMember("VM-1", "guid-1", "boot-1", slots=1), FleetMember("vm-2", "guid-2", "boot-1", slots=1)
AGAIN = FleetMember("vm-1", "guid-9", "boot-7", slots=1)       # of the same name, rebuilt


def wish(event_id="e1", slot=SlotWish.TAKE, names=("vm-1",), **more):
    return Coordinate(event_id, "azure", Kind.FREEZE, names, "", "preparing", slot, is_shared=len(names) > 1, **more)


# --- slots

def test_one_slot_is_granted_once_and_the_next_machine_waits_until_it_is_given_back():
    slots, state = take_slot(SlotsDocument(), ONE, wish())
    assert state is SlotState.GRANTED
    assert take_slot(slots, ONE, wish()) == (slots, SlotState.GRANTED), "asked again it is the same"
    same, waits = take_slot(slots, TWO, wish("e2", names=("vm-2",)))
    assert (same, waits) == (slots, SlotState.WAITING)
    left, gone = take_slot(slots, ONE, wish(slot=SlotWish.LEAVE))
    assert gone is SlotState.NONE and left.holders == ()
    assert take_slot(left, TWO, wish("e2", names=("vm-2",)))[1] is SlotState.GRANTED


def test_who_prepares_or_is_away_is_entered_and_counts_granted_or_not():
    slots, _ = take_slot(SlotsDocument(), ONE, wish())
    slots, state = take_slot(slots, TWO, wish("e2", SlotWish.ENTER, ("vm-2",)))
    assert state is SlotState.NOT_GRANTED and used(slots.holders) == 2
    assert take_slot(SlotsDocument(), ONE, wish(slot=SlotWish.AWAY))[1] is SlotState.NOT_GRANTED, "first seen Started"
    assert take_slot(SlotsDocument(), ONE, wish(slot=SlotWish.ENTER, had_slot=True))[1] is SlotState.NOT_GRANTED, "taken over"


def test_the_machines_of_one_event_share_its_slot_and_the_last_one_gives_it_back():
    both = wish(names=("vm-1", "vm-2"))
    slots, _ = take_slot(SlotsDocument(), ONE, both)
    slots, state = take_slot(slots, TWO, both)
    assert state is SlotState.GRANTED and used(slots.holders) == 1 and set(slots.holders[0].members) == {"vm-1", "vm-2"}
    digest = slots.holders[0].event
    slots = give_back(slots, ONE, digest)
    assert list(slots.holders[0].members) == ["vm-2"] and give_back(slots, TWO, digest).holders == ()
    assert give_back(slots, ONE, digest) is slots


def test_a_released_slot_counts_no_more_and_its_machine_does_not_enter_again():
    slots, _ = take_slot(SlotsDocument(), ONE, wish())
    slots = release_slots(slots, "vm-1")
    assert used(slots.holders) == 0 and take_slot(slots, ONE, wish())[1] is SlotState.RELEASED
    assert take_slot(slots, TWO, wish("e2", names=("vm-2",)))[1] is SlotState.GRANTED


def test_a_slot_whose_machines_are_all_released_is_granted_anew_to_the_next_machine_of_its_event():
    """What was released may be another event's by now."""
    slots, _ = take_slot(SlotsDocument(), ONE, wish(names=("vm-1", "vm-3")))
    slots, state = take_slot(release_slots(slots, "vm-1"), TWO, wish("e2", names=("vm-2",)))
    assert state is SlotState.GRANTED
    three, shared = FleetMember("vm-3", "guid-3", "boot-1", slots=1), ("vm-1", "vm-3")
    assert take_slot(slots, three, wish(names=shared)) == (slots, SlotState.WAITING)
    entered, state = take_slot(slots, three, wish(slot=SlotWish.ENTER, names=shared))
    assert state is SlotState.NOT_GRANTED and not entered.holders[0].granted and entered.holders[0].members["vm-1"].released
    free = give_back(slots, TWO, event_digest("azure", "e2"))
    assert take_slot(free, three, wish(names=shared))[1] is SlotState.GRANTED


def test_a_slot_is_inherited_by_the_same_vm_alone():
    slots, _ = take_slot(SlotsDocument(), ONE, wish(slot=SlotWish.ENTER))
    booted = FleetMember("vm-1", "guid-1", "boot-2", slots=1)
    again, state = take_slot(slots, booted, wish(had_slot=True))
    assert state is SlotState.GRANTED and again.holders[0].members["vm-1"].boot_id == "boot-2"
    rebuilt, state = take_slot(slots, AGAIN, wish())
    assert state is SlotState.GRANTED and rebuilt.holders[0].members["vm-1"].vm_id == "guid-9", "the old one is no more"


def test_a_second_event_of_a_machine_that_is_away_already_takes_no_slot_until_the_first_is_over():
    slots, _ = take_slot(SlotsDocument(), ONE, wish())
    slots, state = take_slot(slots, ONE, wish("e2"))
    assert state is SlotState.GRANTED and used(slots.holders) == 1
    slots = take_over(slots, slots.holders[0].event)
    assert used(slots.holders) == 1, "now it is the second one that takes it"


def test_an_event_of_a_part_of_the_machines_that_are_away_takes_no_slot_and_a_second_part_does():
    slots, _ = take_slot(SlotsDocument(), ONE, wish(names=("vm-1", "vm-2")))
    slots, state = take_slot(slots, ONE, wish("e2"))
    assert state is SlotState.GRANTED and used(slots.holders) == 1
    assert take_slot(slots, TWO, wish("e3", names=("vm-2",)))[1] is SlotState.WAITING, "two would be left when the first is over"


@pytest.mark.parametrize("seed", range(5))
def test_no_slot_is_used_more_when_an_entry_goes(seed):
    """Whatever entries there are: what was covered takes at most the place of what covered it."""
    chance = random.Random(seed)
    for _ in range(60):
        entries = tuple(Holder(str(number), True, machines=tuple(sorted(chance.sample("abcd", chance.randint(1, 3)))),
                               members=MappingProxyType({"x": SlotMember("y")})) for number in range(chance.randint(1, 6)))
        gone = chance.randrange(len(entries))
        assert used(entries[:gone] + entries[gone + 1:]) <= used(entries), entries


def test_silence_is_what_reads_have_observed_and_no_more():
    silence = Silence().after("a", 0.0, 1.0, 15.0).after("a", 11.0, 12.0, 15.0)
    assert silence.observed_s == 10.0
    assert silence.after("a", 500.0, 501.0, 15.0).observed_s == 10.0 + 22.5, "an outage or a pause of the observer"
    assert silence.after("b", 500.0, 501.0, 15.0).observed_s == 0.0
    assert takeover_s_of(Holder("e", True, "preempt"), 1800.0) == 120.0 and takeover_s_of(Holder("e", True, "freeze"), 1800.0) == 1800.0
    assert takeover_s_of(Holder("e", True, "preempt"), None) is None, "never"


# --- a shared event

BOTH = ("vm-1", "vm-2")


def ready(may_claim=True, **more):
    return wish(names=BOTH, says="ready", may_claim=may_claim, **more)


def agreed():
    document = write_event(open_event(ready()), ONE, ready(), SlotState.NONE)
    return write_event(document, TWO, ready(), SlotState.NONE)


def test_the_machine_that_completes_the_consent_claims_in_the_same_write():
    first = write_event(open_event(ready()), ONE, ready(), SlotState.NONE)
    assert first.acknowledgement is None and not_ready(first)[0][0] == "vm-2"
    done = agreed()
    assert done.acknowledgement == Claim("vm-2", 1, "guid-2") and not_ready(done) == ()
    assert write_event(done, ONE, ready(), SlotState.NONE) == done, "a claim is open"


def test_a_machine_without_a_granted_slot_keeps_the_event_from_being_claimed():
    first = write_event(open_event(ready()), ONE, ready(), SlotState.NOT_GRANTED)
    done = write_event(first, TWO, ready(), SlotState.GRANTED)
    assert done.acknowledgement is None and not_ready(done) == (("vm-1", "its group has granted it no slot"),)


def test_a_machine_that_the_event_names_later_is_waited_for_too_and_no_name_goes():
    document = write_event(open_event(ready()), TWO, ready(), SlotState.NONE)
    more = replace(ready(), resources=("vm-1", "vm-2", "VM-3"))
    waits = write_event(document, ONE, more, SlotState.NONE)
    assert waits.acknowledgement is None and [name for name, _ in not_ready(waits)] == ["VM-3"]
    still = write_event(waits, TWO, ready(), SlotState.NONE)
    assert still == waits, "the other machine's metadata service does not show it yet"
    third = FleetMember("vm-3", "guid-3", "boot-3")
    assert write_event(still, third, more, SlotState.NONE).acknowledgement.by == "vm-3"
    slots, _ = take_slot(SlotsDocument(), ONE, wish())
    assert take_slot(slots, ONE, wish(names=("vm-1", "vm-3")))[0].holders[0].machines == ("vm-1", "vm-3")


def test_consent_is_taken_back_while_no_claim_is_open_and_not_after():
    back = wish(names=BOTH, says="not-ready", why="it recovers")
    first = write_event(open_event(ready()), ONE, ready(), SlotState.NONE)
    assert write_event(first, ONE, back, SlotState.NONE).members["vm-1"].state == "not-ready"
    assert write_event(agreed(), ONE, back, SlotState.NONE).members["vm-1"].state == "ready"


def test_a_silent_claimant_is_replaced_and_one_that_got_no_answer_passes_its_claim_on():
    taken = write_event(agreed(), ONE, ready(), SlotState.NONE, claimant_is_silent=True)
    assert (taken.acknowledgement.by, taken.acknowledgement.n) == ("vm-1", 2)
    passed = write_event(agreed(), TWO, ready(may_claim=False, sent=1, passes=1), SlotState.NONE)
    assert (passed.acknowledgement.by, passed.acknowledgement.n, passed.acknowledgement.last) == (None, 1, "vm-2")
    assert write_event(passed, TWO, ready(), SlotState.NONE) == passed, "another machine is to try"
    assert write_event(passed, ONE, ready(), SlotState.NONE).acknowledgement.n == 2
    assert write_event(passed, TWO, ready(), SlotState.NONE, claimant_is_silent=True).acknowledgement.n == 2, "no other came"


def test_an_answer_settles_the_claim_for_all():
    settled = write_event(agreed(), TWO, ready(may_claim=False, sent=1, result=200), SlotState.NONE)
    assert settled.acknowledgement.result == 200
    assert write_event(settled, ONE, ready(), SlotState.NONE, claimant_is_silent=True) == settled


def test_a_claimant_that_cannot_send_any_more_gives_its_claim_up_with_its_consent():
    """After a reboot nothing of the boot before is on its way."""
    back = wish(names=BOTH, says="not-ready", why="it prepares", sent=0)
    after = write_event(agreed(), TWO, back, SlotState.NONE)
    assert after.acknowledgement.by is None and after.members["vm-2"].state == "not-ready"
    sent = wish(names=BOTH, says="not-ready", why="it recovers", sent=1)
    assert write_event(agreed(), TWO, sent, SlotState.NONE) == agreed(), "it may be on its way"


def test_two_machines_of_one_name_are_not_acknowledged_for_and_a_rebuilt_one_is():
    first = write_event(open_event(ready()), ONE, ready(), SlotState.NONE)
    first = write_event(first, TWO, ready(may_claim=False), SlotState.NONE)
    replaced = write_event(first, AGAIN, ready(), SlotState.NONE)
    assert replaced.members["vm-1"].state == "not-ready" and replaced.acknowledgement is None, "it waits whether the other one lives"
    assert write_event(replaced, AGAIN, ready(), SlotState.NONE, rival_is_silent=True).acknowledgement.by == "vm-1"
    disputed = write_event(replaced, ONE, ready(), SlotState.NONE)
    assert disputed.members["vm-1"].disputed
    for one in (ONE, AGAIN):
        assert write_event(disputed, one, ready(), SlotState.NONE, rival_is_silent=True) == disputed
    assert not_ready(disputed)[0][1] == "two machines of this name write to the store"


def test_the_consent_of_another_machine_of_this_name_is_not_replaced_while_the_acknowledgement_may_be_on_its_way():
    """That machine could recover, and would not be told that it is too late."""
    assert write_event(agreed(), AGAIN, ready(), SlotState.NONE) == agreed()
    gone = write_event(agreed(), AGAIN, ready(), SlotState.NONE, rival_is_silent=True)
    assert gone.members["vm-1"].vm_id == AGAIN.vm_id


def test_the_last_machine_that_sees_the_event_removed_deletes_its_document():
    gone = wish(names=BOTH, slot=SlotWish.LEAVE, leaves=True)
    left = write_event(agreed(), ONE, gone, SlotState.NONE)
    assert list(left.members) == ["vm-2"] and write_event(left, TWO, gone, SlotState.NONE) is None
    assert write_event(left, ONE, gone, SlotState.NONE) is left
    assert write_event(open_event(gone), ONE, gone, SlotState.NONE) is None


# --- one machine's event

SLOT = Policy(hooks=(hook(timeout_s=10.0),), fleet=FleetRules(slots=1))
SHARED = event("e1", resources=(ME, "vm-2"))


def life(policy=SLOT, thing=None):
    return Life(policy).polled(thing or event("e1"))


def seen(one, slot=SlotState.NONE, **more):
    return one.see(FleetSeen("e1", FleetView(slot, **more)))


def phase(one):
    return one.state.cases["e1"].phase


def acknowledgements(one):
    return [effect for effect in one.wanted().values() if isinstance(effect, fx.Acknowledge)]


def test_no_hook_runs_before_there_is_a_slot():
    one = life()
    assert phase(one) is Phase.WAITING_FOR_SLOT and not one.runs()
    seen(one, SlotState.WAITING)
    assert phase(one) is Phase.WAITING_FOR_SLOT and not one.runs()
    seen(one, SlotState.GRANTED)
    assert one.runs() and phase(one) is Phase.PREPARING
    assert acknowledgements(one.settle())[0].is_guarded


def test_without_a_slot_it_prepares_at_the_last_moment_and_is_held_until_one_is_granted():
    one = seen(life(), SlotState.WAITING)
    one.after(900 - 10 - 5 - 1)
    assert not one.runs()
    one.after(2).settle()
    assert phase(one) is Phase.HELD and not acknowledgements(one)
    seen(one, SlotState.NOT_GRANTED)
    assert phase(one) is Phase.HELD
    assert acknowledgements(seen(one, SlotState.GRANTED))


def test_an_acknowledgement_by_hand_without_a_slot_is_objected_to_and_says_so_in_the_record():
    one = seen(life(), SlotState.WAITING).after(900 - 10 - 5 - 1).after(2).settle()
    thing = one.state.cases["e1"].event
    assert objections(one.state, thing, "vm-1", SLOT).text == "its group has granted it no slot"
    seen(one, is_reached=False)
    assert objections(one.state, thing, "vm-1", SLOT).text == "the fleet's store cannot be used"
    one.see(ob.AcknowledgeRequested("e1", False))
    assert acknowledgements(one) and "by hand, although the fleet's store cannot be used" in [entry.note for entry in one.entries]
    granted = seen(life(), SlotState.GRANTED).settle()
    assert not objections(granted.state, thing, "vm-1", SLOT)


def test_an_event_that_is_held_while_the_store_cannot_be_used_says_so():
    one = seen(life(), is_reached=False).after(900 - 10 - 5 - 1).after(2).settle()
    assert phase(one) is Phase.HELD and one.entries[-1].note == "the fleet's store cannot be used"


def test_who_had_no_time_to_wait_has_the_next_free_slot_and_who_waited_or_lost_one_has_none():
    taken, _ = take_slot(SlotsDocument(), ONE, wish())
    slots, state = take_slot(taken, TWO, wish("e2", SlotWish.ENTER, ("vm-2",)))
    assert state is SlotState.NOT_GRANTED
    later = wish("e2", SlotWish.ENTER, ("vm-2",), had_slot=True)
    assert take_slot(slots, TWO, later) == (slots, SlotState.NOT_GRANTED)
    free = give_back(slots, ONE, event_digest("azure", "e1"))
    assert take_slot(free, TWO, wish("e2", SlotWish.AWAY, ("vm-2",), had_slot=True))[1] is SlotState.NOT_GRANTED
    after, state = take_slot(free, TWO, later)
    assert state is SlotState.GRANTED and after.holders[0].granted
    assert take_slot(after, ONE, wish())[1] is SlotState.WAITING
    waited, _ = take_slot(taken, TWO, wish("e2", SlotWish.ENTER, ("vm-2",), has_waited=True))
    waited = give_back(waited, ONE, event_digest("azure", "e1"))
    assert take_slot(waited, TWO, later) == (waited, SlotState.NOT_GRANTED)
    lost, _ = take_slot(SlotsDocument(), TWO, later)
    assert take_slot(lost, TWO, later) == (lost, SlotState.NOT_GRANTED)


@pytest.mark.parametrize("notice_s", [None, 18.0])
def test_with_short_notice_hooks_start_at_once_and_the_slot_is_asked_for_beside_them(notice_s):
    one = life(thing=event("e1", notice_s=notice_s))
    assert one.runs() and one.wanted()["fleet:e1"].slot is SlotWish.ENTER
    assert phase(one.settle()) is Phase.HELD
    assert acknowledgements(seen(one, SlotState.GRANTED))


def test_a_store_out_of_reach_waives_the_slot_of_a_single_event_alone():
    proceed = Policy(hooks=(hook(),), fleet=FleetRules(slots=1, waives_slot=True))
    one = seen(life(proceed), is_reached=False)
    assert one.runs() and not acknowledgements(one.settle())[0].is_guarded
    both = seen(life(proceed, SHARED), is_reached=False)
    assert phase(both.settle()) is Phase.WAITING_FOR_PEERS and not acknowledgements(both)
    assert phase(seen(life(), is_reached=False)) is Phase.WAITING_FOR_SLOT, "hold"


def test_a_slot_that_was_granted_is_remembered_while_the_store_is_out_of_reach():
    one = seen(seen(life(), SlotState.GRANTED), is_reached=False)
    assert one.wanted()["fleet:e1"].had_slot


def test_a_grant_that_is_gone_is_told_without_blaming_another_machine_for_a_store_that_was_emptied():
    one = life()
    seen(one, SlotState.GRANTED)
    seen(one, SlotState.NOT_GRANTED)
    assert "emptied" in one.entries[-1].note


def test_a_machine_with_nothing_to_prepare_is_ready_and_takes_no_slot():
    one = life(Policy(fleet=FleetRules(slots=1)), SHARED)
    asked = one.wanted()["fleet:e1"]
    assert phase(one) is Phase.WAITING_FOR_PEERS and (asked.says, asked.slot) == ("ready", SlotWish.NONE)
    one.polled(started(SHARED))
    assert one.wanted()["fleet:e1"].slot is SlotWish.AWAY, "others wait for it until it has resumed"
    other = life(Policy(act_on=frozenset(), fleet=FleetRules(slots=1)), SHARED)
    assert phase(other) is Phase.OBSERVED and other.wanted()["fleet:e1"].says == "ready" and not other.wanted()["fleet:e1"].may_claim


def test_a_machine_that_does_not_agree_says_why_and_by_hand_it_does():
    one = life(Policy(hooks=(hook(),), fleet=FleetRules(), rules={Kind.FREEZE: Rules(acknowledge=False)}), SHARED).settle()
    assert phase(one) is Phase.HELD and "by hand" in one.wanted()["fleet:e1"].why
    one.see(ob.AcknowledgeRequested("e1"))
    assert phase(one) is Phase.WAITING_FOR_PEERS and one.wanted()["fleet:e1"].says == "ready"
    one.see(ob.AcknowledgeRequested("e1", alone=True))
    assert not acknowledgements(one)[0].is_guarded
    failed = life(Policy(hooks=(hook(),), fleet=FleetRules()), SHARED).settle(FAILED)
    assert failed.wanted()["fleet:e1"].says == "not-ready" and "drain" in failed.wanted()["fleet:e1"].why


def test_a_consent_that_cannot_be_taken_back_for_want_of_the_store_is_told_once():
    one = life(Policy(hooks=(hook(),), fleet=FleetRules()), SHARED).settle()
    seen(one, says="ready")
    seen(one, is_reached=False)

    def told():
        return [entry.note for entry in one.entries if entry.what is EntryKind.TOO_LATE]

    assert not told(), "it has nothing to take back"
    one.see(ob.RecoverRequested("e1"))
    assert one.wanted()["fleet:e1"].says == "not-ready"
    for _ in range(3):
        seen(one, is_reached=False)
    assert len(told()) == 1 and "store cannot be used" in told()[0]


def claimant():
    one = life(Policy(hooks=(hook(),), fleet=FleetRules()), SHARED).settle()
    return seen(one, says="ready", claim=1, claimed_by=ME, claim_is_mine=True)


def test_the_claimant_acknowledges_and_writes_the_answer_down():
    one = claimant()
    assert one.wanted()["fleet:e1"].sent == 1
    one.acknowledged()
    assert phase(one) is Phase.ACKNOWLEDGED and one.wanted()["fleet:e1"].result == 200


def test_a_claim_without_an_answer_for_ten_seconds_is_passed_on_and_not_used_again():
    one = claimant()
    one.see(ob.AckSettled("e1", 1, AckOutcome.LOST)).after(11)
    asked = one.wanted()["fleet:e1"]
    assert phase(one) is Phase.WAITING_FOR_PEERS and asked.passes == 1 and not asked.may_claim
    seen(one, says="ready", claim=1, claimed_by=ME, claim_is_mine=True)
    assert not acknowledgements(one)
    seen(one, says="ready", claim=1)
    assert one.wanted()["fleet:e1"].passes == 0
    seen(one, says="ready", claim=2, claimed_by="vm-2", result=200)
    assert phase(one) is Phase.ACKNOWLEDGED
    assert [entry.note for entry in one.entries if entry.what.value == "acknowledged by another machine"] == ["vm-2"]


def test_an_acknowledgement_that_the_store_does_not_confirm_is_not_sent_and_the_event_waits_on():
    one = claimant()
    one.see(ob.AckSettled("e1", 1, AckOutcome.WITHHELD, "another machine has the claim"))
    assert phase(one) is Phase.WAITING_FOR_PEERS
    assert acknowledgements(seen(one, says="ready", claim=3, claimed_by=ME, claim_is_mine=True))[0].attempt == 2


def test_nothing_is_claimed_on_what_was_known_before_a_start_of_the_agent():
    one = claimant()
    one.see(ob.AckSettled("e1", 1, AckOutcome.WITHHELD, "")).see(ob.Restarted("boot-1"))
    seen(one, says="ready", claim=2, claimed_by=ME, claim_is_mine=True)
    assert not acknowledgements(one), "no document since the start"
    assert acknowledgements(one.polled(SHARED))


def test_what_the_store_has_of_an_event_is_given_back_also_after_its_end():
    one = seen(life(), SlotState.GRANTED).settle()
    one.polled()
    one.settle()
    assert not one.state.cases and one.wanted()["fleet:e1"].leaves
    one.see(ob.FleetLeft("e1"))
    assert "fleet:e1" not in one.wanted()


def test_an_event_that_is_listed_again_is_not_given_back():
    one = seen(life(), SlotState.GRANTED).settle().polled().settle()
    one.polled(event("e1"))
    assert not one.wanted()["fleet:e1"].leaves


def test_an_event_without_slots_and_without_other_machines_asks_nothing_of_the_store():
    assert "fleet:e1" not in life(Policy(hooks=(hook(),), fleet=FleetRules())).wanted()


def test_news_of_events_that_are_not_there_change_nothing():
    one = seen(life(), SlotState.WAITING)
    before = one.state
    one.see(ob.FleetLeft("e9"), FleetSeen("e9", FleetView()), FleetSeen("e1", FleetView(SlotState.WAITING)))
    assert one.state == before
    assert phase(seen(one)) is Phase.WAITING_FOR_SLOT


def test_a_machine_with_nothing_to_prepare_needs_no_slot_for_its_own_event():
    one = life(Policy(fleet=FleetRules(slots=1)), event("e1", source="user"))
    assert acknowledgements(one) and not acknowledgements(one)[0].is_guarded


def test_an_event_of_a_kind_that_is_not_acted_on_is_entered_while_it_lasts():
    one = life(Policy(act_on=frozenset(), fleet=FleetRules(slots=1)))
    assert "fleet:e1" not in one.wanted()
    assert one.polled(started(event("e1"))).wanted()["fleet:e1"].slot is SlotWish.AWAY


def test_a_refusal_of_the_platform_holds_the_event_for_all():
    one = seen(life(Policy(hooks=(hook(),), fleet=FleetRules()), SHARED).settle(), says="ready", claim=1, claimed_by="vm-2", result=404)
    assert phase(one) is Phase.HELD and "404" in one.entries[-1].note


def test_an_acknowledgement_by_another_machine_ends_being_held():
    one = seen(life(Policy(hooks=(hook(),), fleet=FleetRules()), SHARED).settle(FAILED), claim=1, claimed_by="vm-2", result=200)
    assert phase(one) is Phase.ACKNOWLEDGED


def test_the_answer_to_a_second_acknowledgement_is_recorded_after_that_of_another_machine():
    one = claimant()
    seen(one, says="ready", claim=2, claimed_by="vm-2", result=200)
    before = phase(one)
    one.see(ob.AckSettled("e1", 1, AckOutcome.ACCEPTED))
    assert [entry.what for entry in one.entries][-1] is EntryKind.ACK_ACCEPTED and phase(one) is before


def test_an_unconfirmed_acknowledgement_whose_claim_went_to_another_machine_is_not_sent_again():
    one = claimant().see(ob.AckSettled("e1", 1, AckOutcome.LOST))
    seen(one, says="ready", claim=2, claimed_by="vm-2")
    one.after(3).polled(SHARED)
    assert phase(one) is Phase.WAITING_FOR_PEERS and not acknowledgements(one)


def test_an_acknowledgement_is_not_repeated_where_events_are_only_observed_by_now():
    one = claimant().see(ob.AckSettled("e1", 1, AckOutcome.LOST))
    one.policy = Policy(hooks=(hook(),), fleet=FleetRules(), observes=True)
    assert phase(one.after(3).polled(SHARED)) is Phase.HELD


def test_an_event_that_names_this_machine_no_more_or_alone_is_left_in_the_store_too():
    """Its slot would stay for an hour: a machine that writes is not silent."""
    policy = Policy(hooks=(hook(),), fleet=FleetRules(slots=1))
    for names in (("vm-2",), ("vm-1",)):
        one = seen(life(policy, SHARED), SlotState.GRANTED, says="not-ready").settle()
        one.polled(event("e1", resources=names))
        assert ("it names this machine no more" in [entry.note for entry in one.entries]) is (names == ("vm-2",))
        one.polled().settle()
        left = one.wanted()["fleet:e1"]
        assert (left.slot, left.is_shared, left.leaves) == (SlotWish.LEAVE, True, True), names
    others = life(policy, event("e1", resources=("vm-2",))).polled()
    assert "fleet:e1" not in others.wanted()


def test_without_a_store_any_more_what_waited_for_it_goes_on():
    one = life()
    one.policy = Policy(hooks=(hook(),))
    one.polled(event("e1"))
    assert phase(one) is Phase.PREPARING and one.runs()


def test_a_released_slot_is_asked_for_no_more_and_given_back_at_the_end():
    one = seen(life(), SlotState.RELEASED)
    assert phase(one.settle()) is Phase.HELD and "fleet:e1" not in one.wanted()
    assert one.polled().settle().wanted()["fleet:e1"].slot is SlotWish.LEAVE


def test_a_machine_whose_slot_was_released_keeps_a_shared_event_from_being_acknowledged_and_says_so_once():
    """By any machine: it may be away while its slot counts no more. Also where the store was emptied since."""
    store, one, two = Documents(), sessions(ONE), sessions(TWO)
    agent = life(Policy(hooks=(hook(),), fleet=FleetRules(slots=1)), SHARED)
    agent.see(ob.FleetSeen("e1", store.run(one.coordinate(agent.wanted()["fleet:e1"], 1.0)))).settle()
    key = slots_key("default")
    store.keys[key] = encode(release_slots(decode_slots(key, store.keys[key]), "vm-1"))
    store.run(two.coordinate(ready(slot=SlotWish.ENTER, may_claim=False), 1.0))
    for emptied in (False, False, True, False):
        if emptied:
            del store.keys[key]
        agent.see(ob.FleetSeen("e1", store.run(one.coordinate(agent.wanted()["fleet:e1"], 1.0))))
    said = [entry.what.value for entry in agent.entries if entry.what.value.startswith("slot")]
    assert said == ["slot granted", "slot released"]
    assert not store.run(one.confirm(agent.wanted()["fleet:e1"])).is_given
    seen_by_two = store.run(two.coordinate(ready(slot=SlotWish.ENTER), 1.0))
    assert phase(agent) is Phase.WAITING_FOR_PEERS and not seen_by_two.claim
    assert seen_by_two.not_ready == (("vm-1", "its group has granted it no slot"),)


def test_the_store_says_released_only_of_entries_that_are_there():
    assert release_slots(SlotsDocument(), "vm-1") == SlotsDocument()
    slots, _ = take_slot(SlotsDocument(), ONE, wish())
    released = release_slots(slots, "VM-1")
    assert release_slots(released, "vm-1") is released and take_slot(slots, ONE, wish(slot=SlotWish.NONE)) == (slots, SlotState.NONE)


# --- sessions

class Documents:
    """The keys of a store, for one session at a time. `gives_up`: writes get no answer, and are kept in `late`."""

    def __init__(self):
        self.keys, self.conflicts, self.gives_up, self.late = {}, 0, False, []

    def read(self, key):
        value = self.keys.get(key)
        return StoredValue(value, None if value is None else str(hash(value)))

    def write(self, wish):
        if self.read(wish.key).revision != wish.revision:
            return False
        self.keys[wish.key] = wish.value
        return True

    def run(self, session):
        result = None
        try:
            while True:
                operation = session.send(result)
                match operation:
                    case ReadKey(key):
                        result = self.read(key)
                    case WriteKey() if self.gives_up:
                        self.late.append(operation)
                        session.close()
                        return None
                    case WriteKey():
                        result = self.conflicts <= 0 and self.write(operation)
                        self.conflicts -= 1
                    case BackOff():
                        result = None
        except StopIteration as end:
            return end.value


def sessions(me, raw_s=lambda: 1000.0):
    return FleetSessions(me, 60.0, map(f"{me.vm_id}-{{}}".format, count()).__next__, raw_s)


def test_a_claim_is_passed_on_when_the_event_names_another_machine_before_it_is_sent():
    """Else the others, who cannot take their consent back under it, would wait with it."""
    agent, store, one = claimant(), Documents(), sessions(ONE)
    store.run(sessions(TWO).coordinate(ready(may_claim=False), 1.0))
    agent.see(ob.FleetSeen("e1", store.run(one.coordinate(ready(), 1.0))))
    assert phase(agent) is Phase.ACKNOWLEDGING
    agent.polled(event("e1", resources=("vm-1", "vm-2", "vm-3")))
    asked = agent.wanted()["fleet:e1"]
    assert not store.run(one.confirm(asked)).is_given
    agent.see(ob.AckSettled("e1", 1, AckOutcome.WITHHELD))
    for _ in range(3):
        agent.see(ob.FleetSeen("e1", store.run(one.coordinate(agent.wanted()["fleet:e1"], 1.0))))
        assert phase(agent) is Phase.WAITING_FOR_PEERS
    key = event_key(event_digest("azure", "e1"))
    assert decode_event(key, store.keys[key]).acknowledgement.by is None


def test_an_acknowledgement_is_confirmed_only_by_own_slot_own_claim_and_everyones_consent():
    store, one, two = Documents(), sessions(ONE), sessions(TWO)
    limited = ready(slot=SlotWish.ENTER, sent=1)
    refused = store.run(two.confirm(limited))
    assert not refused.is_given and "slot" in refused.reason
    for each in (one, two):
        store.run(each.coordinate(limited, 1.0))
    assert store.run(two.confirm(limited)).is_given
    refused = store.run(one.confirm(limited))
    assert not refused.is_given and "claim" in refused.reason, "the other one completed the consent"
    assert store.run(two.confirm(ready(slot=SlotWish.NONE, sent=1))).is_given, "a group without a limit"
    key = next(key for key in store.keys if "/events/" in key)
    known = decode_event(key, store.keys[key])
    store.keys[key] = encode(replace(known, members={**known.members, "vm-1": EventMember("not-ready", vm_id="guid-1")}))
    refused = store.run(two.confirm(limited))
    assert not refused.is_given and "not every machine" in refused.reason


def test_one_holder_is_watched_at_a_time_and_the_next_one_when_it_has_shown_that_it_lives():
    """So a silent one is found however many others hold a slot, and however many wait."""
    clock_s, names = [1000.0], ("vm-1", "vm-2", "vm-3")
    store = Documents()
    holders = [sessions(FleetMember(name, f"guid-{name}", "boot-1", slots=3), lambda: clock_s[0]) for name in names]
    waits = sessions(FleetMember("vm-4", "guid-4", "boot-1", slots=3), lambda: clock_s[0])
    for holder, name in zip(holders, names, strict=True):
        store.run(holder.coordinate(wish(f"of-{name}", names=(name,)), 1.0))
    watched = []
    for _ in range(24):
        clock_s[0] += 15.0
        for holder, name in zip(holders, names, strict=True):
            store.run(holder.beat(MemberDocument(name, f"guid-{name}")))
        store.run(waits.coordinate(wish("of-vm-4", names=("vm-4",)), 15.0))
        watched.append(waits.memory.holder)
    turns = [one for number, one in enumerate(watched) if number == 0 or one != watched[number - 1]]
    assert len(turns) > 6 and set(turns[:3]) == {event_digest("azure", f"of-{name}") for name in names}
    assert all(set(turns[first:first + 3]) == set(turns[:3]) for first in range(len(turns) - 2))


def test_the_time_that_is_left_says_how_often_the_store_is_asked_for_a_slot():
    one = life(Policy(hooks=(hook(),), fleet=FleetRules(slots=1)))
    due_raw_s = one.state.cases["e1"].due_raw_s
    assert due_raw_s is not None and one.wanted()["fleet:e1"].due_raw_s == due_raw_s
    one.polled(started(event("e1")))
    assert one.wanted()["fleet:e1"].due_raw_s is None, "it has begun"


def test_a_slot_that_a_restored_store_shows_again_is_given_back_and_covers_no_other_event():
    """Restored from a backup, the store shows a slot of this machine's last event; another machine is away meanwhile."""
    store, one, two = Documents(), sessions(ONE), sessions(TWO)
    store.run(one.coordinate(wish("past"), 1.0))
    store.run(two.coordinate(wish("e2", SlotWish.AWAY, ("vm-2",)), 1.0))
    now = wish("now")
    known = frozenset({event_digest(now.source, now.event_id)})
    assert store.run(one.coordinate(now, 1.0, known)).slot is SlotState.WAITING
    [key] = store.keys
    assert [[*holder.members] for holder in decode_slots(key, store.keys[key]).holders] == [["vm-2"]]
    store.run(two.coordinate(wish("e2", SlotWish.LEAVE, ("vm-2",)), 1.0))
    assert store.run(one.coordinate(now, 1.0, known)).slot is SlotState.GRANTED


def test_a_machine_of_another_group_than_before_gives_back_what_it_had_there_before_its_entry_says_so():
    store, before, now = Documents(), sessions(ONE), sessions(replace(ONE, group="other"))
    store.run(before.coordinate(wish(), 1.0))
    store.run(sessions(TWO).coordinate(wish("e2", SlotWish.AWAY, ("vm-2",)), 1.0))
    store.run(before.beat(MemberDocument("VM-1", "guid-1")))
    store.run(now.beat(MemberDocument("VM-1", "guid-1", group="other")))
    assert [[*one.members] for one in decode_slots("k", store.keys[slots_key("default")]).holders] == [["vm-2"]]


def test_a_machine_leaves_all_events_in_which_a_restored_store_shows_it_and_no_other_machine():
    """It has none now; its own entry, restored as well, names the shared event. A released slot stays for it to see."""
    store, one, two = Documents(), sessions(ONE), sessions(TWO)
    for each, name in ((one, "past"), (two, "other")):
        store.run(each.coordinate(wish(name, SlotWish.AWAY, (each.me.name,)), 1.0))
    for each in (one, two):
        store.run(each.coordinate(ready(slot=SlotWish.AWAY), 1.0))
    digests = {name: event_digest("azure", name) for name in ("past", "other", "e1")}
    store.run(one.beat(MemberDocument("vm-1", "guid-1", events=(digests["past"], digests["e1"]))))
    backup = dict(store.keys)

    restarted = sessions(ONE)
    store.run(restarted.beat(MemberDocument("vm-1", "guid-1")))
    store.run(restarted.leave_past(frozenset()))
    slots, shared = slots_key("default"), event_key(digests["e1"])
    assert {one.event: [*one.members] for one in decode_slots(slots, store.keys[slots]).holders} == {
        digests["other"]: ["vm-2"], digests["e1"]: ["vm-2"]}
    assert [*decode_event(shared, store.keys[shared]).members] == ["vm-2"]
    left = dict(store.keys)
    store.run(restarted.leave_past(frozenset()))
    assert store.keys == left, "there is nothing to write"

    store.keys = {**backup, slots: encode(release_slots(decode_slots(slots, backup[slots]), "vm-1"))}
    released = dict(store.keys)
    store.run(sessions(ONE).leave_past(frozenset(digests.values())))
    store.run(sessions(ONE).leave_past(frozenset()))
    assert store.keys == released
    store.keys[slots] = b"garbage"
    store.run(sessions(ONE).leave_past(frozenset()))
    assert store.keys[slots] == b"garbage"


def test_a_session_that_is_always_second_ends_and_one_that_is_not_goes_on():
    store, one = Documents(), sessions(ONE)
    store.conflicts = 1000
    for asked in (wish(), ready(slot=SlotWish.NONE)):
        with pytest.raises(TooManyConflicts):
            store.run(one.coordinate(asked, 1.0))
    store.conflicts = 2
    assert store.run(one.coordinate(wish(), 1.0)).slot is SlotState.GRANTED
    store.conflicts = 2
    store.run(one.beat(MemberDocument("vm-1", "guid-1")))
    store.run(one.beat(MemberDocument("vm-1", "guid-1")))
    assert decode_member("k", store.keys[member_key("vm-1", "guid-1")]).beat == 1


def test_no_session_that_is_always_second_writes_for_ever():
    store, one, entry = Documents(), sessions(ONE), MemberDocument("vm-1", "guid-1")
    store.conflicts = 1000
    store.run(one.beat(entry))
    assert store.keys == {}, "its entry is written with the next beat"
    store.conflicts = 1
    store.run(one.beat(entry))
    assert [*store.keys] == [member_key("vm-1", "guid-1")]
    store.run(one.coordinate(wish(), 1.0))
    store.conflicts = 1000
    for session in (one.leave_past(frozenset()), sessions(ONE).beat(entry)):
        with pytest.raises(TooManyConflicts):
            store.run(session)


def waiting(store, clock_s, waits, alive=(), away=()):
    """Whether TWO still waits after ten minutes; `alive` write their entries all the time."""
    two = sessions(TWO, lambda: clock_s[0])
    for place, each in enumerate(away):
        store.run(each.coordinate(wish(f"e{place + 5}", SlotWish.AWAY, (each.me.name,)), 1.0))
    for _ in range(40):
        clock_s[0] += 15.0
        for each in alive:
            store.run(each.beat(MemberDocument(each.me.name, each.me.vm_id)))
        if store.run(two.coordinate(waits, 15.0)).slot is not SlotState.WAITING:
            return False
    return True


def test_a_silent_machines_slot_is_taken_over_only_if_that_makes_room_and_no_other_holder_lives():
    clock_s, waits = [1000.0], wish("e2", names=("vm-2",))
    others = [sessions(FleetMember(f"vm-{n}", f"guid-{n}", "boot-1", slots=1), lambda: clock_s[0]) for n in (5, 6)]
    store = Documents()
    assert waiting(store, clock_s, waits, away=others), "two are away, and each one's slot is one too few"
    key = slots_key("default")
    assert sorted(name for one in decode_slots(key, store.keys[key]).holders for name in one.members) == ["vm-5", "vm-6"]
    assert waiting(Documents(), clock_s, waits, alive=others, away=others)
    assert not waiting(Documents(), clock_s, waits, away=others[:1])
    assert waiting(Documents(), clock_s, waits, alive=others[:1], away=others[:1])


def test_a_takeover_still_under_way_comes_too_late_when_its_holder_has_written_again():
    """The request that takes a silent machine's slot gets no answer, and neither does the one that is to make it void."""
    clock_s = [1000.0]
    store, one, two = Documents(), sessions(ONE, lambda: clock_s[0]), sessions(TWO, lambda: clock_s[0])
    entry, waits = MemberDocument("vm-1", "guid-1"), wish("e2", names=("vm-2",))
    store.run(one.coordinate(wish(), 1.0))
    store.run(one.beat(entry))
    store.gives_up = True
    while len(store.late) < 2:
        clock_s[0] += 15.0
        store.run(two.coordinate(waits, 15.0))
    takeover, _ = store.late
    assert [*decode_slots(takeover.key, takeover.value).holders[0].members] == ["vm-2"] and clock_s[0] >= 1060.0
    store.gives_up = False
    store.run(one.beat(entry))
    assert not store.write(takeover)
    assert store.run(one.coordinate(wish(slot=SlotWish.ENTER), 1.0)).slot is SlotState.GRANTED
    known = dict(store.keys)
    clock_s[0] += 15.0
    store.run(one.beat(entry))
    assert [key for key in known if store.keys[key] != known[key]] == [member_key("vm-1", "guid-1")], "without a silence only its entry"
    store.run(one.beat(entry, pauses=1))
    assert store.keys[takeover.key] != known[takeover.key], "a pause may have been longer than the clock shows"


def test_the_silence_of_one_machine_does_not_count_for_another_one_of_its_name():
    """Neither has written an entry of its own, so that only their ids tell them apart."""
    clock_s = [1000.0]
    store, two = Documents(), sessions(TWO, lambda: clock_s[0])
    waits = wish("e2", names=("vm-2",))

    def taken_after_s(began_s):
        while store.run(two.coordinate(waits, 15.0)).slot is SlotState.WAITING:
            clock_s[0] += 15.0
        return clock_s[0] - began_s

    store.run(sessions(ONE).coordinate(wish(), 1.0))
    for _ in range(4):
        store.run(two.coordinate(waits, 15.0))
        clock_s[0] += 15.0
    store.run(sessions(AGAIN).coordinate(wish(), 1.0))
    assert taken_after_s(clock_s[0]) >= 60.0


def test_a_machine_without_a_slot_writes_its_entry_alone_and_slots_it_cannot_read_are_left():
    store, one = Documents(), sessions(ONE)
    store.run(sessions(TWO).coordinate(wish("e2", names=("vm-2",)), 1.0))
    [key], entry = store.keys, MemberDocument("vm-1", "guid-1")
    for value in (store.keys[key], b'{"schema":2}'):
        store.keys[key] = value
        store.run(one.beat(entry))
        assert store.keys.pop(member_key("vm-1", "guid-1")) and store.keys[key] == value
        one = sessions(ONE)
