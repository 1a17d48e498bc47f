"""`tideover history`, `pauses`, `show` and `report`: what the journal holds, as text, JSON or an HTML page."""
from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from tideover import __version__
from tideover.cli.options import example, print_json, print_lines, with_json, with_readable_settings, with_utc
from tideover.cli.render import Table, event_parts, history_table, pauses_table
from tideover.cli.terminal import render_lines, this_terminal
from tideover.config_file import Loaded
from tideover.errors import EXIT_OK, TideoverError, WrongUseError
from tideover.humanize import Times
from tideover.journal import Journal
from tideover.journal.store import read_memory, read_through
from tideover.model import fold_case
from tideover.record import EventRecord, PauseRecord, Row, pauses_of, records_of
from tideover.settings import read_duration
from tideover.text_safety import dot_controls

if TYPE_CHECKING:
    from tideover.html import HistoryStatistics


# --- history, pauses

Listed = TypeVar("Listed", EventRecord, PauseRecord)


@dataclass(frozen=True, slots=True)
class Listing(Generic[Listed]):
    """What one of them lists. `key`: its name in the JSON document."""

    name: str
    about: str
    example: str
    key: str
    nothing: str
    rows: Callable[[Journal], Iterable[Row]]
    read: Callable[[Iterable[Row]], list[Listed]]
    table: Callable[[list[Listed], Times], Table]


def listing_command(listing: Listing[Listed]) -> click.Command:
    """Given what is to be listed, return the command that lists it, oldest first."""
    @click.command(listing.name, help=listing.about, epilog=example(listing.example))
    @with_json
    @with_utc
    @with_readable_settings
    def command(loaded: Loaded, as_json: bool, utc: bool) -> int:
        found = read_through(loaded.settings, lambda journal: listing.read(listing.rows(journal))) or []
        if as_json:
            print_json({listing.key: [one.as_json() for one in found]})
        elif not found:
            print_lines([listing.nothing])
        else:
            print_lines(render_lines([listing.table(found, Times(datetime.now(UTC), utc))], this_terminal()))
        return EXIT_OK

    return command


history_command = listing_command(Listing(
    "history", "List past and present events, oldest first.", "tideover history --utc", "events", "No event recorded.",
    Journal.rows_of_events, records_of, history_table))


pauses_command = listing_command(Listing(
    "pauses", "List the pauses detected, with length, uncertainty, cause and evidence.", "tideover pauses --json",
    "pauses", "No pause detected.", Journal.rows_of_pauses, pauses_of, pauses_table))


# --- HTML files: what `--html FILE` writes

STANDARD_OUTPUT = "-"
OWNER_ONLY_MODE = 0o600
"""A page holds the hooks' output, which the journal keeps from other users; whoever sends it decides who reads it."""


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

    A new file is its owner's alone. One that is there is replaced, not changed, and keeps its mode; a device or a pipe
    is written to.
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
        raise WrongUseError(f"cannot write the page {file}", (trouble.strerror or str(trouble)).lower(),
                            "Name a file in an existing directory that has free space and that you can write to.") \
            from trouble
    if not quietly:
        alone = " Only you can read it, because it can contain hook output; change that with chmod."
        click.echo(f"Wrote {file}.{alone if is_new else ''}")


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
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, OWNER_ONLY_MODE)) as new:
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
    _, rows = read_memory(loaded.settings)
    record = find_record(records_of(rows), event)
    if html is not None:
        write_event_page(record, html, utc=utc, quietly=as_json)
    if as_json:
        print_json(record.as_json())
    elif html is None:
        print_lines(render_lines(event_parts(record, Times(datetime.now(UTC), utc)), this_terminal()))
    return EXIT_OK


def find_record(records: list[EventRecord], wanted: str) -> EventRecord:
    """Given records and what was typed, return the one meant. Raise TideoverError if none or several are."""
    found = [record for record in records if fold_case(record.event_id).startswith(fold_case(wanted))]
    exact = [record for record in found if fold_case(record.event_id) == fold_case(wanted)]
    if wanted == "last" and records:
        return records[-1]
    if len(exact or found) != 1:
        cause = "no event id begins with it" if not found else f"{len(found)} event ids begin with it"
        raise TideoverError(f"cannot show {dot_controls(wanted)}", cause, "List events with tideover history.")
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
        print_lines(dot_controls(line) for line in report_lines(figures, times))
    return EXIT_OK
