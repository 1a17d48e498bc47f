"""Values of the pause watch: its settings, and what each push signal says.

A signal is a fact about this machine's surroundings; none of them by itself measures a pause.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tideover.timekeeping.intervals import NS


@dataclass(frozen=True, slots=True)
class PauseWatchSettings:
    """How often the clocks are read, idle and near an event (which is no setting), and the shortest pause that is
    reported. `settle_s` of [pause] is the policy's."""

    tick_s: float = 0.25
    close_tick_s: float = 0.05
    threshold_s: float = 0.5

    @property
    def tick_ns(self) -> int:
        return int(self.tick_s * NS)

    @property
    def close_tick_ns(self) -> int:
        return int(self.close_tick_s * NS)

    @property
    def threshold_ns(self) -> int:
        return int(self.threshold_s * NS)


# --- Push signals, and the interface of their readers

@dataclass(frozen=True, slots=True)
class ClockSet:
    """The wall clock was set."""


@dataclass(frozen=True, slots=True)
class NetworkAnnounced:
    """An interface had to announce itself again (NOTIFY_PEERS): after a migration, and after a bond's failover."""

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


@dataclass(frozen=True, slots=True)
class MoveProved:
    """The platform shows that this machine has moved to another host; `words` say by what."""

    words: str


PushSignal = ClockSet | NetworkAnnounced | CarrierChanged | MarkerMoved | DisruptionAnnounced | HostChanged | MoveProved


class SignalReader(Protocol):
    """One push signal. `fileno`: None when there is nothing to wait for, so that it is read on every beat.
    `unfinished`: what was readable could not be read to its end; read it again on the next beat. Never blocks."""

    @property
    def unfinished(self) -> bool: ...
    def fileno(self) -> int | None: ...
    def read(self) -> tuple[PushSignal, ...]: ...
    def close(self) -> None: ...


# The surest first. The host sends them one by one and the daemon writes the pool for each: so one name alone, the
# surest that is known, says that the host changed. One that was not there before has not changed.
HOST_KEYS = ("PhysicalHostNameFullyQualified", "PhysicalHostName", "HostName")


def change_of_host(before: Mapping[str, str], names: Mapping[str, str]) -> tuple[PushSignal, ...]:
    """Given the host's names as they were known and those just read, return a change of them."""
    key = next((key for key in HOST_KEYS if key in before), None)
    if key is None or key not in names or before[key] == names[key]:
        return ()
    return (HostChanged(before[key], names[key]),)
