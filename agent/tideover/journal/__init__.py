"""The memory that survives us: the state, and the rows every record is made of."""
from tideover.journal.errors import JournalUnreadable, JournalUnwritable, unwritable
from tideover.journal.files import FILE, set_aside
from tideover.journal.lasting import LastingJournal
from tideover.journal.lock import Lock, holder
from tideover.journal.store import Journal

__all__ = ["FILE", "Journal", "JournalUnreadable", "JournalUnwritable",
           "LastingJournal", "Lock", "holder", "set_aside", "unwritable"]
