"""The part of an event's page about its hooks: each run against its budget, and what it printed. Pure markup."""
from __future__ import annotations

from tideover.page.account import Account, Run
from tideover.page.markup import Markup, legible, stranger, tag, verbatim
from tideover.page.pieces import NAME_SIGNS, NOTE_SIGNS, Cell, Rows, section, table
from tideover.page.shapes import Box, Drawing, svg
from tideover.wording import Times, length_text

OUTPUT_LINES = 30            # of a run's output, the last ones; those before are a click away
METER = (130.0, 12.0)


def hooks_section(account: Account, times: Times) -> Markup:
    """Given an account, return its hooks' runs as a table, and what they printed."""
    if not account.runs:
        return section("Hooks", tag("p", "No hook was run."))
    rows: Rows = [
        [Cell(stranger(run.name, NAME_SIGNS)), f"{run.phase}{f', try {run.attempt}' if run.attempt > 1 else ''}",
         Cell(times.clock(run.began), "moment"), Cell(_outcome(run), _outcome_look(run)),
         Cell(length_text(run.duration_s), "moment"), Cell(length_text(run.limit_s), "moment"),
         Cell(_meter(run), "meter")] for run in account.runs]
    heads = ["Hook", "Phase", "Began", "Outcome", "Took", "Budget", "Used"]
    return section("Hooks", table(heads, rows), *_outputs(account))


def _outcome(run: Run) -> str:
    status = f", exit status {run.exit_status}" if run.exit_status else ""
    return run.outcome + status + (f": {legible(run.note, NOTE_SIGNS)}" if run.note else "")


def _outcome_look(run: Run) -> str:
    return "bad-text" if run.has_failed else ""


def _meter(run: Run) -> str:
    """How much of its budget the run used, as a bar; what it says is said in the columns beside it too."""
    if not run.limit_s or run.duration_s is None:
        return "–"
    width, height = METER
    used = min(1.0, run.duration_s / run.limit_s)
    percent = f"{100 * run.duration_s / run.limit_s:.2g} %"
    bar = Box(0, 0, max(used * width, 2.0), height, f"bar {'failed' if run.has_failed else run.phase}", percent, 2)
    name = f"meter-{run.phase}-{run.attempt}-{legible(run.name, NAME_SIGNS)}-{run.began.timestamp():.3f}"
    return svg(Drawing(name.replace(" ", "-"), width, height, f"{percent} of the budget", "",
                       (Box(0.5, 0.5, width - 1, height - 1, "budget", round=2), bar)), "meter-bar")


def _outputs(account: Account) -> list[Markup]:
    said: list[Markup] = []
    for run in account.runs:
        text = legible(run.output.replace("\r\n", "\n"))
        if not text.strip():
            continue
        rows = text.rstrip("\n").split("\n")
        earlier, last = rows[:-OUTPUT_LINES], rows[-OUTPUT_LINES:]
        said.append(tag("h3", "What ", stranger(run.name, NAME_SIGNS), f" said in {run.phase}",
                        f", try {run.attempt}" if run.attempt > 1 else ""))
        if earlier:
            said.append(tag("details", tag("summary", f"the {len(earlier)} lines before these"),
                            tag("pre", verbatim("\n".join(earlier)))))
        said.append(tag("pre", verbatim("\n".join(last))))
    return said
