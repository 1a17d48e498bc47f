"""Agents of one fleet, as processes: each with a metadata service of its own in one availability set, and one real etcd."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from real_etcd import RealEtcd
from running_agent import World
from tideover.simulator import MetadataService

FLEET = """
[fleet]
store = "{store}"
{more}
"""


class Fleet:
    """Machines vm-1, vm-2, …; what one of their metadata services shows all of them see."""

    def __init__(self, home: Path, cluster: RealEtcd, machines: int, stack: ExitStack) -> None:
        self.cluster = cluster
        first = stack.enter_context(MetadataService("vm-1", "11111111-2222-3333-4444-555555555555",
                                                    start_after_acknowledge_s=0.2))
        services = [first, *(stack.enter_context(first.beside(f"vm-{number}")) for number in range(2, machines + 1))]
        self.metadata = first
        self.machines = [World(home / service.vm_name, service, None) for service in services]
        for machine in self.machines:
            stack.callback(machine.close)

    def configure(self, more: str = "", general: str = "") -> None:
        for machine in self.machines:
            fleet = FLEET.format(store=self.cluster.setting, more=more)
            machine.configure(fleet + general)

    def start(self, hook: str = ":") -> None:
        for machine in self.machines:
            if not (machine.home / "hooks.d" / "10-drain").exists():
                machine.hook("10-drain", hook)
            machine.start(asks=False)
        for machine in self.machines:
            machine.until(lambda machine=machine: len(machine.metadata.requests) > 1)

    def freeze(self, *names: str, notice_s: float = 900.0) -> str:
        return self.metadata.add_event("Freeze", resources=names, duration_s=5, not_before_in_s=notice_s)

    def acknowledgements(self, event_id: str) -> list[str]:
        """The machines that sent one of this event."""
        return [one.vm_name for one in self.metadata.acknowledgements if one.event_id == event_id]

    def records(self) -> list[dict[str, Any]]:
        return [machine.record() for machine in self.machines]


@contextmanager
def fleet(home: Path, machines: int = 3, *, members: int = 1, flags: Sequence[str] = ()) -> Iterator[Fleet]:
    """`members`, `flags`: of the etcd."""
    with ExitStack() as stack:
        cluster = stack.enter_context(RealEtcd(home / "etcd", members, flags))
        yield Fleet(home, cluster, machines, stack)
