"""How the service is, whichever service manager tells it."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """How the service is, in systemd's words; Windows' are translated."""

    is_installed: bool
    is_enabled: bool
    state: str              # active | inactive | failed | activating | deactivating | …
    detail: str             # the service manager's own word: running | dead | auto-restart | stopped | …
    pid: int | None
    restarts: int | None    # None: this service manager does not count them
    said: str               # what the agent last said of itself
    unit: str               # the unit's file, or the command that Windows starts; "" where there is none

    @property
    def is_active(self) -> bool:
        return self.state == "active"
