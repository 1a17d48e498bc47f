"""How a hook's file is named: NN-NAME, and on Windows a suffix. The NAME is the hook; number and suffix may change."""
from __future__ import annotations

import os
import re
from pathlib import Path

from tideover.hooks.parts import SUFFIXES

NAME = re.compile(r"(?P<order>[0-9]{2})-(?P<name>[a-z0-9-]+)")
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
