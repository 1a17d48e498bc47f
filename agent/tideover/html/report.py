"""A history in sentences and in plain lines, and as one JSON document. Pure words."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tideover.model import utc_text
from tideover.page.figures import Figures, Month, Spread, Told
from tideover.page.markup import legible
from tideover.page.verdict import Tone
from tideover.wording import MONTHS, NOT_KNOWN, Times, bounded_text, length_text, round_length_text

COUNTED: Mapping[Tone, str] = MappingProxyType({
    Tone.CARRIED: "carried over", Tone.WITHDRAWN: "withdrawn by the platform", Tone.ATTENTION: "in need of a look",
    Tone.OPEN: "still open", Tone.PASSED: "passed without hooks",
})


def headline(figures: Figures, times: Times) -> str:
    """Given figures, return the report's first sentence."""
    since = f" since {times.day(figures.since)}" if figures.since else ""
    count = len(figures.events)
    if not count:
        return f"No event{since} has concerned this machine."
    parts = [f"{number} {words}" for tone, words in COUNTED.items() if (number := figures.of_tone(tone))]
    return f"One event{since}, {parts[0].removeprefix('1 ')}." if count == 1 else \
        f"{count} events{since}: {_joined(parts)}."


def sentences(figures: Figures) -> list[str]:
    """Given figures, return what they say about notice, preparation, pauses and the clock, a sentence each."""
    said = []
    if figures.notice.lengths_s or figures.without_notice:
        said.append(_notice(figures))
    if figures.pause.lengths_s or figures.pause.unknown:
        said.append(_pauses(figures.pause))
    if figures.clock.lengths_s or figures.clock_not_good:
        said.append(_clock(figures))
    if figures.watched:
        said.append(f"{figures.watched} more concerned other machines, or a kind that is left alone: only watched.")
    return said


def report_lines(figures: Figures, times: Times) -> Iterator[str]:
    """Given figures, return the report as lines of plain text."""
    yield headline(figures, times)
    yield from sentences(figures)
    if not figures.events:
        return
    yield ""
    rows = [["MONTH", *figures.kinds], *([month_text(month), *(str(month.by_kind.get(kind, 0) or "-")
                                                              for kind in figures.kinds)]
                                         for month in figures.months)]
    yield from _columns(rows)
    yield ""
    yield from _columns([["", "SHORTEST", "MEDIAN", "LONGEST", "COUNTED"],
                         *([name, *spread_texts(spread)] for name, spread in spreads(figures))])
    looked_at = [told for told in figures.events if told.tone in (Tone.ATTENTION, Tone.OPEN)]
    if looked_at:
        yield ""
        yield "To look at (tideover show EVENT):"
        for told in looked_at:
            yield f"  {times.day(told.account.noticed)}  {legible(told.account.event_id)}"
            yield f"    {told.sentence}"


def report_document(figures: Figures) -> dict[str, Any]:
    """Given figures, return them as one JSON document. Lengths in seconds; what is not known is null."""
    return {
        "since": utc_text(figures.since),
        "events": [_event(told) for told in figures.events],
        "only_watched": figures.watched,
        "months": [{"month": f"{month.year}-{month.month:02d}", "by_kind": dict(month.by_kind)}
                   for month in figures.months],
        "notice_s": _numbers(figures.notice) | {"none": figures.without_notice},
        "preparation_s": _numbers(figures.preparation),
        "notices_shorter_than_longest_preparation": None if figures.need_s is None else figures.short_notices,
        "pause_s": _numbers(figures.pause),
        "clock_good_after_s": _numbers(figures.clock) | {"not_good": figures.clock_not_good},
    }


def spreads(figures: Figures) -> list[tuple[str, Spread]]:
    """Given figures, return the sorts of lengths with their names, in the order in which they come in an event."""
    return [("Notice given", figures.notice), ("Preparation", figures.preparation), ("Pause", figures.pause),
            ("Until clock good", figures.clock)]


def spread_texts(spread: Spread) -> list[str]:
    """Given lengths, return the shortest, the median, the longest, and how many there are."""
    unknown = f", {spread.unknown} not known" if spread.unknown else ""
    if not spread.lengths_s:
        return ["-", "-", "-", f"0{unknown}"]
    return [*(length_text(length_s) for length_s in (spread.least_s, spread.middle_s, spread.most_s)),
            f"{len(spread.lengths_s)}{unknown}"]


def month_text(month: Month) -> str:
    return f"{MONTHS[month.month - 1]} {month.year}"


def pause_words(told: Told) -> str:
    """Given an event of the history, return how long its longest pause was."""
    if told.longest_s is not None:
        return bounded_text(told.longest_s, told.uncertainty_s)
    return NOT_KNOWN if told.account.pauses else "–"


def clock_words(told: Told) -> str:
    """Given an event of the history, return how long its clock took to be good, or its verdict."""
    clock = told.account.clock
    if clock.checked_at is None:
        return "–"
    return length_text(clock.good_after_s) if clock.verdict == "good" and clock.good_after_s is not None else \
        NOT_KNOWN if clock.verdict == "unknown" else clock.verdict


def notice_words(told: Told) -> str:
    """Given an event of the history, return how much notice was given."""
    if not told.account.is_announced or told.account.notice_s == 0:
        return "none"
    return length_text(told.account.notice_s)


# --- sentences ----------------------------------------------------------------------------------------------------

def _notice(figures: Figures) -> str:
    notices, none = len(figures.notice.lengths_s), figures.without_notice
    without = f"{none} event{'s' if none > 1 else ''} came without any notice" if none else ""
    if figures.need_s is None or not notices:
        given = f"Notices were {length_text(figures.notice.least_s)} at the shortest" if notices else ""
        return "; ".join(filter(None, (given, without))) + "."
    need = f"Your hooks need {round_length_text(figures.need_s)}"
    return "; ".join(filter(None, (need, _short(figures), without))) + "."


def _short(figures: Figures) -> str:
    notices, short = len(figures.notice.lengths_s), figures.short_notices
    if notices == 1:
        return f"the one notice gave {'less' if short else 'more'}"
    return f"{short or 'none'} of {notices} notices gave less"


def _pauses(pause: Spread) -> str:
    unknown = f"; the length of {pause.unknown} is not known" if pause.unknown else ""
    count = len(pause.lengths_s)
    if not count:
        return f"{pause.unknown} pause{'s' if pause.unknown > 1 else ''}, of a length that is not known."
    if count == 1:
        return f"One pause, of {round_length_text(pause.most_s)}{unknown}."
    return (f"{count} pauses of {round_length_text(pause.least_s)} to {round_length_text(pause.most_s)}, median "
            f"{round_length_text(pause.middle_s)}{unknown}.")


def _clock(figures: Figures) -> str:
    bad = figures.clock_not_good
    failed = f"{bad} time{'s' if bad > 1 else ''} it was not known to be right when the applications carried on" \
        if bad else ""
    if not figures.clock.lengths_s:
        return f"The clock: {failed}."
    several = f" (median), {round_length_text(figures.clock.most_s)} at the longest" \
        if len(figures.clock.lengths_s) > 1 else ""
    good = f"The clock was right {round_length_text(figures.clock.middle_s)} after the resume{several}"
    return "; ".join(filter(None, (good, failed))) + "."


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


# --- JSON ---------------------------------------------------------------------------------------------------------

def _event(told: Told) -> dict[str, Any]:
    account = told.account
    return {"event_id": account.event_id, "kind": account.kind, "noticed_at": utc_text(account.noticed),
            "status": account.status, "outcome": account.outcome, "verdict": told.tone.value,
            "sentence": told.sentence, "notice_s": account.notice_s,
            "preparation_s": account.preparation_s, "longest_pause_s": told.longest_s,
            "clock": account.clock.verdict, "clock_good_after_s": account.clock.good_after_s}


def _numbers(spread: Spread) -> dict[str, Any]:
    return {"count": len(spread.lengths_s), "not_known": spread.unknown, "shortest": spread.least_s,
            "median": spread.middle_s, "longest": spread.most_s}
