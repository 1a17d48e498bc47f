"""Where things lie on each platform: values only, nobody is asked which platform this is.

The rows are the contract's table of paths. Which of them holds is chosen by `configuration`, which may look.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

_POSIX_ABSOLUTE = re.compile(r"/.*", re.DOTALL)
_WINDOWS_ABSOLUTE = re.compile(r"(?:[A-Za-z]:[\\/]|\\\\[^\\/]).*", re.DOTALL)   # a drive, a share, or \\.\pipe\


@dataclass(frozen=True, slots=True)
class PlatformPaths:
    """One platform's own paths: the configuration file, and the defaults of [paths]."""

    configuration: str
    hooks: str
    state: str
    runtime: str               # a directory; on Windows the full name of the pipe
    absolute: re.Pattern[str]

    def is_absolute(self, path: str) -> bool:
        return self.absolute.fullmatch(path) is not None


LINUX = PlatformPaths(
    configuration="/etc/tideover/tideover.toml",
    hooks="/etc/tideover/hooks.d",
    state="/var/lib/tideover",
    runtime="/run/tideover",
    absolute=_POSIX_ABSOLUTE,
)


def windows_paths(program_data: str) -> PlatformPaths:
    r"""Given the value of %ProgramData% (C:\ProgramData on most machines), return that platform's paths."""
    ours = program_data.rstrip("\\/") + "\\tideover"
    return PlatformPaths(
        configuration=ours + "\\tideover.toml",
        hooks=ours + "\\hooks.d",
        state=ours + "\\state",
        runtime="\\\\.\\pipe\\tideover",
        absolute=_WINDOWS_ABSOLUTE,
    )
