"""Who came to us as a child: nobody. Windows gives orphans to no one, and a job has them all (see `process_tree`)."""
from __future__ import annotations


def become_subreaper() -> bool:
    """Nothing of the kind here."""
    return False


class Children:
    """Of interest on Linux only."""

    def expect(self, key: str) -> None:
        """A process for this run is going to be started."""

    def add(self, key: str, pid: int) -> None:
        """The process of this run is here."""

    def drop(self, key: str) -> None:
        """The process of this run has ended, or there never was one."""

    def is_sole(self, key: str) -> bool:
        return False

    def reap_adopted(self) -> None:
        """Nobody waits for a parent to ask."""
