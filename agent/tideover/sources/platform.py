"""Detects the platform from DMI/SMBIOS data.

Linux takes the table apart and shows the words under /sys/class/dmi/id; Windows hands it out whole.
"""
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tideover.system.platform import ROOT

# --- The firmware's SMBIOS table (Windows)

_SYSTEM, _CHASSIS, _END = 1, 3, 127
# Structure type, where in it the number of the word stands · the name that Linux gives it
_WORDS = {(_SYSTEM, 4): "sys_vendor", (_SYSTEM, 5): "product_name", (_CHASSIS, 8): "chassis_asset_tag"}

if sys.platform == "win32":
    import ctypes

    from tideover.winapi.base import DWORD, declare, kernel32

    _RAW_TABLE = int.from_bytes(b"RSMB", "big")
    _HEADER_BYTES = 8           # RawSMBIOSData, before the table

    def firmware_table() -> bytes:
        """Return the table (GetSystemFirmwareTable); b"" where there is none."""
        read = declare(kernel32, "GetSystemFirmwareTable", DWORD, DWORD, DWORD, ctypes.c_void_p, DWORD)
        room = ctypes.create_string_buffer(read(_RAW_TABLE, 0, None, 0))
        size: int = read(_RAW_TABLE, 0, room, len(room))
        return room.raw[_HEADER_BYTES:size] if 0 < size <= len(room) else b""

else:
    def firmware_table() -> bytes:
        """Nothing: Linux shows the words by themselves, and the table to root only."""
        return b""


def fields_in(table: bytes) -> dict[str, str]:
    """Given a table, return the words that tell a platform, under Linux' names for them."""
    found: dict[str, str] = {}
    for kind, fixed, strings in _structures(table):
        for (wanted, at), name in _WORDS.items():
            if kind == wanted and at < len(fixed) and 0 < fixed[at] <= len(strings):
                found.setdefault(name, strings[fixed[at] - 1].decode("ascii", "replace").strip())
    return found


def _structures(table: bytes) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Type, fixed part and strings of each structure; what is cut off ends it."""
    at = 0
    while at + 4 <= len(table):
        kind, length = table[at], table[at + 1]
        end = table.find(b"\0\0", at + length)
        if length < 4 or end < 0 or kind == _END:
            return
        yield kind, table[at:at + length], table[at + length:end].split(b"\0")
        at = end + 2


# --- Which platform this is

SourceKind = Literal["azure", "hyperv", "none"]

# Linux: Documentation/ABI/testing/sysfs-firmware-dmi-tables
TABLES = Path("sys/class/dmi/id")
# The chassis asset tag of every Azure VM; cloud-init's Azure data source goes by it too.
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
# sys_vendor and product_name of every Hyper-V guest.
HYPERV = ("Microsoft Corporation", "Virtual Machine")


def choose_source_kind(root: Path = ROOT) -> SourceKind:
    """Given the root of the file system, return the kind of source this machine's DMI tables call for."""
    if _read_field(root, "chassis_asset_tag") == AZURE_TAG:
        return "azure"
    return "hyperv" if (_read_field(root, "sys_vendor"), _read_field(root, "product_name")) == HYPERV else "none"


def _read_field(root: Path, name: str) -> str:
    """A machine without tables, or one that hides them, has empty fields."""
    if root == ROOT and (table := firmware_table()):
        return fields_in(table).get(name, "")
    try:
        return (root / TABLES / name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
