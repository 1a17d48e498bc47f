"""`tideover history`: the events so far, oldest first."""
from __future__ import annotations

from tideover.cli.listing import Listing, listing_command
from tideover.record import records_of
from tideover.telling.lists import history_table

command = listing_command(Listing("history", "The events so far, oldest first.", "events", "No event so far.",
                                  records_of, history_table))
