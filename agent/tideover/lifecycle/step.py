"""The one door of the decision: (state, observation) -> (state, entries for the record).

What is wanted of the world is not returned: it follows from the new state alone (`wants`).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import tideover.lifecycle.answers as answers
import tideover.lifecycle.by_hand as by_hand
import tideover.lifecycle.documents as documents
import tideover.lifecycle.pauses as pauses
import tideover.lifecycle.starts as starts
from tideover import observations as ob
from tideover.lifecycle.state import Entry, State
from tideover.lifecycle.turn import Turn
from tideover.model import Moment
from tideover.policy import Policy


@dataclass(frozen=True, slots=True)
class Step:
    """Where we are now, and what the record says of how we came here."""

    state: State
    entries: tuple[Entry, ...] = ()


def step(state: State, seen: ob.Observation, policy: Policy, now: Moment) -> Step:
    """Given where we are, what we saw and when, return where we are now.

    An answer nobody waits for, or an observation that says nothing new, returns the state unchanged.
    """
    turn = Turn(state, policy, now)
    HANDLERS[type(seen)](turn, seen)
    turn.come_to_rest()
    return Step(turn.state, tuple(turn.entries))


HANDLERS: Mapping[type[Any], Callable[[Turn, Any], None]] = MappingProxyType({
    ob.Polled: documents.polled,
    ob.PollFailed: answers.poll_failed,
    ob.HookSettled: answers.hook_settled,
    ob.AckSettled: answers.ack_settled,
    ob.ClockJudged: answers.clock_judged,
    ob.ClockFollowed: answers.clock_followed,
    ob.Due: answers.due,
    ob.Resumed: pauses.resumed,
    ob.Restarted: starts.restarted,
    ob.AnotherVm: starts.became_another_vm,
    ob.AcknowledgeRequested: by_hand.told_to_acknowledge,
    ob.ForgetRequested: by_hand.told_to_forget,
    ob.RecoverRequested: starts.told_to_recover,
    ob.StopRequested: starts.told_to_stop,
})
