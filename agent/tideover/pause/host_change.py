"""By which names of the physical host a move is known. Pure; who reads them, `host_name` and `guest_parameters` say."""
from __future__ import annotations

from collections.abc import Mapping

from tideover.pause.signals import HostChanged, Signal

# The surest first. The host sends them one by one and the daemon writes the pool for each: so one name alone, the
# surest that is known, says that the host changed. One that was not there before has not changed.
HOST_KEYS = ("PhysicalHostNameFullyQualified", "PhysicalHostName", "HostName")


def change_of_host(before: Mapping[str, str], names: Mapping[str, str]) -> tuple[Signal, ...]:
    """Given the host's names as they were known and those just read, return a change of them."""
    key = next((key for key in HOST_KEYS if key in before), None)
    if key is None or key not in names or before[key] == names[key]:
        return ()
    return (HostChanged(before[key], names[key]),)
