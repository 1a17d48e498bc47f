"""Which files the service may run on Windows: each directory on the way, links, accounts.

Never changes anything.

Each directory on the way is looked at, from the root of the drive or share downwards. A link (symbolic or junction) is
refused rather than followed: there is no need for one here, and no safe way to follow it between two looks.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from tideover.errors import Refusal
from tideover.hooks.environment import UnusableAccountError, UserAccount
from tideover.hooks.windows_acl import AclTarget, why_not_safe
from tideover.text_safety import drop_controls
from tideover.winapi.base import own_profile, program_data, system_directory
from tideover.winapi.security import own_sid, read_file_security, trusted_sids

SUFFIXES = (".cmd", ".bat", ".exe", ".py", ".ps1")
SHOWN_PATH = 32_767             # the longest path there can be
_LINKS = frozenset({stat.IO_REPARSE_TAG_SYMLINK, stat.IO_REPARSE_TAG_MOUNT_POINT})


def trusted_users() -> frozenset[str]:
    """Return who may write a hook: the system, administrators, Windows' own installer, and the agent's own user."""
    return trusted_sids(own_sid())


def has_run_bit(mode: int) -> bool:
    """There is no such bit: every file with one of the suffixes may be run. Rename it to disable it."""
    return True


def why_untrusted(path: str, trusted: frozenset[str], safe: set[str]) -> Refusal | None:
    """Given an absolute path, who may write and the directories already found safe, return why not to run the file.

    None: it may be run; `safe` has gained the directories on the way. Raise OSError if the way cannot be walked.
    """
    way = [*reversed(PureWindowsPath(path).parents), PureWindowsPath(path)]
    for step in way:
        place = _place_of(step, way)
        if (found := f"{place.value} {step}") in safe:
            continue
        reason = _judge(str(step), place, trusted)
        if reason is not None:
            return reason
        if place is not AclTarget.FILE:
            safe.add(found)
    if "%" in path and path.lower().endswith((".cmd", ".bat")):
        return Refusal(f"{drop_controls(path, SHOWN_PATH)} has a % in its path, which cmd.exe would read as a variable",
                       "move it")
    return None


def untrusted_component(path: str, *, is_secret: bool = False) -> Refusal | None:
    """Given an absolute path of a file or a directory, return who else could change what lies there, or read it where
    it is secret; None: no other account.

    Raise OSError if the way cannot be walked.
    """
    way = [*reversed(PureWindowsPath(path).parents), PureWindowsPath(path)]
    for step in way:
        place = _place_of(step, way)
        if place is AclTarget.FILE and stat.S_ISDIR(os.lstat(step).st_mode):
            place = AclTarget.HOME
        reason = _judge(str(step), place, trusted_users(), is_secret=is_secret)
        if reason is not None:
            return reason
    return None


def _place_of(step: PureWindowsPath, way: list[PureWindowsPath]) -> AclTarget:
    if step == way[-1]:
        return AclTarget.FILE
    return AclTarget.HOME if len(way) > 1 and step == way[-2] else AclTarget.ABOVE


def _judge(step: str, place: AclTarget, trusted: frozenset[str], *, is_secret: bool = False) -> Refusal | None:
    shown = drop_controls(step, SHOWN_PATH)
    status = os.lstat(step)
    if status.st_reparse_tag in _LINKS:
        return Refusal(f"{shown} is a link", "put the file itself into a directory without links above it")
    if place is AclTarget.FILE and not stat.S_ISREG(status.st_mode):
        return Refusal(f"{shown} is not a regular file", "put a program there")
    security = read_file_security(step)
    return why_not_safe(shown, place, security.owner, security.access, trusted, is_secret=is_secret)


def find_obstacle(path: str, search_path: str) -> Refusal | None:
    """Given the absolute path of a hook's file, return why it cannot be started, with what to do; None: it can. Raise
    OSError if it is not there."""
    if Path(path).stat().st_size == 0:
        return Refusal(f"{drop_controls(path, SHOWN_PATH)} is empty", "write the hook, or remove the file")
    if path.lower().endswith(".exe"):
        with Path(path).open("rb") as file:
            if file.read(2) != b"MZ":
                return Refusal(f"{drop_controls(path, SHOWN_PATH)} is not a program for Windows", "replace it")
    return None


# --- Account and environment: whom a hook runs as, and what of the agent's own it may see

def find_account(user: str | None) -> UserAccount:
    """Given a hook's user (None: the agent's own), return the account. Raise UnusableAccountError if another's."""
    own = os.environ.get("USERNAME", "")
    if user is not None and user.lower() != own.lower():
        raise UnusableAccountError(Refusal(f"on Windows a hook cannot be run as user {user}",
                                           "remove `user`, or let the hook start a scheduled task"))
    return UserAccount(own, own_profile() or os.environ.get("USERPROFILE", "C:\\"))


def standing_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Given the agent's own environment, return what of it a hook may see: PATH, LANG, and what no program of Windows
    can do without."""
    system = system_directory()
    windows = system.rpartition("\\")[0]
    fixed = {
        "SystemRoot": windows, "windir": windows, "SystemDrive": windows[:2], "ComSpec": f"{system}\\cmd.exe",
        "PATHEXT": ".COM;.EXE;.BAT;.CMD", "OS": "Windows_NT", "ProgramData": program_data(),
        "PATH": f"{system};{windows};{system}\\Wbem;{system}\\WindowsPowerShell\\v1.0"}
    kept = ("PATH", "LANG", "TEMP", "TMP", "ProgramFiles", "CommonProgramFiles", "USERPROFILE", "USERNAME",
            "COMPUTERNAME", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "PSModulePath")
    return fixed | {name: own[name] for name in kept if own.get(name)}
