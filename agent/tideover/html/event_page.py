"""The page of one event (`show --html`): its sections and texts. Pure."""
from __future__ import annotations

from tideover.html.clock_chart import clock_drawing, describe, is_inside
from tideover.html.components import (
    NAME_SIGNS,
    NOTE_SIGNS,
    KeyFigure,
    TableCell,
    TableRows,
    at_a_glance,
    badge,
    figure,
    html_document,
    lines,
    section,
    table,
)
from tideover.html.markup import Box, Drawing, Markup, PageLayout, join, svg, tag, untrusted, verbatim
from tideover.html.summary import Severity, not_known, noun, summarize
from tideover.html.time_axis import clock_stood_still
from tideover.html.timeline import milestones, timeline
from tideover.humanize import Times, bounded_text, length_text, offset_text
from tideover.model import HookPhase, HookRun, Kind, Outcome, Pause, Verdict
from tideover.record import EventRecord
from tideover.text_safety import show_controls

# --- The section about hooks: each run against its budget, and its output

OUTPUT_LINES = 30            # of a run's output, the last ones; those before are a click away
METER = (130.0, 12.0)


def hooks_section(account: EventRecord, times: Times) -> Markup:
    """Given an account, return its hooks' runs as a table, and what they printed."""
    if not account.hooks:
        return section("Hooks", tag("p", "No hook ran."))
    rows: TableRows = [
        [TableCell(join(untrusted(run.name, NAME_SIGNS), " (application)" if run.is_application else "")),
         f"{run.phase.value}{f', attempt {run.attempt}' if run.attempt > 1 else ''}",
         TableCell(times.clock(run.started_at), "moment"), TableCell(_outcome(run), _outcome_look(run)),
         TableCell(length_text(run.report.duration_s), "moment"), TableCell(length_text(run.limit_s), "moment"),
         TableCell(_meter(run), "meter")] for run in account.hooks]
    heads = ["Hook", "Phase", "Began", "Outcome", "Took", "Budget", "Used"]
    return section("Hooks", table(heads, rows), *_outputs(account))


def _outcome(run: HookRun) -> str:
    report = run.report
    status = f", exit status {report.exit_status}" if report.exit_status else ""
    return report.outcome.value + status + (f": {show_controls(report.note, NOTE_SIGNS)}" if report.note else "")


def _outcome_look(run: HookRun) -> str:
    return "bad-text" if run.has_failed else ""


def _meter(run: HookRun) -> str:
    """How much of its budget the run used, as a bar; the columns beside it say the same."""
    if not run.limit_s or run.report.duration_s is None:
        return "–"
    width, height = METER
    used = min(1.0, run.report.duration_s / run.limit_s)
    percent = f"{100 * run.report.duration_s / run.limit_s:.2g} %"
    look = "failed" if run.has_failed else run.phase.value
    bar = Box(0, 0, max(used * width, 2.0), height, f"bar {look}", percent, 2)
    began = f"{run.started_at.timestamp():.3f}"
    name = f"meter-{run.phase.value}-{run.attempt}-{show_controls(run.name, NAME_SIGNS)}-{began}"
    return svg(Drawing(name.replace(" ", "-"), width, height, f"{percent} of the budget", "",
                       (Box(0.5, 0.5, width - 1, height - 1, "budget", round=2), bar)), "meter-bar")


def _outputs(account: EventRecord) -> list[Markup]:
    parts: list[Markup] = []
    for run in account.hooks:
        text = show_controls(run.report.output.replace("\r\n", "\n"))
        if not text.strip():
            continue
        rows = text.rstrip("\n").split("\n")
        earlier, last = rows[:-OUTPUT_LINES], rows[-OUTPUT_LINES:]
        parts.append(tag("h3", "Output of ", untrusted(run.name, NAME_SIGNS), f" in {run.phase.value}",
                        f", attempt {run.attempt}" if run.attempt > 1 else ""))
        if earlier:
            count = "one earlier line" if len(earlier) == 1 else f"the {len(earlier)} earlier lines"
            parts.append(tag("details", tag("summary", count),
                            tag("pre", verbatim("\n".join(earlier)))))
        parts.append(tag("pre", verbatim("\n".join(last))))
    return parts


# --- The page

DESCRIPTION_SIGNS, SERVER_SIGNS = 600, 80
MOST_NAMES = 20


def event_page(account: EventRecord, times: Times, version: str) -> str:
    """Given a record, how to tell the time, and our version, return the page's whole text."""
    verdict = summarize(account)
    body = [tag("header", tag("h1", verdict.sentence), _about(account, times, verdict.tone)),
            tag("main", at_a_glance(_figures(account)), _timeline(account, times), _comparison(account, times),
                hooks_section(account, times), _pauses_section(account, times), _clock_section(account, times),
                _unknown(account),
                _rows(account, times)),
            _footer(account, times, version)]
    return html_document(f"{account.kind.value} {show_controls(account.event_id, NAME_SIGNS)} – tideover", *body)


def _about(account: EventRecord, times: Times, tone: Severity) -> Markup:
    names = [untrusted(name, NAME_SIGNS) for name in account.resources[:MOST_NAMES]]
    more = f" and {len(account.resources) - len(names)} more" if len(account.resources) > len(names) else ""
    machines = join(*(join(", " if index else "", name) for index, name in enumerate(names)), more)
    who = {"platform": "announced by the platform", "user": "requested by a user of the platform",
           "none": "not announced"}.get(account.event_source or "", "")
    parts = [tag("p", badge(tone), tag("span", times.full(account.noticed_at)), class_="meta"),
            tag("p", f"{noun(account)[0].upper()}{noun(account)[1:]}", f", {who}" if who else "", " · ",
                machines or "no machine given", " · event ", untrusted(account.event_id, NAME_SIGNS), class_="meta")]
    if account.description:
        parts.append(tag("p", "Description by the platform: “", untrusted(account.description, DESCRIPTION_SIGNS), "”",
                        class_="meta"))
    return join(*parts)


def _figures(account: EventRecord) -> list[KeyFigure]:
    clock = account.clock
    figures = []
    if account.is_announced:
        figures.append(
            KeyFigure("Notice", "none", "it had started when it was first detected") if account.notice_s == 0 else
            KeyFigure("Notice", length_text(account.notice_s), "from detection to NotBefore"))
    if account.preparation_s is not None:
        figures.append(KeyFigure("Preparation took", length_text(account.preparation_s),
                                 _count(account, HookPhase.PREPARE)))
    if account.interruptions:
        longest = account.longest_pause or account.interruptions[0]
        figures.append(KeyFigure("Paused for" if len(account.interruptions) == 1 else "Longest pause",
                              bounded_text(longest.length_s, longest.shown_uncertainty_s), f"{longest.quality.value}, "
                              f"{longest.cause.value.replace('-', ' ')}"))
    elif account.is_over and account.outcome is not Outcome.CANCELLED:
        figures.append(KeyFigure("Paused for", "none detected", "no pause was detected"))
    if clock.check.checked_at is not None:
        if clock.check.verdict is Verdict.GOOD and clock.check.good_after_s is not None:
            figures.append(KeyFigure("Clock good after", length_text(clock.check.good_after_s), _offset(account)))
        else:
            unknown = clock.check.verdict is Verdict.UNKNOWN
            figures.append(KeyFigure("Clock", "not known" if unknown else clock.check.verdict.value,
                                  _offset(account)))
    if account.held_back_s is not None:
        figures.append(KeyFigure("Applications prepared for", length_text(account.held_back_s),
                                 "first prepare to last recover"))
    return figures


def _offset(account: EventRecord) -> str:
    clock = account.clock
    if clock.check.offset_s is None:
        return "no time source answered" if clock.check.verdict is Verdict.UNKNOWN else ""
    return offset_text(clock.check.offset_s, clock.check.error_bound_s)


def _count(account: EventRecord, phase: HookPhase) -> str:
    runs = account.runs_of(phase)
    failed = sum(run.has_failed for run in runs)
    return f"{len(runs)} run{'s' if len(runs) != 1 else ''}" + (f", {failed} failed" if failed else "")


# --- the drawing ------------------------------------------------------------------------------------------------

def _timeline(account: EventRecord, times: Times) -> Markup:
    def draw(layout: PageLayout) -> Drawing:
        return timeline(account, times, layout)

    caption = [f"Time runs in {times.zone_and_distance(account.noticed_at)}, everywhere on the same scale. "]
    if any(clock_stood_still(stop, account) for stop in account.interruptions):
        caption.append("This machine’s clock stopped during the pause; later entries are drawn at their actual time, "
                       "by the time servers. The tables show the timestamps of the machine’s clock. ")
    if any(run.limit_s for run in account.hooks):
        caption.append("Dashed frames show the unused part of a hook’s timeout. ")
    if account.clock.samples:
        caption.append("The green band around the clock’s zero is the tolerance.")
    key = tag("ol", *(tag("li", tag("span", str(one.number), class_="mark"), " ", tag("span", one.words))
                      for one in milestones(account)), class_="key", aria_label="Numbers in the drawing")
    return section("Timeline", figure(draw, *caption), key)


# --- announced against measured -----------------------------------------------------------------------------------

def _comparison(account: EventRecord, times: Times) -> Markup:
    rows: TableRows = []
    if account.is_announced:
        begun = times.brief(account.started_at, account.noticed_at) if account.started_at else \
            "start not seen" if account.is_over else "not started"
        announced = f"NotBefore {times.brief(account.not_before, account.noticed_at)}" if account.not_before else \
            "no NotBefore given"
        rows.append(["Beginning", announced, begun + _lead(account)])
    if account.kind is Kind.FREEZE or account.interruptions:
        announced = length_text(account.expected_pause_s) if account.expected_pause_s is not None else \
            "no length given"
        measured = "; ".join(bounded_text(stop.length_s, stop.shown_uncertainty_s) for stop in account.interruptions)
        rows.append(["Pause", announced, measured or ("none detected" if account.is_over else "nothing yet")])
    if account.preparation_s is not None and account.notice_s is not None:
        rows.append(["Preparation", f"{length_text(account.notice_s)} of notice", _share(account)])
    clock = account.clock
    if clock.check.checked_at is not None:
        allowed = f"within {length_text(clock.check.tolerance_s)}" if clock.check.tolerance_s is not None else "–"
        rows.append(["Clock", allowed, ": ".join(filter(None, (clock.check.verdict.value, _offset(account))))])
    if not rows:
        return Markup("")
    return section("Announced and measured", table(["", "Announced or allowed", "Measured"], rows, "stacks keep"))


def _lead(account: EventRecord) -> str:
    if not account.started_at or not account.not_before:
        return ""
    early_s = (account.not_before - account.started_at).total_seconds()
    if early_s <= 0:
        return f", {length_text(-early_s)} after it"
    why = ", after the acknowledgement" if account.acknowledged_at and \
        account.acknowledged_at <= account.started_at else ""
    return f", {length_text(early_s)} before it{why}"


def _share(account: EventRecord) -> str:
    took, notice = account.preparation_s or 0.0, account.notice_s or 0.0
    if notice <= 0:
        return f"{length_text(took)}, with no notice"
    return f"{length_text(took)}, {100 * took / notice:.3g} % of it"


# --- pauses and clock ---------------------------------------------------------------------------------------------

def _pauses_section(account: EventRecord, times: Times) -> Markup:
    if not account.pauses:
        return Markup("")
    rows: TableRows = [[TableCell(times.clock(stop.resumed_at), "moment"),
             bounded_text(stop.length_s, stop.shown_uncertainty_s),
             stop.cause.value.replace("-", " "), stop.quality.value, _evidence(stop)] for stop in account.pauses]
    return section("Pauses", table(["Resumed at", "Length", "Scope", "Quality", "Evidence"], rows))


def _evidence(stop: Pause) -> str:
    parts = list(stop.evidence)
    if stop.clocksource is not None and stop.clocksource[0] != stop.clocksource[1]:
        parts.append(f"the clocksource changed from {stop.clocksource[0]} to {stop.clocksource[1]}")
    if stop.host is not None and stop.host[0] != stop.host[1]:
        parts.append(f"moved from host {stop.host[0]} to host {stop.host[1]}")
    return show_controls("; ".join(parts), NOTE_SIGNS)


def _clock_section(account: EventRecord, times: Times) -> Markup:
    clock = account.clock
    if clock.check.checked_at is None and not clock.samples:
        return Markup("")
    parts = [tag("p", _clock_sentence(account))]
    if clock.samples:
        def draw(layout: PageLayout) -> Drawing:
            return clock_drawing(account, layout)

        rows: TableRows = [
            [TableCell(times.clock(one.at), "moment"), untrusted(one.server, SERVER_SIGNS), offset_text(one.offset_s),
             f"± {length_text(one.error_bound_s)}", length_text(one.delay_s),
             {True: "yes", False: "no", None: "–"}[is_inside(one, clock.check.tolerance_s)]] for one in clock.samples]
        heads = ["Measured at", "Source", "Offset of this machine", "Error bound", "Round trip", "Within tolerance"]
        parts += [figure(draw, "Seconds since the first sample after the pause; up is ahead. Whiskers show each "
                              "sample’s error bound, the green band the tolerance."),
                 tag("details", tag("summary", "Values as a table"), table(heads, rows))]
    parts += [tag("p", f"Observed later: {show_controls(move.note, NOTE_SIGNS)} ({times.clock(move.at)}).")
             for move in clock.followed]
    return section("Clock", *parts)


def _clock_sentence(account: EventRecord) -> str:
    clock = account.clock
    if clock.check.checked_at is None:
        return f"The clock was measured, but there is no verdict. {describe(clock)}"
    why = f" ({show_controls(clock.check.reason, NOTE_SIGNS)})" if clock.check.reason else ""
    parts = f"Verdict: {clock.check.verdict.value}{why}."
    return f"{parts} {describe(clock)}"


# --- the rest ---------------------------------------------------------------------------------------------------

def _unknown(account: EventRecord) -> Markup:
    parts = not_known(account)
    return section("Unknown", lines(parts)) if parts else Markup("")


def _rows(account: EventRecord, times: Times) -> Markup:
    numbers = {one.row: str(one.number) for one in milestones(account)}
    has_other = not times.is_utc(account.noticed_at)
    heads = ["", times.zone_and_distance(account.noticed_at), *(["UTC"] if has_other else []), "What", "Note"]
    rows: TableRows = []
    for index, move in enumerate(account.timeline):
        mark: str = tag("span", numbers[index], class_="mark") if index in numbers else Markup("")
        moments = [TableCell(times.clock(move.at), "moment")]
        if has_other:
            moments.append(TableCell(times.utc_clock(move.at), "moment soft"))
        rows.append([mark, *moments, move.what.value, untrusted(move.note, NOTE_SIGNS) if move.note else ""])
    return section("Log of the event", table(heads, rows, "stacks rows"))


def _footer(account: EventRecord, times: Times, version: str) -> Markup:
    parts = [join(f"Made by tideover {version} on {times.full(times.now)} from the record of this event; the record as "
                 "JSON: ", tag("code", "tideover show EVENT --json"), "."),
            "Timestamps are from this machine’s clock; NotBefore is the platform’s time. Durations are measured on "
            "clocks that are never set. “Not known” never means 0.",
            "This page contains hook output unchanged. It loads nothing from the network and runs no script."]
    if account.extra:
        fields = (join("; " if index else "", untrusted(key, NAME_SIGNS), " = ", untrusted(value, NOTE_SIGNS))
                  for index, (key, value) in enumerate(account.extra.items()))
        parts.insert(1, join("Other fields from the platform: ", *fields, "."))
    return tag("footer", *(tag("p", text) for text in parts))
