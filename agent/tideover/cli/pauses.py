"""`tideover pauses`: every pause noticed, announced or not."""
from __future__ import annotations

from tideover.cli.listing import Listing, listing_command
from tideover.journal import Journal
from tideover.record import pauses_of
from tideover.telling.lists import pauses_table

command = listing_command(Listing("pauses", "Every pause noticed, with length, uncertainty, cause and evidence.",
                                  "pauses", "No pause noticed so far.", Journal.rows_of_pauses, pauses_of,
                                  pauses_table))
