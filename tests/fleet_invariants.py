"""The invariants J1 to J8 of a fleet, as checks of the fleet model: of every write to its store, every acknowledgement and
every slot that is released. The walk calls them; each raises `Broken`."""
from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from fleet_world import Announced, Broken, Member, ModelStore
from tideover import effects as fx
from tideover.fleet_documents import (
    SlotMember,
    SlotsDocument,
    decode_event,
    decode_slots,
    event_key,
    member_key,
    slots_key,
)
from tideover.lifecycle import Phase, Stage
from tideover.lifecycle.fleet_rules import used
from tideover.lifecycle.fleet_session import WriteKey
from tideover.model import READY
from tideover.observations import AckOutcome, SlotState

TAKEOVER_S = 60.0
BEAT_S = 15.0
NO_SLOT = SlotMember("")


class Invariants:
    """What the checks look at, and what they have to remember of before."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.store = ModelStore()
        self.slots = 1
        self.members: list[Member] = []
        self.events: list[Announced] = []
        self.posts = self.takeovers = self.releases = 0
        self.restored_s = -1.0                                  # when the store was restored or emptied
        self.released: dict[tuple[str, str], float] = {}        # digest, VM id -> since when
        self.owners: dict[tuple[str, str], list[tuple[float, str]]] = {}    # key, name -> since when which VM's entry it is
        self.disputed_s: dict[tuple[str, str], float] = {}
        self.claims: dict[str, list[tuple[float, str, int]]] = {}           # key -> since when whose claim with which number
        self.granted: dict[tuple[str, str], list[tuple[float, frozenset[str]]]] = {}    # group, digest -> which VMs have it
        self.slotless_s: dict[tuple[str, str], float] = {}      # key, name -> since when it is ready without a granted slot

    def claim_of(self, member: Member, effect: fx.Acknowledge) -> int:
        fleet = member.state.cases[effect.event_id].fleet
        return fleet.sent if fleet is not None and fleet.is_shared else 0

    def look_at_write(self, member: Member, wish: WriteKey, before: bytes | None) -> None:
        if before is not None and wish.value is not None and b'"next"' in before:
            self.look_at_unknown(json.loads(before), json.loads(wish.value))
        if "/groups/" in wish.key and wish.value is not None:
            old = decode_slots(wish.key, before) if before is not None else SlotsDocument()
            self.look_at_slots(member, old, decode_slots(wish.key, wish.value))
        elif "/events/" in wish.key:
            self.look_at_event(member, wish, before)

    def look_at_slots(self, member: Member, old: SlotsDocument, new: SlotsDocument) -> None:
        self.note_grants(member.group, old, new)
        for holder in new.holders:
            known = before = old.holder(holder.event)
            for name, own in before.members.items() if before is not None else ():
                if name in holder.members and holder.members[name].vm_id != own.vm_id:
                    self.released.pop((holder.event, own.vm_id), None)      # with the entry that another machine has replaced
            if known is not None and len(known.members) == 1 and known.members.get(member.name, NO_SLOT).vm_id not in (
                    "", holder.members.get(member.name, NO_SLOT).vm_id):
                known = None                    # the entry of another machine of its name has been replaced
            if known is not None and known.granted and not known.counts:
                known = None                    # all its machines were released: it is granted anew, or not
            if known is not None and known.granted != holder.granted and not known.waits:
                raise Broken("J2: a grant was changed")
            if known is not None and holder.waits and not known.waits:
                raise Broken("J2: a grant that was lost is waited for")
            if holder.granted and holder.counts and (known is None or not known.granted):
                others = used(one for one in new.holders if one.event != holder.event)
                if others >= self.slots and used(new.holders) > others:
                    raise Broken(f"J2: {member.name} was granted a slot beside {others} others")
            others_before = {name: one for name, one in before.members.items() if name != member.name} if before else {}
            others_after = {name: one for name, one in holder.members.items() if name != member.name}
            if others_before != others_after:
                raise Broken(f"J8: {member.name} changed another one's part: {others_before} {others_after}")
        for gone in old.holders:
            if new.holder(gone.event) is None and member.name in gone.members and len(gone.members) > 1:
                raise Broken(f"J8: {member.name} removed an entry of its own with others in it")
            if new.holder(gone.event) is None and set(gone.members) - {member.name}:
                self.takeovers += 1
                self.look_at_takeover(member, {name: own.vm_id for name, own in gone.members.items()})
            if new.holder(gone.event) is None:
                for own in gone.members.values():
                    self.released.pop((gone.event, own.vm_id), None)

    def note_grants(self, group: str, old: SlotsDocument, new: SlotsDocument) -> None:
        for digest in {one.event for one in (*old.holders, *new.holders)}:
            holder = new.holder(digest)
            having = frozenset(own.vm_id for own in holder.members.values() if holder.granted and not own.released) \
                if holder is not None else frozenset()
            self.granted.setdefault((group, digest), []).append((self.now_s, having))

    def look_at_release(self, member: Member, old: SlotsDocument, new: SlotsDocument, before: bytes, after: bytes) -> None:
        self.note_grants(member.group, old, new)
        self.look_at_unknown(json.loads(before), json.loads(after))
        for was, now in zip(old.holders, new.holders, strict=True):
            for one, own in now.members.items():
                if own != was.members[one] and (one != member.name or replace(own, released=False) != was.members[one]):
                    raise Broken("J8: a release changed more than it releases")
                if own.released:
                    self.released.setdefault((now.event, own.vm_id), self.now_s)
                    self.releases += 1

    def look_at_unknown(self, before: Any, after: Any) -> None:
        """What this version does not know is kept wherever its place is still there."""
        if not isinstance(before, dict) or not isinstance(after, dict):
            return
        if "next" in before and before["next"] != after.get("next"):
            raise Broken(f"J8: what the next version has written is lost: {before} {after}")
        for name in before.keys() & after.keys() - {"holders", "next"}:
            self.look_at_unknown(before[name], after[name])
        for holder in before.get("holders", ()):
            again = next((one for one in after["holders"] if one["event"] == holder["event"]), None)
            if again is not None and any(
                    own["vm_id"] == again["members"].get(name, own)["vm_id"] for name, own in holder["members"].items()):
                self.look_at_unknown(holder, again)

    def look_at_takeover(self, member: Member, silent: dict[str, str]) -> None:
        """J5, by the model's own log of successful reads."""
        for name, vm_id in silent.items():
            key = member_key(name, vm_id)
            reads = [(revision, when) for known, revision, when in member.reads if known == key]
            observed_s, last = 0.0, None
            for revision, when in reads:
                if last is not None and last[0] == revision:
                    observed_s += min(when - last[1], 1.5 * BEAT_S)
                else:
                    observed_s = 0.0
                last = revision, when
            if observed_s < TAKEOVER_S:
                raise Broken(f"J5: {member.name} took {name}'s slot over after {observed_s:.0f} s of observed silence")

    def look_at_event(self, member: Member, wish: WriteKey, before: bytes | None) -> None:
        old = decode_event(wish.key, before).members if before is not None else {}
        new = decode_event(wish.key, wish.value).members if wish.value is not None else {}
        if {k: v for k, v in old.items() if k != member.name} != {k: v for k, v in new.items() if k != member.name}:
            raise Broken(f"J8: {member.name} changed another one's readiness")
        own, own_before = new.get(member.name), old.get(member.name)
        place = wish.key, member.name
        if own is not None and (own_before is None or own.vm_id != own_before.vm_id):
            self.owners.setdefault(place, []).append((self.now_s, own.vm_id))
        if own is not None and own.disputed and (own_before is None or not own_before.disputed):
            self.disputed_s[place] = self.now_s
        is_slotless = own is not None and own.state == READY and own.slot is False
        if not is_slotless:
            self.slotless_s.pop(place, None)
        elif own_before is None or own_before.slot is not False:
            self.slotless_s[place] = self.now_s
        was = decode_event(wish.key, before).acknowledgement if before is not None else None
        now = decode_event(wish.key, wish.value).acknowledgement if wish.value is not None else None
        if now is not None and now != was:
            self.claims.setdefault(wish.key, []).append((self.now_s, now.vm_id, now.n))
        if was is not None and now is not None and now.n < was.n:
            raise Broken("J8: a claim number fell")
        if now is not None and now.by is not None and now.by != member.name and now != was:
            raise Broken("J8: a claim for another machine")

    def look_at_post(self, member: Member, announced: Announced, effect: fx.Acknowledge, confirmed_s: float) -> None:
        self.posts += 1
        case = member.state.cases[effect.event_id]
        if not effect.is_guarded:
            return
        # Of two machines of one name each replaces the other's entry, and what was released with it.
        if not self.has_namesake(member) and self.released.get((announced.digest, member.vm_id), math.inf) < confirmed_s:
            raise Broken(f"J3: {member.name} acknowledges with a slot that was released")
        if self.restored_s < 0:
            self.look_at_right(member, announced, effect, confirmed_s)
        if announced.phase == "scheduled" and case.fleet is not None and case.fleet.is_shared:
            self.look_at_everyone(announced, confirmed_s)
        elif announced.phase == "scheduled":
            self.look_at_consent(member, announced)
        if case.fleet is not None and case.fleet.is_shared:
            sent = self.claim_of(member, effect)
            for post in announced.posts:
                again = post.claim == sent and post.place == member.place and post.outcome is AckOutcome.LOST
                if post.claim and post.claim >= sent and not again and post.at_s > self.restored_s:
                    raise Broken(f"J4: {member.name} acknowledges again with claim {sent} after {post.claim}")
        self.look_at_others(member, announced)

    def look_at_right(self, member: Member, announced: Announced, effect: fx.Acknowledge, confirmed_s: float) -> None:
        """J3: at its last look at the store it had a granted slot, and its own claim with the number it acknowledges by."""
        fleet = member.state.cases[effect.event_id].fleet
        assert fleet is not None
        having = self.granted.get((member.group, announced.digest), [])
        last = max((at_s for at_s, _ in having if at_s <= confirmed_s), default=math.inf)
        if fleet.is_limited and fleet.takes_slot and not any(
                member.vm_id in vm_ids for at_s, vm_ids in having if at_s >= last):
            raise Broken(f"J3: {member.name} acknowledges without a granted slot")
        claims = [(vm_id, n) for at_s, vm_id, n in self.claims.get(event_key(announced.digest), ()) if at_s <= confirmed_s]
        if fleet.is_shared and claims[-1:] != [(member.vm_id, fleet.sent)]:
            raise Broken(f"J3: {member.name} acknowledges without a claim of its own: {claims} {fleet.sent}")

    def look_at_everyone(self, announced: Announced, confirmed_s: float) -> None:
        """J1 of all machines named; of two of one name it is the one whose entry the last look at the store has shown, and
        only while the other one has not had time to dispute that."""
        key = event_key(announced.digest)
        stored = self.store.read(key)
        event = decode_event(key, stored.value) if stored.value is not None else None
        for place in announced.machines:
            named = self.members[place]
            own = event.members.get(named.name) if event is not None else None
            if self.restored_s < self.slotless_s.get((key, named.name), math.inf) < confirmed_s:
                raise Broken(f"J3: {named.name} is ready without a granted slot")
            owners = [one for one in self.owners.get((key, named.name), ()) if one[0] <= confirmed_s]
            if own is None or not owners or owners[-1][1] == named.vm_id:
                self.look_at_consent(named, announced)
                continue
            replaced_s = owners[-1][0] if len(owners) > 1 else math.inf
            if self.disputed_s.get((key, named.name), math.inf) < confirmed_s or (
                    replaced_s < named.settled_at.get(announced.event.id, -1.0) < confirmed_s and not own.disputed):
                raise Broken(f"J1: two machines are called {named.name}, and both write")

    def look_at_consent(self, named: Member, announced: Announced) -> None:
        """J1. What an agent could not write yet, and a recovery by hand that was told "too late", are the exceptions; and
        what it has not written anew into a store that was restored."""
        event_id = announced.event.id
        if named.settled_at.get(event_id, -1.0) < self.restored_s:
            return
        known = named.state.hooks.get("drain")
        case = named.state.cases.get(event_id)
        if known is not None and known.stage in (Stage.PREPARED,) and known.prepared_for and named.is_in_boot(event_id):
            return
        if case is None and not named.is_up:
            return
        if named.settled_boot.get(event_id) != named.boot or event_id in named.told_late:
            return
        since = named.recovered_s.get(event_id)
        if since is not None and named.settled_at.get(event_id, -1.0) <= since:
            return                          # its retraction is not written yet: recover does not wait for the store
        if case is not None and case.fleet is not None and not case.fleet.takes_slot:
            return
        if case is not None and case.phase is Phase.PREPARING and named.settled_at.get(event_id, -1.0) <= named.prepared_s:
            return
        raise Broken(f"J1: {named.name} has not agreed: {case.phase.value if case else 'no case'}, hook {known}")

    def look_at_others(self, member: Member, announced: Announced) -> None:
        """Of what J2 and J3 are for: no acknowledgement with a granted slot while as many other events, of members that
        the store could be reached by and that were not taken over, are prepared for."""
        away = set()
        for other in self.members:
            if other.group != member.group or other.name == member.name or self.has_namesake(other):
                continue
            known = other.state.hooks.get("drain")
            if known is None or known.stage is Stage.QUEUED or not known.needs_recover:
                continue
            for event_id in known.wanted_by or (known.event_id,):
                case = other.state.cases.get(event_id)
                if event_id == announced.event.id or case is None or other.settled_at.get(event_id, -1.0) < max(
                        other.prepared_s, self.restored_s):
                    continue
                if case.fleet is None or case.fleet.view.slot not in (SlotState.GRANTED, SlotState.NOT_GRANTED):
                    continue
                away.add((event_id, other.name))
        key = slots_key(member.group)
        stored = self.store.read(key)
        slots = decode_slots(key, stored.value) if stored.value is not None else SlotsDocument()
        for event_id, name in away:
            digest = next(one.digest for one in self.events if one.event.id == event_id)
            holder = slots.holder(digest)
            if holder is None and not self.takeovers:
                raise Broken(f"J2: {name} is prepared for {event_id} and is not entered")


    def has_namesake(self, member: Member) -> bool:
        return sum(one.name == member.name for one in self.members) > 1
