"""The doctor: can it work here? Looks at this machine and its surroundings, and says what it found, a line each.

Each subject has a file with one function from what was seen to findings. It asks the metadata service, the time
servers and the agent, all side by side and each with a bound; it reads files; it never writes one.
"""
from __future__ import annotations

from tideover.doctor.checks import Examination, examine
from tideover.doctor.machine import Machine, this_machine
from tideover.findings import Finding, FindingLevel

__all__ = ["Examination", "Finding", "FindingLevel", "Machine", "examine", "this_machine"]
