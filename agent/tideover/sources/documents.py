"""What every platform's wire format needs: a body that is no document, and the forms that times have. Pure."""
from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_TIME = 64                # the longest form met has 36 characters


class NotADocument(ValueError):
    """The body is no well-formed document; the reason is a sentence for people and says nothing about any event."""


def read_time(text: str) -> datetime | None:
    """Given RFC 1123 (its weekday may be wrong) or ISO 8601 text, return aware UTC; None if it is no moment.

    Without a zone it is UTC, the only zone the platform uses. A date without a time of day is no moment.
    """
    text = text.strip()
    if not text or len(text) > LONGEST_TIME or ":" not in text:
        return None
    try:
        at = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
