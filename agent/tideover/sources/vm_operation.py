"""The words of VMware vSphere 8's vMotion notifications and their replies. Pure.

A reply is one line of JSON with `result`; where that is false `errorMessage` says why. Operation ids have up to 19
digits. See core.vmware.com, "vSphere vMotion Notifications", and VMware's own sample service for it.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tideover.model import Event, Kind
from tideover.sources import NotADocument
from tideover.text_safety import make_storable

SERVICE = "vm-operation-notification"
SUCCESS = "success"                      # opStatus of an end; no other is documented
NOTIFICATION_TYPE = "sla-miss"           # the one that there is
LONGEST_TEXT = 256
LONGEST_TIMEOUT_S = 7 * 86400            # that a host may wait; a larger number is damaged
CLOCKS_AGREE_S = 5.0                     # host and guest: then the host's time of an event is believed
UNKNOWN_TOKEN = "Could not find application with the token"
LIMIT_REACHED = "Max allowed limit"
NOT_ENABLED = "not enabled on this VM"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command answered. `error`: what went wrong in the host's words, "" if it worked. `fields`: all of it."""

    fields: Mapping[str, object]
    error: str = ""

    def text(self, name: str) -> str:
        """Given a member, return its text; "" where it is missing."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else json.dumps(value)

    def number(self, name: str) -> int | None:
        """Given a member, return its whole number; None where it has none that 64 bits hold."""
        value = self.fields.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64 else None


@dataclass(frozen=True, slots=True)
class Operation:
    """One notification. `what`: start, end or timeout-change. `timeout_s`: how long the host waits for us."""

    what: str
    id: str
    timeout_s: float
    generated_at_s: float | None = None       # by the host's clock, seconds since the epoch
    facts: Mapping[str, str] = field(default_factory=dict)


def command(verb: str, **arguments: object) -> str:
    """Given a verb and its arguments, return the text of the command."""
    return f"{SERVICE}.{verb} {json.dumps(arguments)}" if arguments else f"{SERVICE}.{verb}"


def read_reply(output: str) -> Reply:
    """Given what the program printed, return the reply. Raise NotADocument if there is none in it."""
    start = output.find("{")
    if start < 0:
        text = " ".join(output.split())[:LONGEST_TEXT]
        raise NotADocument(f"it printed {text!r}" if text else "it printed nothing")
    try:
        found, _ = json.JSONDecoder().raw_decode(output[start:])
    except (ValueError, RecursionError):
        raise NotADocument("its reply is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("result"), bool):
        raise NotADocument("its reply has no result")
    if found["result"]:
        return Reply(found)
    error = make_storable(str(found.get("errorMessage", "")), 2 * LONGEST_TEXT)
    return Reply(found, " ".join(error.split()) or "it failed without a reason")


def read_operation(reply: Reply) -> Operation | None:
    """Given the reply to check-for-event, return the notification; None: there is none. Raise NotADocument for one
    without an id, or of a sort that is not known."""
    what = reply.text("eventType")
    if not what:
        return None
    operation_id = reply.number("operationId")
    if what not in ("start", "end", "timeout-change") or operation_id is None:
        raise NotADocument(f"an event {what[:LONGEST_TEXT]!r} without an operation id, or of a sort that is not known")
    timeout_s = reply.number("newNotificationTimeoutInSec" if what == "timeout-change" else "notificationTimeoutInSec")
    generated_s = reply.number("eventGenTimeInSec")
    facts = {make_storable(name, LONGEST_TEXT): make_storable(reply.text(name), LONGEST_TEXT) for name in reply.fields
             if name not in ("version", "result", "eventType", "operationId")}
    return Operation(what, str(operation_id), float(min(max(0, timeout_s or 0), LONGEST_TIMEOUT_S)),
                     None if generated_s is None else float(generated_s), facts)


def event_of(started: Operation, vm_name: str, seen_at: datetime, poll_s: float) -> Event:
    """Given the start of an operation, this VM's name, when it was read and the seconds between two reads, return the
    event. NotBefore is when the host starts without us: counted from the host's time where both clocks agree within
    seconds, else from the read before."""
    age_s = None if started.generated_at_s is None else seen_at.timestamp() - started.generated_at_s
    waited_s = age_s if age_s is not None and 0.0 <= age_s <= poll_s + CLOCKS_AGREE_S else poll_s
    not_before = seen_at + timedelta(seconds=max(0.0, started.timeout_s - waited_s))
    return Event(started.id, Kind.FREEZE, (vm_name,), not_before=not_before, source="vsphere",
                 description="vMotion to another host", extra=started.facts)
