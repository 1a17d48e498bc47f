"""One event as a page: the verdict first, then what it rests on. Pure: a record in, a file's text out."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideover.page.account import Account, Stop, account_of
from tideover.page.clock_curve import clock_drawing, describe, is_inside
from tideover.page.hooks_section import hooks_section
from tideover.page.layout import Layout
from tideover.page.markup import Markup, join, legible, stranger, tag
from tideover.page.milestones import milestones
from tideover.page.pieces import (
    NAME_SIGNS,
    NOTE_SIGNS,
    Cell,
    Figure,
    Rows,
    at_a_glance,
    badge,
    figure,
    lines,
    section,
    table,
)
from tideover.page.shapes import Drawing
from tideover.page.sheet import document
from tideover.page.timeline import timeline
from tideover.page.true_time import clock_stood_still
from tideover.page.verdict import Tone, not_known, noun, verdict_of
from tideover.wording import Times, bounded_text, length_text, offset_text

DESCRIPTION_SIGNS, SERVER_SIGNS = 600, 80
MOST_NAMES = 20


def event_page(record: Mapping[str, Any], times: Times, version: str) -> str:
    """Given a record, how to tell the time, and our version, return the page's whole text."""
    account = account_of(record)
    verdict = verdict_of(account)
    body = [tag("header", tag("h1", verdict.sentence), _about(account, times, verdict.tone)),
            tag("main", at_a_glance(_figures(account)), _timeline(account, times), _comparison(account, times),
                hooks_section(account, times), _pauses(account, times), _clock(account, times), _unknown(account),
                _rows(account, times)),
            _footer(account, times, version)]
    return document(f"{account.kind} {legible(account.event_id, NAME_SIGNS)} – tideover", *body)


def _about(account: Account, times: Times, tone: Tone) -> Markup:
    names = [stranger(name, NAME_SIGNS) for name in account.resources[:MOST_NAMES]]
    more = f" and {len(account.resources) - len(names)} more" if len(account.resources) > len(names) else ""
    machines = join(*(join(", " if index else "", name) for index, name in enumerate(names)), more)
    who = {"platform": "announced by the platform", "user": "asked for by a user of the platform",
           "none": "announced by nobody"}.get(account.event_source or "", "")
    said = [tag("p", badge(tone), tag("span", times.full(account.noticed)), class_="meta"),
            tag("p", f"{noun(account)[0].upper()}{noun(account)[1:]}", f", {who}" if who else "", " · ",
                machines or "no machine named", " · event ", stranger(account.event_id, NAME_SIGNS), class_="meta")]
    if account.description:
        said.append(tag("p", "In the platform’s words: “", stranger(account.description, DESCRIPTION_SIGNS), "”",
                        class_="meta"))
    return join(*said)


def _figures(account: Account) -> list[Figure]:
    clock = account.clock
    figures = []
    if account.is_announced:
        figures.append(Figure("Notice", "none", "it had begun when it was first seen") if account.notice_s == 0 else
                       Figure("Notice", length_text(account.notice_s), "from noticing to NotBefore"))
    if account.preparation_s is not None:
        figures.append(Figure("Preparation took", length_text(account.preparation_s), _count(account, "prepare")))
    if account.pauses:
        known = [stop for stop in account.pauses if stop.length_s is not None]
        longest = max(known, key=lambda stop: stop.length_s or 0.0, default=account.pauses[0])
        figures.append(Figure("Stood still" if len(account.pauses) == 1 else "Longest pause",
                              bounded_text(longest.length_s, longest.uncertainty_s), f"{longest.quality}, "
                              f"{longest.cause.replace('-', ' ')}"))
    elif account.is_over and account.outcome != "cancelled":
        figures.append(Figure("Stood still", "not noticed", "no pause this machine could show"))
    if clock.checked_at is not None:
        if clock.verdict == "good" and clock.good_after_s is not None:
            figures.append(Figure("Clock good after", length_text(clock.good_after_s), _offset(account)))
        else:
            figures.append(Figure("Clock", clock.verdict if clock.verdict != "unknown" else "not known",
                                  _offset(account)))
    if account.held_back_s is not None:
        figures.append(Figure("Applications held", length_text(account.held_back_s), "first prepare to last recover"))
    return figures


def _offset(account: Account) -> str:
    clock = account.clock
    if clock.offset_s is None:
        return "no source of time answered" if clock.verdict == "unknown" else ""
    return offset_text(clock.offset_s, clock.error_bound_s)


def _count(account: Account, phase: str) -> str:
    runs = account.of_phase(phase)
    failed = sum(run.has_failed for run in runs)
    return f"{len(runs)} run{'s' if len(runs) != 1 else ''}" + (f", {failed} failed" if failed else "")


# --- the drawing ------------------------------------------------------------------------------------------------

def _timeline(account: Account, times: Times) -> Markup:
    def draw(layout: Layout) -> Drawing:
        return timeline(account, times, layout)

    caption = [f"Time runs in {times.zone_and_distance(account.noticed)}, everywhere on the same scale. "]
    if any(clock_stood_still(stop, account) for stop in account.pauses):
        caption.append("This machine’s clock stood still with it; what came after is drawn where it truly lies, by the "
                       "readings of outside time. The tables hold the moments as the clock showed them. ")
    if any(run.limit_s for run in account.runs):
        caption.append("Dashed frames are what was left of a hook’s budget. ")
    if account.clock.readings:
        caption.append("The green band around the clock’s zero is the tolerance.")
    key = tag("ol", *(tag("li", tag("span", str(one.number), class_="mark"), " ", tag("span", one.words))
                      for one in milestones(account)), class_="key", aria_label="The numbers in the drawing")
    return section("Timeline", figure(draw, *caption), key)


# --- announced against measured -----------------------------------------------------------------------------------

def _comparison(account: Account, times: Times) -> Markup:
    rows: Rows = []
    if account.is_announced:
        begun = times.brief(account.started, account.noticed) if account.started else \
            "not seen to begin" if account.is_over else "not begun"
        announced = f"NotBefore {times.brief(account.not_before, account.noticed)}" if account.not_before else \
            "no time named"
        rows.append(["Beginning", announced, begun + _lead(account)])
    if account.kind == "freeze" or account.pauses:
        announced = length_text(account.expected_pause_s) if account.expected_pause_s is not None else \
            "no length announced"
        measured = "; ".join(bounded_text(stop.length_s, stop.uncertainty_s) for stop in account.pauses)
        rows.append(["Pause", announced, measured or ("none noticed" if account.is_over else "nothing yet")])
    if account.preparation_s is not None and account.notice_s is not None:
        rows.append(["Preparation", f"{length_text(account.notice_s)} of notice", _share(account)])
    clock = account.clock
    if clock.checked_at is not None:
        allowed = f"within {length_text(clock.tolerance_s)}" if clock.tolerance_s is not None else "–"
        rows.append(["Clock", allowed, f"{clock.verdict}: {_offset(account)}" if _offset(account) else clock.verdict])
    if not rows:
        return Markup("")
    return section("Announced and measured", table(["", "Announced or allowed", "Measured"], rows, "stacks keep"))


def _lead(account: Account) -> str:
    if not account.started or not account.not_before:
        return ""
    early_s = (account.not_before - account.started).total_seconds()
    if early_s <= 0:
        return f", {length_text(-early_s)} after it"
    why = ", after this machine had said go ahead" if account.acknowledged and \
        account.acknowledged <= account.started else ""
    return f", {length_text(early_s)} before it{why}"


def _share(account: Account) -> str:
    took, notice = account.preparation_s or 0.0, account.notice_s or 0.0
    if notice <= 0:
        return f"{length_text(took)}, with no notice"
    return f"{length_text(took)}, {100 * took / notice:.3g} % of it"


# --- pauses and clock ---------------------------------------------------------------------------------------------

def _pauses(account: Account, times: Times) -> Markup:
    if not account.stops:
        return Markup("")
    rows: Rows = [[Cell(times.clock(stop.ended), "moment"), bounded_text(stop.length_s, stop.uncertainty_s),
             stop.cause.replace("-", " "), stop.quality, _evidence(stop)] for stop in account.stops]
    return section("Pauses", table(["Ran again at", "Length", "What stood still", "How known", "Evidence"], rows))


def _evidence(stop: Stop) -> str:
    said = list(stop.evidence)
    if stop.clocksource is not None and stop.clocksource[0] != stop.clocksource[1]:
        said.append(f"the clock source changed from {stop.clocksource[0]} to {stop.clocksource[1]}")
    if stop.host is not None and stop.host[0] != stop.host[1]:
        said.append(f"moved from host {stop.host[0]} to host {stop.host[1]}")
    return legible("; ".join(said), NOTE_SIGNS)


def _clock(account: Account, times: Times) -> Markup:
    clock = account.clock
    if clock.checked_at is None and not clock.readings:
        return Markup("")
    said = [tag("p", _clock_sentence(account))]
    if clock.readings:
        def draw(layout: Layout) -> Drawing:
            return clock_drawing(account, layout)

        rows: Rows = [
            [Cell(times.clock(one.at), "moment"), stranger(one.server, SERVER_SIGNS), offset_text(one.offset_s),
             f"± {length_text(one.error_bound_s)}", length_text(one.delay_s),
             {True: "yes", False: "no", None: "–"}[is_inside(one, clock.tolerance_s)]] for one in clock.readings]
        heads = ["Read at", "Source", "This machine was", "Error bound", "Round trip", "Within tolerance"]
        said += [figure(draw, "Seconds since the first reading after the pause; up is ahead. Whiskers are each "
                              "reading’s error bound, the green band the tolerance."),
                 tag("details", tag("summary", "The same in numbers"), table(heads, rows))]
    said += [tag("p", f"Watched on: {legible(move.note, NOTE_SIGNS)} ({times.clock(move.at)}).")
             for move in clock.followed]
    return section("Clock", *said)


def _clock_sentence(account: Account) -> str:
    clock = account.clock
    if clock.checked_at is None:
        return f"The clock was read, but not judged. {describe(clock)}"
    why = f" ({legible(clock.reason, NOTE_SIGNS)})" if clock.reason else ""
    said = f"Judged {clock.verdict}{why}."
    return f"{said} {describe(clock)}"


# --- the rest ---------------------------------------------------------------------------------------------------

def _unknown(account: Account) -> Markup:
    said = not_known(account)
    return section("What is not known", lines(said)) if said else Markup("")


def _rows(account: Account, times: Times) -> Markup:
    numbers = {one.row: str(one.number) for one in milestones(account)}
    has_other = not times.is_utc(account.noticed)
    heads = ["", times.zone_and_distance(account.noticed), *(["UTC"] if has_other else []), "What", "Note"]
    rows: Rows = []
    for index, move in enumerate(account.moves):
        mark: str = tag("span", numbers[index], class_="mark") if index in numbers else Markup("")
        moments = [Cell(times.clock(move.at), "moment")]
        if has_other:
            moments.append(Cell(times.utc_clock(move.at), "moment soft"))
        rows.append([mark, *moments, move.what, stranger(move.note, NOTE_SIGNS) if move.note else ""])
    return section("What happened, moment by moment", table(heads, rows, "stacks rows"))


def _footer(account: Account, times: Times, version: str) -> Markup:
    said = [join(f"Made by tideover {version} on {times.full(times.now)} from the record of this event; the record as "
                 "JSON: ", tag("code", "tideover show EVENT --json"), "."),
            "Moments are what this machine’s clock showed then; NotBefore is the platform’s time. Lengths are measured "
            "on clocks that nobody sets. “Not known” is never 0.",
            "This page holds the hooks’ output as they wrote it. It fetches nothing and runs nothing."]
    if account.extra:
        fields = (join("; " if index else "", stranger(key, NAME_SIGNS), " = ", stranger(value, NOTE_SIGNS))
                  for index, (key, value) in enumerate(account.extra.items()))
        said.insert(1, join("Further fields of the platform: ", *fields, "."))
    return tag("footer", *(tag("p", text) for text in said))
