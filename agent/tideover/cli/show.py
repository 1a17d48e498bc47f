"""`tideover show EVENT`: one event's record, told as a story in its own order."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tideover.cli.layout import lines_of
from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, print_lines, with_json, with_readable_settings, with_utc
from tideover.cli.terminal import harmless, this_terminal
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK, TideoverError
from tideover.model import fold_case
from tideover.record import records_of
from tideover.telling.event import event_parts
from tideover.wording import Times


@click.command("show")
@click.argument("event")
@with_json
@click.option("--html", "html", metavar="FILE", default=None,
              help="Write one page with the timeline, to read, print and send; - is standard output.")
@with_utc
@with_readable_settings
def command(loaded: Loaded, event: str, as_json: bool, html: str | None, utc: bool) -> int:
    """One event's record. EVENT is its id, the beginning of it, or "last"."""
    _, rows = read_memory(loaded.settings)
    record = find_record(records_of(rows), event)
    if html is not None:
        from tideover.cli.pages import write_event_page
        write_event_page(record, html, utc=utc, quietly=as_json)
    if as_json:
        print_json(record)
    elif html is None:
        print_lines(lines_of(event_parts(record, Times(datetime.now(UTC), utc)), this_terminal()))
    return EXIT_OK


def find_record(records: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """Given records and what was typed, return the one meant. Raise TideoverError if none or several are."""
    found = [record for record in records if fold_case(record["event_id"]).startswith(fold_case(wanted))]
    exact = [record for record in found if fold_case(record["event_id"]) == fold_case(wanted)]
    if wanted == "last" and records:
        return records[-1]
    if len(exact or found) != 1:
        cause = "no event begins so" if not found else f"{len(found)} events begin so"
        raise TideoverError(f"cannot show {harmless(wanted)}", cause, "tideover history lists them.")
    return (exact or found)[0]
