"""Whom a hook runs as. Platform part: Linux users and groups. Looks accounts up; the start of a process uses them."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import pwd

from tideover.hooks.launching import Account, UnusableAccountError


def own_account() -> Account:
    """Return the agent's own account; its home is what the agent itself was told, as a hook may see it (contract)."""
    told = os.environ.get("HOME")
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:        # containers run under user ids without an entry
        return Account(str(os.geteuid()), told or "/")
    return Account(entry.pw_name, told or entry.pw_dir)


def find_account(user: str | None) -> Account:
    """Given a hook's user (None: the agent's own), return the account. Raise UnusableAccountError if it is none."""
    if user is None:
        return own_account()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UnusableAccountError(f"user {user} does not exist here: create it, or mend `user` of the hook") from None
    if entry.pw_uid == os.geteuid():
        return Account(user, entry.pw_dir)
    if os.geteuid() != 0:
        raise UnusableAccountError(
            f"only an agent run by root can run it as user {user}: run the agent as root, or take `user` away")
    groups = tuple(os.getgrouplist(user, entry.pw_gid))
    return Account(user, entry.pw_dir, (entry.pw_uid, entry.pw_gid, groups))
