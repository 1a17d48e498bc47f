"""`tideover show EVENT`: one event's record, told as a story in its own order."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, with_json, with_settings
from tideover.cli.words import length_text, moment_text, pause_text, plain_text
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK, TideoverError
from tideover.record import records_of


@click.command("show")
@click.argument("event")
@with_json
@click.option("--html", "html", metavar="FILE", default=None,
              help="Write one page with the timeline, to read, print and send; - is standard output.")
@click.option("--utc", is_flag=True, help="Times in UTC.")
@with_settings
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
        for line in record_lines(record, datetime.now(UTC), utc=utc):
            click.echo(line)
    return EXIT_OK


def find_record(records: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """Given records and what was typed, return the one meant. Raise TideoverError if none or several are."""
    found = [record for record in records if record["event_id"].casefold().startswith(wanted.casefold())]
    exact = [record for record in found if record["event_id"].casefold() == wanted.casefold()]
    if wanted == "last" and records:
        return records[-1]
    if len(exact or found) != 1:
        cause = "no event begins so" if not found else f"{len(found)} events begin so"
        raise TideoverError(f"cannot show {plain_text(wanted)}", cause, "tideover history lists them.")
    return (exact or found)[0]


def record_lines(record: dict[str, Any], now: datetime, *, utc: bool = False) -> list[str]:
    """Given a record, return its lines for a person."""
    clock = record["clock"]
    pauses = ", ".join(f"{pause_text(pause)} ({pause['cause']})" for pause in record["pauses"]) or "none noticed"
    lines = [
        f"{record['kind']} {plain_text(record['event_id'])}: {record['outcome'] or record['status']}",
        f"  {plain_text(record['description'])}" if record["description"] else "",
        f"  Noticed       {moment_text(record['noticed_at'], now, utc=utc)}",
        f"  NotBefore     {moment_text(record['not_before'], now, utc=utc)}",
        f"  Acknowledged  {moment_text(record['acknowledged_at'], now, utc=utc)}",
        f"  Concerns      {', '.join(plain_text(name) for name in record['resources']) or '-'}",
        f"  Pause         {pauses}; announced: {length_text(record['expected_pause_s'])}",
        f"  Clock         {clock['verdict']}" + (f", {length_text(clock['offset_s'])} ± "
                                                 f"{length_text(clock['error_bound_s'])}"
                                                 if clock["offset_s"] is not None else ""),
    ]
    lines += ["  Hooks"] if record["hooks"] else []
    lines += [f"    {hook['name']} {hook['phase']}: {hook['outcome']} after {length_text(hook['duration_s'])}"
              + (f" (exit status {hook['exit_status']})" if hook["exit_status"] else "")
              + (f": {plain_text(hook['note'])}" if hook["note"] else "") for hook in record["hooks"]]
    lines += ["  Timeline"]
    lines += [f"    {_clock_time(entry['at'], utc)}  {entry['what']}"
              + (f": {plain_text(entry['note'])}" if entry["note"] else "") for entry in record["timeline"]]
    return [line for line in lines if line]


def _clock_time(text: str, utc: bool) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC if utc else None)
    return at.strftime("%H:%M:%S.%f")[:-3]
