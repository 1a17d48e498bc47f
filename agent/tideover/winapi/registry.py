"""The registry, read. Never written."""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import winreg

Value = str | int | bytes | list[str]


def read_value(key: str, name: str) -> Value | None:
    r"""Given a key below HKEY_LOCAL_MACHINE and a value's name, return it; None: not there, or not for us.

    The 64-bit view, whatever Python is.
    """
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            value: Value = winreg.QueryValueEx(opened, name)[0]
            return value
    except OSError:
        return None


def read_text(key: str, name: str) -> str:
    """Given a key and a value's name, return the value if it is a text, else ""."""
    value = read_value(key, name)
    return value.rstrip("\0") if isinstance(value, str) else ""
