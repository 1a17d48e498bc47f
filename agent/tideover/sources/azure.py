"""Azure Scheduled Events: requests, timeouts, hedged first call, hints and findings of the metadata service.

Never decides anything about an event, and never retries: the poller and the lifecycle do. What the service answers is
reported in sentences that stay the same from poll to poll. Documentation: learn.microsoft.com, "Scheduled Events for
Linux VMs" and "Azure Instance Metadata Service".
"""
from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tideover import __version__
from tideover.http_client import HedgedGet, HttpClient, HttpResponse, RequestFailed
from tideover.model import RAW_KEPT, Document, Event, VmIdentity, fold_case
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.settings.values import SourceSettings
from tideover.sources import NotADocument, SourceContext, describe_status, read_time, trouble_of
from tideover.sources.scheduled_events import (
    read_document,
    read_identity,
    write_acknowledgement,
)
from tideover.system.clocks import read_raw_s

if TYPE_CHECKING:
    from tideover.findings import Finding, PollReport

PLATFORM = "http://169.254.169.254"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
COMPUTE = "/metadata/instance/compute?api-version=2021-02-01&format=json"
HEADERS: Mapping[str, str] = MappingProxyType({
    "Metadata": "true",                  # on GET and POST; without it the answer is 400
    "Accept": "application/json",
    "User-Agent": f"tideover/{__version__}",
})
FIRST_CALL_S = 125.0             # the first call turns the feature on, and may be held back for two minutes
HEDGE_AFTER_S = 2.0              # … or be accepted and never answered: when it is repeated on a second connection
LATER_CALL_S = 5.0
COMPUTE_CALL_S = 10.0            # the metadata service's design limit for any request
IN_PASSING_S = 1.0               # for the VM's id where the name is configured: events are more urgent
ASK_AGAIN_S = 60.0               # … and how long to leave it, when there was no answer
ASLEEP_AFTER_S = 24 * 3600.0     # a day without a call turns the feature off again

INTERMEDIARY_HINT = "check for a proxy or firewall between this VM and the metadata service"
SECURITY_PROTOCOL = ("Azure's Metadata Security Protocol may refuse this program: the access control profile of this "
                     f"VM must allow {EVENTS.partition('?')[0]} and {COMPUTE.partition('?')[0]}")
"""Its proxy in the VM answers 403 to whom the profile does not allow a path
(learn.microsoft.com/azure/virtual-machines/metadata-security-protocol)."""
NEVER_ANSWERED = "; this may not be an Azure VM, or a firewall blocks the address"
HINTS: Mapping[int, str] = MappingProxyType({
    400: "the Metadata header or the api-version was changed on the way, for example by a proxy",
    401: INTERMEDIARY_HINT,
    403: f"{SECURITY_PROTOCOL}; or {INTERMEDIARY_HINT}",
    404: "there are no scheduled events at this address; this may not be an Azure VM, or source.endpoint may be wrong",
    405: INTERMEDIARY_HINT,
    407: "a proxy answered; traffic to 169.254.169.254 must not pass a proxy",
    410: "the service is being moved, which takes up to 70 s",
    429: "too many requests from this VM; the limit is 5 per second for all its programs",
})
# What asking again cannot change; anything else that is not 2xx leaves open whether the platform has heard us.
PASSING = frozenset({408, 410, 425, 429})


def open_source(settings: SourceSettings, longest_call_s: float | None = None,
                context: SourceContext | None = None) -> AzureSource:
    """Given [source] and the longest that one request may take, None: as the service may need, return the source."""
    endpoint, vm_name = settings.endpoint or "", settings.vm_name or ""
    if longest_call_s is None:
        return AzureSource(endpoint, vm_name)
    return AzureSource(endpoint, vm_name, first_call_s=longest_call_s, later_call_s=longest_call_s)


class AzureSource:
    """The metadata service at `endpoint` ("" = the platform's), asked as the VM `vm_name` ("" = ask the service)."""

    def __init__(self, endpoint: str = "", vm_name: str = "", *, first_call_s: float = FIRST_CALL_S,
                 later_call_s: float = LATER_CALL_S, hedge_after_s: float = HEDGE_AFTER_S,
                 read_raw_s: Callable[[], float] = read_raw_s) -> None:
        self._endpoint, self._vm_name = (endpoint or PLATFORM).rstrip("/"), vm_name
        self._first_call_s, self._later_call_s, self._hedge_after_s = first_call_s, later_call_s, hedge_after_s
        self._read_raw_s = read_raw_s
        self._client = self._make_client()
        self._first_call: HedgedGet | None = None       # the newest one
        self._is_closed = False
        self._identity: VmIdentity | None = None
        self._ask_again_raw_s = -math.inf
        self._answered_raw_s: float | None = None
        self._last_body, self._last_document = b"", Document((), 0.0, 0.0)

    def poll(self) -> Polled | PollFailed:
        """Ask once; return the document, or why there is none. Takes 5 s at most; the first call 125 s."""
        try:
            me = self._who_am_i()
            answer = self._get(EVENTS, self._later_call_s, self._first_call_s)
            if answer.status != 200:
                return PollFailed(self._sentence(_describe(answer.status)), trouble_of(answer.status))
            document = self._read(answer)
        except RequestFailed as error:
            hint = NEVER_ANSWERED if self._answered_raw_s is None else ""
            return PollFailed(self._sentence(f"gave no document: {error}{hint}"), trouble_of(error.status))
        except NotADocument as error:
            return PollFailed(self._sentence(f"gave no document: {error}"), PollTrouble.NO_DOCUMENT)
        self._answered_raw_s = answer.received_raw_s
        return Polled(document, me.name, me.vm_id)

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        """Given an EventId as received, send the one POST that lets the event start; return what came of it, and why.

        On a connection of its own, so that a poll under way delays nothing. ACCEPTED: 2xx. REFUSED: 4xx, asking again
        is pointless. LOST: no answer, 429, 5xx or a redirect: only a fresh document can tell.
        """
        client = self._make_client()
        try:
            status = client.post(self._endpoint + EVENTS, write_acknowledgement(event_id), self._later_call_s).status
        except RequestFailed as error:
            return AckOutcome.LOST, self._sentence(f"did not answer the acknowledgement: {error}")
        finally:
            client.close()
        if 200 <= status < 300:
            return AckOutcome.ACCEPTED, ""
        final = 400 <= status < 500 and status not in PASSING
        return (AckOutcome.REFUSED if final else AckOutcome.LOST), self._sentence(_describe_acknowledgement(status))

    def identity(self) -> VmIdentity | None:
        """Return who this VM is; ask the service unless that is known. None: it did not answer.

        With a configured name that name is right whatever the service says; the VM's id is the service's all the same.
        """
        client = self._make_client()
        try:
            return self._identity or self._take_identity(client.get(self._endpoint + COMPUTE, COMPUTE_CALL_S))
        except (RequestFailed, NotADocument):
            return None
        finally:
            client.close()

    def remember(self, events: Iterable[Event]) -> None:
        """The platform gives its events their ids: there is nothing to know of before."""

    def close(self) -> None:
        """End a poll that is under way. An acknowledgement that is under way goes on."""
        self._is_closed = True
        self._client.close()
        if self._first_call is not None:
            self._first_call.close()

    def _make_client(self) -> HttpClient:
        return HttpClient(HEADERS, self._read_raw_s)

    def _get(self, target: str, limit_s: float, asleep_limit_s: float) -> HttpResponse:
        """GET a target within `limit_s`, or `asleep_limit_s` when the service may be asleep. Raise RequestFailed."""
        if not self._may_be_asleep():
            return self._client.get(self._endpoint + target, limit_s)
        first = self._first_call = HedgedGet(self._make_client, self._hedge_after_s, self._later_call_s)
        if self._is_closed:
            first.close()
        response, client = first.get(self._endpoint + target, asleep_limit_s)
        self._client.close()
        self._client = client
        if self._is_closed:
            client.close()
        return response

    def _who_am_i(self) -> VmIdentity:
        """A configured name makes polling depend on nothing else: the id is then asked for seldom, and briefly, and
        not while anything is listed."""
        if self._identity is not None:
            return self._identity
        if not self._vm_name:
            return self._take_identity(self._get(COMPUTE, COMPUTE_CALL_S, COMPUTE_CALL_S))
        if self._read_raw_s() >= self._ask_again_raw_s and not self._last_document.events:
            self._ask_again_raw_s = self._read_raw_s() + ASK_AGAIN_S
            with suppress(RequestFailed, NotADocument):
                limit_s = min(IN_PASSING_S, self._later_call_s)
                return self._take_identity(self._client.get(self._endpoint + COMPUTE, limit_s))
        return VmIdentity(self._vm_name)

    def _take_identity(self, answer: HttpResponse) -> VmIdentity:
        if answer.status != 200:
            raise RequestFailed(f"asked for this VM's name it {_describe(answer.status)}", answer.status)
        found = read_identity(answer.body)
        self._identity = replace(found, name=self._vm_name or found.name)
        return self._identity

    def _may_be_asleep(self) -> bool:
        return self._answered_raw_s is None or self._read_raw_s() - self._answered_raw_s > ASLEEP_AFTER_S

    def _read(self, answer: HttpResponse) -> Document:
        """Bytes that have not changed are not parsed again: nearly all of 86 400 a day have not."""
        date = read_time(answer.date)
        if self._last_body and answer.body == self._last_body:
            return replace(self._last_document, date=date, asked_raw_s=answer.sent_raw_s,
                           received_raw_s=answer.received_raw_s)
        document = read_document(answer.body, date=date, asked_raw_s=answer.sent_raw_s,
                                 received_raw_s=answer.received_raw_s)
        document = replace(document, raw=answer.body[:RAW_KEPT].decode("utf-8", "replace"))
        self._last_body, self._last_document = answer.body, document
        return document

    def _sentence(self, trouble: str) -> str:
        return f"the metadata service at {self._endpoint} {trouble}"


def _describe(status: int) -> str:
    means = describe_status(status, HINTS, INTERMEDIARY_HINT)
    return f"answered {status}{', ' if 300 <= status < 400 else ': '}{means}"


def _describe_acknowledgement(status: int) -> str:
    if status in {400, 404}:
        return f"answered {status} to the acknowledgement: the event does not exist, or no longer"
    return _describe(status)


# --- What doctor says: the agent does not load findings, for they would stay in its memory

FIRST_CALL = "the first call may take up to 2 minutes while Scheduled Events are enabled: retry then"


def findings(settings: SourceSettings, polled: PollReport, hostname: str) -> list[Finding]:
    """Given [source], what one poll brought and the hostname, say whether the service can be used, who this VM is and
    what is announced."""
    from tideover.findings import check_answer, check_events
    place = f"the metadata service at {settings.endpoint or PLATFORM}"
    findings = check_answer("metadata", place, polled, _advice(polled), FIRST_CALL.partition(":")[0])
    return [*findings, *_check_name(settings, polled, hostname), *check_events(polled)]


def _advice(polled: PollReport) -> str:
    if polled.is_late:
        return f"Check the route to it and the firewall; {FIRST_CALL}."
    if isinstance(polled.news, PollFailed) and SECURITY_PROTOCOL in polled.news.reason:
        return (f"Allow both paths to the program {Path(sys.executable).resolve()} (exePath) or to the user it runs as "
                "(userName); the log of Azure's GuestProxyAgent names the programs it refuses.")
    return ("Check that it is reached directly from the VM's first interface, without a proxy or a firewall in "
            f"between; {FIRST_CALL}.")


def _check_name(settings: SourceSettings, polled: PollReport, hostname: str) -> list[Finding]:
    """Events name the VM as Azure does, in capitals or not; the hostname is what many programs go by, and miss them."""
    from tideover.findings import bad, good, remark
    if polled.answer is None:
        return []
    me, named = polled.answer.me, polled.named
    if settings.vm_name and named is not None and fold_case(named.name) != fold_case(me):
        return [bad("name", f"[source] vm_name is {me}, but the service calls this VM {named.name}: no event would "
                            "match this VM", "Remove vm_name: the metadata service is asked for it.")]
    if fold_case(me) == fold_case(hostname):
        return [good("name", f"events call this VM {me}, as its hostname does")]
    return [remark("name", f"events call this VM {me}, its hostname is {hostname}: tideover uses the first; programs "
                           "that use the hostname miss its events")]
