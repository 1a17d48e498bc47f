"""`tideover report`: the whole history in numbers: as text, as JSON, or as a page."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, print_lines, with_json, with_readable_settings, with_utc
from tideover.cli.terminal import harmless
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK
from tideover.record import records_of
from tideover.settings import read_duration


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
        raise click.BadParameter(f"{value!r} is neither a length such as 90d nor a day such as 2026-01-31.",
                                 context, parameter) from trouble


@click.command("report")
@with_json
@click.option("--html", "html", metavar="FILE", default=None,
              help="Write one page, to read, print and send; - is standard output.")
@click.option("--since", callback=_read_since, metavar="WHEN", default=None,
              help="Only events noticed since: 90d, or 2026-01-31, or a moment.")
@with_utc
@with_readable_settings
def command(loaded: Loaded, as_json: bool, html: str | None, since: Any, utc: bool) -> int:
    """The whole history: events a month, notice against preparation, pauses, how soon the clock was good."""
    from tideover.cli.pages import write_report_page
    from tideover.page import figures_of, report_document, report_lines
    from tideover.wording import Times
    state, rows = read_memory(loaded.settings)
    told_in = Times(datetime.now(UTC), utc)
    figures = figures_of(records_of(rows), told_in, since)
    if html is not None:
        write_report_page(figures, state.me, html, told_in, quietly=as_json)
    if as_json:
        print_json(report_document(figures))
    elif html is None:
        print_lines(harmless(line) for line in report_lines(figures, told_in))
    return EXIT_OK
