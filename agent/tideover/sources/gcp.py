"""Google Compute Engine: requests, intervals, hints and findings of its metadata server.

One poll is several requests within one deadline: instance/maintenance-event and instance/preempted each time, the rest
seldom or when it is needed: a live migration changes virtual-clock/drift-token, which so proves one, announced or not.
Asking for the first by its exact key makes the platform give 60 s of notice before a live migration; a directory or
`recursive=true` does not. 503 and reset connections while a migration runs are documented behaviour: such a poll brings
no document, the next one does. See cloud.google.com/compute/docs, "Get live migration notices" and "Monitor and plan
for a host maintenance event".
"""
from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

from tideover import __version__
from tideover.findings import Finding, PollReport, check_answer, check_events, good, remark
from tideover.http_client import HttpClient, HttpResponse, RequestFailed
from tideover.model import RAW_KEPT, Document, Event, Kind, VmIdentity
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.settings.values import SourceSettings
from tideover.sources import KeyFailed, NotADocument, SourceContext, describe_status, read_time, trouble_of
from tideover.sources.compute_metadata import (
    HostAction,
    MetadataKeys,
    UpcomingMaintenance,
    VmFacts,
    awaits_proof,
    events_of,
    read_drift_token,
    read_flag,
    read_host_action,
    read_name,
    read_upcoming,
)
from tideover.system.clocks import read_raw_s

PLATFORM = "http://169.254.169.254"
BASE = "/computeMetadata/v1/instance/"
FLAVOR = "Metadata-Flavor"
HEADERS: Mapping[str, str] = MappingProxyType({FLAVOR: "Google", "User-Agent": f"tideover/{__version__}"})
POLL_S = 5.0                     # one poll, all its requests together
UPCOMING_EVERY_S = 60.0          # a window is announced days or at least many minutes ahead
UNSUPPORTED_EVERY_S = 3600.0     # … and most machine families have no such key: 404
GONE_AFTER_S = 4.0               # that it has been missing: one answer 404 may be an error of a moment
DRIFT_EVERY_S = 5.0              # what a pause was may be known some seconds after it
IDENTITY_S = 10.0

POLICY, RESTARTS = "on-host-maintenance", "automatic-restart"      # below instance/scheduling; doctor tells of both
ANOTHER_ANSWERS = "another server may be answering in its place"
ANOTHER_SERVER = f"the answer lacks {FLAVOR}: Google, so it came from another server than Google's"
NO_ACKNOWLEDGEMENT = "Google Compute Engine takes no acknowledgement"
HINTS: Mapping[int, str] = MappingProxyType({
    403: f"the {FLAVOR} header did not arrive as sent, or a proxy in between added X-Forwarded-For",
    404: "there is no such key; this may be no VM of Google's, or source.endpoint may be wrong",
    429: "too many requests from this VM",
    503: "the metadata server is away, as it may be while a live migration runs; it comes back by itself",
})


def open_source(settings: SourceSettings, longest_call_s: float | None = None,
                context: SourceContext | None = None) -> ComputeEngineSource:
    """Given [source] and the longest that one poll may take, None: the usual 5 s, return the source."""
    return ComputeEngineSource(settings.endpoint or "", settings.vm_name or "", poll_s=longest_call_s or POLL_S,
                               preempt_notice_s=settings.gcp.preempt_notice_s,
                               terminate_notice_s=settings.gcp.terminate_notice_s, only_looks=context is None)


class ComputeEngineSource:
    """The metadata server at `endpoint` ("" = the platform's), asked by the VM that the events call `vm_name` ("" = by
    its instance name). Each key concerns this VM alone. `only_looks`: no agent runs on it; then its documents say what
    the maintenance policy of the VM is."""

    def __init__(self, endpoint: str = "", vm_name: str = "", *, preempt_notice_s: float = 0.0,
                 terminate_notice_s: float = 60.0, poll_s: float = POLL_S, only_looks: bool = False,
                 read_raw_s: Callable[[], float] = read_raw_s) -> None:
        self._endpoint, self._vm_name, self._poll_s = (endpoint or PLATFORM).rstrip("/"), vm_name, poll_s
        self._preempt_notice_s, self._terminate_notice_s = preempt_notice_s, terminate_notice_s
        self._read_raw_s, self._only_looks = read_raw_s, only_looks
        self._client = HttpClient(HEADERS, read_raw_s)
        self._vm: VmFacts | None = None
        self._known: tuple[Event, ...] = ()
        self._is_first = True
        self._upcoming: UpcomingMaintenance | None = None
        self._upcoming_trouble = ""
        self._upcoming_due_raw_s = self._drift_due_raw_s = -math.inf
        self._drift_token = ""
        self._about: Mapping[str, str] = {}
        self._until_raw_s = 0.0

    def remember(self, events: Iterable[Event]) -> None:
        """Given the events that were listed when the last agent ended, go on with those that still are."""
        self._known = tuple(event for event in events if event.source == "gcp")

    def poll(self) -> Polled | PollFailed:
        """Ask for every key; return the events, or why there are none. Takes 5 s at most."""
        self._until_raw_s = self._read_raw_s() + self._poll_s
        try:
            answer = self._get("maintenance-event")
            action = read_host_action(answer.body)
            is_preempted = self._ask_whether_preempted()
            vm = self._facts()
            self._ask_for_upcoming()
            is_news = not self._known and (action != HostAction.NONE or self._upcoming is not None)
            if is_news or self._only_looks:
                vm = self._vm = self._with_scheduling(vm)
            moved = self._ask_for_drift_token(needed=action != HostAction.NONE or awaits_proof(self._known))
        except KeyFailed as failed:
            return PollFailed(self._sentence(str(failed)), failed.trouble)
        except NotADocument as error:
            return PollFailed(self._sentence(f"gave no document: {error}"), PollTrouble.NO_DOCUMENT)
        date = read_time(answer.date)
        keys = MetadataKeys(action, is_preempted, self._upcoming, date or datetime.now(UTC), self._is_first,
                            self._drift_token)
        self._known, self._is_first = events_of(keys, vm, self._known), False
        document = Document(self._known, date=date, asked_raw_s=answer.sent_raw_s,
                            received_raw_s=answer.received_raw_s, left_out=self._upcoming_trouble, moved=moved,
                            about=self._about, raw=_raw_text(keys))
        return Polled(document, vm.name, vm.vm_id)

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        """This platform takes no acknowledgement."""
        return AckOutcome.REFUSED, NO_ACKNOWLEDGEMENT

    def identity(self) -> VmIdentity | None:
        """Return who this VM is; ask the server unless that is known. None: it did not answer."""
        self._until_raw_s = self._read_raw_s() + IDENTITY_S
        try:
            vm = self._facts()
        except (KeyFailed, NotADocument):
            return None
        return VmIdentity(vm.name, vm.vm_id)

    def close(self) -> None:
        """End a poll that is under way."""
        self._client.close()

    def _facts(self) -> VmFacts:
        if self._vm is None:
            name = self._vm_name or read_name("instance/name", self._get("name").body)
            self._vm = VmFacts(name, read_name("instance/id", self._get("id").body),
                               terminate_notice_s=self._terminate_notice_s, preempt_notice_s=self._preempt_notice_s)
        return self._vm

    def _with_scheduling(self, vm: VmFacts) -> VmFacts:
        """The policy may be changed while the VM runs, so it is asked for when something is announced. Where it
        cannot be read, what was known stays: it decides the kind only, and the announcement itself matters more."""
        try:
            policy = read_name("instance/scheduling/on-host-maintenance",
                               self._get("scheduling/on-host-maintenance").body)
            restarts = read_flag("instance/scheduling/automatic-restart",
                                 self._get("scheduling/automatic-restart").body)
        except NotADocument:
            return vm
        except KeyFailed as failed:
            if failed.status == 404:
                return vm
            raise
        self._about = {POLICY: policy, RESTARTS: str(restarts).upper()}
        return replace(vm, migrates=policy.upper() == "MIGRATE", restarts=restarts)

    def _ask_whether_preempted(self) -> bool:
        """A server without the key (Yandex Cloud's) says nothing of it."""
        try:
            return read_flag("instance/preempted", self._get("preempted").body)
        except KeyFailed as failed:
            if failed.status == 404 and not any(event.kind is Kind.PREEMPT for event in self._known):
                return False
            raise

    def _ask_for_upcoming(self) -> None:
        """Where it cannot be read, the last known values stay in force, and that is reported."""
        if self._read_raw_s() < self._upcoming_due_raw_s:
            return
        self._upcoming_due_raw_s = self._read_raw_s() + UPCOMING_EVERY_S
        try:
            self._upcoming = read_upcoming(self._get("upcoming-maintenance?alt=json").body)
            self._upcoming_trouble = ""
        except NotADocument as error:
            self._upcoming_trouble = str(error)
        except KeyFailed as failed:
            if failed.status == 404 and (self._upcoming is None or self._upcoming_trouble):
                self._upcoming, self._upcoming_trouble = None, ""
                self._upcoming_due_raw_s = self._read_raw_s() + UNSUPPORTED_EVERY_S
            elif failed.status == 404:      # it has gone, which ends the maintenance, if it stays so
                self._upcoming_trouble = f"instance/upcoming-maintenance cannot be read: it {failed}"
                self._upcoming_due_raw_s = self._read_raw_s() + GONE_AFTER_S
            elif failed.status != 503:      # while nothing is announced that is an answer, too
                self._upcoming_trouble = f"instance/upcoming-maintenance cannot be read: it {failed}"

    def _ask_for_drift_token(self, *, needed: bool) -> str:
        """Return what shows that this VM has moved since the last poll; "": nothing does. It is evidence only: where it
        cannot be read, the poll goes on without."""
        if not needed and self._read_raw_s() < self._drift_due_raw_s:
            return ""
        self._drift_due_raw_s = self._read_raw_s() + DRIFT_EVERY_S
        before = self._drift_token
        try:
            self._drift_token = read_drift_token(self._get("virtual-clock/drift-token").body)
        except (KeyFailed, NotADocument) as failed:
            if isinstance(failed, KeyFailed) and failed.status == 404:
                self._drift_due_raw_s = self._read_raw_s() + UNSUPPORTED_EVERY_S
            return ""
        if before in ("", self._drift_token):
            return ""
        return (f"the drift token of the metadata server changed from {before} to {self._drift_token}, as it does in a "
                "live migration")

    def _get(self, key: str) -> HttpResponse:
        """Return the 200 of a key, within what is left of the poll. Raise KeyFailed."""
        left_s = self._until_raw_s - self._read_raw_s()
        if left_s <= 0:
            raise KeyFailed(f"did not answer all of one poll within {self._poll_s:g} s", PollTrouble.NO_ANSWER)
        try:
            answer = self._client.get(f"{self._endpoint}{BASE}{key}", left_s)
        except RequestFailed as error:
            raise KeyFailed(f"gave no document: {error}", PollTrouble.NO_ANSWER) from error
        if answer.status != 200:
            raise KeyFailed(f"answered {answer.status} to {key.partition('?')[0]}: "
                            f"{describe_status(answer.status, HINTS, ANOTHER_ANSWERS)}",
                            trouble_of(answer.status), answer.status)
        if answer.headers.get(FLAVOR) != "Google":
            raise KeyFailed(f"gave no document: {ANOTHER_SERVER}", PollTrouble.NO_DOCUMENT)
        return answer

    def _sentence(self, trouble: str) -> str:
        return f"the metadata server at {self._endpoint} {trouble}"


def _raw_text(keys: MetadataKeys) -> str:
    upcoming = dict(keys.upcoming.facts) if keys.upcoming is not None else None
    return json.dumps({"maintenance-event": keys.host_action, "preempted": keys.is_preempted,
                       "upcoming-maintenance": upcoming, "drift-token": keys.drift_token})[:RAW_KEPT]


# --- What doctor says

def findings(settings: SourceSettings, polled: PollReport, hostname: str) -> list[Finding]:
    """Given [source], what one poll brought and the hostname, say whether the server can be used, what it tells and
    what is announced."""
    place = f"the metadata server at {settings.endpoint or PLATFORM}"
    findings = check_answer("metadata", place, polled,
                            "Check that it is reached straight from the VM, without a proxy or a firewall in between.")
    if polled.answer is None:
        return findings
    return [*findings, good("name", f"this VM is {polled.answer.me} ({polled.answer.vm_id})"),
            remark("acknowledgement", f"{NO_ACKNOWLEDGEMENT}: maintenance starts when its notice is over, prepared "
                                      "or not"),
            *_check_policy(polled.answer.document.about),
            remark("sole-tenant", "on a sole-tenant node nothing is announced: a live migration shows by its pause and "
                                  "the drift token"),
            *check_events(polled)]


def _check_policy(about: Mapping[str, str]) -> list[Finding]:
    """Given what the server says of the VM's scheduling, say what is announced under that."""
    if POLICY not in about:
        return [remark("policy", "the server does not tell the VM's maintenance policy")]
    found = [good("policy", "the VM is migrated live (onHostMaintenance is MIGRATE): announced 60 s before, while this "
                            "agent asks")] if about[POLICY].upper() == "MIGRATE" else [
        remark("policy", "the VM is stopped for maintenance of its host (onHostMaintenance is TERMINATE): that is "
                         "announced only where it has a GPU",
               "Set it to MIGRATE where the machine type allows it: gcloud compute instances set-scheduling NAME "
               "--maintenance-policy=MIGRATE")]
    if about.get(RESTARTS) == "FALSE":
        found.append(remark("policy", "the VM does not start again after it was stopped for maintenance "
                                      "(automaticRestart is false)"))
    return found
