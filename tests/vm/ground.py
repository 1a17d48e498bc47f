"""What the lab stands on: whether this machine can carry it, and where it keeps what is costly to make."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

TOOLS = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs", "ip", "setpriv")
VARIABLE = "TIDEOVER_LAB_CACHE"


class LabError(RuntimeError):
    """The lab itself failed: nothing was learnt about the product."""


def missing() -> str | None:
    """Return why the lab cannot run here, in one sentence; None: it can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"the VM lab needs {', '.join(absent)} (tests/vm/README.md lists the packages)"
    if os.geteuid() != 0:
        return "the VM lab needs root, for a network of its own and for the guest's image"
    if not Path("/dev/net/tun").exists():
        return "the VM lab needs /dev/net/tun"
    return None


def cache() -> Path:
    """Return the directory of images and snapshots; made if need be."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tideover-lab"
    chosen = Path(os.environ.get(VARIABLE) or usual).absolute()
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
