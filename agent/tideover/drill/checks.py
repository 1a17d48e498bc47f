"""The drill's checks: the five guarantees, how each is judged, and its evidence in words."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tideover.drill.environment import Outage
from tideover.drill.plan import DrillPlan
from tideover.humanize import bounded_text, length_text, offset_text, round_length_text
from tideover.lifecycle import Phase
from tideover.model import ClockCheck, HookOutcome, HookPhase, HookRun, Outcome, Verdict
from tideover.record import EventRecord

# --- Evidence: what hooks and sample application wrote, and how long the agent was paused
# Reads the drill's own files; the record is asked only where the hooks are the owner's and write nothing down for us.


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """One run of one hook. Times are seconds since the epoch; `ended_at` None: it did not come to its own end."""

    hook: str
    order: int
    phase: HookPhase
    began_at: float
    ended_at: float | None
    worked: bool
    clock: str = ""                         # the clock's verdict in its environment
    needs_recover: bool = True                       # whether, as a prepare, it has to be recovered


@dataclass(frozen=True, slots=True)
class DrillEvidence:
    """Everything the verdict is made of."""

    plan: DrillPlan
    runs: tuple[ObservedRun, ...]
    seen_by: str                            # who says so: the hooks themselves, or the record
    record: EventRecord | None
    check: ClockCheck | None = None         # what the agent judged the clock by, before it let anyone carry on
    posts: tuple[float, ...] = ()           # when a POST came in, as the service saw it
    acknowledged_ids: tuple[str, ...] = ()              # ids of what was acknowledged
    event_id: str = ""
    withdrawn_at: float | None = None
    stop: Outage | None = None             # the time in which the agent's process was stopped
    away: Outage | None = None             # … or was gone, and started again
    numbers: tuple[tuple[float, int], ...] | None = None    # the counter's; None: it was not there
    ntp_queries: int = 0                     # questions to the time server since the machine was back
    broken: str | None = None               # why the drill did not come to its end


def runs_from_notes(notes: Path) -> tuple[ObservedRun, ...]:
    """Given what the sample hooks wrote down (time, file, phase, begun or done, clock), return their runs in order."""
    runs: list[ObservedRun] = []
    for line in _lines(notes):
        words = line.split()
        if len(words) != 5 or not _is_number(words[0]):
            continue
        at, file, phase, mark, clock = float(words[0]), words[1], HookPhase(words[2]), words[3], words[4]
        if mark == "begun":
            runs.append(ObservedRun(file[3:], int(file[:2]), phase, at, None, worked=False, clock=clock))
            continue
        newest = max((place for place, run in enumerate(runs) if run.hook == file[3:]), default=None)
        if newest is not None:
            begun = runs[newest]
            runs[newest] = ObservedRun(begun.hook, begun.order, phase, begun.began_at, at, worked=True, clock=clock)
    return tuple(runs)


def runs_from_record(record: EventRecord | None, plan: DrillPlan) -> tuple[ObservedRun, ...]:
    """Given the record, return the runs it tells of."""
    orders = {spec.name: spec.order for spec in plan.own.specs} if plan.own else {}
    if record is None:
        return ()
    clock = record.clock.check.verdict.value
    return tuple(_observed(run, orders.get(run.name, 0), clock) for run in record.hooks)


def _observed(run: HookRun, order: int, clock: str) -> ObservedRun:
    """A run that reported "nothing changed", or that was not started, needs no recover."""
    outcome = run.report.outcome
    needs_recover = outcome not in (HookOutcome.NOTHING, HookOutcome.REFUSED) and run.report.begun
    ended_at = None if run.ended_at is None else run.ended_at.timestamp()
    return ObservedRun(run.name, order, run.phase, run.started_at.timestamp(), ended_at,
                       outcome in (HookOutcome.DONE, HookOutcome.NOTHING), clock, needs_recover)


def read_numbers(file: Path) -> tuple[tuple[float, int], ...]:
    """Given what the counter wrote down, return its numbers with their times."""
    pairs = (line.split() for line in _lines(file))
    return tuple((float(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2)


def prepares(runs: Iterable[ObservedRun]) -> list[ObservedRun]:
    return [run for run in runs if run.phase is HookPhase.PREPARE]


def recovers(runs: Iterable[ObservedRun]) -> list[ObservedRun]:
    return [run for run in runs if run.phase is HookPhase.RECOVER]


def _lines(file: Path) -> list[str]:
    """Whole lines only: the last may be in the making."""
    try:
        return file.read_text(encoding="ascii", errors="replace").split("\n")[:-1]
    except OSError:
        return []


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdecimal()


# --- Checks

HELD, BROKEN, NOT_SHOWN = True, False, None
TOO_EARLY = "the drill did not reach this point"
GRAIN_S = 0.002             # the record's times are whole milliseconds; two of them are compared


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The check of one guarantee. `held` None: this drill cannot show it, and `checks` says why."""

    guarantee: int
    title: str
    held: bool | None
    evidence: tuple[str, ...]


def check_evidence(seen: DrillEvidence) -> tuple[CheckResult, ...]:
    """Given what was seen, return the check of each guarantee, in their order."""
    return (_recovered(seen), _check_notice(seen), _check_pause(seen), _check_clock(seen), _check_record(seen))


def all_checks_passed(findings: Iterable[CheckResult]) -> bool:
    """Whether none was broken; what a drill cannot show breaks none."""
    return all(finding.held is not BROKEN for finding in findings)


# --- 1 ------------------------------------------------------------------------------------------------------------

def _recovered(seen: DrillEvidence) -> CheckResult:
    title = "Every prepared application is recovered"
    pending = _names(run for run in prepares(seen.runs) if run.needs_recover)
    done = _names(run for run in recovers(seen.runs) if run.worked)
    forgotten = [name for name in pending if name not in done]
    uncalled = [name for name in _names(recovers(seen.runs)) if name not in _names(prepares(seen.runs))]
    in_order = _is_reverse(recovers(seen.runs))
    facts = [f"{len(pending)} prepared, {len(done)} recovered"
             + (", in reverse order" if in_order and len(done) > 1 else "") + f" ({seen.seen_by})"]
    if forgotten:
        facts.append(f"not recovered: {', '.join(forgotten)}")
    if uncalled:
        facts.append(f"recovered without having been prepared: {', '.join(uncalled)}")
    if not in_order:
        facts.append(f"recover ran in the order {', '.join(_names(recovers(seen.runs)))}")
    had_nothing_to_do = not pending and bool(prepares(seen.runs)) and all(run.worked for run in prepares(seen.runs))
    if not pending:
        facts.append("every hook answered that there is nothing to do" if had_nothing_to_do else "nothing was prepared")
    if seen.withdrawn_at is not None and done:
        after_s = recovers(seen.runs)[0].began_at - seen.withdrawn_at
        facts.append(f"the first recover began {round_length_text(after_s)} after the cancellation")
    carried, about = _counter(seen)
    facts.extend(about)
    holds = bool(pending) and not forgotten and not uncalled and in_order and carried
    return CheckResult(1, title, NOT_SHOWN if had_nothing_to_do and not uncalled else holds, tuple(facts))


def _is_reverse(runs: list[ObservedRun]) -> bool:
    """By the first try of each: one that fails is tried again while others go on."""
    firsts: dict[str, ObservedRun] = {}
    for run in runs:
        firsts.setdefault(run.hook, run)
    orders = [run.order for run in firsts.values()]
    return orders == sorted(orders, reverse=True)


def _counter(seen: DrillEvidence) -> tuple[bool, list[str]]:
    """Whether the sample application was left whole: still while the machine was away, and nothing lost."""
    if seen.numbers is None:
        return True, []
    values = [number for _, number in seen.numbers]
    if values != list(range(1, len(values) + 1)):
        return False, ["the counter lost its place: it was stopped while counting, or did not find its saved state"]
    away = seen.stop or seen.away
    if away is None:
        return True, [f"the counter counted to {len(values)} without a gap"]
    before = [number for at, number in seen.numbers if at < away.began_at]
    during = [number for at, number in seen.numbers if away.began_at <= at <= away.ended_at]
    if during:
        return False, [f"the counter was not stopped: it counted {len(during)} numbers during the pause"]
    if len(before) == len(values):
        return False, [f"the counter did not continue after {len(values)}"]
    return True, [f"the counter was stopped at {len(before)} during the pause and continued with {len(before) + 1}"]


# --- 2 ------------------------------------------------------------------------------------------------------------

def _check_notice(seen: DrillEvidence) -> CheckResult:
    title = "The event is acknowledged once, and only after the last prepare"
    failed = _names(run for run in prepares(seen.runs) if not run.worked)
    posts = [at for at in seen.posts if seen.withdrawn_at is None or at > seen.withdrawn_at]
    if seen.withdrawn_at is not None:
        late = f"{len(posts)} acknowledgements after the event was cancelled" if posts else (
            "the event was cancelled, and no acknowledgement was sent after that")
        return CheckResult(2, title, not posts and len(seen.posts) <= 1, (f"{late} ({len(seen.posts)} in all)",))
    if not seen.plan.acknowledged:
        platform = seen.plan.platform
        why = (f"an event of kind {seen.plan.kind.value} is acknowledged by hand only" if platform.takes_acknowledgement
               else f"{platform.name} takes no acknowledgement")
        return CheckResult(2, title, not seen.posts, (f"{_requests(seen)}: {why}",))
    if failed and not seen.posts:
        return CheckResult(2, title, HELD, (f"not acknowledged: prepare of {', '.join(failed)} failed",))
    if len(seen.posts) != 1 or seen.acknowledged_ids != (seen.event_id,):
        return CheckResult(2, title, BROKEN, (f"the service received {_requests(seen)}; expected 1",))
    return _check_acknowledged_once(seen, title)


def _check_acknowledged_once(seen: DrillEvidence, title: str) -> CheckResult:
    ends = [run.ended_at for run in prepares(seen.runs)]
    last = max((end for end in ends if end is not None), default=None)
    if last is None or None in ends:
        return CheckResult(2, title, BROKEN, ("acknowledged before every prepare had ended",))
    after_s = seen.posts[0] - last
    if after_s < -GRAIN_S:
        early = f"acknowledged {round_length_text(-after_s)} before the last prepare had ended"
        return CheckResult(2, title, BROKEN, (early,))
    return CheckResult(2, title, HELD, (
        f"1 acknowledgement, {round_length_text(max(after_s, 0.0))} after the last prepare had ended",))


def _requests(seen: DrillEvidence) -> str:
    return "1 acknowledgement" if len(seen.posts) == 1 else f"{len(seen.posts)} acknowledgements"


# --- 3 ------------------------------------------------------------------------------------------------------------

def _check_pause(seen: DrillEvidence) -> CheckResult:
    title = "The pause is detected and measured"
    if seen.away is not None:
        return CheckResult(3, title, NOT_SHOWN, (
            f"the agent was stopped for {round_length_text(seen.away.middle_s)}, but this machine did not reboot: a "
            "restart shows in the boot id only, so this record says resumed instead of restarted",))
    if seen.stop is None:
        if seen.withdrawn_at is not None:
            return CheckResult(3, title, NOT_SHOWN, ("the event was cancelled, so nothing was stopped",))
        return CheckResult(3, title, NOT_SHOWN, (TOO_EARLY,))
    pauses = [pause for pause in (seen.record.pauses if seen.record else ()) if pause.length_s is not None]
    true = f"actual: {length_text(seen.stop.middle_s)}"
    if not pauses:
        return CheckResult(3, title, BROKEN, (f"no pause was detected ({true})",))
    best = max(pauses, key=lambda pause: pause.length_s or 0.0)
    length_s, uncertainty_s = best.length_s or 0.0, best.shown_uncertainty_s or 0.0
    measured = f"{bounded_text(length_s, uncertainty_s)}, {best.cause.value} ({true})"
    fits = (length_s - uncertainty_s - GRAIN_S <= seen.stop.longest_s
            and length_s + uncertainty_s + GRAIN_S >= seen.stop.shortest_s)
    also = [f"{len(pauses) - 1} more stalls of this process"] if len(pauses) > 1 else []
    facts = (measured, *also) if fits else (f"{measured}: the actual length is outside the bounds",)
    return CheckResult(3, title, fits, facts)


# --- 4 ------------------------------------------------------------------------------------------------------------

def _check_clock(seen: DrillEvidence) -> CheckResult:
    title = "No application recovers while the clock is bad"
    if seen.withdrawn_at is not None:
        return CheckResult(4, title, NOT_SHOWN, (
            "nothing was stopped: after a cancelled event, recovery does not wait for the clock",))
    begun, check = recovers(seen.runs), seen.check
    if not begun:
        return CheckResult(4, title, NOT_SHOWN, (TOO_EARLY,))
    if check is None or check.checked_at is None or not seen.ntp_queries:
        return CheckResult(4, title, BROKEN, ("the clock was not checked",))
    others = _names(run for run in begun if run.clock != "good")
    if check.verdict is not Verdict.GOOD or others:
        return CheckResult(4, title, BROKEN, (f"the clock was {check.verdict.value}"
                                          + (f", and {', '.join(others)} ran" if others else ""),))
    return _checked_before(begun[0], check, title)


def _checked_before(first: ObservedRun, check: ClockCheck, title: str) -> CheckResult:
    before_s = first.began_at - check.checked_at.timestamp() if check.checked_at else -math.inf
    offset_s, bound_s = check.offset_s or 0.0, check.error_bound_s or 0.0
    in_time = before_s >= -GRAIN_S
    facts = [f"good, {offset_text(offset_s, bound_s)} (actual: 0, because the drill's time server uses this machine's "
             "clock)",
             f"checked {round_length_text(max(before_s, 0.0))} before the first recover" if in_time else
             "checked only after the first recover had begun"]
    return CheckResult(4, title, abs(offset_s) <= bound_s + GRAIN_S and in_time, tuple(facts))


# --- 5 ------------------------------------------------------------------------------------------------------------

def _check_record(seen: DrillEvidence) -> CheckResult:
    title = "The event leaves a record"
    record = seen.record
    if record is None:
        return CheckResult(5, title, BROKEN, ("there is no record",))
    facts = [record.status + (f", outcome {record.outcome.value}" if record.outcome else "")
             + f", {len(record.timeline)} entries, {len(record.hooks)} runs of hooks"]
    wanted = Outcome.CANCELLED if seen.withdrawn_at is not None and seen.stop is None else Outcome.RESUMED
    right = record.phase is Phase.CLOSED and record.outcome is wanted
    if record.phase is Phase.CLOSED and not right:
        facts.append(f"the outcome should be {wanted.value}")
    if len(record.hooks) < len([run for run in seen.runs if run.ended_at is not None]):
        right = False
        facts.append("hook runs are missing in it")
    if (record.acknowledged_at is not None) != bool(seen.acknowledged_ids):
        right = False
        facts.append("its acknowledgement does not match the requests that the service received")
    if seen.broken:
        facts.append(f"the drill ended early: {seen.broken}")
    return CheckResult(5, title, right, tuple(facts))


def _names(runs: Iterable[ObservedRun]) -> list[str]:
    return list(dict.fromkeys(run.hook for run in runs))
