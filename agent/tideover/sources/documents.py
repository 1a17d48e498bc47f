"""What every platform's service needs: HTTP statuses in words, a body that is no document, the forms of times. Pure."""
from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tideover.observations import PollTrouble

LONGEST_TIME = 64                # the longest form met has 36 characters


class NotADocument(ValueError):
    """The body is no well-formed document; the reason is a sentence for people and says nothing about any event."""


class KeyFailed(Exception):
    """A key of a metadata service could not be read; the message completes "the metadata service …". `status`: of the
    answer, None if there was none."""

    def __init__(self, message: str, trouble: PollTrouble, status: int | None = None) -> None:
        super().__init__(message)
        self.trouble, self.status = trouble, status


def describe_status(status: int, hints: Mapping[int, str], redirect_hint: str) -> str:
    """Given a status that brings no document, the platform's own hints and the one for any redirect, return what it
    probably means."""
    if 300 <= status < 400:
        return f"a redirect, which is never followed; {redirect_hint}"
    return hints.get(status, "a fault of the platform, probably temporary" if status >= 500 else "an unexpected HTTP "
                                                                                                 "status")


def trouble_of(status: int | None) -> PollTrouble:
    """Given the status of an answer that brings no document, None if there was none, return what it counts as."""
    if status is None:
        return PollTrouble.NO_ANSWER
    if status == 429:
        return PollTrouble.THROTTLED
    by_class = {3: PollTrouble.REDIRECTED, 4: PollTrouble.REFUSED, 5: PollTrouble.SERVER_ERROR}
    return by_class.get(status // 100, PollTrouble.OTHER)


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
