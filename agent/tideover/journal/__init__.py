"""The memory that survives us: the state, and the rows every record is made of."""
from tideover.journal.lasting import LastingJournal
from tideover.journal.lock import Lock, holder
from tideover.journal.store import FILE, Journal, JournalUnreadable, JournalUnwritable, set_aside, unwritable

__all__ = ["FILE", "Journal", "JournalUnreadable", "JournalUnwritable",
           "LastingJournal", "Lock", "holder", "set_aside", "unwritable"]
