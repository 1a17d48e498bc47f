"""What every source has: poll, acknowledge, identity, findings; words of failed answers; bounds of a time.

A source has two verbs, `poll` and `acknowledge`; a Poller asks it steadily, an Acknowledger sends through it. Each
platform of the table (`tideover.platforms`) that is served has one module here, with its wire format pure and apart in
another. It is imported only when it is opened: the HTTP client is the heaviest import of the agent.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from tideover.model import Event, Kind, VmIdentity
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.platforms import Platform

if TYPE_CHECKING:
    from tideover.findings import Finding, PollReport
    from tideover.settings.values import SourceSettings


class Source(Protocol):
    """One platform's service. None of these raises for what the world does; each ends within a bound of its own."""

    def poll(self) -> Polled | PollFailed:
        """Ask once for all that is listed now. One thread only."""

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        """Acknowledge one event; return what came of it, and why. From any thread."""

    def identity(self) -> VmIdentity | None:
        """Return who this VM is, asking if that is not known yet; None: no answer. From any thread."""

    def remember(self, events: Iterable[Event]) -> None:
        """Given the events that were listed when the last agent ended, know them before the first poll: a source that
        makes the ids itself goes on with them."""

    def close(self) -> None:
        """End a poll that is under way, and ask nothing more. From any thread."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a running agent gives its source. `state_directory`: its own, root's alone. `wants`: whether some hook or
    application takes part in events of a kind, by the policy as it is now; from any thread."""

    state_directory: Path
    wants: Callable[[Kind], bool]


class PlatformModule(Protocol):
    """What the module of a served platform has."""

    def open_source(self, settings: SourceSettings, longest_call_s: float | None = None,
                    context: SourceContext | None = None) -> Source:
        """Given [source], the longest that one request may take (None: as long as the service may need) and the agent's
        context (None: no agent runs on it, and the platform must not wait for one), return the source. Asks nothing
        yet."""

    def findings(self, settings: SourceSettings, polled: PollReport, hostname: str) -> list[Finding]:
        """Given [source], what one poll brought and this machine's hostname, return what doctor says of the service."""


def load_platform(platform: Platform) -> PlatformModule:
    """Given a platform that is served, return its module."""
    return cast(PlatformModule, import_module(platform.module))


def open_source(platform: Platform, settings: SourceSettings, longest_call_s: float | None = None,
                context: SourceContext | None = None) -> Source | None:
    """Given a platform and [source], return the source. None: that platform announces nothing that could be asked for.

    `longest_call_s`: how long one request may take; None: as long as the service may need. `context`: of the agent that
    runs on it; None: nothing does."""
    return load_platform(platform).open_source(settings, longest_call_s, context) if platform.is_served else None


# --- What every metadata service needs

LONGEST_TIME = 64                # the longest form met has 36 characters
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)      # of moments in a document


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

    Without a zone it is UTC, the only zone the platform uses. A date without a time of day is no moment. One
    outside the years in which a machine can live is moved to their edge: from there a day can be added or taken away.
    """
    text = text.strip()
    if not text or len(text) > LONGEST_TIME or ":" not in text:
        return None
    try:
        at = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return min(max((at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC), EARLIEST), LATEST)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


__all__ = ["KeyFailed", "NotADocument", "PlatformModule", "Source", "SourceContext", "VmIdentity", "describe_status",
           "load_platform", "open_source", "read_time", "trouble_of"]
