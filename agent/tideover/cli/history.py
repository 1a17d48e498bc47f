"""`tideover history`: the events so far, oldest first."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, with_json, with_settings
from tideover.cli.words import length_text, moment_text, table
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK
from tideover.record import records_of


@click.command("history")
@with_json
@click.option("--utc", is_flag=True, help="Times in UTC.")
@with_settings
def command(loaded: Loaded, as_json: bool, utc: bool) -> int:
    """The events so far, oldest first."""
    _, rows = read_memory(loaded.settings)
    records = records_of(rows)
    if as_json:
        print_json({"events": records})
        return EXIT_OK
    if not records:
        click.echo("No event so far.")
        return EXIT_OK
    now = datetime.now(UTC)
    lines = table([_cells(record, now, utc) for record in records],
                  ["NOTICED", "KIND", "OUTCOME", "PAUSE", "CLOCK", "HOOKS", "EVENT"])
    for line in lines:
        click.echo(line)
    return EXIT_OK


def _cells(record: dict[str, Any], now: datetime, utc: bool) -> list[str]:
    lengths = [pause["length_s"] for pause in record["pauses"] if pause["length_s"] is not None]
    failed = sum(hook["outcome"] in ("failed", "timed-out") for hook in record["hooks"])
    hooks = f"{len(record['hooks'])} runs" + (f", {failed} failed" if failed else "")
    return [moment_text(record["noticed_at"], now, utc=utc), str(record["kind"] or "?"),
            str(record["outcome"] or record["status"]), length_text(max(lengths)) if lengths else "-",
            str(record["clock"]["verdict"]), hooks, record["event_id"]]
