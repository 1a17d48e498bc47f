"""`tideover show`, `history`, `pauses` and `report`: options, JSON and CSV, writing HTML files."""
from __future__ import annotations

import csv
import enum
import io
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tideover import __version__
from tideover.cli.event_lines import event_parts, history_table, pauses_table
from tideover.cli.options import (
    example,
    print_json,
    print_json_listing,
    print_lines,
    print_sentence,
    with_json,
    with_readable_settings,
    with_utc,
)
from tideover.cli.render import Table, table_row
from tideover.cli.terminal import render_lines, table_lines, this_terminal, wrapped_line
from tideover.config_file import Loaded
from tideover.errors import EXIT_OK, TideoverError, WrongUseError, system_reason
from tideover.humanize import Times
from tideover.journal.store import Journal, read_memory, read_through
from tideover.model import fold_case, utc_text
from tideover.record import EventRecord, PauseRecord, each_pause, events_of_pauses, evidence_of_pauses, records_of
from tideover.settings import read_duration
from tideover.system.private_files import MODE_TOOL, READERS, create_private_file
from tideover.text_safety import dot_controls

if TYPE_CHECKING:
    from tideover.html import HistoryStatistics


# --- history, pauses

Listed = TypeVar("Listed", EventRecord, PauseRecord)
NEWEST = 1000       # pauses of a table, unless all are asked for: a hundred thousand take 200 MB to lay out
with_csv: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV (RFC 4180), a row each, exact times in UTC.")


@click.command("history", epilog=example("tideover history --utc"))
@click.option("--all", "others_too", is_flag=True, help="List events of other machines, too: outcome not-ours.")
@with_csv
@with_json
@with_utc
@with_readable_settings
def history_command(loaded: Loaded, as_json: bool, as_csv: bool, utc: bool, others_too: bool) -> int:
    """List past and present events of this machine, oldest first."""
    state, rows = read_memory(loaded.settings)
    found = [record for record in records_of(rows) if others_too or record.concerns(state.me)]
    _refuse_two_formats(as_json, as_csv)
    if as_json:
        print_json_listing("events", (record.as_json() for record in found))
    elif as_csv:
        print_csv(HISTORY_COLUMNS, found)
    else:
        _print_table(found, "No event recorded.", lambda times: history_table(found, times, state.me), utc)
    return EXIT_OK


@click.command("pauses", epilog=example("tideover pauses --csv"))
@click.option("--all", "is_all", is_flag=True,
              help=f"List every pause, not only the newest {NEWEST}. JSON and CSV always list every pause.")
@with_csv
@with_json
@with_utc
@with_readable_settings
def pauses_command(loaded: Loaded, as_json: bool, as_csv: bool, utc: bool, is_all: bool) -> int:
    """List the pauses detected, with length, uncertainty, cause and evidence."""
    _refuse_two_formats(as_json, as_csv)

    def print_them(pauses: Iterable[PauseRecord]) -> None:
        if as_json:
            print_json_listing("pauses", (known.as_json() for known in pauses))
        elif as_csv:
            print_csv(PAUSE_COLUMNS, pauses)
        else:
            _print_pauses(pauses, None if is_all else NEWEST, utc)

    def read(journal: Journal) -> bool:
        print_them(each_pause(journal.rows_of_pauses(), events_of_pauses(journal.rows_of_pauses_of_events()),
                              evidence_of_pauses(journal.rows_of_evidence_of_pauses())))
        return True

    if read_through(loaded.settings, read) is None:
        print_them(())
    return EXIT_OK


def _print_pauses(pauses: Iterable[PauseRecord], limit: int | None, utc: bool) -> None:
    count = 0

    def counted() -> Iterator[PauseRecord]:
        nonlocal count
        for known in pauses:
            count += 1
            yield known

    newest = deque(counted(), limit)
    _print_table(newest, "No pause detected.", lambda times: pauses_table(newest, times), utc)
    if count > len(newest):
        print_lines([f"These are the newest {len(newest)} of {count} pauses; --all lists all."])


def _refuse_two_formats(as_json: bool, as_csv: bool) -> None:
    if as_csv and as_json:
        raise WrongUseError("cannot print both", "--csv and --json are two formats of one output", "Use one of them.")


def _print_table(found: Collection[object], nothing: str, table: Callable[[Times], Table], utc: bool) -> None:
    lines = render_lines([table(Times(datetime.now(UTC), utc))], this_terminal()) if found else [nothing]
    print_lines(lines)


# --- `--csv`: a row each, unknown values empty

FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula: an apostrophe goes before it, because ids, names and
descriptions are the platform's."""


def print_csv(columns: Mapping[str, Callable[[Listed], object]], found: Iterable[Listed]) -> None:
    """Given columns by their names, print a header and a row for each of what was found."""
    sys.stdout.flush()
    for line in csv_lines(tuple(columns), ([read(one) for read in columns.values()] for one in found)):
        sys.stdout.buffer.write(line.encode())


def csv_lines(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Given a header and rows, yield them as RFC 4180 has it, in which nothing steers a terminal or a spreadsheet."""
    yield _csv_line(heads)
    for row in rows:
        yield _csv_line([dot_controls(_csv_value(value)) for value in row])


def _csv_line(values: Sequence[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(values)
    return written.getvalue()


def _csv_value(value: object) -> str:
    if isinstance(value, datetime):
        return utc_text(value) or ""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_BEGINS) else value
    return "" if value is None else f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


HISTORY_COLUMNS: Mapping[str, Callable[[EventRecord], object]] = MappingProxyType({
    "event_id": lambda record: record.event_id,
    "source": lambda record: record.source,
    "kind": lambda record: record.kind,
    "status": lambda record: record.status,
    "outcome": lambda record: record.outcome,
    "event_source": lambda record: record.event_source,
    "noticed_at": lambda record: record.noticed_at,
    "not_before": lambda record: record.not_before,
    "notice_s": lambda record: record.notice_s,
    "acknowledged_at": lambda record: record.acknowledged_at,
    "started_at": lambda record: record.started_at,
    "ended_at": lambda record: record.ended_at,
    "closed_at": lambda record: record.closed_at,
    "expected_pause_s": lambda record: record.expected_pause_s,
    "pauses": lambda record: len(record.pauses),
    "longest_pause_s": lambda record: record.longest_pause and record.longest_pause.length_s,
    "longest_pause_uncertainty_s": lambda record: record.longest_pause and record.longest_pause.shown_uncertainty_s,
    "clock": lambda record: record.clock.check.verdict,
    "clock_offset_s": lambda record: record.clock.check.offset_s,
    "clock_good_after_s": lambda record: record.clock.check.good_after_s,
    "hook_runs": lambda record: len(record.hooks),
    "hook_runs_failed": lambda record: sum(run.has_failed for run in record.hooks),
    "resources": lambda record: " ".join(record.resources),
    "description": lambda record: record.description,
})
PAUSE_COLUMNS: Mapping[str, Callable[[PauseRecord], object]] = MappingProxyType({
    "id": lambda known: known.pause.id,
    "resumed_at": lambda known: known.pause.resumed_at,
    "length_s": lambda known: known.pause.length_s,
    "uncertainty_s": lambda known: known.pause.shown_uncertainty_s,
    "cause": lambda known: known.pause.cause,
    "quality": lambda known: known.pause.quality,
    "event_ids": lambda known: " ".join(known.event_ids),
    "evidence": lambda known: "; ".join(known.pause.evidence),
})


# --- HTML files: what `--html FILE` writes

STANDARD_OUTPUT = "-"


def write_event_page(record: EventRecord, file: str, *, utc: bool, quietly: bool) -> None:
    """Given a record, write its page to `file`, and say so unless `quietly`. Raise WrongUseError if it cannot be."""
    from tideover.html import event_page
    from tideover.humanize import Times
    write_page(file, event_page(record, Times(datetime.now(UTC), utc), __version__), quietly=quietly)


def write_report_page(figures: HistoryStatistics, machine: str, file: str, times: Times, *, quietly: bool) -> None:
    """Given a history's figures and this machine's name, do the same with their page."""
    from tideover.html import report_page
    write_page(file, report_page(figures, times, machine, __version__), quietly=quietly)


def write_page(file: str, text: str, *, quietly: bool) -> None:
    """Given a file's name, or - for standard output, write the page there whole or not at all. Raise WrongUseError.

    A new file is its owner's alone: it holds the hooks' output, which the journal keeps from other users. One that is
    there is replaced, not changed, and keeps its mode; a device or a pipe is written to.
    """
    if file == STANDARD_OUTPUT:
        if quietly:
            raise WrongUseError("cannot write both to standard output", "--json uses standard output already",
                                "Name a file after --html, or use only one of the two options.")
        sys.stdout.buffer.write(text.encode())
        return
    try:
        is_new = _write_text(Path(file), text.encode())
    except OSError as trouble:
        raise WrongUseError(f"cannot write the page {file}", system_reason(trouble),
                            "Name a file in an existing directory that has free space and that you can write to.") \
            from trouble
    if not quietly:
        alone = f" Only {READERS} can read it, because it can contain hook output; change that with {MODE_TOOL}."
        print_sentence(f"Wrote {file}.{alone if is_new else ''}")


def _write_text(path: Path, content: bytes) -> bool:
    """Return whether the file is new. Raise OSError."""
    mode = _file_mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        with path.open("wb") as there:      # a directory says that it is one
            there.write(content)
        return False
    path = path.resolve()                   # a link stays, and what it leads to is replaced
    beside = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with os.fdopen(create_private_file(beside), "wb") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        if mode is not None:
            beside.chmod(stat.S_IMODE(mode))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return mode is None


def _file_mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


# --- show

@click.command("show", epilog=example("tideover show last --html event.html"))
@click.argument("event")
@with_json
@click.option("--html", "html", metavar="FILE", default=None,
              help="Write the record as one self-contained page with its timeline; - is standard output.")
@with_utc
@with_readable_settings
def show_command(loaded: Loaded, event: str, as_json: bool, html: str | None, utc: bool) -> int:
    """Show the record of one event. EVENT is an id, the beginning of one, or "last"."""
    state, rows = read_memory(loaded.settings)
    record = find_record(records_of(rows), event, state.me)
    if html is not None:
        write_event_page(record, html, utc=utc, quietly=as_json)
    if as_json:
        print_json(record.as_json())
    elif html is None:
        print_lines(render_lines(event_parts(record, Times(datetime.now(UTC), utc)), this_terminal()))
    return EXIT_OK


def find_record(records: list[EventRecord], wanted: str, me: str = "") -> EventRecord:
    """Given records, what was typed and this VM's name, return the record meant; the last one is the newest of this
    VM's own. Raise TideoverError if none or several are."""
    found = [record for record in records if fold_case(record.event_id).startswith(fold_case(wanted))]
    exact = [record for record in found if fold_case(record.event_id) == fold_case(wanted)]
    own = [record for record in records if record.concerns(me)]
    if wanted == "last" and own and not exact:
        return own[-1]
    if wanted == "last" and not found:
        raise TideoverError("cannot show last", "no event of this machine is recorded", "Events of other machines: "
                            "tideover history --all.")
    if len(exact or found) != 1:
        cause = "no event id begins with it" if not found else f"{len(found)} event ids begin with it"
        raise TideoverError(f"cannot show {dot_controls(wanted)}", cause, "List events with tideover history --all.")
    return (exact or found)[0]


# --- report

def _read_since(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A length before now, or a day or moment; local time where no zone is named."""
    if value is None:
        return None
    length_s = read_duration(value)
    try:
        if length_s is not None:
            return datetime.now(UTC) - timedelta(seconds=length_s)
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError) as trouble:
        raise click.BadParameter(f"{value!r} is neither a duration such as 90d nor a date such as 2026-01-31.",
                                 context, parameter) from trouble


@click.command("report", epilog=example("tideover report --since 90d --html report.html"))
@with_json
@click.option("--html", "html", metavar="FILE", default=None,
              help="Write the report as one self-contained page; - is standard output.")
@click.option("--since", callback=_read_since, metavar="WHEN", default=None,
              help="Only events detected since then: 90d, 2026-01-31, or a timestamp.")
@with_utc
@with_readable_settings
def report_command(loaded: Loaded, as_json: bool, html: str | None, since: Any, utc: bool) -> int:
    """Show statistics: events per month, notice and preparation times, pauses, time until the clock was good."""
    from tideover.html import history_statistics, report_document, report_lines
    from tideover.humanize import Times
    state, rows = read_memory(loaded.settings)
    times = Times(datetime.now(UTC), utc)
    figures = history_statistics(records_of(rows), times, since)
    if html is not None:
        write_report_page(figures, state.me, html, times, quietly=as_json)
    if as_json:
        print_json(report_document(figures))
    elif html is None:
        terminal = this_terminal()
        for part in report_lines(figures, times):
            print_lines(wrapped_line(part, terminal.width) if isinstance(part, str) else
                        table_lines(Table(tuple(part[0]), tuple(table_row(*row) for row in part[1:])), terminal))
    return EXIT_OK
