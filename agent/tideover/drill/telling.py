"""What happened, in plain words: a line for each row of the record that a newcomer wants to see. Pure words."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tideover.hooks.plain_text import plain
from tideover.model import ClockCheck, HookOutcome, HookRun, Pause
from tideover.record import Row
from tideover.wording import bounded_text, offset_text, round_length_text

SAID_AT_MOST = 200          # characters of a hook's output


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline. `at_s`: seconds since the drill's start. `who`: platform | machine | agent | hook."""

    at_s: float
    who: str
    what: str


def tell_row(row: Row) -> tuple[str, str] | None:
    """Given a row of the record, return who and what; None for one that says nothing new to a reader."""
    match row.subject:
        case HookRun():
            return "hook", _hook(row.subject)
        case Pause():
            return "agent", _pause(row.subject)
        case ClockCheck():
            again = "watches on: " if row.what == "clock followed" else ""
            return "agent", again + _clock(row.subject)
    words = WORDS.get(row.what)
    said = words(row.note) if words else ""
    return ("agent", said) if said else None


def _always(said: str) -> Callable[[str], str]:
    return lambda note: said


WORDS: Mapping[str, Callable[[str], str]] = MappingProxyType({
    "noticed": lambda note: "sees the announcement" + (f"; {note}" if note else ""),
    "changed": lambda note: note,
    "waiting": _always("waits until it is time to prepare"),
    "preparing": _always("lets the applications prepare"),
    "asking": _always("tells the platform to go ahead"),
    "doubting": lambda note: f"does not know whether that was heard ({note}); the next document will show",
    "acknowledged": _always("the platform has heard it"),
    "acknowledgement refused": lambda note: f"the platform refuses to hear it: {note}",
    "holding": lambda note: f"does not tell the platform to go ahead: {note}" if note else "",
    "started": _always("sees that the event has started"),
    "checking": _always("checks the clock before anyone carries on"),
    "settling": _always("waits a moment, in case the machine stops again"),
    "recovering": _always("lets the applications carry on, in reverse order"),
    "lingering": _always("all carry on; waits for the event to leave the list"),
    "left the list": _always("sees that the event has left the list"),
    "recover owed": lambda note: f"could not recover: {note}",
    "closed": _always("closes the record"),
})


def _hook(run: HookRun) -> str:
    report = run.report
    how = {HookOutcome.NOTHING: "nothing to do", HookOutcome.NOT_YET: "not yet",
           HookOutcome.TIMED_OUT: "timed out"}.get(report.outcome, report.outcome.value)
    if report.outcome is HookOutcome.FAILED and report.exit_status is not None:
        how += f" with status {report.exit_status}"
    lines = [line for line in report.output.splitlines() if line.strip()]
    said = plain((lines[-1] if lines else report.note).strip(), SAID_AT_MOST)
    again = f" (try {run.attempt})" if run.attempt > 1 else ""
    took = "" if report.duration_s is None else f" in {round_length_text(report.duration_s)}"
    return f"{run.name} {run.phase.value}{again}: {how}{took}" + (f", “{said}”" if said else "")


def _pause(pause: Pause) -> str:
    if pause.length_s is None or pause.uncertainty_s is None:
        return f"notices a pause of a length that is not known ({pause.cause.value})"
    return f"notices a pause of {bounded_text(pause.length_s, pause.uncertainty_s)} ({pause.cause.value})"


def _clock(check: ClockCheck) -> str:
    if check.offset_s is None or check.error_bound_s is None:
        return f"the clock is {check.verdict.value}: {check.reason}"
    return f"the clock is {check.verdict.value}: {offset_text(check.offset_s, check.error_bound_s)}"
