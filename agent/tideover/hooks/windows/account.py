"""Whom a hook runs as: the agent's own user, always. Another one would need that user's password, which nobody has."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import os

from tideover.hooks.launching import Account, UnusableAccountError
from tideover.winapi.folders import own_profile


def find_account(user: str | None) -> Account:
    """Given a hook's user (None: the agent's own), return the account. Raise UnusableAccountError if another's."""
    own = os.environ.get("USERNAME", "")
    if user is not None and user.lower() != own.lower():
        raise UnusableAccountError(
            f"on Windows a hook cannot be run as user {user}: take `user` away, or let the hook start a scheduled task")
    return Account(own, own_profile() or os.environ.get("USERPROFILE", "C:\\"))
