"""systemd-timesyncd: its servers by its configuration, its state by D-Bus, made to measure by a restart.

It knows no signal that makes it measure; it measures as soon as it starts, and takes its first sample without the
filter against spikes: a clock 0.4 s off or more is stepped at once, a smaller error slewed (timesyncd-manager.c).
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tideover.clock.host import HostAccess, first_of_each_name, is_there, read_lines
from tideover.clock.types import CommandResult, DaemonReport, TimeSource, daemon_server, each_once
from tideover.model import utc_if_any

_UNIT = "systemd-timesyncd.service"
_RUNNING = "/run/systemd/timesync"                       # the unit's runtime directory: there while it runs
_UPDATED = "/run/systemd/timesync/synchronized"          # touched at each sample it accepts
_LINK_SERVERS = "/run/systemd/netif/state"               # what networkd learnt over DHCP
# timesyncd.conf(5), the strongest first
_DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
_MESSAGE = ["busctl", "--timeout=2", "get-property", "org.freedesktop.timesync1", "/org/freedesktop/timesync1",
            "org.freedesktop.timesync1.Manager", "NTPMessage"]
_SIGNATURE = "(uuuuittayttttbtt)"
_UNSYNCHRONISED_STRATUM = 16


class Timesyncd:
    """Given the machine, its systemd-timesyncd."""

    name = "systemd-timesyncd"

    def __init__(self, surroundings: HostAccess) -> None:
        self._surroundings = surroundings

    def is_running(self) -> bool:
        return is_there(self._surroundings.path(_RUNNING))

    def servers(self) -> tuple[TimeSource, ...]:
        options = self._options()
        named = options["NTP"] or (self._link_servers() if self.is_running() else [])
        if not named:
            named = options["FallbackNTP"] or (self._built_in() if self.is_running() else [])
        return each_once(daemon_server(host) for host in named)

    def report(self) -> DaemonReport:
        ended = self._surroundings.run(_MESSAGE)
        known = None if ended.trouble else _read_message(ended.output)
        if known is None:
            updated_at = self._updated_at()
            return DaemonReport(self.name, None if updated_at is None else True, updated_at=updated_at,
                                note=ended.trouble or "no answer yet")
        return known

    def measure_again(self, may_step: Callable[[float], bool]) -> CommandResult:
        ended = self._surroundings.run(["systemctl", "--no-ask-password", "try-restart", _UNIT])
        return ended if ended.trouble else CommandResult("systemd-timesyncd was restarted to measure again")

    def _updated_at(self) -> datetime | None:
        try:
            return utc_if_any(self._surroundings.path(_UPDATED).stat().st_mtime)
        except OSError:
            return None

    # --- its configuration ----------------------------------------------------------------------------------------

    def _options(self) -> dict[str, list[str]]:
        values: dict[str, list[str]] = {"NTP": [], "FallbackNTP": []}
        for key, value in read_time_settings(self._surroundings):
            if key in values:
                values[key] = [*values[key], *value.split()] if value else []
        return values

    def _link_servers(self) -> list[str]:
        state = dict(_settings(["[Time]", *read_lines(self._surroundings.path(_LINK_SERVERS))]))
        return state.get("NTP", "").split()

    def _built_in(self) -> list[str]:
        """The defaults it was built with, as its own file shows them in a comment."""
        for directory in _DIRECTORIES:
            for line in read_lines(self._surroundings.path(f"{directory}/timesyncd.conf")):
                if line.startswith("#FallbackNTP="):
                    return line.partition("=")[2].split()
        return []


def read_time_settings(surroundings: HostAccess) -> list[tuple[str, str]]:
    """Given the machine, return what timesyncd.conf and its drop-ins set in the section [Time], in order: the last one
    of a key counts."""
    directories = [surroundings.path(one) for one in _DIRECTORIES]
    main = next((one / "timesyncd.conf" for one in directories if is_there(one / "timesyncd.conf")), None)
    drop_ins = first_of_each_name([one / "timesyncd.conf.d" for one in directories], ".conf")
    return [setting for file in [*([main] if main else []), *drop_ins] for setting in _settings(read_lines(file))]


def _settings(text: list[str]) -> list[tuple[str, str]]:
    """Given the lines of a file of systemd's, return what the section [Time] sets, in order."""
    found, section = [], ""
    for line in (one.strip() for one in text):
        if line.startswith("["):
            section = line
        elif section == "[Time]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found.append((key.strip(), value.strip()))
    return found


def _read_message(text: str) -> DaemonReport | None:
    """Given the property NTPMessage as busctl prints it, return what it says; None if there was no packet yet.

    Times are microseconds: originate and destination by this machine's clock before it was corrected.
    """
    words = text.split()
    try:
        if words[0] != _SIGNATURE:
            return None
        reference_bytes = int(words[8])
        leap, stratum, delay_us, dispersion_us = int(words[1]), int(words[4]), int(words[6]), int(words[7])
        origin, received, sent, arrived = (int(word) for word in words[9 + reference_bytes:13 + reference_bytes])
    except (IndexError, ValueError):
        return None
    if not arrived:
        return None
    behind_us = (received - origin + sent - arrived) / 2
    bound_us = (arrived - origin - sent + received) / 2 + delay_us / 2 + dispersion_us
    is_synchronised = leap != 3 and 0 < stratum < _UNSYNCHRONISED_STRATUM
    return DaemonReport(Timesyncd.name, is_synchronised, 0.0 - behind_us / 1e6, bound_us / 1e6,
                        utc_if_any(arrived / 1e6),
                        note="as it found the clock, before it corrected it")
