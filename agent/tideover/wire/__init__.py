"""The wire: what platforms send, bytes to nouns and back. Pure: nothing here opens a connection or reads a clock."""
from __future__ import annotations

from tideover.wire.scheduled_events import (
    Identity,
    NotADocument,
    read_document,
    read_identity,
    read_time,
    write_acknowledgement,
)

__all__ = [
    "Identity",
    "NotADocument",
    "read_document",
    "read_identity",
    "read_time",
    "write_acknowledgement",
]
