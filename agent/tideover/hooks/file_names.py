"""How a hook's file is named: NN-NAME, and on Windows a suffix. The NAME is the hook; number and suffix may change."""
from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from tideover.hooks.parts import SUFFIXES, find_refusal, find_unsafe_step

SDK_PYTHON, SDK_SHELL = "tideover_hook.py", "tideover-hook.sh"      # the hook SDK's files, which are no hooks
NAME = re.compile(r"(?P<order>[0-9]{2})-(?P<name>[a-z0-9-]+)")
SDK_READ_BYTES = 65_536      # of a hook: the lines that read the SDK stand at its top
ABSOLUTE = re.compile(r"""(?:/|[A-Za-z]:[\\/])[^\s"';]+""")
# What dpkg, rpm, ucf, patch, pacman and editors leave beside a file they change. Nobody wants to hear of it.
LEFTOVER = re.compile(
    r"\..*|.*~|#.*#|.*\.(bak|old|orig|rej|save|tmp|swp|swo|swx|rpmnew|rpmsave|rpmorig|pacnew|pacsave"
    r"|dpkg-[a-z-]+|ucf-[a-z-]+)", re.IGNORECASE | re.DOTALL)


def name_of(file: str, suffixes: tuple[str, ...] = SUFFIXES) -> tuple[int, str] | None:
    """Given a file's name and the platform's suffixes, return its number and its NAME, None if it is no hook's."""
    for suffix in suffixes:
        stem = file[:len(file) - len(suffix)]
        matched = NAME.fullmatch(stem) if file.lower().endswith(suffix) else None
        if matched is not None:
            return int(matched["order"]), matched["name"]
    return None


def find_hook_refusal(path: str, trusted: frozenset[Any], safe: set[str]) -> str | None:
    """Given a hook's absolute path, who may write and the directories already found safe, return why not to run it: for
    its file, or for a file of the SDK that it reads. None: it may be run. Raise OSError if the way cannot be walked."""
    reason = find_refusal(path, trusted, safe)
    if reason is not None:
        return reason
    for file in find_sdk_files(path):
        reason = find_refusal(file, trusted, safe)
        compiled = Path(file).with_name("__pycache__")      # Python would read what lies there instead
        if reason is None and file.endswith(SDK_PYTHON) and os.path.lexists(compiled):
            reason = find_unsafe_step(str(compiled))
        if reason is not None:
            return reason
    return None


def find_sdk_files(path: str) -> list[str]:
    """Given a hook's path, return the files of the hook SDK that it may read: those beside its real file, at absolute
    paths that it names, and the installation's. Raise OSError."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(SDK_READ_BYTES).decode(errors="replace")
    except PermissionError:             # a program that may be run and not read
        return []
    if Path(SDK_PYTHON).stem not in text and SDK_SHELL not in text:
        return []
    real = Path(path).resolve().parent
    installed = Path(sys.prefix, "share/tideover/hooks")
    named = [Path(word) for line in text.splitlines() if "sys.path" in line or SDK_SHELL in line
             for word in ABSOLUTE.findall(line)]
    directories = dict.fromkeys((real, installed, installed / "windows",
                                 *(place.parent if place.name == SDK_SHELL else place for place in named)))
    return [str(directory / name) for directory in directories for name in (SDK_PYTHON, SDK_SHELL)
            if os.path.lexists(directory / name)]


def find_renumbered(path: str) -> str | None:
    """Given a hook's path, return where it lies by now if that file is gone and exactly one other of its directory has
    its NAME; None if it is where it was, gone altogether, or more than one could be meant."""
    file = Path(path)
    known = name_of(file.name)
    if known is None or os.path.lexists(file):
        return None
    try:
        same = [other for other in file.parent.iterdir() if not LEFTOVER.fullmatch(other.name)
                and (found := name_of(other.name)) is not None and found[1] == known[1] and not other.is_dir()]
    except OSError:
        return None
    return str(same[0]) if len(same) == 1 else None
