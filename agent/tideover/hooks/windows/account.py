"""Whom a hook runs as: the agent's own user, always. Another one would need that user's password, which nobody has."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import os
from dataclasses import dataclass

from tideover.winapi.folders import own_profile


@dataclass(frozen=True, slots=True)
class Account:
    """One user. `change_to` is always None: we are that user already."""

    name: str
    home: str
    change_to: tuple[int, int, tuple[int, ...]] | None = None


class UnusableAccountError(Exception):
    """One sentence why hooks cannot be run as that user, with what to do."""


def find_account(user: str | None) -> Account:
    """Given a hook's user (None: the agent's own), return the account. Raise UnusableAccountError if another's."""
    own = os.environ.get("USERNAME", "")
    if user is not None and user.casefold() != own.casefold():
        raise UnusableAccountError(
            f"on Windows a hook cannot be run as user {user}: take `user` away, or let the hook start a scheduled task")
    return Account(own, own_profile() or os.environ.get("USERPROFILE", "C:\\"))
