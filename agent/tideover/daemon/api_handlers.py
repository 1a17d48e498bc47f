"""The agent's answers to API requests (status, acknowledge, recover, forget), their refusals and confirmations.

They run on the API's thread: they read the state (a value) and post observations to the engine.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tideover import observations as ob
from tideover.api.protocol import RequestHandler
from tideover.clock.on_demand import check_now
from tideover.clock.types import ClockCheckSettings
from tideover.engine import Engine
from tideover.errors import TideoverError, UnconfirmedError
from tideover.journal import Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle import Case, Phase, State
from tideover.lifecycle.manual import Objections, RecoverPlan, find_case, objections, plan_recover, why_not_forget
from tideover.model import ClockCheck
from tideover.policy import Policy
from tideover.record import Row
from tideover.settings import Settings
from tideover.text_safety import drop_controls

if TYPE_CHECKING:
    from tideover.documents import AgentStatusDocument

ACCEPTED_WITHIN_S = 5.0       # for news to be taken in: the engine may be writing to a slow disk
CANNOT_ACKNOWLEDGE = {
    Phase.OBSERVED: "it concerns other VMs, or a kind outside act_on",
    Phase.SCHEDULED: "its preparation has not started",
    Phase.WAITING_FOR_SLOT: "it waits for a slot of its group",
    Phase.PREPARING: "its preparation is still running",
    Phase.WAITING_FOR_PEERS: "it waits for the other machines that it names; --alone does not wait for them",
    Phase.ACKNOWLEDGING: "it is being acknowledged now",
    Phase.UNCONFIRMED: "it is being acknowledged now; the last acknowledgement is unconfirmed",
}
LONGEST_ANSWER = 1000     # characters of what a platform's document says
ACKNOWLEDGED = "it is acknowledged already"
READY_BY_HAND = "this machine is ready; the fleet acknowledges the event when every machine named is"
CHECK_STATUS_HINT = "See tideover status for what it waits for."


class ApiHandlers:
    """The answers of one agent."""

    def __init__(self, engine: Engine, journal: Path, status_of: Callable[[State, Sequence[Row]], AgentStatusDocument],
                 check_clock: Callable[[], ClockCheck], policy: Callable[[], Policy],
                 recent_log: Callable[[], list[str]] = list,
                 time_queries: Callable[[Sequence[str]], Mapping[object, float]] = lambda announced: {}) -> None:
        """`status_of`: the status by a state and rows of the record. `check_clock`: one look; may block for a second.
        `policy`: the one in force. `time_queries`: given the servers that the client asks next, how many seconds ago
        each address of a time server was asked."""
        self._engine, self._journal, self._status_of, self._check_clock = engine, journal, status_of, check_clock
        self._policy, self._recent_log, self._time_queries = policy, recent_log, time_queries

    def answers(self) -> Mapping[str, RequestHandler]:
        return {"status": self._status, "acknowledge": _answering(self._acknowledge),
                "recover": _answering(self._recover), "forget": self._forget,
                "log": self._log, "time-queries": self._recent_time_queries}

    def _status(self, question: Mapping[str, Any]) -> dict[str, Any]:
        return {"ok": True, "status": self._status_of(self._engine.state, self._rows())}

    def _log(self, question: Mapping[str, Any]) -> dict[str, Any]:
        return {"ok": True, "lines": self._recent_log()}

    def _recent_time_queries(self, question: Mapping[str, Any]) -> dict[str, Any]:
        announced = question.get("announced")
        servers = [one for one in announced if isinstance(one, str)] if isinstance(announced, list) else []
        return {"ok": True, "queries": [{"address": address, "ago_s": ago_s}
                                        for address, ago_s in self._time_queries(servers).items()]}

    def _rows(self) -> list[Row]:
        """A second reader of the journal: the engine's own belongs to the engine's thread."""
        try:
            with closing(Journal.reading(self._journal)) as journal:
                return journal.newest_rows()
        except (JournalUnreadable, JournalUnwritable):
            return []

    def _acknowledge(self, question: Mapping[str, Any]) -> dict[str, Any]:
        state = self._engine.state
        case = find_case(state, str(question.get("event") or ""), "cannot acknowledge")
        if case.acknowledged:
            return {"ok": True, "why": ACKNOWLEDGED, "event_id": case.id}
        if self._policy().observes:
            raise observing(case.id)
        alone = question.get("alone") is True
        if case.phase is not Phase.HELD and not (alone and case.phase is Phase.WAITING_FOR_PEERS):
            return {"ok": False, "why": _why_not(case), "do": CHECK_STATUS_HINT, "event_id": case.id}
        against = objections(state, case.event, state.me, self._policy(), alone=alone)
        if against and question.get("confirmed") is not True:
            raise unconfirmed_acknowledgement(case.id, against)
        self._engine.post_and_wait(ob.AcknowledgeRequested(case.id, alone), ACCEPTED_WITHIN_S)
        waits = case.fleet is not None and case.fleet.is_shared and not alone
        return {"ok": True, "why": READY_BY_HAND if waits else "the acknowledgement is being sent", "waits": waits,
                "event_id": case.id, "sent_before": case.ack_attempts}

    def _recover(self, question: Mapping[str, Any]) -> dict[str, Any]:
        plan = plan_recover(self._engine.state, str(question["event"]) if question.get("event") else None)
        if question.get("dry_run") is True:
            return {"ok": True, "event_id": plan.event_id, "pending": list(plan.pending), "ahead": list(plan.ahead)}
        if plan.ahead and question.get("confirmed") is not True:
            raise unconfirmed_recover(plan)
        # The client reads the status next, and must not find the old state.
        clock = self._check_clock() if plan.pending else None
        self._engine.post_and_wait(ob.RecoverRequested(plan.event_id, clock), ACCEPTED_WITHIN_S)
        return {"ok": True, "why": "recovery was requested", "were_pending": sorted(plan.pending)}

    def _forget(self, question: Mapping[str, Any]) -> dict[str, Any]:
        name = str(question.get("name") or "")
        why = why_not_forget(self._engine.state, name)
        if why is not None:
            return {"ok": False, "why": why, "do": "tideover recover --dry-run lists what is pending."}
        self._engine.post_and_wait(ob.ForgetRequested(name), ACCEPTED_WITHIN_S)
        return {"ok": True, "why": "its pending recovery was given up"}


def _answering(answer: RequestHandler) -> RequestHandler:
    """Given what answers a question, return it with its refusals as answers."""
    def refusing(question: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return answer(question)
        except TideoverError as trouble:
            return {"ok": False, "why": trouble.cause, "do": trouble.hint,
                    "unconfirmed": isinstance(trouble, UnconfirmedError)}
    return refusing


def unconfirmed_recover(plan: RecoverPlan) -> UnconfirmedError:
    """Given a plan that takes applications back before the pause they are prepared for, return why it must be
    confirmed."""
    ahead, pending = drop_controls(", ".join(plan.ahead), LONGEST_ANSWER), ", ".join(plan.pending)
    return UnconfirmedError("cannot recover", f"{ahead} has not started yet, and would find {pending} unprepared",
                            "Confirm with --yes.")


def unconfirmed_acknowledgement(event_id: str, against: Objections) -> UnconfirmedError:
    """Given what speaks against an acknowledgement, return why it must be confirmed."""
    return UnconfirmedError(f"cannot acknowledge {drop_controls(event_id, LONGEST_ANSWER)}",
                            drop_controls(against.text, LONGEST_ANSWER),
                            "Confirm with --yes.")


def observing(event_id: str) -> TideoverError:
    """Return why this agent acknowledges nothing, by hand either."""
    return TideoverError(f"cannot acknowledge {drop_controls(event_id, LONGEST_ANSWER)}", "[policy] mode is observe",
                         "Acknowledge it with the agent that acts on this VM, or set mode to act and restart.")


def check_clock(settings: Settings) -> ClockCheck:
    """Given the configuration, look at the clock once; blocks for about a second at most."""
    return check_now(ClockCheckSettings.of(settings)).check


def _why_not(case: Case) -> str:
    """Why a case cannot be acknowledged, in words that are true of it: not every one that is past its preparation has
    started."""
    if case.phase in CANNOT_ACKNOWLEDGE:
        return CANNOT_ACKNOWLEDGE[case.phase]
    if case.began:
        return "it has started"
    if not case.listed:
        return "the platform has removed it"
    if case.is_recovered_early:
        return "its applications were recovered by hand, so nothing is prepared"
    return "the machine was paused or rebooted since it was prepared"
