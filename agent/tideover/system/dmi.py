"""Reads the DMI/SMBIOS fields that tell what machine this is. Asks no network.

Linux takes the table apart and shows the words under /sys/class/dmi/id; Windows returns it whole.
"""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tideover.system import ROOT

# --- The firmware's SMBIOS table (Windows)

_BIOS, _SYSTEM, _CHASSIS, _END = 0, 1, 3, 127
# Structure type, where in it the number of the word stands · the name that Linux gives it
_WORDS = {
    (_BIOS, 4): "bios_vendor", (_BIOS, 5): "bios_version",
    (_SYSTEM, 4): "sys_vendor", (_SYSTEM, 5): "product_name", (_SYSTEM, 6): "product_version",
    (_SYSTEM, 7): "product_serial",                 # Linux: for root only
    (_CHASSIS, 8): "chassis_asset_tag",
}

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


# --- The fields of this machine

# Linux: Documentation/ABI/testing/sysfs-firmware-dmi-tables
TABLES = Path("sys/class/dmi/id")


def read_dmi(root: Path = ROOT) -> Mapping[str, str]:
    """Given the root of the file system, return the fields that have a text; none on a machine without tables, or one
    that hides them."""
    if root == ROOT and (table := firmware_table()):
        return fields_in(table)
    found = {name: _read_field(root / TABLES / name) for name in _WORDS.values()}
    return {name: text for name, text in found.items() if text}


def _read_field(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
