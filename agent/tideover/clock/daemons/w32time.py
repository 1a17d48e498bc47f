r"""Windows' own time service (w32time): its servers and settings, from the registry.

The registry is read, because the commands answer in translated text.

Keys and values: learn.microsoft.com, "Windows Time service tools and settings". What the service believes just now it
tells in translated words only (w32tm /query), so that is not reported.
"""
from __future__ import annotations

from collections.abc import Callable

from tideover.clock.host import HostAccess
from tideover.clock.types import CommandResult, DaemonReport, TimeSource, daemon_server, each_once

_SERVICE = r"SYSTEM\CurrentControlSet\Services\W32Time"
_PARAMETERS = _SERVICE + r"\Parameters"
_CLIENT = _SERVICE + r"\TimeProviders\NtpClient"
_POLICY = r"SOFTWARE\Policies\Microsoft\W32Time"        # what a group policy says goes before
_DISABLED = 4                                           # SERVICE_DISABLED, in Start
_BY_LIST = ("NTP", "ALLSYNC")                           # Type: from NtpServer; NT5DS: from the domain; NoSync: nowhere
_KINDS = {"NT5DS": "uses the domain hierarchy (NT5DS)",
          "NOSYNC": "is configured without a time source (NoSync)"}


class W32Time:
    """The service, as the registry shows it."""

    name = "w32time"

    def __init__(self, surroundings: HostAccess) -> None:
        self._surroundings = surroundings

    def is_running(self) -> bool:
        """Whether it runs at this moment. Windows starts and stops it as it likes where there is no domain."""
        return self._surroundings.is_service_running("W32Time")

    def is_enabled(self) -> bool:
        """Whether it is there and not switched off."""
        start = self._surroundings.registry(_SERVICE, "Start")
        return isinstance(start, int) and start != _DISABLED

    def servers(self) -> tuple[TimeSource, ...]:
        """Return its configured servers, if it has any."""
        if not self.is_enabled() or self._kind() not in _BY_LIST or self._value(_CLIENT, "Enabled") == 0:
            return ()
        listed = str(self._value(_PARAMETERS, "NtpServer") or "")
        # "time.windows.com,0x9 10.0.0.1,0x8": flags behind the comma (0x1 its own interval, 0x2 only in need, …)
        return each_once(daemon_server(entry.partition(",")[0]) for entry in listed.split() if entry.partition(",")[0])

    def report(self) -> DaemonReport:
        """Return what it is set to."""
        return DaemonReport(self.name, note=_KINDS.get(self._kind(), "does not report its state"))

    def measure_again(self, may_step: Callable[[float], bool]) -> CommandResult:
        """Have it look up its servers again and measure; it steps or slews by its own rules (MaxAllowedPhaseOffset)."""
        ended = self._surroundings.run(["w32tm", "/resync", "/rediscover", "/nowait"])
        return ended if ended.trouble else CommandResult("w32time was made to measure again (w32tm /resync)")

    def _kind(self) -> str:
        return str(self._value(_PARAMETERS, "Type") or "").upper()

    def _value(self, key: str, name: str) -> object:
        by_policy = self._surroundings.registry(key.replace(_SERVICE, _POLICY), name)
        return self._surroundings.registry(key, name) if by_policy is None else by_policy
