"""By what a hook's file is run: the one place that knows. Windows runs programs only; scripts need theirs named."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

from pathlib import Path

from tideover.winapi.folders import system_directory
from tideover.winapi.processes import command_line


def command_for(path: str, phase: str) -> str:
    """Given a hook's file and a phase (a word of letters), return the command line that runs it."""
    match Path(path).suffix.lower():
        case ".cmd" | ".bat":
            # /s: cmd.exe takes the outer quotes away and leaves the rest alone; /d: no AutoRun of some user's
            return f'"{_system("cmd.exe")}" /d /s /c ""{path}" {phase}"'
        case ".ps1":
            # Whether the file may be run was asked of its owner and its rights, which is more than the policy asks
            return command_line([_system("WindowsPowerShell\\v1.0\\powershell.exe"), "-NoLogo", "-NoProfile",
                                 "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", path, phase])
        case ".py":
            return command_line([python_program(), path, phase])
        case _:
            return command_line([path, phase])


def python_program() -> str:
    """Return the Python that runs hooks: ours. The agent's own executable may be its service's, which is no Python."""
    ours = Path(sys.executable)
    beside = ours.with_name("python.exe")
    return str(beside if beside.is_file() else ours)


def _system(name: str) -> str:
    return f"{system_directory()}\\{name}"
