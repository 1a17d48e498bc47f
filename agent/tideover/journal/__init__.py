"""The journal: the state, and the rows that every record is made of."""
from tideover.journal.database import FILE, JournalUnreadable, JournalUnwritable, set_aside, unwritable
from tideover.journal.store import Journal, LastingJournal

__all__ = ["FILE", "Journal", "JournalUnreadable", "JournalUnwritable", "LastingJournal", "set_aside",
           "unwritable"]
