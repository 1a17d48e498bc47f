"""`tideover pauses`: every pause noticed, announced or not."""
from __future__ import annotations

from datetime import UTC, datetime

import click

from tideover.cli.memory import read_memory
from tideover.cli.options import print_json, with_json, with_settings
from tideover.cli.words import moment_text, pause_text, table
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK
from tideover.record import pauses_of


@click.command("pauses")
@with_json
@click.option("--utc", is_flag=True, help="Times in UTC.")
@with_settings
def command(loaded: Loaded, as_json: bool, utc: bool) -> int:
    """Every pause noticed, with length, uncertainty, cause and evidence."""
    _, rows = read_memory(loaded.settings)
    pauses = pauses_of(rows)
    if as_json:
        print_json({"pauses": pauses})
        return EXIT_OK
    if not pauses:
        click.echo("No pause noticed so far.")
        return EXIT_OK
    now = datetime.now(UTC)
    cells = [[moment_text(pause["resumed_at"], now, utc=utc), pause_text(pause), pause["cause"], pause["quality"],
              "; ".join(pause["evidence"])] for pause in pauses]
    for line in table(cells, ["RESUMED", "LENGTH", "CAUSE", "QUALITY", "EVIDENCE"]):
        click.echo(line)
    return EXIT_OK
