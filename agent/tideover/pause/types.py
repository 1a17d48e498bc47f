"""What a push signal says, and the one shape of the readers that bring it.

A signal is a fact about this machine's surroundings; none of them by itself measures a pause.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClockSet:
    """Somebody set the wall clock."""


@dataclass(frozen=True, slots=True)
class NetworkAnnounced:
    """An interface was told to announce itself anew (NOTIFY_PEERS): so do migrations, and so do bonds failing over."""

    interface: str


@dataclass(frozen=True, slots=True)
class CarrierChanged:
    """An interface lost and found its link, or a virtual function came or went."""

    interface: str
    what: str


@dataclass(frozen=True, slots=True)
class MarkerMoved:
    """The hypervisor says that this machine runs on other hardware, or from a restored state (vmclock)."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class DisruptionAnnounced:
    """The hypervisor says that a disruption is near (vmclock): within about an hour, or about a day."""

    imminent: bool


@dataclass(frozen=True, slots=True)
class HostChanged:
    """The physical host has another name than before."""

    before: str
    after: str


Signal = ClockSet | NetworkAnnounced | CarrierChanged | MarkerMoved | DisruptionAnnounced | HostChanged


class Reader(Protocol):
    """One push signal. `fileno`: None when there is nothing to wait for, so that it is read on every beat.
    `unfinished`: what was readable could not be read to its end; read it again on the next beat. Never blocks."""

    @property
    def unfinished(self) -> bool: ...
    def fileno(self) -> int | None: ...
    def read(self) -> tuple[Signal, ...]: ...
    def close(self) -> None: ...
