"""How the run of another program ended."""
from __future__ import annotations

from dataclasses import dataclass

DEADLINE_S = 5.0
MOST_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run ended. `trouble`: why, for people; "" when the program said that all went well."""

    output: str = ""
    trouble: str = ""
