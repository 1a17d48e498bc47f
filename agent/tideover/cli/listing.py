"""The frame of the commands that list what the journal holds: `history` and `pauses` differ in what a row is."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from tideover.cli.layout import lines_of
from tideover.cli.memory import read_through
from tideover.cli.options import print_json, print_lines, with_json, with_readable_settings, with_utc
from tideover.cli.terminal import this_terminal
from tideover.configuration import Loaded
from tideover.errors import EXIT_OK
from tideover.journal import Journal
from tideover.record import Row
from tideover.telling.parts import Table
from tideover.wording import Times


@dataclass(frozen=True, slots=True)
class Listing:
    """What one of them lists. `key`: its name in the JSON document."""

    name: str
    about: str
    key: str
    nothing: str
    rows: Callable[[Journal], Iterable[Row]]
    read: Callable[[Iterable[Row]], list[dict[str, Any]]]
    table: Callable[[list[dict[str, Any]], Times], Table]


def listing_command(listing: Listing) -> click.Command:
    """Given what is to be listed, return the command that lists it, oldest first."""
    @click.command(listing.name, help=listing.about)
    @with_json
    @with_utc
    @with_readable_settings
    def command(loaded: Loaded, as_json: bool, utc: bool) -> int:
        found = read_through(loaded.settings, lambda journal: listing.read(listing.rows(journal))) or []
        if as_json:
            print_json({listing.key: found})
        elif not found:
            print_lines([listing.nothing])
        else:
            print_lines(lines_of([listing.table(found, Times(datetime.now(UTC), utc))], this_terminal()))
        return EXIT_OK

    return command
