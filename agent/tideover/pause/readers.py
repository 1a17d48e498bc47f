"""All the push signals that this machine has, in one tuple. One that it lacks is absent without noise."""
from __future__ import annotations

import sys
from pathlib import Path

from tideover.pause.signals import Reader
from tideover.system.files import ROOT

if sys.platform == "win32":
    from tideover.pause.guest_parameters import GuestParametersReader
    from tideover.winapi.registry import read_text

    def open_readers(root: Path = ROOT) -> tuple[Reader, ...]:
        """Return a reader for each push signal that this machine has."""
        return (GuestParametersReader(read_text),)

else:
    from tideover.pause.clock_set import open_clock_set_reader
    from tideover.pause.host_name import open_host_name_reader
    from tideover.pause.links import open_links_reader
    from tideover.pause.vmclock import open_vmclock_reader

    def open_readers(root: Path = ROOT) -> tuple[Reader, ...]:
        """Given the root of the file system, return a reader for each push signal that this machine has."""
        found = (open_clock_set_reader(), open_links_reader(root), open_vmclock_reader(root),
                 open_host_name_reader(root))
        return tuple(reader for reader in found if reader is not None)
