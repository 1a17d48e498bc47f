"""Several pure members around one model store, walked at random: the decision (`step`) and the sessions with the store are
the agent's own; threads, time, the store, the platform and every misfortune are the model's.

One move at a time: an operation of a session, a document seen, a hook that ends, an acknowledgement that leaves, a crash,
a freeze, an outage, a release by hand, a store that is restored. Some walks have two machines of one name, or agents of the
next version. Every write and every acknowledgement is looked at (`fleet_invariants`).
"""
from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fleet_invariants import BEAT_S, TAKEOVER_S, Invariants
from fleet_world import Announced, Broken, Member, Post, Wanted
from lives import BEGIN, DONE, FAILED, GOOD, RAW_S, at, event, hook, report
from tideover import effects as fx, observations as ob
from tideover.effects import Coordinate
from tideover.fleet_documents import MemberDocument, decode_slots, encode, event_digest, slots_key, stamped
from tideover.lifecycle import Phase, Stage, desired_effects, step
from tideover.lifecycle.fleet_rules import FleetMember, release_slots
from tideover.lifecycle.fleet_session import (
    BackOff,
    Confirmation,
    FleetSessions,
    ReadKey,
    StoredValue,
    TooManyConflicts,
    WriteKey,
)
from tideover.lifecycle.state import HookState
from tideover.model import Cause, Document, Event, HookPhase, Moment, Pause
from tideover.observations import AckOutcome, FleetView, SlotState
from tideover.policy import FleetRules, Policy

Picked = TypeVar("Picked")

FRESH_S = 1.0


class Walk(Invariants):
    """One walk of `moves` random moves, then the end: all is healed, and every event is removed."""

    def __init__(self, seed: int, change: Callable[[Walk], None] | None = None) -> None:
        super().__init__()
        self.chance, self.moment_now = random.Random(seed), at(0.0)
        self.slots = self.pick((1, 1, 2))
        self.releases_slots, self.restores, two_of_a_name, next_version = (
            self.chance.random() < share for share in (0.15, 0.12, 0.1, 0.15))
        groups = ("a", "a", "a", "b") if self.chance.random() < 0.25 else ("a",) * 4
        self.members = [Member(place, f"vm-{place + 1}", groups[place]) for place in range(self.pick((3, 3, 4)))]
        if two_of_a_name:
            self.members[-1] = Member(len(self.members) - 1, "vm-1", groups[0])
        self.has_next_version = next_version
        for member in self.members if next_version else ():
            member.is_next = self.chance.random() < 0.5
        self.policy = Policy(hooks=(hook("drain", 10, timeout_s=10.0),),
                             fleet=FleetRules(self.slots, waives_slot=self.chance.random() < 0.15))
        self.pace = self.pick((1.0, 1.0, 4.0))
        self.revival = self.pick((0.2, 0.2, 0.02))      # how soon agents that have ended start again
        self.writes, self.looks_at_writes = 0, True
        self.is_hostile = False                 # freezes claimants, and lets the others recover by hand meanwhile
        self.created_late: set[str] = set()     # by a request that was given up: what `fleet prune` is for
        self.backup: dict[str, StoredValue] = {}
        self.left_by_restore: set[str] = set()                  # keys: what `fleet prune` is for as well
        if change is not None:
            change(self)
        for member in self.members:
            self.see(member, ob.Restarted(member.boot_id))

    # --- the agent's side

    def pick(self, among: Sequence[Picked]) -> Picked:
        return among[int(self.chance.random() * len(among))]

    def moment(self) -> Moment:
        if self.moment_now.raw_s != RAW_S + self.now_s:
            self.moment_now = at(self.now_s)
        return self.moment_now

    def sessions(self, member: Member) -> FleetSessions:
        if member.sessions is None:         # of this process
            me = FleetMember(member.name, member.vm_id, member.boot_id, member.group, self.slots)
            member.sessions = FleetSessions(me, TAKEOVER_S, self.new_write, lambda: RAW_S + self.now_s)
        return member.sessions

    def new_write(self) -> str:
        self.writes += 1
        return f"w{self.writes}"

    def see(self, member: Member, seen: ob.Observation) -> None:
        before = member.state
        member.state = step(before, seen, self.policy, self.moment()).state
        if member.state is before:
            return
        hooks, known = member.state.hooks.get("drain"), before.hooks.get("drain")
        if hooks is not None and hooks.stage is Stage.PREPARING and (known is None or known.stage is not Stage.PREPARING):
            member.prepared_s = self.now_s
        for case in member.state.cases.values():
            if case.phase is Phase.RECOVERING and not case.began and case.id not in member.recovered_s:
                member.recovered_s[case.id] = self.now_s
            elif case.phase in (Phase.PREPARING, Phase.WAITING_FOR_PEERS) and case.id in member.recovered_s:
                del member.recovered_s[case.id]

    def wanted(self, member: Member) -> Wanted:
        """What its state asks for. The moment plays a part only in timers that are left out here."""
        if member.wanted_of is not member.state:
            member.wanted_of, member.wanted = member.state, Wanted(desired_effects(member.state, self.moment()))
        return member.wanted

    # --- the moves

    def run(self, moves: int = 90) -> None:
        for number in range(self.pick((1, 2, 2, 3))):
            self.announce(number)
        for number in range(moves):
            self.move()
            if number % 8 == 0 and self.is_over():
                break
        self.finish()

    def is_over(self) -> bool:
        return all(one.phase == "removed" for one in self.events) and all(
            not one.state.cases and not one.state.leaving and one.running is None for one in self.members)

    def announce(self, number: int) -> None:
        names = sorted({one.name for one in self.members})
        named = sorted(self.chance.sample(names, min(len(names), self.pick((1, 1, 2, 3)))))
        spelt = tuple(name.upper() if self.chance.random() < 0.2 else name for name in named)
        places = tuple(one.place for one in self.members if one.name in named)
        self.events.append(Announced(event(f"e{number}", resources=spelt, notice_s=self.pick((20.0, 200.0, 900.0))), places))

    def move(self) -> None:
        self.now_s += self.pace * self.pick((0.05, 0.2, 0.2, 1.0, 3.0))
        member = self.pick(self.members)
        if not member.is_up and self.chance.random() < self.revival:
            self.restart(member)
        if (self.store.is_down or member.is_cut_off) and self.chance.random() < 0.08:
            self.store.is_down = member.is_cut_off = False
        is_able = member.is_up and member.frozen_until_s <= self.now_s
        if self.is_hostile and is_able and any(one.thawing for one in self.members) and self.chance.random() < 0.1:
            self.see(member, ob.RecoverRequested(None))
        roll = self.chance.random()
        if roll < 0.58:
            times = self.pick((1, 2, 4, 8))
            self.first_able(member, lambda one: self.work_on(one, times))
        elif roll < 0.74:
            self.first_able(member, self.poll)
        elif roll < 0.80:
            self.disturb(member)
        elif roll < 0.84:
            self.now_s += self.pick((10.0, 30.0))
        elif roll < 0.93:
            self.platform()
        elif self.store.late and roll < 0.96:
            self.late_write()
        else:
            self.first_able(member, self.beat)

    def first_able(self, member: Member, do: Callable[[Member], bool]) -> None:
        """The first one for which there is something to do, so that few moves are none; else time goes by."""
        for place in range(member.place, member.place + len(self.members)):
            one = self.members[place % len(self.members)]
            if one.is_up and one.frozen_until_s <= self.now_s and do(one):
                return
        self.now_s += self.pick((1.0, 5.0))

    def work_on(self, member: Member, times: int) -> bool:
        for done in range(times):
            self.now_s += 0.01
            if member.frozen_until_s > self.now_s or not self.work(member):
                return done > 0
        return True

    def work(self, member: Member) -> bool:
        """Whatever this agent's threads may do next. Return whether there was anything."""
        if member.thawing is not None:
            self.post_unfenced(member)
            return True
        doable: list[tuple[Callable[..., None], Any]] = []
        wanted = self.wanted(member)
        if wanted.first_raw_s <= RAW_S + self.now_s:
            doable += [(self.wake, wake) for wake in wanted.wakes if wake.at_raw_s <= RAW_S + self.now_s]
        if member.confirmed is not None:
            doable += [(self.post, None)] * 4
        doable += [(self.end_hook, run) for run in wanted.runs]
        for known in member.state.hooks.values():
            if known.stage is Stage.STOPPING:
                doable.append((self.end_stop, known))
        doable += [(self.judge, check) for check in wanted.checks]
        if member.running is not None:
            doable += [(self.operate, None)] * 4
        else:
            doable += [(self.begin_confirm, ack) for ack in wanted.acknowledgements]
            doable += [(self.begin, one) for one in wanted.coordinates if not self.is_settled(member, one)]
        if not doable:
            return False
        do, subject = doable[int(self.chance.random() * len(doable))] if len(doable) > 1 else doable[0]
        do(member) if subject is None else do(member, subject)
        return True

    def wake(self, member: Member, wake: fx.WakeAt) -> None:
        self.see(member, ob.Due(wake.key))

    def end_stop(self, member: Member, known: HookState) -> None:
        self.see(member, ob.HookSettled(known.spec.name, HookPhase.PREPARE, known.run, report()))

    def judge(self, member: Member, check: fx.CheckClock) -> None:
        self.see(member, ob.ClockJudged(check.event_id, check.round, GOOD))

    def end_hook(self, member: Member, run: fx.RunHook) -> None:
        outcome = FAILED if run.phase is HookPhase.PREPARE and self.chance.random() < 0.1 else DONE
        self.see(member, ob.HookSettled(run.spec.name, run.phase, run.run, report(outcome)))

    def poll(self, member: Member) -> bool:
        """A document that is the same again changes nothing where nothing depends on when it was asked for."""
        listed = self.listed()
        is_news = member.polled[0] is not member.state or member.polled[1] != listed or any(
            case.phase in (Phase.PREPARING, Phase.UNCONFIRMED) for case in member.state.cases.values())
        if is_news:
            now = self.moment()
            document = Document(listed, now.raw_s, now.raw_s, str(self.now_s), now.utc)
            self.see(member, ob.Polled(document, member.name, member.vm_id))
            member.polled = member.state, listed
        for wake in self.wanted(member).wakes:         # timers fire at once
            if wake.at_raw_s <= RAW_S + self.now_s:
                self.wake(member, wake)
        for case in member.state.cases.values():
            late = case.wake_raw_s is not None and case.wake_raw_s <= RAW_S + self.now_s
            if case.phase is Phase.WAITING_FOR_SLOT and late and not case.began:
                raise Broken(f"J6: {member.name} still waits for a slot after its last moment")
        return is_news

    def listed(self) -> tuple[Event, ...]:
        return tuple([one.started if one.phase == "started" else one.event for one in self.events if one.phase != "removed"])

    # --- sessions, one operation at a time

    def begin(self, member: Member, effect: Coordinate) -> None:
        if member.phases.get(effect.event_id) != effect.phase:
            member.views.pop(effect.event_id, None)
            member.phases[effect.event_id] = effect.phase
        member.running = self.sessions(member).coordinate(effect, 1.0, self.wanted(member).digests)
        member.running_for, member.result, member.seen = effect, None, []
        member.settled_at[f"begun {effect.event_id}"] = self.now_s
        self.operate(member)

    def begin_confirm(self, member: Member, effect: fx.Acknowledge) -> None:
        if member.confirmed is not None and member.confirmed[0].key == effect.key:
            return
        if not effect.is_guarded:
            member.confirmed = effect, Confirmation(True, "", RAW_S + self.now_s), member.boot
            return
        wish = next((one for one in self.wanted(member).coordinates if one.event_id == effect.event_id), None)
        if wish is None:
            return
        member.running = self.sessions(member).confirm(wish)
        member.running_for, member.result = effect, None
        self.operate(member)

    def operate(self, member: Member) -> None:
        """Carry out the next operation of the session under way."""
        assert member.running is not None
        try:
            operation = member.running.send(member.result)
        except StopIteration as end:
            self.ended(member, end.value)
            return
        except TooManyConflicts:
            member.running = None
            return
        match operation:
            case ReadKey(key):
                if self.store.is_down or member.is_cut_off:
                    self.dropped(member)
                    return
                if member.generation != self.store.generation:
                    self.refused(member)
                    return
                member.result = self.store.read(key)
                member.seen.append((key, member.result.revision))
                if "/members/" in key:
                    member.reads.append((key, member.result.revision, self.now_s))
            case WriteKey():
                member.seen = [("", "written")]
                self.write(member, operation)
            case BackOff():
                member.result = None

    def refused(self, member: Member) -> None:
        """The answer shows that the store is another one than before: what this session has read of it is void."""
        member.generation = self.store.generation
        assert member.running is not None
        member.running.close()
        member.running = None
        self.sessions(member).memory.forget_silence()

    def write(self, member: Member, wish: WriteKey) -> None:
        if member.is_next and wish.value is not None:
            wish = replace(wish, value=with_unknown(wish.key, wish.value, member))
        fate = self.chance.random()
        if self.store.is_down or member.is_cut_off:
            if fate < 0.3:
                self.store.late.append((member.place, wish))
            self.dropped(member)
        elif member.generation != self.store.generation:
            self.refused(member)
        elif fate < 0.06:
            self.store.late.append((member.place, wish))     # given up by its client, and carried out later or never
            self.dropped(member)
        else:
            member.result = self.applied(member, wish)
            if fate < 0.12:
                self.dropped(member)                        # carried out, and the answer was lost

    def applied(self, member: Member, wish: WriteKey) -> bool:
        before = self.store.read(wish.key)
        done = self.store.write(wish)
        if done and self.looks_at_writes:
            self.look_at_write(member, wish, before.value)
        return done

    def late_write(self) -> None:
        place, wish = self.store.late.pop(self.chance.randrange(len(self.store.late)))
        if self.store.is_down:
            return
        if self.applied(self.members[place], wish) and wish.revision is None:
            self.created_late.add(wish.key)

    def dropped(self, member: Member) -> None:
        assert member.running is not None
        member.running.close()
        member.running = None
        self.sessions(member).memory.forget_silence()
        effect = member.running_for
        if isinstance(effect, fx.Acknowledge):
            member.views.pop(effect.event_id, None)
            if self.chance.random() < 0.5:
                self.see(member, ob.AckSettled(effect.event_id, effect.attempt, AckOutcome.WITHHELD, "unreachable"))
        elif isinstance(effect, Coordinate) and not effect.leaves and self.chance.random() < 0.3:
            view = replace(member.views.get(effect.event_id) or FleetView(), is_reached=False)
            member.views[effect.event_id] = view
            self.see(member, ob.FleetSeen(effect.event_id, view))

    def ended(self, member: Member, value: Any) -> None:
        effect, member.running = member.running_for, None
        if effect is None:
            return
        if isinstance(value, Confirmation):
            assert isinstance(effect, fx.Acknowledge)
            if value.is_given:
                member.confirmed = effect, value, member.boot
            else:
                member.views.pop(effect.event_id, None)
                self.see(member, ob.AckSettled(effect.event_id, effect.attempt, AckOutcome.WITHHELD, value.reason))
            return
        assert isinstance(effect, Coordinate) and isinstance(value, FleetView)
        now = next((one for one in self.wanted(member).coordinates if one.key == effect.key), None)
        member.settled_boot[effect.event_id] = member.boot
        member.settled_at[effect.event_id] = member.settled_at[f"begun {effect.event_id}"]
        if value.is_too_late:
            member.told_late.add(effect.event_id)
        else:
            member.told_late.discard(effect.event_id)
        if now is None or now.phase != effect.phase:
            return
        if effect.leaves:
            if value.slot is SlotState.NONE:
                self.see(member, ob.FleetLeft(effect.event_id))
            return
        if value.slot is not SlotState.WAITING and (value.claim == 0 or value.claim_is_mine or value.result is not None):
            member.settled[effect.event_id] = effect, value, tuple(member.seen)
        if member.views.get(effect.event_id) != value:
            member.views[effect.event_id] = value
            self.see(member, ob.FleetSeen(effect.event_id, value))

    def is_settled(self, member: Member, effect: Coordinate) -> bool:
        """Whether another session would find all as the last one did, and nothing that time makes a difference for."""
        known = member.settled.get(effect.event_id)
        return known is not None and known[0] == effect and known[1] is member.views.get(effect.event_id) and all(
            self.store.revision_of(key) == revision for key, revision in known[2])

    def beat(self, member: Member) -> bool:
        if member.running is not None or self.now_s - member.beat_s < BEAT_S:
            return False
        member.beat_s, member.beats = self.now_s, member.beats + 1
        wanted = self.wanted(member)
        named = tuple(event_digest(one.source, one.event_id) for one in wanted.coordinates if not one.leaves)
        self.to_its_end(member, self.sessions(member).beat(
            MemberDocument(member.name, member.vm_id, member.boot_id, member.group, self.slots, events=named)))
        if self.chance.random() < 0.2:
            member.running, member.result = self.sessions(member).leave_past(wanted.digests), None
        return True

    def to_its_end(self, member: Member, session: Generator[Any, Any, None]) -> None:
        member.running, member.running_for, member.result = session, None, None
        while member.running is not None:
            self.operate(member)

    # --- the platform

    def post(self, member: Member) -> None:
        assert member.confirmed is not None
        effect, confirmed, boot = member.confirmed
        member.confirmed = None
        is_fresh = RAW_S + self.now_s - confirmed.read_raw_s < FRESH_S
        still = any(one.key == effect.key for one in self.wanted(member).acknowledgements)
        if not still or boot != member.boot or not (is_fresh or not effect.is_guarded):
            return
        if self.chance.random() < (0.6 if self.is_hostile else 0.1):      # frozen between its last check and the request: no store can fence that
            member.frozen_until_s = self.now_s + self.pick((2.0, 20.0, 50.0))
            member.thawing = effect, self.claim_of(member, effect), confirmed.read_raw_s - RAW_S
            return
        announced = next(one for one in self.events if one.event.id == effect.event_id)
        self.look_at_post(member, announced, effect, confirmed.read_raw_s - RAW_S)
        self.send(member, announced, effect, self.claim_of(member, effect))

    def post_unfenced(self, member: Member) -> None:
        """Sent after the freeze, whatever has become of its claim: a second acknowledgement at worst, for what was agreed
        to under an open claim cannot be taken back, unless the store loses that claim during the freeze."""
        assert member.thawing is not None
        (effect, claim, confirmed_s), member.thawing = member.thawing, None
        announced = next(one for one in self.events if one.event.id == effect.event_id)
        if effect.is_guarded and claim and announced.phase == "scheduled" and not announced.posts and \
                self.restored_s < confirmed_s:
            self.look_at_everyone(announced, confirmed_s)
        self.send(member, announced, effect, claim)

    def send(self, member: Member, announced: Announced, effect: fx.Acknowledge, claim: int) -> None:
        answer = self.chance.random()
        if announced.phase == "removed":
            outcome = AckOutcome.REFUSED
        else:
            outcome = AckOutcome.ACCEPTED if answer < 0.75 else AckOutcome.LOST
        announced.posts.append(Post(member.place, claim, self.now_s, outcome))
        if announced.phase == "scheduled" and answer < 0.9 and self.chance.random() < 0.5:
            announced.phase = "started"
        self.see(member, ob.AckSettled(effect.event_id, effect.attempt, outcome))

    def platform(self) -> None:
        for one in self.events:
            due = one.event.not_before is not None and (one.event.not_before - BEGIN).total_seconds() <= self.now_s
            if one.phase == "scheduled" and due:
                one.phase = "started"
        one = self.pick(self.events)
        roll = self.chance.random()
        if one.phase == "started" and roll < 0.5:
            length_s = self.pick((2.0, 9.0, 28.0))
            for place in one.machines:
                member = self.members[place]
                if member.frozen_until_s <= self.now_s:
                    member.frozen_until_s = self.now_s + length_s
                    if member.is_up:
                        moment = at(self.now_s + length_s)
                        self.see(member, ob.Resumed(Pause(f"p-{one.event.id}-{self.now_s:.2f}", moment.utc, moment.raw_s,
                                                          length_s, 0.1, Cause.VM_PAUSE)))
        elif (one.phase == "started" and roll < 0.75) or (one.phase == "scheduled" and roll < 0.06):
            one.phase = "removed"

    def disturb(self, member: Member) -> None:
        if self.restores and self.chance.random() < 0.3:
            self.back_up_or_restore()
        if self.releases_slots and self.chance.random() < 0.3:
            self.release(self.pick(self.members))
        roll = self.chance.random()
        if roll < 0.25:
            self.crash(member)
        elif roll < 0.45 and not member.is_up:
            self.restart(member)
        elif roll < 0.60:
            member.frozen_until_s = max(member.frozen_until_s, self.now_s + self.pick((3.0, 30.0, 70.0)))
        elif roll < 0.70:
            self.store.is_down = not self.store.is_down
        elif roll < 0.80:
            member.is_cut_off = not member.is_cut_off
        elif roll < 0.90 and member.is_up and member.frozen_until_s <= self.now_s:
            self.see(member, ob.RecoverRequested(None))
        elif roll < 0.95 and member.is_up and member.frozen_until_s <= self.now_s:
            for case in list(member.state.cases.values()):
                self.see(member, ob.AcknowledgeRequested(case.id))
        else:
            self.crash(member)
            member.boot += 1
            if self.chance.random() < 0.7:
                self.restart(member)

    def back_up_or_restore(self) -> None:
        if self.chance.random() < 0.6:
            self.backup = dict(self.store.keys)
            return
        backup = self.backup if self.chance.random() < 0.7 else {}
        self.store.restore(backup)
        self.restored_s, self.released, self.owners, self.disputed_s = self.now_s, {}, {}, {}
        self.left_by_restore.update(backup)
        for member in self.members:
            member.reads.clear()

    def release(self, member: Member) -> None:
        """`tideover fleet release` of one machine."""
        key = slots_key(member.group)
        known = self.store.read(key)
        if known.value is None or self.store.is_down:
            return
        slots = decode_slots(key, known.value)
        after = release_slots(slots, member.name)
        value = encode(stamped(after, self.new_write()))
        if after != slots and self.store.write(WriteKey(key, value, known.revision)):
            self.look_at_release(member, slots, after, known.value, value)

    def crash(self, member: Member) -> None:
        """The process ends; what it had sent may still arrive."""
        if member.running is not None:
            member.running.close()
            member.running = None
        member.is_up, member.confirmed, member.thawing = False, None, None
        member.sessions, member.views, member.settled = None, {}, {}

    def restart(self, member: Member) -> None:
        member.is_up = True
        if self.has_next_version:
            member.is_next = self.chance.random() < 0.5
        sessions = self.sessions(member)
        for one in self.events:
            if one.event.id in member.state.cases or any(left.event_id == one.event.id for left in member.state.leaving):
                sessions.resume(one.event.id, one.digest)
        self.see(member, ob.Restarted(member.boot_id, 1.0))

    # --- the end

    def finish(self) -> None:
        """All is healed and every event removed: nothing may be left."""
        self.store.is_down = False
        self.store.late.clear()
        for one in self.events:
            one.phase = "removed"
        for member in self.members:
            member.is_cut_off, member.frozen_until_s = False, 0.0
            if not member.is_up:
                self.restart(member)
        for _ in range(60):
            self.now_s += 7.0
            for member in self.members:
                self.poll(member)
                for _ in range(12):
                    if not self.work(member):
                        break
            if self.is_over():
                break
        for _ in range(12 if self.restored_s >= 0 else 0):          # as each does from time to time
            for member in self.members:
                self.to_its_end(member, self.sessions(member).leave_past(self.wanted(member).digests))
        for member in self.members:
            if member.state.cases or member.state.hooks or member.state.leaving:
                raise Broken(f"J7: {member.name} has not come to its end: {member.state}")
        for key, stored in self.store.keys.items():
            if "/events/" in key and key not in self.created_late | self.left_by_restore:
                raise Broken(f"J7: {key} is left: {stored.value!r}")
            if "/groups/" in key and any(one.counts or self.restored_s < 0
                                         for one in decode_slots(key, stored.value or b"").holders):
                raise Broken(f"J7: a holder is left: {stored.value!r}")


def with_unknown(key: str, value: bytes, member: Member) -> bytes:
    """A document as the next version would have written it: with members that this one does not know."""
    document = json.loads(value)
    document["next"] = [1, {"two": None}]
    for entries in (document, *document.get("holders", ())):
        own = entries.get("members", {}).get(member.name)
        if own is not None:
            own["next"], entries["next"] = "own", [1, {"two": None}]
    claim = document.get("acknowledgement")
    if claim is not None and claim.get("vm_id") == member.vm_id:
        claim["next"] = "claim"
    return json.dumps(document, separators=(",", ":")).encode()
