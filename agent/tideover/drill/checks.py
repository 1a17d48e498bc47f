"""The verdict: each of the contract's five promises: held or not, and why. A function of the evidence."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tideover.drill.evidence import Evidence, Run, prepares, recovers
from tideover.model import ClockCheck, Verdict
from tideover.wording import bounded_text, length_text, offset_text, round_length_text

HELD, BROKEN, NOT_SHOWN = True, False, None
TOO_EARLY = "the drill did not come so far"
GRAIN_S = 0.002             # the record's times are whole milliseconds; two of them are compared


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise. `held` None: this drill cannot show it, and `evidence` says why."""

    promise: int
    title: str
    held: bool | None
    evidence: tuple[str, ...]


def judge(seen: Evidence) -> tuple[Finding, ...]:
    """Given what was seen, return a finding for each promise, in the contract's order."""
    return (_recovered(seen), _told(seen), _noticed(seen), _clock(seen), _recorded(seen))


def every_promise_held(findings: Iterable[Finding]) -> bool:
    """Whether none was broken; what a drill cannot show breaks none."""
    return all(finding.held is not BROKEN for finding in findings)


# --- 1 ------------------------------------------------------------------------------------------------------------

def _recovered(seen: Evidence) -> Finding:
    title = "No application is prepared without being recovered"
    owed = _names(run for run in prepares(seen.runs) if run.owes)
    done = _names(run for run in recovers(seen.runs) if run.worked)
    forgotten = [name for name in owed if name not in done]
    uncalled = [name for name in _names(recovers(seen.runs)) if name not in _names(prepares(seen.runs))]
    in_order = _is_reverse(recovers(seen.runs))
    facts = [f"{len(owed)} prepared, {len(done)} recovered"
             + (", in reverse order" if in_order and len(done) > 1 else "") + f" ({seen.seen_by})"]
    if forgotten:
        facts.append(f"not recovered: {', '.join(forgotten)}")
    if uncalled:
        facts.append(f"recovered without having been prepared: {', '.join(uncalled)}")
    if not in_order:
        facts.append(f"recover ran in the order {', '.join(_names(recovers(seen.runs)))}")
    if not owed:
        facts.append("nothing was prepared at all")
    if seen.withdrawn_at is not None and done:
        after_s = recovers(seen.runs)[0].began_at - seen.withdrawn_at
        facts.append(f"the first recover began {round_length_text(after_s)} after the withdrawal")
    carried, about = _counter(seen)
    facts.extend(about)
    return Finding(1, title, bool(owed) and not forgotten and not uncalled and in_order and carried, tuple(facts))


def _is_reverse(runs: list[Run]) -> bool:
    """By the first try of each: one that fails is tried again while others go on."""
    firsts: dict[str, Run] = {}
    for run in runs:
        firsts.setdefault(run.hook, run)
    orders = [run.order for run in firsts.values()]
    return orders == sorted(orders, reverse=True)


def _counter(seen: Evidence) -> tuple[bool, list[str]]:
    """Whether the sample application was left whole: still while the machine was away, and nothing lost."""
    if seen.numbers is None:
        return True, []
    values = [number for _, number in seen.numbers]
    if values != list(range(1, len(values) + 1)):
        return False, ["the counter lost count: it was caught in the middle, or did not find what it had saved"]
    away = seen.stop or seen.away
    if away is None:
        return True, [f"the counter counted to {len(values)} without a gap"]
    before = [number for at, number in seen.numbers if at < away.began_at]
    during = [number for at, number in seen.numbers if away.began_at <= at <= away.ended_at]
    if during:
        return False, [f"the counter was caught running: it counted {len(during)} numbers during the stop"]
    if len(before) == len(values):
        return False, [f"the counter never counted on from {len(values)}"]
    return True, [f"the counter stood still at {len(before)} throughout the stop and went on with {len(before) + 1}"]


# --- 2 ------------------------------------------------------------------------------------------------------------

def _told(seen: Evidence) -> Finding:
    title = "The platform is told to go ahead once, and only after the last prepare"
    failed = _names(run for run in prepares(seen.runs) if not run.worked)
    posts = [at for at in seen.posts if seen.withdrawn_at is None or at > seen.withdrawn_at]
    if seen.withdrawn_at is not None:
        late = f"{len(posts)} requests after the event was withdrawn" if posts else (
            "the event was withdrawn, and nothing was told after that")
        return Finding(2, title, not posts and len(seen.posts) <= 1, (f"{late} ({len(seen.posts)} in all)",))
    if not seen.plan.acknowledged:
        return Finding(2, title, not seen.posts, (
            f"{_requests(seen)}: an event of kind {seen.plan.kind.value} is acknowledged by its owner only",))
    if failed and not seen.posts:
        return Finding(2, title, HELD, (f"it was not told: prepare of {', '.join(failed)} did not come to a good end",))
    if len(seen.posts) != 1 or seen.told != (seen.event_id,):
        return Finding(2, title, BROKEN, (f"the service saw {_requests(seen)}, and one was due",))
    return _told_once(seen, title)


def _told_once(seen: Evidence, title: str) -> Finding:
    ends = [run.ended_at for run in prepares(seen.runs)]
    last = max((end for end in ends if end is not None), default=None)
    if last is None or None in ends:
        return Finding(2, title, BROKEN, ("it was told, and not every prepare had come to its end",))
    after_s = seen.posts[0] - last
    if after_s < -GRAIN_S:
        early = f"the request came {round_length_text(-after_s)} before the last prepare had ended"
        return Finding(2, title, BROKEN, (early,))
    return Finding(2, title, HELD, (
        f"1 request, {round_length_text(max(after_s, 0.0))} after the last prepare had ended",))


def _requests(seen: Evidence) -> str:
    return "1 request" if len(seen.posts) == 1 else f"{len(seen.posts)} requests"


# --- 3 ------------------------------------------------------------------------------------------------------------

def _noticed(seen: Evidence) -> Finding:
    title = "The pause is noticed and measured"
    if seen.away is not None:
        return Finding(3, title, NOT_SHOWN, (
            f"the agent was gone for {round_length_text(seen.away.middle_s)}, but this machine was not started anew: "
            "only another boot id shows a restart, so the record here says resumed where it would say restarted",))
    if seen.stop is None:
        if seen.withdrawn_at is not None:
            return Finding(3, title, NOT_SHOWN, ("the event was withdrawn, so nothing was stopped",))
        return Finding(3, title, NOT_SHOWN, (TOO_EARLY,))
    pauses = [pause for pause in (seen.record or {}).get("pauses", ()) if pause["length_s"] is not None]
    true = f"true: {length_text(seen.stop.middle_s)}"
    if not pauses:
        return Finding(3, title, BROKEN, (f"nothing was noticed ({true})",))
    best = max(pauses, key=lambda pause: float(pause["length_s"]))
    said = f"{bounded_text(best['length_s'], best['uncertainty_s'])}, {best['cause']} ({true})"
    fits = (best["length_s"] - best["uncertainty_s"] - GRAIN_S <= seen.stop.longest_s
            and best["length_s"] + best["uncertainty_s"] + GRAIN_S >= seen.stop.shortest_s)
    also = [f"{len(pauses) - 1} more of this process besides"] if len(pauses) > 1 else []
    return Finding(3, title, fits, (said, *also) if fits else (f"{said}: the truth is not within it",))


# --- 4 ------------------------------------------------------------------------------------------------------------

def _clock(seen: Evidence) -> Finding:
    title = "Nobody is told to carry on while the clock is wrong"
    if seen.withdrawn_at is not None:
        return Finding(4, title, NOT_SHOWN, (
            "nothing was stopped: what a withdrawn event prepared is recovered at once",))
    begun, check = recovers(seen.runs), seen.check
    if not begun:
        return Finding(4, title, NOT_SHOWN, (TOO_EARLY,))
    if check is None or check.checked_at is None or not seen.time_asked:
        return Finding(4, title, BROKEN, ("the clock was not checked",))
    told_otherwise = _names(run for run in begun if run.clock != "good")
    if check.verdict is not Verdict.GOOD or told_otherwise:
        return Finding(4, title, BROKEN, (f"the clock was {check.verdict.value}"
                                          + (f", and {', '.join(told_otherwise)} ran" if told_otherwise else ""),))
    return _checked_before(begun[0], check, title)


def _checked_before(first: Run, check: ClockCheck, title: str) -> Finding:
    before_s = first.began_at - check.checked_at.timestamp() if check.checked_at else -math.inf
    offset_s, bound_s = check.offset_s or 0.0, check.error_bound_s or 0.0
    in_time = before_s >= -GRAIN_S
    facts = [f"good, {offset_text(offset_s, bound_s)} (true: 0, for this machine is its own time server here)",
             f"checked {round_length_text(max(before_s, 0.0))} before the first recover" if in_time else
             "checked only after the first recover had begun"]
    return Finding(4, title, abs(offset_s) <= bound_s + GRAIN_S and in_time, tuple(facts))


# --- 5 ------------------------------------------------------------------------------------------------------------

def _recorded(seen: Evidence) -> Finding:
    title = "The event leaves a record"
    record = seen.record
    if record is None:
        return Finding(5, title, BROKEN, ("there is none",))
    facts = [f"{record['status']}" + (f", outcome {record['outcome']}" if record["outcome"] else "")
             + f", {len(record['timeline'])} entries, {len(record['hooks'])} runs of hooks"]
    wanted = "cancelled" if seen.withdrawn_at is not None and seen.stop is None else "resumed"
    right = record["status"] == "closed" and record["outcome"] == wanted
    if record["status"] == "closed" and not right:
        facts.append(f"the outcome should be {wanted}")
    if len(record["hooks"]) < len([run for run in seen.runs if run.ended_at is not None]):
        right = False
        facts.append("runs of hooks are missing in it")
    if (record["acknowledged_at"] is not None) != bool(seen.told):
        right = False
        facts.append("it does not tell the truth about the acknowledgement")
    if seen.broken:
        facts.append(f"the drill ended early: {seen.broken}")
    return Finding(5, title, right, tuple(facts))


def _names(runs: Iterable[Run]) -> list[str]:
    return list(dict.fromkeys(run.hook for run in runs))
