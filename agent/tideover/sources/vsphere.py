"""VMware vSphere: calls of `vmtoolsd`, registration and its token, intervals, hints and findings.

The host waits for the one registered program of a VM before each vMotion, until its timeout. So this source registers
only while some hook wants a freeze, and unregisters when it is closed, unless an event is under way. The token that
registration gives is kept in the state directory (mode 0600): without it the VM cannot register again until it
restarts. See core.vmware.com, "vSphere vMotion Notifications"; errors and replies as captured.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tideover.findings import Finding, PollReport, bad, check_events, good, remark
from tideover.model import Document, Event, Kind, VmIdentity
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.settings.values import SourceSettings
from tideover.sources import NotADocument, SourceContext
from tideover.sources.vm_operation import (
    LIMIT_REACHED,
    LONGEST_TEXT,
    NOT_ENABLED,
    NOTIFICATION_TYPE,
    SUCCESS,
    UNKNOWN_TOKEN,
    Operation,
    Reply,
    command,
    event_of,
    read_operation,
    read_reply,
)
from tideover.system.clocks import read_boot_id, read_raw_s
from tideover.system.commands import finish_command, start_command
from tideover.system.process import with_reserve

PROGRAM = "vmtoolsd"
WINDOWS_PROGRAM = r"C:\Program Files\VMware\VMware Tools\vmtoolsd.exe"
CALL_S = 5.0                     # one command; a healthy one takes milliseconds
MOST_BYTES = 1 << 16             # of what a command prints
POLL_S = 2.0                     # as the table of platforms has it; a process each time: some 0.3 % of a core
OVER_AFTER_S = 3600.0            # of NotBefore: an operation of which no end was read is over
MOST_EVENTS = 32                 # read in one poll: they queue
TOKEN_FILE = "vsphere-token"
THIS_VM = "this VM"
REGISTERED = "registered"        # in what a document is about: the name of the application, "" where there is none
VM_ID = Path("/sys/class/dmi/id/product_uuid")       # for root only

INSTALL = "Install VMware Tools (the package open-vm-tools)"
ENABLE = ("an administrator enables them by vmOpNotificationToAppEnabled of the VM and the host's option "
          "VmOpNotificationToApp.Timeout (vSphere 8, hardware version 20)")


def open_source(settings: SourceSettings, longest_call_s: float | None = None,
                context: SourceContext | None = None) -> VsphereSource:
    """Given [source] and the longest that one command may take, return the source. Without a context it only looks: it
    asks who is registered, and registers nothing."""
    program = settings.vsphere.vmtoolsd or _installed_program()
    return VsphereSource(program, _app_name(settings), settings.vm_name or THIS_VM, context,
                         call_s=longest_call_s or CALL_S)


def _app_name(settings: SourceSettings) -> str:
    return settings.vsphere.app_name or "tideover"


def _installed_program() -> str:
    return WINDOWS_PROGRAM if sys.platform == "win32" else shutil.which(PROGRAM) or PROGRAM


class VsphereSource:
    """The host, asked through the program `program` as the application `app_name` of the VM `vm_name`."""

    def __init__(self, program: str, app_name: str, vm_name: str, context: SourceContext | None = None, *,
                 call_s: float = CALL_S, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._program, self._app_name, self._vm_name, self._context = program, app_name, vm_name, context
        self._call_s, self._now = call_s, now
        self._file = None if context is None else context.state_directory / TOKEN_FILE
        self._token = ""
        self._is_token_read = False
        self._listed: dict[str, Event] = {}
        self._remembered: tuple[Event, ...] = ()
        self._acknowledged: set[str] = set()
        self._over: set[str] = set()                # shown as started for one poll
        self._about: Mapping[str, str] = {}
        self._closing = threading.Event()

    def remember(self, events: Iterable[Event]) -> None:
        """Given the events that were listed when the last agent ended, go on with those of this boot: the host tells
        the start of one once."""
        self._remembered = tuple(event for event in events if event.source == "vsphere")

    def poll(self) -> Polled | PollFailed:
        """Ask the host for what is new until there is nothing more; return the events. Each command takes 5 s at
        most."""
        asked_raw_s = read_raw_s()
        try:
            if self._context is None:
                self._about = {REGISTERED: _registered_names(self._ask("list"))}
            else:
                self._follow(self._context)
        except _CallFailed as failed:
            return PollFailed(f"VMware Tools: {failed}", failed.trouble)
        except NotADocument as error:
            return PollFailed(f"VMware Tools gave no document: {error}", PollTrouble.NO_DOCUMENT)
        document = Document(tuple(self._listed.values()), asked_raw_s=asked_raw_s, received_raw_s=read_raw_s(),
                            about=self._about)
        return Polled(document, self._vm_name, _vm_id())

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        """Given an operation's id, acknowledge it, which lets the vMotion start; return what came of it, and
        why. REFUSED: by the host. LOST: nothing came back."""
        try:
            reply = self._call(command("ack-event", uniqueToken=self._token, operationId=int(event_id)))
        except (_CallFailed, NotADocument, ValueError) as error:
            return AckOutcome.LOST, f"VMware Tools did not answer the acknowledgement: {error}"
        if reply.error:
            return AckOutcome.REFUSED, f"the host refused the acknowledgement: {reply.error}"
        self._acknowledged.add(event_id)
        return AckOutcome.ACCEPTED, ""

    def identity(self) -> VmIdentity | None:
        """Return who this VM is: it names no other in its events."""
        return VmIdentity(self._vm_name, _vm_id())

    def close(self) -> None:
        """Ask nothing more. Unregister, so that no vMotion waits for an agent that is away; with an event under way the
        next agent goes on with it."""
        self._closing.set()
        if self._token and not self._listed:
            self._unregister()

    # --- Registration

    def _follow(self, context: SourceContext) -> None:
        """Be registered while a freeze is wanted or under way, and read what is new. Raise _CallFailed or
        NotADocument."""
        is_wanted = context.wants(Kind.FREEZE)
        if not self._is_token_read:
            self._token, self._is_token_read = _read_token(self._file), True
            self._listed = {event.id: event for event in self._remembered} if self._token else {}
        if not is_wanted and not self._listed:
            if self._token:
                self._unregister()
            return
        if not self._token:
            self._register()
        self._read_events(is_wanted)

    def _register(self) -> None:
        reply = self._call(command("register", appName=self._app_name, notificationTypes=[NOTIFICATION_TYPE]))
        if LIMIT_REACHED in reply.error:
            raise _CallFailed("another program of this VM is registered for vMotion notifications, and only one can; "
                              "vmtoolsd --cmd vm-operation-notification.list names it", PollTrouble.REFUSED)
        if NOT_ENABLED in reply.error:
            raise _CallFailed(f"vMotion notifications are not enabled for this VM; {ENABLE}", PollTrouble.REFUSED)
        if reply.error or not reply.text("uniqueToken"):
            raise _CallFailed(f"the host did not register this agent: {reply.error or 'it gave no token'}",
                              PollTrouble.REFUSED)
        self._token = reply.text("uniqueToken")
        self._listed = {}           # an operation that was under way belonged to another registration
        _keep_token(self._file, self._token)

    def _unregister(self) -> None:
        with suppress(_CallFailed, NotADocument):
            self._call(command("unregister", uniqueToken=self._token))
        self._forget_token()

    def _forget_token(self) -> None:
        self._token = ""
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)

    # --- Events

    def _read_events(self, is_wanted: bool) -> None:
        for event_id in self._over:
            self._end(event_id)
        self._over.clear()
        began_raw_s = read_raw_s()
        for _ in range(MOST_EVENTS):
            if read_raw_s() - began_raw_s > self._call_s:
                break               # the rest waits for the next poll: what was read must not wait for it
            reply = self._call(command("check-for-event", uniqueToken=self._token))
            if UNKNOWN_TOKEN in reply.error:        # the VM was restarted, or its registration was removed
                self._forget_token()
                raise _CallFailed("the host no longer knows the registration of this agent; it registers again",
                                  PollTrouble.REFUSED)
            if reply.error:
                raise _CallFailed(f"the host refused: {reply.error}", PollTrouble.REFUSED)
            operation = read_operation(reply)
            if operation is None:
                break
            self._take(operation, is_wanted)
        now = self._now()
        for event in list(self._listed.values()):
            late_s = 0.0 if event.not_before is None else (now - event.not_before).total_seconds()
            if late_s > OVER_AFTER_S:
                self._end(event.id)
            elif not event.started and (event.id in self._acknowledged or late_s >= 0.0):
                self._listed[event.id] = replace(event, started=True)

    def _take_end(self, operation: Operation) -> None:
        """One that succeeded has taken place: it is shown as started before it is gone, in the next poll."""
        event = self._listed.get(operation.id)
        if event is not None and not event.started and operation.facts.get("opStatus") == SUCCESS:
            self._listed[operation.id] = replace(event, started=True)
            self._over.add(operation.id)
        else:
            self._end(operation.id)

    def _end(self, event_id: str) -> None:
        self._listed.pop(event_id, None)
        self._acknowledged.discard(event_id)

    def _take(self, operation: Operation, is_wanted: bool) -> None:
        if operation.what == "end":
            self._take_end(operation)
        elif operation.what == "timeout-change":
            self.acknowledge(operation.id)          # as VMware's samples do; the next start has the new timeout
        else:
            event = event_of(operation, self._vm_name, self._now(), POLL_S)
            if event.not_before is not None and event.not_before <= self._now():
                return                              # it waited in the queue until the host had gone ahead
            self._listed[operation.id] = event
            if not is_wanted:                       # between the last hook's removal and our leaving
                self.acknowledge(operation.id)

    # --- Commands

    def _ask(self, verb: str) -> Reply:
        """Return the reply of a verb without arguments. Raise _CallFailed, NotADocument."""
        reply = self._call(command(verb))
        if NOT_ENABLED in reply.error:
            raise _CallFailed(f"vMotion notifications are not enabled for this VM; {ENABLE}", PollTrouble.REFUSED)
        if reply.error:
            raise _CallFailed(f"the host refused: {reply.error}", PollTrouble.REFUSED)
        return reply

    def _call(self, text: str) -> Reply:
        """Run the program once. Raise _CallFailed if it gave no reply, NotADocument if that cannot be read."""
        output = self._run(text)
        try:
            return read_reply(output)
        except NotADocument:
            if output.strip() not in ("", "NULL"):
                raise
            raise _CallFailed(f"{self._program} gave no reply; this may be no VM of VMware, or its host or its VMware "
                              "Tools know no vMotion notifications", PollTrouble.NO_ANSWER) from None

    def _run(self, text: str) -> str:
        try:
            ended = with_reserve(lambda: finish_command(
                start_command([self._program, "--cmd", text], {**os.environ, "LC_ALL": "C"}), self._call_s, MOST_BYTES))
        except FileNotFoundError:
            raise _CallFailed(f"{self._program} is not installed", PollTrouble.NO_ANSWER) from None
        except subprocess.TimeoutExpired:
            raise _CallFailed(f"{self._program} did not end within {self._call_s:g} s", PollTrouble.NO_ANSWER) from None
        except OSError as error:
            raise _CallFailed(f"{self._program} cannot be run: {error.strerror or error}",
                              PollTrouble.NO_ANSWER) from None
        if ended.was_cut:
            raise _CallFailed(f"{self._program} printed more than 64 KiB", PollTrouble.NO_DOCUMENT)
        return ended.output.decode("utf-8", "replace")


class _CallFailed(Exception):
    """A command brought nothing; the message completes "VMware Tools: …"."""

    def __init__(self, message: str, trouble: PollTrouble) -> None:
        super().__init__(message)
        self.trouble = trouble


def _vm_id() -> str:
    try:
        return VM_ID.read_text(encoding="ascii").strip().lower()
    except (OSError, ValueError):
        return ""


# --- The token, a secret of this boot

def _read_token(file: Path | None) -> str:
    """Return the token of this boot; "" if there is none: after a restart of the VM the host knows none."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8")) if file is not None else None
    except (OSError, ValueError):
        return ""
    if not isinstance(kept, dict) or kept.get("boot_id") != read_boot_id():
        return ""
    token = kept.get("token")
    return token if isinstance(token, str) else ""


def _keep_token(file: Path | None, token: str) -> None:
    if file is None:
        return
    text = json.dumps({"token": token, "boot_id": read_boot_id()})
    with suppress(OSError):         # a full disk: then only this agent's own life has it
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)


# --- What doctor says

def findings(settings: SourceSettings, polled: PollReport, hostname: str) -> list[Finding]:
    """Given [source], what one poll brought and the hostname, say whether notifications can be had, who is registered
    and what is announced."""
    if isinstance(polled.news, PollFailed):
        is_missing = "not installed" in polled.news.reason
        return [bad("vmware-tools", polled.news.reason, f"{INSTALL}." if is_missing else
                    "Check that the VM's host is vSphere 8, and that notifications are enabled; without them set "
                    '[source] kind = "none".')]
    if polled.answer is None:
        return [bad("vmware-tools", f"VMware Tools have not answered within {CALL_S:g} s", f"{INSTALL}, and start it.")]
    return [good("vmware-tools", f"VMware Tools answered in {polled.took_s:.3f} s"),
            *_check_registrant(settings, polled.answer.document.about),
            remark("acknowledgement", "a vMotion waits for the acknowledgement, until the host's timeout"),
            *_check_time_sync(), *check_events(polled)]


def _registered_names(reply: Reply) -> str:
    """Given the reply to list, return the names of the applications: one at most."""
    found = reply.fields.get("info")
    names = [str(one.get("appName")) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return ", ".join(names)[:LONGEST_TEXT]


def _check_registrant(settings: SourceSettings, about: Mapping[str, str]) -> list[Finding]:
    name = about.get(REGISTERED, "")
    if name and name != _app_name(settings):
        return [bad("registration", f"another program is registered for vMotion notifications: {name}",
                    "Unregister it, or let it alone prepare for vMotion: a VM can have one only.")]
    return [good("registration", "this agent is registered" if name else
                 "no program is registered; this agent registers while a hook wants freeze")]


def _check_time_sync() -> list[Finding]:
    """VMware Tools can step the clock forward after a resume, beside the time daemon."""
    try:
        asked = start_command(["vmware-toolbox-cmd", "timesync", "status"], {**os.environ, "LC_ALL": "C"})
        status = finish_command(asked, CALL_S, MOST_BYTES).output
    except (OSError, subprocess.TimeoutExpired):
        return []
    if status.strip() != b"Enabled":
        return []
    return [remark("time-sync", "VMware Tools set the clock of this VM periodically, beside its time daemon",
                   "Disable it where a time daemon runs: vmware-toolbox-cmd timesync disable")]
