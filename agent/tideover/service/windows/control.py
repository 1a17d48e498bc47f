"""The Windows service's name, account, recovery (failure) actions, event numbers, accepted controls and
watchdog. No call of Windows.

Implements `service_manager.ServiceManager`. The controls arrive on another thread than the agent's, and may arrive
before the agent is there to take them.
"""
from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tideover.service_manager import AgentControl, StopReason
from tideover.threads import Loop

# --- The service: name, account, when it starts, what happens when it fails

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
    "configuration.read": 110, "configuration.refused": 111, "configuration.reload-deferred": 112,
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


# --- Watchdog: ends a process whose agent hangs; Windows restarts what has ended
# It counts its own looks, not seconds: a paused machine does not look either, so a pause of the
# machine never counts as a hang.

LOOK_EVERY_S = 20.0
LOOKS = 6                   # 120 s, as in the unit
LONGEST_SILENCE_S = 40.0    # how often the agent's loop turns at least, so that two turns fall into every 120 s


class Watchdog:
    """Calls `end` when it has not been fed for `LOOKS` looks. Only from the first feeding to `rest`."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._resting = threading.Event()
        self._hungry = 0
        self._loop: Loop | None = None

    def ping(self) -> None:
        """Any thread; far more often than needed."""
        self._hungry = 0
        if self._loop is None:
            self._loop = Loop("watchdog", self._watch)
            self._loop.start()

    def rest(self) -> None:
        """The agent ends: it is not fed any more."""
        self._resting.set()

    def look(self) -> None:
        """One look."""
        self._hungry += 1
        if self._hungry > LOOKS and not self._resting.is_set():
            self._end()

    def _watch(self) -> None:
        while not self._resting.wait(LOOK_EVERY_S):
            self.look()


# --- Control

STOP_HINT_S = 90.0
"""How long a stop may take, reported to the service manager: on_stop = "recover" gives its hooks 75 s."""
START_HINT_S = 30.0

POWER_RESUMED = frozenset({0x12, 0x07})
"""PBT_APMRESUMEAUTOMATIC, PBT_APMRESUMESUSPEND: https://learn.microsoft.com/windows/win32/power/wm-powerbroadcast"""


class ServiceControlCode(enum.IntEnum):
    """https://learn.microsoft.com/windows/win32/api/winsvc/nc-winsvc-lphandler_function_ex"""

    STOP = 1
    INTERROGATE = 4
    SHUTDOWN = 5
    PARAMCHANGE = 6
    POWEREVENT = 13
    PRESHUTDOWN = 15
    TIMECHANGE = 16
    MAKE_WAY = 128              # ours, of the range for services' own: ended to be started again at once, by an upgrade


class AcceptedControls(enum.IntFlag):
    """https://learn.microsoft.com/windows/win32/api/winsvc/ns-winsvc-service_status"""

    NOTHING = 0
    STOP = 0x1
    SHUTDOWN = 0x4
    PARAMCHANGE = 0x8
    POWEREVENT = 0x40
    PRESHUTDOWN = 0x100
    TIMECHANGE = 0x200


class ServiceState(enum.IntEnum):
    """How a service is, in its manager's numbers (the same page)."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4


WHILE_RUNNING = (AcceptedControls.STOP | AcceptedControls.PRESHUTDOWN | AcceptedControls.PARAMCHANGE
                 | AcceptedControls.POWEREVENT
                 | AcceptedControls.TIMECHANGE)
"""PRESHUTDOWN, not SHUTDOWN; a service may accept one of the two. It comes before the other services are ended and
leaves time of its own, while SHUTDOWN is cut off for all services together after some seconds."""

ENDINGS = {ServiceControlCode.STOP: StopReason.STOP, ServiceControlCode.MAKE_WAY: StopReason.RESTART,
           ServiceControlCode.PRESHUTDOWN: StopReason.SHUTDOWN, ServiceControlCode.SHUTDOWN: StopReason.SHUTDOWN}


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is reported to the service control manager."""

    standing: ServiceState
    accepted: AcceptedControls
    checkpoint: int = 0         # counts up while something is pending
    hint_s: float = 0.0         # how long that takes, at most
    exit_status: int = 0        # ours, when stopped; 0: all is well


class ServiceControl:
    """The agent's service manager, as far as it is Windows'. Any thread."""

    longest_silence_s: float | None = LONGEST_SILENCE_S

    def __init__(self, report: Callable[[ServiceStatus], None], write_line: Callable[[str, str], None],
                 watchdog: Watchdog) -> None:
        """`report` brings a `ServiceStatus` to the service control manager; `write_line` is given a level and a log
        line."""
        self._report, self._write_line, self._watchdog = report, write_line, watchdog
        self._lock = threading.RLock()      # states must be reported in the order in which they became true
        self._orders: AgentControl | None = None
        self._ending: StopReason | None = None
        self._reported = ServiceStatus(ServiceState.START_PENDING, AcceptedControls.NOTHING)
        self._checkpoint = 0

    # --- what Windows says ------------------------------------------------------------------------------------------

    def on_control(self, control: int, detail: int = 0) -> None:
        """Given a control and, for a power event, which, pass it on. Unknown ones are ignored, as Windows wants it."""
        if control == ServiceControlCode.INTERROGATE:
            with self._lock:
                self._report(self._reported)
        elif control in ENDINGS:
            self._end(ENDINGS[ServiceControlCode(control)])
        elif control == ServiceControlCode.PARAMCHANGE and self._orders is not None:
            self._orders.request_reload()
        elif _is_reason_to_look(control, detail) and self._orders is not None:
            self._orders.check_clocks()

    def _end(self, why: StopReason) -> None:
        with self._lock:
            self._ending = why
            orders = self._orders
            self._report_state(ServiceState.STOP_PENDING, hint_s=STOP_HINT_S)
        if orders is not None:
            orders.request_stop()

    # --- what the agent says ----------------------------------------------------------------------------------------

    def listen(self, orders: AgentControl) -> None:
        with self._lock:
            self._orders = orders
            is_ending = self._ending is not None
        if is_ending:
            orders.request_stop()

    def starting(self) -> None:
        """The process runs; the agent does not yet."""
        self._report_state(ServiceState.START_PENDING, hint_s=START_HINT_S)

    def still_starting(self, seconds: float) -> None:
        self._report_state(ServiceState.START_PENDING, hint_s=seconds)

    def ready(self) -> None:
        with self._lock:
            if self._ending is None:
                self._report_state(ServiceState.RUNNING)

    def reloading(self) -> None:
        """Windows has no word for it."""

    def watchdog_ping(self) -> None:
        """Windows does not ask; a watchdog of ours does."""
        self._watchdog.ping()

    def set_status(self, words: str) -> None:
        """Windows does not listen."""

    def stopping(self) -> None:
        self._watchdog.rest()
        with self._lock:
            if self._reported.standing is not ServiceState.STOP_PENDING:
                self._report_state(ServiceState.STOP_PENDING, hint_s=STOP_HINT_S)

    def stopped(self, exit_status: int) -> None:
        """Given our exit status: the last report. Other than 0, the recovery actions start the service again."""
        self._report_state(ServiceState.STOPPED, exit_status=exit_status)

    def stop_reason(self) -> StopReason:
        return self._ending or StopReason.STOP

    def write_line(self, level: str, line: str) -> None:
        self._write_line(level, line)

    def _report_state(self, standing: ServiceState, *, hint_s: float = 0.0, exit_status: int = 0) -> None:
        is_pending = standing in (ServiceState.START_PENDING, ServiceState.STOP_PENDING)
        accepted = WHILE_RUNNING if standing is ServiceState.RUNNING else AcceptedControls.NOTHING
        with self._lock:
            self._checkpoint = self._checkpoint + 1 if is_pending else 0
            self._reported = ServiceStatus(standing, accepted, self._checkpoint, hint_s, exit_status)
            self._report(self._reported)


def _is_reason_to_look(control: int, detail: int) -> bool:
    return control == ServiceControlCode.TIMECHANGE or (control == ServiceControlCode.POWEREVENT
                                                        and detail in POWER_RESUMED)
