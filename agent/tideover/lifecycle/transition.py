"""What entering a phase changes beside the case: claims on hooks, the record's entries and their notes. Pure."""
from __future__ import annotations

from dataclasses import replace

import tideover.lifecycle.case as cases
import tideover.lifecycle.coordination as coordination
import tideover.lifecycle.hook_stages as hook_stages
from tideover.lifecycle.state import AckState, Case, Entry, Phase, State, Subject
from tideover.model import ClockCheck, EntryKind, Moment, Outcome, Pause
from tideover.policy import Policy, names_me

OBSERVING = "[policy] mode is observe"

LEAVING_AT_MOST = 100
"""So many events that are over are given back to a store that is out of reach; older ones are left to `fleet prune`."""


def pause_note(pause: Pause) -> str:
    """Given a pause, return what the record says of its length."""
    if pause.length_s is None or pause.shown_uncertainty_s is None:
        return f"{pause.cause.value}, length unknown"
    return f"{pause.cause.value} of {pause.length_s:.3f} s ± {pause.shown_uncertainty_s:.3f} s"


def clock_note(check: ClockCheck) -> str:
    """Given a check of the clock, return what the record says of it."""
    return ": ".join(filter(None, (check.verdict.value, check.reason)))


class Transition:
    """Lives no longer than the step. The only thing of the decision that changes while it is looked at."""

    def __init__(self, state: State, policy: Policy, now: Moment) -> None:
        self.state, self.policy, self.now = state, policy, now
        self.entries: list[Entry] = []

    def record(self, event_id: str, what: EntryKind | Phase, note: str = "", subject: Subject = None) -> None:
        self.entries.append(Entry(event_id, what, note, subject))

    def move(self, case: Case, seen: cases.CaseInput, note: str = "") -> None:
        """Let one case take in one signal, and enter what follows from a change of phase."""
        after = cases.advance(case, seen, self.policy, self.now)
        if after != case:
            self.enter_phase(case.phase, after, note)

    def enter_phase(self, before: Phase | None, case: Case, note: str) -> None:
        known = self.state.cases.get(case.id)
        asked_again = known is not None and known.check_round != case.check_round
        self.state = self.state.with_case(case)
        if case.phase is before and not asked_again:
            return
        self.record(case.id, case.phase, note, self._outcome(before, case) if case.phase is Phase.CLOSED
                    else None)
        if self.policy.observes:
            self._record_undone(case)
        if case.phase is Phase.PREPARING:
            self.state = hook_stages.claim(self.state, case, self.policy)
        elif case.phase is Phase.RECOVERING and not case.announced and not case.hooks_named:
            self.state = hook_stages.recover_unprepared(self.state, case, self.policy)
        elif case.phase is Phase.CLOSED:
            self.state = self.state.without_case(case.id)
            if case.fleet is not None or before is not Phase.OBSERVED:
                self._leave_fleet(case)
            if case.announced and not case.missed and before is not Phase.OBSERVED:
                self.state = self.state.with_over(case.id)

    def refresh_fleet(self) -> None:
        """What the configuration says of the fleet may have changed with a start of the agent, or with the hooks."""
        for case in self.state.cases.values():
            known = coordination.with_fleet(case, self.policy, self.state.me)
            if known is not case:
                self.state = self.state.with_case(known)
            if known.fleet is None and known.phase in (Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_PEERS):
                prepared = cases.enter(known, Phase.PREPARING, self.policy, self.now)
                why = "[fleet] has no store any more" if self.policy.fleet is None else "it names this machine no more"
                self.enter_phase(known.phase, prepared, why)

    def _leave_fleet(self, case: Case) -> None:
        """What the fleet's store has of an event that is over is given back, however long the store is out of reach."""
        left = coordination.leaving(case, self.policy)
        others = tuple(one for one in self.state.leaving if one.event_id != case.id)
        if left is not None:
            self.state = replace(self.state, leaving=(*others, left)[-LEAVING_AT_MOST:])

    def _record_undone(self, case: Case) -> None:
        """[policy] mode is observe: the record says which hooks would be run now."""
        specs = sorted(self.policy.hooks_for(case.event), key=lambda spec: (spec.order, spec.name))
        names = [spec.name for spec in specs]
        if case.phase is Phase.PREPARING:
            longest_s = sum(hook_stages.longest_by_order(specs).values())
            self.record(case.id, EntryKind.WOULD_PREPARE,
                        f"{', '.join(names)}; at most {longest_s:g} s" if names else hook_stages.NO_HOOK)
        elif case.phase is Phase.RECOVERING and names and (case.observed_only if case.announced
                                                           else not case.hooks_named):
            self.record(case.id, EntryKind.WOULD_RECOVER, ", ".join(reversed(names)))

    def _outcome(self, before: Phase | None, case: Case) -> Outcome:
        theirs = before is Phase.OBSERVED and not names_me(case.event, self.state.me)
        return Outcome.NOT_OURS if theirs else case.outcome

    def run_to_completion(self) -> None:
        """Hooks that settle move cases, and cases that move begin hooks: until neither changes anything."""
        while True:
            before = self.state
            self.state = hook_stages.advance_hooks(self.state, self.policy, self.now)
            for case in list(self.state.cases.values()):
                if case.phase is Phase.PREPARING and self.state.fresh and hook_stages.is_settled(
                        self.state, case, self.policy):
                    self._prepared(case)
                elif case.phase is Phase.RECOVERING and hook_stages.is_released(self.state):
                    self.move(case, cases.Released())
            if self.state == before:
                return

    def _prepared(self, case: Case) -> None:
        if self.policy.observes:
            self._observed(case)
            return
        hold = self.policy.why_not_acknowledge(case.event, self.state.me)
        idle = hook_stages.why_held(self.state, case)
        if idle is not None and not (idle == hook_stages.NO_HOOK and case.fleet is not None and case.fleet.is_shared):
            hold = idle
        if hold is None and case.fleet is not None and not case.fleet.is_shared and not case.fleet.has_slot:
            why = coordination.why_no_slot(case.fleet)
            self.move(case, cases.Prepared(why, awaits_slot=True), why)
            return
        refused = "its acknowledgement was refused" if case.ack is AckState.REFUSED else ""
        settled = "already acknowledged" if case.acknowledged else refused
        self.move(case, cases.Prepared(hold), hold or settled)

    def _observed(self, case: Case) -> None:
        """[policy] mode is observe: it is held, whatever would have been done."""
        against = hook_stages.why_would_hold(case.event, self.policy) or self.policy.why_not_acknowledge(
            case.event, self.state.me)
        would = against is None and case.ack is AckState.OPEN
        note = OBSERVING if would or against is None else f"{OBSERVING}; else {against}"
        self.move(case, cases.Prepared(OBSERVING, observed_only=True), note)
        if would and case.event.takes_acknowledgement:
            self.record(case.id, EntryKind.WOULD_ACKNOWLEDGE, "at the latest when its hooks had been prepared")
