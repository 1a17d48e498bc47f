"""AWS EC2: requests, token, intervals, hints and findings of its instance metadata service.

Nothing is acknowledged there. Every request carries a token (IMDSv2), which is fetched by a PUT and renewed before it
expires, or when a 401 says that it is gone. One poll is several requests within one deadline; the keys of the Spot
service and of Auto Scaling are asked for every 5 s, as AWS advises. 404 of one key means that there is nothing to tell.
See docs.aws.amazon.com, EC2 User Guide, "Use the Instance Metadata Service", "Scheduled events for your instances".
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from tideover import __version__
from tideover.findings import Finding, PollReport, check_answer, check_events, good, remark
from tideover.http_client import HttpClient, HttpResponse, RequestFailed
from tideover.model import RAW_KEPT, Document, Event, VmIdentity
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.settings.values import SourceSettings
from tideover.sources import KeyFailed, NotADocument, SourceContext, describe_status, read_time, trouble_of
from tideover.sources.ec2_metadata import (
    InstanceKeys,
    SpotAction,
    events_of,
    read_lifecycle_state,
    read_rebalance,
    read_scheduled,
    read_spot_action,
    read_text,
    vanished,
)
from tideover.system.clocks import MachineClocks, read_raw_s

PLATFORM = "http://169.254.169.254"
PLATFORM_IPV6 = "http://[fd00:ec2::254]"     # on Nitro instances whose IPv6 endpoint is enabled
META_DATA = "/latest/meta-data/"
SCHEDULED = "events/maintenance/scheduled"
HISTORY = "events/maintenance/history"
TOKEN = "/latest/api/token"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_TTL_S = 21600                          # the longest that AWS grants
RENEWED_AFTER = 0.9                          # of its life
HEADERS: Mapping[str, str] = MappingProxyType({"User-Agent": f"tideover/{__version__}"})
POLL_S = 5.0                     # one poll, all its requests together
WRONG_DATE = timedelta(days=366)       # so far ahead of this machine's clock, a Date is doubted
SPOT_EVERY_S = 5.0               # as often as AWS advises; its notice is 2 minutes
GONE_AFTER_S = 4.0               # that a key has been missing: one answer 404 or empty may be an error of a moment
IDENTITY_S = 10.0

ANOTHER_ANSWERS = "another server may be answering in its place"
NO_ACKNOWLEDGEMENT = "AWS EC2 takes no acknowledgement"
HINTS: Mapping[int, str] = MappingProxyType({
    400: "the request was changed on the way, for example by a proxy",
    401: "it does not take the token that it gave just before; a proxy in between may change the requests",
    403: "the instance metadata service is disabled for this instance (HttpEndpoint), or a proxy in between added "
         "X-Forwarded-For",
    404: "there is no such key; this may be no EC2 instance, or source.endpoint may be wrong",
    429: "too many requests from this instance",
    503: "too many requests from this instance, or a temporary fault of the platform",
})
HOP_LIMIT = ("in a container, the answer to the request for a token may need a hop limit of 2 "
             "(HttpPutResponseHopLimit)")


def open_source(settings: SourceSettings, longest_call_s: float | None = None,
                context: SourceContext | None = None) -> Ec2Source:
    """Given [source] and the longest that one poll may take, None: the usual 5 s, return the source."""
    return Ec2Source(settings.endpoint or "", poll_s=longest_call_s or POLL_S, rebalance=settings.aws.rebalance,
                     autoscaling=settings.aws.autoscaling)


class Ec2Source:
    """The instance metadata service at `endpoint` ("" = the platform's, by IPv6 where IPv4 gives no answer).

    `rebalance`: whether a rebalance recommendation counts as an interruption; `autoscaling`: whether the end that an
    Auto Scaling group plans for this instance counts as one. Each key concerns this instance alone.
    """

    def __init__(self, endpoint: str = "", *, rebalance: bool = False, autoscaling: bool = False,
                 poll_s: float = POLL_S, read_raw_s: Callable[[], float] = read_raw_s,
                 read_uptime_s: Callable[[], float] | None = None) -> None:
        self._endpoints = (endpoint.rstrip("/"),) if endpoint else (PLATFORM, PLATFORM_IPV6)
        self._endpoint = self._endpoints[0]
        self._rebalance, self._autoscaling, self._poll_s = rebalance, autoscaling, poll_s
        self._read_raw_s, self._read_uptime_s = read_raw_s, read_uptime_s or _uptime_s
        self._client = HttpClient(HEADERS, read_raw_s)
        self._has_answered = False
        self._token, self._renew_raw_s = "", -math.inf
        self._instance_id = ""
        self._known: tuple[Event, ...] = ()
        self._seldom_due_raw_s = -math.inf
        self._spot: SpotAction | None = None
        self._recommends_rebalance = False
        self._missing_since: dict[str, float] = {}      # by key: when it was first missing, of a stretch
        self._lifecycle_state = ""
        self._until_raw_s = 0.0

    def remember(self, events: Iterable[Event]) -> None:
        """Given the events that were listed when the last agent ended, go on with those that still are."""
        self._known = tuple(event for event in events if event.source == "aws")

    def poll(self) -> Polled | PollFailed:
        """Ask for every key; return the events, or why there are none. Takes 5 s at most."""
        self._until_raw_s = self._read_raw_s() + self._poll_s
        try:
            return self._ask()
        except KeyFailed as failed:
            news = PollFailed(self._sentence(str(failed)), failed.trouble)
            if failed.trouble is PollTrouble.NO_ANSWER and not self._has_answered:
                self._try_other_endpoint()
            return news
        except NotADocument as error:
            return PollFailed(self._sentence(f"gave no document: {error}"), PollTrouble.NO_DOCUMENT)

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        """This platform takes no acknowledgement."""
        return AckOutcome.REFUSED, NO_ACKNOWLEDGEMENT

    def identity(self) -> VmIdentity | None:
        """Return who this VM is; ask the service unless that is known. None: it did not answer."""
        self._until_raw_s = self._read_raw_s() + IDENTITY_S
        try:
            instance_id = self._who_am_i()
        except (KeyFailed, NotADocument):
            return None
        return VmIdentity(instance_id, instance_id)

    def close(self) -> None:
        """End a poll that is under way."""
        self._client.close()

    def _ask(self) -> Polled:
        """Raise KeyFailed or NotADocument."""
        instance_id = self._who_am_i()
        answer = self._get(SCHEDULED)
        is_list = answer.status == 200 and bool(answer.body.strip())
        if self._is_missing_lately(SCHEDULED, answer if is_list else None) and any(
                "Code" in event.extra for event in self._known):
            what = "empty" if answer.status == 200 else "missing (404)"
            raise NotADocument(f"{SCHEDULED} is {what}, though an event was listed there")
        scheduled, left_out = read_scheduled(answer.body) if is_list else ((), "")
        self._ask_seldom_keys()
        date = read_time(answer.date)
        here = datetime.now(UTC)
        now = date or here
        is_wrong = now - here > WRONG_DATE          # by such a Date an event ahead would lie before the boot
        booted_at = (here if is_wrong else now) - timedelta(seconds=self._read_uptime_s())
        gone = vanished(scheduled, self._known)
        keys = InstanceKeys(scheduled, now, booted_at, self._spot,
                            self._recommends_rebalance, self._lifecycle_state,
                            self._completed() & gone if gone else gone)
        self._known = events_of(keys, instance_id, self._known)
        document = Document(self._known, date=date, asked_raw_s=answer.sent_raw_s,
                            received_raw_s=answer.received_raw_s, left_out=left_out,
                            raw=answer.body[:RAW_KEPT].decode("utf-8", "replace"))
        return Polled(document, instance_id, instance_id)

    def _who_am_i(self) -> str:
        if not self._instance_id:
            answer = self._get("instance-id", needed=True)
            text = read_text(answer.body)
            if not text or len(text) > 64 or not text.isprintable() or " " in text:
                raise NotADocument("instance-id is no id")
            self._instance_id = text
        return self._instance_id

    def _completed(self) -> frozenset[str]:
        """Return the ids of the events that the history says were carried out; none where it cannot be read: what left
        the list is over all the same."""
        try:
            answer = self._get(HISTORY)
            entries, _ = read_scheduled(answer.body) if answer.status == 200 else ((), "")
        except (KeyFailed, NotADocument):
            return frozenset()
        return frozenset(entry.id for entry in entries if entry.state == "completed")

    def _ask_seldom_keys(self) -> None:
        """Raise KeyFailed or NotADocument."""
        if self._read_raw_s() < self._seldom_due_raw_s:
            return
        if (found := self._find("spot/instance-action")) is not None:
            self._spot = read_spot_action(found.body) if found.status == 200 else None
        if self._rebalance and (found := self._find("events/recommendations/rebalance")) is not None:
            self._recommends_rebalance = found.status == 200 and read_rebalance(found.body)
        if self._autoscaling and (found := self._find("autoscaling/target-lifecycle-state")) is not None:
            self._lifecycle_state = read_lifecycle_state(found.body) if found.status == 200 else ""
        self._seldom_due_raw_s = self._read_raw_s() + SPOT_EVERY_S

    def _find(self, key: str) -> HttpResponse | None:
        """Return the 200 of a key, or its 404 where that has lasted; None: what was known of it stays. Raise
        KeyFailed."""
        answer = self._get(key)
        return None if self._is_missing_lately(key, answer if answer.status == 200 else None) else answer

    def _is_missing_lately(self, key: str, answer: HttpResponse | None) -> bool:
        """Given a key and its answer, None where it is missing, return whether it is, and only for a moment yet."""
        now_raw_s = self._read_raw_s()
        if answer is not None:
            self._missing_since.pop(key, None)
            return False
        return now_raw_s - self._missing_since.setdefault(key, now_raw_s) < GONE_AFTER_S

    def _get(self, key: str, *, needed: bool = False) -> HttpResponse:
        """Return the 200 of a key, or its 404 (unless it is `needed`), within what is left of the poll. Raise
        KeyFailed."""
        answer = self._get_with_token(key)
        if answer.status == 401:
            self._renew_raw_s = -math.inf
            answer = self._get_with_token(key)
        if answer.status == 200 or (answer.status == 404 and not needed):
            self._has_answered = True
            return answer
        raise _failed(key, answer.status)

    def _get_with_token(self, key: str) -> HttpResponse:
        headers = {TOKEN_HEADER: self._current_token()}
        return self._exchange(lambda left_s: self._client.get(f"{self._endpoint}{META_DATA}{key}", left_s, headers))

    def _current_token(self) -> str:
        now_raw_s = self._read_raw_s()
        if now_raw_s >= self._renew_raw_s:
            answer = self._exchange(lambda left_s: self._client.put(
                f"{self._endpoint}{TOKEN}", left_s, {TTL_HEADER: str(TOKEN_TTL_S)}), HOP_LIMIT)
            if answer.status != 200:
                raise _failed("the request for a token", answer.status)
            token = read_text(answer.body)
            if not token or not token.isascii() or not token.isprintable():
                raise NotADocument("the token is no text that could be sent back")
            granted = answer.headers.get(TTL_HEADER, "")
            ttl_s = int(granted) if granted.isascii() and granted.isdecimal() and len(granted) < 6 else TOKEN_TTL_S
            self._token, self._renew_raw_s = token, now_raw_s + RENEWED_AFTER * min(ttl_s, TOKEN_TTL_S)
        return self._token

    def _exchange(self, ask: Callable[[float], HttpResponse], hint: str = "") -> HttpResponse:
        """Given how to ask within some seconds, return what came within the rest of the poll. Raise KeyFailed."""
        left_s = self._until_raw_s - self._read_raw_s()
        if left_s <= 0:
            raise KeyFailed(f"did not answer all of one poll within {self._poll_s:g} s", PollTrouble.NO_ANSWER)
        try:
            return ask(left_s)
        except RequestFailed as error:
            more = f"; {hint}" if hint and error.timed_out else ""
            raise KeyFailed(f"gave no document: {error}{more}", PollTrouble.NO_ANSWER) from error

    def _try_other_endpoint(self) -> None:
        self._endpoint = self._endpoints[(self._endpoints.index(self._endpoint) + 1) % len(self._endpoints)]

    def _sentence(self, trouble: str) -> str:
        return f"the metadata service at {self._endpoint} {trouble}"


def _failed(key: str, status: int) -> KeyFailed:
    return KeyFailed(f"answered {status} to {key}: {describe_status(status, HINTS, ANOTHER_ANSWERS)}",
                     trouble_of(status), status)


def _uptime_s() -> float:
    return MachineClocks().boot_ns() / 1e9


# --- What doctor says

def findings(settings: SourceSettings, polled: PollReport, hostname: str) -> list[Finding]:
    """Given [source], what one poll brought and the hostname, say whether the service can be used, what it tells and
    what is announced."""
    place = f"the metadata service at {settings.endpoint or PLATFORM}"
    findings = check_answer("metadata", place, polled,
                            f"Check that it is enabled for this instance and reached straight from it, without a proxy "
                            f"or a firewall in between; {HOP_LIMIT}.")
    if polled.answer is None:
        return findings
    return [*findings, good("name", f"this instance is {polled.answer.me}"),
            remark("acknowledgement", f"{NO_ACKNOWLEDGEMENT}: maintenance starts in its own time, prepared or not"),
            remark("notice", "days to weeks before scheduled events, 2 minutes before a Spot interruption; a live "
                             "migration is not announced"),
            remark("prepare", "NotBefore is the earliest time: AWS may act hours later, and applications stay prepared "
                              "until then"),
            *check_events(polled)]
