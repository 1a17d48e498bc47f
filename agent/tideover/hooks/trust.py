"""Whom a hook runs as and who may change what runs, the SDK's files included; the choice between the two systems.

What differs between the systems is chosen here. Linux: `posix_trust`. Windows: `windows_trust`, which has the same
functions. A reader of the hooks directory starts no process, so nothing of that is imported.
"""
from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from tideover.errors import Refusal

if sys.platform == "win32":
    from tideover.hooks.windows_trust import (
        SHOWN_PATH,
        SUFFIXES,
        find_account,
        find_obstacle,
        has_run_bit,
        standing_environment,
        trusted_users,
        untrusted_component,
        why_untrusted,
    )
else:
    from tideover.hooks.posix_trust import (
        SHOWN_PATH,
        SUFFIXES,
        find_account,
        find_obstacle,
        has_run_bit,
        standing_environment,
        trusted_users,
        untrusted_component,
        why_untrusted,
    )

# --- The hook SDK, which a hook reads: its files are as much part of what is run as the hook's own

SDK_PYTHON, SDK_SHELL = "tideover_hook.py", "tideover-hook.sh"      # the hook SDK's files, which are no hooks
SDK_FILES = (SDK_PYTHON, "tideover_hook_message.py", SDK_SHELL)
SDK_READ_BYTES = 65_536      # of a hook: the lines that read the SDK stand at its top
ABSOLUTE = re.compile(r"""(?:/|[A-Za-z]:[\\/])[^\s"';]+""")


def find_hook_refusal(path: str, trusted: frozenset[Any], safe: set[str]) -> Refusal | None:
    """Given a hook's absolute path, who may write and the directories already found safe, return why not to run it: for
    its file, or for a file of the SDK that it reads. None: it may be run. Raise OSError if the way cannot be walked."""
    reason = why_untrusted(path, trusted, safe)
    if reason is not None:
        return reason
    for file in find_sdk_files(path):
        reason = why_untrusted(file, trusted, safe)
        compiled = Path(file).with_name("__pycache__")      # Python would read what lies there instead
        if reason is None and file.endswith(".py") and os.path.lexists(compiled):
            reason = untrusted_component(str(compiled))
        if reason is not None:
            return reason
    return None


def sdk_text(path: str) -> str:
    """Given the path of a hook or a notification program, return its text if that names the hook SDK, else "". Raise
    OSError."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(SDK_READ_BYTES).decode(errors="replace")
    except PermissionError:             # a program that may be run and not read
        return ""
    return text if Path(SDK_PYTHON).stem in text or SDK_SHELL in text else ""


def find_sdk_files(path: str) -> list[str]:
    """Given the path of a hook or a notification program, return the files of the hook SDK that it may read: those
    beside its real file or in ../hooks, at absolute paths that it names, and the installation's. Raise OSError."""
    text = sdk_text(path)
    if not text:
        return []
    real = Path(path).resolve().parent
    installed = Path(sys.prefix, "share/tideover/hooks")
    named = [Path(word) for line in text.splitlines() if "sys.path" in line or SDK_SHELL in line
             for word in ABSOLUTE.findall(line)]
    directories = dict.fromkeys((real, real.parent / "hooks", installed, installed / "windows",
                                 *(place.parent if place.name == SDK_SHELL else place for place in named)))
    return [str(directory / name) for directory in directories for name in SDK_FILES
            if os.path.lexists(directory / name)]


__all__ = [
    "SDK_FILES",
    "SDK_PYTHON",
    "SDK_SHELL",
    "SHOWN_PATH",
    "SUFFIXES",
    "find_account",
    "find_hook_refusal",
    "find_obstacle",
    "find_sdk_files",
    "has_run_bit",
    "sdk_text",
    "standing_environment",
    "trusted_users",
    "untrusted_component",
    "why_untrusted",
]
