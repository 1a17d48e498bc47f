"""The sentence that sums an event up on its page, and its severity. Pure; what is unknown is named as unknown."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from tideover.humanize import bounded_text, length_text, offset_text, round_length_text
from tideover.lifecycle.state import Phase
from tideover.model import EntryKind, HookOutcome, HookPhase, HookRun, Kind, Outcome, Pause, Quality, Verdict
from tideover.record import ASLEEP, EventRecord
from tideover.text_safety import show_controls

MOST_NAMES = 4
NAME_SIGNS = 60


class Severity(Enum):
    """How an event ended, as a label."""

    CARRIED = "handled"
    WITHDRAWN = "cancelled"
    ATTENTION = "needs attention"
    OPEN = "still open"
    PASSED = "no hooks ran"
    WATCHED = "observed"


@dataclass(frozen=True, slots=True)
class Summary:
    """An event in one sentence."""

    tone: Severity
    sentence: str


STILL_OPEN: Mapping[Phase, str] = MappingProxyType({
    Phase.SCHEDULED: "preparation starts later",
    Phase.WAITING_FOR_SLOT: "it waits for a slot of its group",
    Phase.PREPARING: "the prepare hooks run",
    Phase.WAITING_FOR_PEERS: "this machine is ready, and other machines that the event names are not yet",
    Phase.ACKNOWLEDGING: "the acknowledgement is being sent",
    Phase.UNCONFIRMED: "the acknowledgement is unconfirmed",
    Phase.HELD: "preparation is over, and the event is not acknowledged",
    Phase.ACKNOWLEDGED: "it is acknowledged, and the platform has not started it yet",
    Phase.STARTED: "the event has started",
    Phase.CHECKING_CLOCK: "the clock is being checked before recovery",
    Phase.SETTLING: "it waits for a further pause",
    Phase.RECOVERING: "the recover hooks run",
})


def summarize(account: EventRecord) -> Summary:
    """Given an account, return its verdict."""
    if account.was_only_observed:
        return Summary(Severity.WATCHED, _watched(account))
    if not account.is_over:
        return Summary(Severity.ATTENTION if _failed(account) else Severity.OPEN, _open(account))
    clauses = [clause for clause in (_what_happened(account), _applications(account), _clock(account)) if clause]
    sentence = "; ".join(clauses)
    if account.phase is Phase.RECOVERED:
        sentence += "; the platform still lists the event"
    return Summary(_tone(account), sentence[0].upper() + sentence[1:] + ".")


def noun(account: EventRecord) -> str:
    return account.kind.info.noun


def not_known(account: EventRecord) -> list[str]:
    """Given an account, return what its record does not know, a sentence each."""
    parts = []
    if account.is_over and account.started_at and not account.interruptions and account.kind is Kind.FREEZE:
        parts.append("Whether the machine was paused: no pause was detected.")
    if any(stop.length_s is None for stop in account.interruptions):
        parts.append("How long the machine was paused: no clock of this machine kept running.")
    if any(stop.quality is Quality.BOUNDED for stop in account.interruptions):
        parts.append("The exact length of the pause: only its bounds are known.")
    if account.interruptions and all(stop.cause not in ASLEEP for stop in account.interruptions):
        parts.append("Whether the whole machine was paused or only the agent's process stalled: this machine cannot "
                    "tell the two apart.")
    if account.clock.check.checked_at is not None and account.clock.check.verdict is Verdict.UNKNOWN:
        parts.append(f"Whether the clock was good: "
                    f"{show_controls(account.clock.check.reason, 200) or 'no reason was recorded'}.")
    if account.is_announced and account.notice_s is None:
        why = "the platform gave no NotBefore" if account.not_before is None else \
            "this machine's clock was not known to be good then"
        parts.append(f"How much notice was given: {why}.")
    if account.kind is Kind.FREEZE and account.expected_pause_s is None:
        parts.append("The expected length of the pause: the platform gave none.")
    return parts


# --- the clauses ------------------------------------------------------------------------------------------------

def _watched(account: EventRecord) -> str:
    note = next((show_controls(row.note, 200) for row in account.timeline
                 if row.what is EntryKind.NOTICED and row.note), "")
    return f"This event was only observed{': ' + note if note else ''}; no application was prepared."


def _open(account: EventRecord) -> str:
    where = STILL_OPEN.get(account.phase, "it waits") if account.phase else "it waits"
    why = next((show_controls(row.note, 200) for row in reversed(account.timeline) if row.what is account.phase), "")
    where += f" ({why})" if why and account.phase is Phase.HELD else ""
    failed = _failed(account)
    trouble = f"; {_listed([run.name for run in failed])} failed in {failed[0].phase.value}" if failed else ""
    return f"Still open, {noun(account)}: {where}{trouble}."


def _what_happened(account: EventRecord) -> str:
    late = "before this machine could prepare, " if account.outcome is Outcome.MISSED else ""
    pauses = account.interruptions
    unbegun = account.phase is Phase.RECOVERED and not account.started_at and not pauses
    if account.outcome is Outcome.CANCELLED or unbegun:
        return f"the platform cancelled {noun(account)} before it started"
    if not account.is_announced:
        return f"{_stood_still(pauses)}, which was not announced"
    if account.outcome is Outcome.RESTARTED:
        return f"{late}the platform {account.kind.info.verb} this machine{_away(pauses)}"
    if not pauses:
        return f"{late}{noun(account)} started and ended without a detected pause"
    if account.kind is Kind.FREEZE and any(stop.cause in ASLEEP for stop in pauses):
        return f"{late}the platform froze this machine {_how_long(pauses)}"
    return f"{late}the platform carried out {noun(account)}: {_stood_still(pauses)}"


def _stood_still(pauses: Sequence[Pause]) -> str:
    """What is known to have been paused: only the agent's process where no more is known."""
    whole = any(stop.cause in ASLEEP for stop in pauses)
    return f"{'this machine' if whole else 'at least the agent'} was paused {_how_long(pauses)}"


def _away(pauses: Sequence[Pause]) -> str:
    return f", which was down {_how_long(pauses)}" if pauses else ""


def _how_long(pauses: Sequence[Pause]) -> str:
    known = [stop for stop in pauses if stop.length_s is not None]
    if not known:
        return "for an unknown time"
    length = bounded_text(sum(stop.length_s or 0.0 for stop in known),
                          sum(stop.shown_uncertainty_s or 0.0 for stop in known), rounded=True)
    if len(known) < len(pauses):
        return f"{_often(len(pauses))}, for {length} in total where known"
    return f"{_often(len(pauses))}, for {length} in total" if len(pauses) > 1 else f"for {length}"


def _often(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def _applications(account: EventRecord) -> str:
    prepared, recovered = _last_runs(account.runs_of(HookPhase.PREPARE)), _last_runs(account.runs_of(HookPhase.RECOVER))
    unrecovered = [run.name for run in recovered if _falls_short(run)]
    back = f"recovery of {_listed(unrecovered)} failed" if unrecovered else ""
    if not prepared:
        return back or (f"{_all(len(recovered))} recovered" if recovered else "no application was prepared")
    unwell = [run.name for run in prepared if _falls_short(run)]
    if unwell:
        consequence = "" if account.acknowledged_at else ", so the event was not acknowledged"
        return f"preparation of {_listed(unwell)} failed{consequence}; {back or _came_back(recovered)}"
    if any(run.report.outcome is HookOutcome.STOPPED for run in prepared):
        begun = f"{_all(len(prepared))} that had started to prepare"
        return f"{begun} {'recovered' if recovered else 'had nothing to recover'}; {back}".rstrip("; ")
    done = f"{_all(len(prepared))} prepared{_in_time(account)}"
    if back or not recovered:
        return f"{done}; {back or 'none had to be recovered'}"
    return f"{done} and {'recovered' if len(recovered) == len(prepared) else _came_back(recovered)}"


def _came_back(recovered: Sequence[HookRun]) -> str:
    return f"{_all(len(recovered))} recovered" if recovered else "none had to be recovered"


def _all(count: int) -> str:
    return "one hook" if count == 1 else "both hooks" if count == 2 else f"all {count} hooks"


def _in_time(account: EventRecord) -> str:
    length = account.preparation_s
    took = f" in {round_length_text(length)}" if length is not None else ""
    ends = [run.ended_at for run in account.runs_of(HookPhase.PREPARE) if account.started_at and run.ended_at
            and run.started_at < account.started_at]
    late = account.started_at is not None and ends and max(ends) > account.started_at
    return f"{took} (not before it started)" if late else took


def _clock(account: EventRecord) -> str:
    clock = account.clock
    if clock.check.checked_at is None:
        return ""
    when = "at recovery" if account.runs_of(HookPhase.RECOVER) else "afterwards"
    if clock.check.verdict is Verdict.GOOD:
        reach_s = None if clock.check.offset_s is None or clock.check.error_bound_s is None else \
            abs(clock.check.offset_s) + clock.check.error_bound_s
        return f"the clock was good{'' if reach_s is None else f' to within {length_text(reach_s)}'} {when}"
    if clock.check.verdict is Verdict.BAD:
        return f"the clock was still {offset_text(clock.check.offset_s)} {when}"
    return f"whether the clock was good {when} is not known"


# --- how loudly -------------------------------------------------------------------------------------------------

def _tone(account: EventRecord) -> Severity:
    check = account.clock.check
    doubtful = check.checked_at is not None and check.verdict is not Verdict.GOOD
    if _failed(account) or doubtful or account.outcome is Outcome.MISSED:
        return Severity.ATTENTION
    if account.outcome is Outcome.CANCELLED:
        return Severity.WITHDRAWN
    return Severity.CARRIED if account.hooks else Severity.PASSED


def _failed(account: EventRecord) -> list[HookRun]:
    """Hooks whose last run of a phase failed; the phase that comes later counts more."""
    for phase in (HookPhase.RECOVER, HookPhase.PREPARE):
        failed = [run for run in _last_runs(account.runs_of(phase)) if _falls_short(run)]
        if failed:
            return failed
    return []


def _falls_short(run: HookRun) -> bool:
    if run.phase is HookPhase.RECOVER and run.report.outcome in (HookOutcome.STOPPED, HookOutcome.FORGOTTEN):
        return True
    return run.has_failed or run.report.outcome is HookOutcome.NOT_YET


def _last_runs(runs: Sequence[HookRun]) -> list[HookRun]:
    return list({run.name: run for run in runs}.values())


def _listed(names: Sequence[str]) -> str:
    shown = [show_controls(name, NAME_SIGNS) for name in names[:MOST_NAMES]]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
