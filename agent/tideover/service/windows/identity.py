"""What the service is on Windows: its name, its account, when it starts, what happens when it fails. Values only."""
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NAME = "tideover"
DISPLAY_NAME = "tideover"
DESCRIPTION = "Runs prepare and recover hooks around cloud maintenance events of this virtual machine."

# The account is LocalSystem, without most of its privileges. Hooks are children of the agent; they stop and start
# services, write applications' files and talk to whatever listens here, as an administrator's scripts do. No weaker
# account may do that: LocalService, NetworkService and a virtual account (NT SERVICE\tideover) would have to be granted
# each service and each file by hand, and a hook whose grant was forgotten would fail in the middle of an event.
# What LocalSystem could do to the machine itself is taken away instead: the service control manager removes every
# privilege that is not named here before it starts the process, and no child can get it back
# (https://learn.microsoft.com/windows/win32/api/winsvc/ns-winsvc-service_required_privileges_infow). Gone are:
#   SeTcb, SeCreateToken, SeAssignPrimaryToken, SeImpersonate   acting as the system or as others, making tokens
#   SeDebug, SeLoadDriver                        other processes' memory, the kernel
#   SeSystemtime, SeTimeZone, SeShutdown         the clock, the power switch; w32tm /resync needs none of them
#   SeTakeOwnership, SeBackup, SeRestore, SeSecurity   files and logs against their own access lists
PRIVILEGES = (
    "SeChangeNotifyPrivilege",      # to walk through directories; everybody has it
    "SeCreateGlobalPrivilege",      # named objects that programs in users' sessions share with us
)

RESTART_AFTER_S = (1, 5, 60)
"""The first, the second, and every further failure, until all has been well for `FAILURES_FORGOTTEN_S`. An exit status
other than 0 counts as well as a crash: what stops the agent's start, as a state directory that another user's `tideover
recover` holds, is often over a minute later."""
FAILURES_FORGOTTEN_S = 600

PRESHUTDOWN_LIMIT_S = 20
"""How long the machine's end waits for the agent, which does not recover then, only ends hooks and its journal."""

LOG = "Application"
TEXT_FILE = "%SystemRoot%\\System32\\EventCreate.exe"
"""Where a pip installation's texts come from: Windows' own eventcreate has the text "%1" for each event from 1 to 1000.
The installer's program brings its own table (packaging/windows/host/messages.mc)."""

EVENTS: Mapping[str, int] = MappingProxyType({
    "info": 1, "warning": 2, "error": 3, "debug": 4,
    "agent.started": 100, "agent.stopped": 101, "agent.stopping-with-hooks-prepared": 102,
    "configuration.reloaded": 110, "configuration.refused": 111, "configuration.reload-deferred": 112,
    "configuration.warning": 113,
    "event.phase-changed": 200, "pause.detected": 210, "hook.finished": 220, "hook.output": 221,
    "hook.orphan-ended": 222, "acknowledgement.withheld": 223,
    "poll.failed": 230, "poll.recovered": 231, "journal.unwritable": 240, "journal.writable": 241,
    "journal.quarantined": 242,
})
"""The event's number for a log line's name, else for its level; 1 to 1000, see TEXT_FILE. Numbers never change."""


def event_of(level: str, line: str) -> int:
    """Given a level and a log line (text or JSON), return its event's number."""
    for word in line.split(" ", 8)[:8]:
        number = EVENTS.get(word.strip('",'))
        if number is not None and number >= 100:
            return number
    return EVENTS[level]
