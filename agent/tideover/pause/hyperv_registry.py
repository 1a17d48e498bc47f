r"""Signal read at each tick: the physical host's name, as Hyper-V's guest service keeps it in the registry. Windows.

HKLM\SOFTWARE\Microsoft\Virtual Machine\Guest\Parameters; Microsoft documents that the host writes the names again when
a machine has moved (learn.microsoft.com, "Hyper-V data exchange"). Windows' counterpart of `hyperv_kvp`. """
from __future__ import annotations

from collections.abc import Callable

from tideover.pause.types import HOST_KEYS, PushSignal, change_of_host

KEY = r"SOFTWARE\Microsoft\Virtual Machine\Guest\Parameters"


class GuestParametersReader:
    """Given how to read a text value below HKEY_LOCAL_MACHINE ("" where there is none)."""

    unfinished = False

    def __init__(self, read_text: Callable[[str, str], str]) -> None:
        self._read_text = read_text
        self._names: dict[str, str] = {}
        self.read()

    def fileno(self) -> None:
        return None

    def read(self) -> tuple[PushSignal, ...]:
        """Return a change of the host's name."""
        names = {name: word for name in HOST_KEYS if (word := self._read_text(KEY, name))}
        before, self._names = self._names, {**self._names, **names}
        return change_of_host(before, names)

    def close(self) -> None:
        """It holds nothing."""
