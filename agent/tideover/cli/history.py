"""`tideover history`: the events so far, oldest first."""
from __future__ import annotations

from tideover.cli.listing import Listing, listing_command
from tideover.journal import Journal
from tideover.record import records_of
from tideover.telling.lists import history_table

command = listing_command(Listing("history", "The events so far, oldest first.", "events", "No event so far.",
                                  Journal.rows_of_events, records_of, history_table))
