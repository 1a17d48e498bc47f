"""Sources: where announcements come from. A source knows one platform's service, and nothing of what is done about it.

A source has two verbs, `poll` and `acknowledge`; a Poller asks it steadily, an Acknowledger sends through it. The
module of each platform is imported only when it is opened: the HTTP client is the heaviest import of the agent.
"""
from __future__ import annotations

from typing import Protocol

from tideover.observations import AckOutcome, Polled, PollFailed
from tideover.sources.platform import SourceKind, choose_source_kind
from tideover.sources.scheduled_events import VmIdentity


class Source(Protocol):
    """One platform's service. None of these raises for what the world does; each ends within a bound of its own."""

    def poll(self) -> Polled | PollFailed:
        """Ask once for all that is listed now. One thread only."""

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        """Tell the platform to go ahead with one event; return what came of it, and why. From any thread."""

    def identity(self) -> VmIdentity | None:
        """Return who this VM is, asking if that is not known yet; None: nobody said. From any thread."""

    def close(self) -> None:
        """End a poll that is under way, and ask nothing more. From any thread."""


def open_source(kind: SourceKind, *, endpoint: str = "", vm_name: str = "") -> Source | None:
    """Given a kind, the service's address and this VM's name ("" = the platform's own), return the source.

    None: that platform announces nothing that could be asked for.
    """
    if kind != "azure":
        return None
    from tideover.sources.azure import AzureSource
    return AzureSource(endpoint, vm_name)


__all__ = ["Source", "SourceKind", "VmIdentity", "choose_source_kind", "open_source"]
