"""Who may change a file on Windows: owner and access list, parsed from bytes. Pure.

Layouts: [MS-DTYP] 2.4.2 (SID), 2.4.4 (ACE), 2.4.5 (ACL). Entries that deny are not taken into account: what they take
away a user may have by another entry, and a list that needs them to be safe is too clever for what root runs.
"""
from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tideover.errors import Refusal

# Rights to a file · to a directory (winnt.h)
WRITE, APPEND, DELETE_CHILD = 0x2, 0x4, 0x40    # also: ADD_FILE, ADD_SUBDIRECTORY
DELETE, CHANGE_RIGHTS, TAKE_OWNERSHIP = 0x1_0000, 0x4_0000, 0x8_0000
GENERIC_ALL, GENERIC_WRITE = 0x1000_0000, 0x4000_0000
READING = 0x1 | 0x8000_0000                         # FILE_READ_DATA, GENERIC_READ
_ANYTHING = DELETE | CHANGE_RIGHTS | TAKE_OWNERSHIP | GENERIC_ALL | GENERIC_WRITE

_ALLOWED, _ALLOWED_BY_CONDITION = 0, 9              # the identifier stands right behind the rights
_ALLOWED_OBJECT, _ALLOWED_OBJECT_BY_CONDITION = 5, 11
_FOR_WHAT_IS_BELOW_ONLY = 0x8                       # INHERIT_ONLY_ACE
_OWNER_RIGHTS = "S-1-3-4"                           # the owner, who is checked separately

NAMES = {
    "S-1-1-0": "everybody", "S-1-5-11": "every user who has logged on", "S-1-5-32-545": "the group Users",
    "S-1-5-4": "users at the console", "S-1-5-32-546": "guests", "S-1-5-7": "anonymous users",
    "S-1-5-32-547": "the group Power Users"}


class AclTarget(enum.Enum):
    """What a step on the way to a hook is to it."""

    ABOVE = "above"         # others may add to it (as to C:\\), but neither move nor replace what is there
    HOME = "home"           # nothing may be added: a program finds its libraries and modules beside itself
    FILE = "file"           # nothing may be changed


_FORBIDDEN = {
    AclTarget.ABOVE: DELETE_CHILD | _ANYTHING,
    AclTarget.HOME: DELETE_CHILD | WRITE | APPEND | _ANYTHING,
    AclTarget.FILE: WRITE | APPEND | _ANYTHING}


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of an access list: who may do what."""

    who: str
    rights: int


def why_not_safe(
    shown: str, place: AclTarget, owner: str, access: bytes | None, trusted: frozenset[str], *, is_secret: bool = False,
) -> Refusal | None:
    """Given a step's path for people, what it is, its owner, its access list and whom we trust, return why others
    could change what is run, or read it where the file is secret; None if they cannot."""
    forbidden = _FORBIDDEN[place] | (READING if is_secret and place is AclTarget.FILE else 0)
    if owner not in trusted:
        return Refusal(f"{shown} belongs to {named(owner)}, who could change it",
                       f'icacls "{shown}" /setowner Administrators')
    if access is None:
        return Refusal(f"{shown} has no access list, so every user can change it", f'icacls "{shown}" /reset')
    for grant in grants_in(access):
        if grant.who not in trusted and grant.who != _OWNER_RIGHTS and grant.rights & forbidden:
            what = "changed" if grant.rights & _FORBIDDEN[place] else "read"
            return Refusal(f"{shown} can be {what} by {named(grant.who)}",
                           f'icacls "{shown}" /inheritance:d, then icacls "{shown}" /remove:g *{grant.who}')
    return None


def grants_in(access: bytes) -> Iterator[Grant]:
    """Given an access list, yield what it grants on the file itself. What cannot be read counts as granted to all."""
    count = struct.unpack_from("<H", access, 4)[0]
    at = 8
    for _ in range(count):
        kind, flags, size = struct.unpack_from("<BBH", access, at)
        entry = access[at:at + size]
        at += size
        if flags & _FOR_WHAT_IS_BELOW_ONLY:
            continue
        if kind in (_ALLOWED, _ALLOWED_BY_CONDITION):
            yield Grant(sid_text(entry[8:]), struct.unpack_from("<I", entry, 4)[0])
        elif kind in (_ALLOWED_OBJECT, _ALLOWED_OBJECT_BY_CONDITION):
            yield Grant("S-1-1-0", struct.unpack_from("<I", entry, 4)[0])


def sid_text(sid: bytes) -> str:
    """Given a security identifier's bytes, return its text."""
    revision, count = sid[0], sid[1]
    authority = int.from_bytes(sid[2:8], "big")
    parts = struct.unpack_from(f"<{count}I", sid, 8)
    return "-".join(["S", str(revision), str(authority), *map(str, parts)])


def named(sid: str) -> str:
    """Given a security identifier, return it for people."""
    return f"{NAMES[sid]} ({sid})" if sid in NAMES else sid
