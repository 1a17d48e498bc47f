"""Which platform this machine runs on, by what the firmware wrote into the DMI tables. Never asks the network."""
from __future__ import annotations

from pathlib import Path
from typing import Literal

from tideover.sources.smbios import fields_in, firmware_table
from tideover.system.files import ROOT

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
