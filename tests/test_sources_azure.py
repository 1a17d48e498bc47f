"""The Azure source against a metadata service on loopback, honest and otherwise."""
from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime

import pytest

from sampling import thinned
from tideover.model import Kind, VmIdentity
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.platforms import AZURE, HYPERV, NONE
from tideover.settings.values import SourceSettings
from tideover.simulator import InjectedFault, MetadataService
from tideover.sources import open_source
from tideover.sources.azure import EVENTS, AzureSource

QUICK = {"first_call_s": 0.05, "later_call_s": 0.05}
THROTTLED = InjectedFault(status=429, body=b"Throttle Result: Too Many Requests")


@pytest.fixture
def service():
    with MetadataService("pool_7", "id-of-pool-7", scale_set="pool") as running:
        yield running


def document(source: AzureSource):
    news = source.poll()
    assert isinstance(news, Polled), news
    return news.document


def failure(source: AzureSource) -> str:
    news = source.poll()
    assert isinstance(news, PollFailed), news
    assert "\n" not in news.reason and "0x" not in news.reason
    return news.reason


def test_a_poll_brings_what_is_listed_and_who_we_are(service):
    event_id = service.add_event("Reboot", not_before_in_s=600, event_source="User", resources=["pool_7", "pool_8"])
    news = AzureSource(service.endpoint).poll()
    assert (news.me, news.vm_id) == ("pool_7", "id-of-pool-7")
    (event,) = news.document.events
    assert (event.id, event.kind, event.event_source) == (event_id, Kind.REBOOT, "user")
    assert event.resources == ("pool_7", "pool_8")
    assert 598 < (event.not_before - news.document.date).total_seconds() <= 602
    assert news.document.asked_raw_s < news.document.received_raw_s


def test_every_request_carries_the_metadata_header_and_one_api_version(service):
    """And no header that a proxy would add; a POST says that it is JSON."""
    source = AzureSource(service.endpoint + "/")
    source.poll()
    source.acknowledge(service.add_event())
    assert [request.method for request in service.requests] == ["GET", "GET", "POST"]
    for request in service.requests:
        assert request.header("Metadata") == "true"
        assert request.header("X-Forwarded-For") is None
        assert request.target.count("api-version=") == 1
    assert service.requests[1].target == service.requests[2].target == EVENTS
    assert EVENTS.endswith("api-version=2020-07-01")
    assert service.requests[2].header("Content-Type") == "application/json"


def test_proxies_of_the_environment_are_not_used(service, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    source = AzureSource(service.endpoint)
    assert document(source).events == ()
    assert source.acknowledge(service.add_event())[0] is AckOutcome.ACCEPTED


def test_a_redirect_is_a_failure_and_never_followed(service):
    source = AzureSource(service.endpoint, "pool_7")
    document(source)
    with MetadataService("other") as other:
        there = InjectedFault(status=302, headers=(("Location", other.endpoint + EVENTS),), body=b" " * 100_000)
        service.inject_fault(there)
        service.inject_fault(there, method="POST")
        assert "redirect" in failure(source)
        assert source.acknowledge("x")[0] is AckOutcome.LOST
        assert other.requests == []


def test_the_connection_is_kept_alive_and_an_acknowledgement_has_its_own(service):
    """A poll that hangs delays no acknowledgement."""
    source = AzureSource(service.endpoint, "pool_7")
    document(source)
    connections = service.connections
    for _ in range(5):
        document(source)
    assert service.connections == connections
    event_id = service.add_event()
    service.inject_fault(InjectedFault(delay_s=9.0))
    thread = threading.Thread(target=source.poll)
    thread.start()
    assert service.wait_until(lambda: len(service.requests) == 8)
    began = time.monotonic()
    assert source.acknowledge(event_id) == (AckOutcome.ACCEPTED, "")
    assert time.monotonic() - began < 5.0
    assert thread.is_alive()
    source.close()
    thread.join()


@pytest.mark.parametrize(("fault", "words"), thinned([
    (InjectedFault(body=b""), "empty"),
    (InjectedFault(body=b"{"), "not JSON"),
    (InjectedFault(body=b'{"DocumentIncarnation":3,"Events":null}'), "no list of events"),
    (InjectedFault(body=b"[" * 100_000), "nested too deeply"),
    (InjectedFault(body=b" " * ((1 << 20) + 1)), "larger than 1 MiB"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b" " * ((1 << 20) + 1)), "larger than 1 MiB"),
    (InjectedFault(raw=b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"Events":[]}'), "cut short"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{}"), "cut short"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"), "gave no document"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{}"), "no list of events"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n{}"), "not a valid HTTP answer"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}"), "gave no document"),
    (InjectedFault(raw=b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500 + b"\r\n{}"), "not a valid HTTP answer"),
    (InjectedFault(raw=b"SSH-2.0-OpenSSH\r\n"), "not a valid HTTP answer"),
    (InjectedFault(raw=b"HTTP/1.1 9999 \xff\r\n\r\n"), "not a valid HTTP answer"),
    (InjectedFault(raw=b""), "closed without an answer"),
    (InjectedFault(drop=True), "closed without an answer"),
    (InjectedFault(reset=True), "connection reset"),
    (THROTTLED, "too many requests"), (InjectedFault(status=410), "being moved"), (InjectedFault(status=503), "503"),
    (InjectedFault(status=400), "Metadata header"), (InjectedFault(status=404), "not be an Azure VM"), (InjectedFault(status=407), "proxy"), (InjectedFault(status=403), "Metadata Security Protocol"),
    (InjectedFault(status=204), "204"), (InjectedFault(status=599, body=b"\0" * 99), "599"),
], 2), ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_answer_is_reported_in_a_sentence_and_the_next_good_one_is_taken(service, fault, words):
    """It never says anything about an event, and never stops the polling."""
    service.add_event()
    source = AzureSource(service.endpoint, "pool_7")
    assert len(document(source).events) == 1
    service.inject_fault(fault)
    reason = failure(source)
    assert words in reason
    assert reason.startswith(f"the metadata service at {service.endpoint} ")
    assert len(document(source).events) == 1


@pytest.mark.parametrize(("fault", "path", "trouble"), [
    (InjectedFault(drop=True), EVENTS, PollTrouble.NO_ANSWER), (InjectedFault(body=b"{"), EVENTS, PollTrouble.NO_DOCUMENT),
    (THROTTLED, EVENTS, PollTrouble.THROTTLED), (InjectedFault(status=407), EVENTS, PollTrouble.REFUSED),
    (InjectedFault(status=302), EVENTS, PollTrouble.REDIRECTED), (InjectedFault(status=503), EVENTS, PollTrouble.SERVER_ERROR),
    (InjectedFault(status=204), EVENTS, PollTrouble.OTHER),
    (InjectedFault(status=503), "/metadata/instance", PollTrouble.SERVER_ERROR), (InjectedFault(drop=True), "/metadata/instance", PollTrouble.NO_ANSWER),
])
def test_a_failure_is_of_one_of_few_kinds_so_that_it_can_be_counted(service, fault, path, trouble):
    service.inject_fault(fault, path=path)
    news = AzureSource(service.endpoint).poll()
    assert isinstance(news, PollFailed) and news.trouble is trouble, news


@pytest.mark.parametrize("fault", [
    InjectedFault(delay_s=9.0), pytest.param(InjectedFault(drip_s=0.01), marks=pytest.mark.slow), pytest.param(InjectedFault(drip_s=0.1), marks=pytest.mark.slow)])
def test_an_exchange_is_over_at_its_deadline_also_when_it_drips(service, fault):
    """Every wait for the next byte is short, in the headers already; the whole is bounded all the same."""
    source = AzureSource(service.endpoint, "pool_7", **QUICK)
    document(source)
    service.inject_fault(fault)
    began = time.monotonic()
    assert "no complete answer in time" in failure(source)
    assert 0.04 < time.monotonic() - began < 2.0


@pytest.mark.slow
def test_the_first_call_may_take_long_and_so_may_one_after_a_day_of_silence(service):
    """The first call turns the feature on, and a day without one turns it off."""
    clock = [1000.0]
    source = AzureSource(service.endpoint, "pool_7", first_call_s=5.0, later_call_s=0.03, read_raw_s=lambda: clock[0])
    service.inject_fault(InjectedFault(delay_s=0.1))
    document(source)
    service.inject_fault(InjectedFault(delay_s=0.1))
    failure(source)
    clock[0] += 25 * 3600
    service.inject_fault(InjectedFault(delay_s=0.1))
    document(source)


def test_an_answer_that_has_not_changed_is_not_parsed_again(service):
    """Its moment and its Date are new."""
    service.add_event()
    source = AzureSource(service.endpoint)
    first = document(source)
    service.platform_ahead_s = 60.0
    again = document(source)
    assert again.events is first.events
    assert again.received_raw_s > first.received_raw_s
    assert (again.date - first.date).total_seconds() >= 60
    service.add_event()
    assert len(document(source).events) == 2


@pytest.mark.parametrize("header", [b"", b"Date: yesterday\r\n", b"Date: Fri, 20 Nov 2026 99:00:00 GMT\r\n"])
def test_a_date_that_is_missing_or_unreadable_is_none(service, header):
    service.inject_fault(InjectedFault(raw=b"HTTP/1.1 200 OK\r\n" + header + b'\r\n{"Events":[]}'))
    assert document(AzureSource(service.endpoint, "pool_7")).date is None


def test_a_date_is_read_as_utc(service):
    service.inject_fault(InjectedFault(raw=b'HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 10:15:00 GMT\r\n\r\n{"Events":[]}'))
    assert document(AzureSource(service.endpoint, "pool_7")).date == datetime(2026, 11, 20, 10, 15, tzinfo=UTC)


def test_without_a_name_there_is_no_document_until_the_service_says_it(service):
    service.add_event()
    service.inject_fault(InjectedFault(status=500), path="/metadata/instance")
    source = AzureSource(service.endpoint)
    assert "VM's name" in failure(source)
    assert len(service.requests) == 1
    assert source.poll().me == "pool_7"
    source.poll()
    assert sum("compute" in request.target for request in service.requests) == 2


def test_a_configured_name_needs_no_identity(service):
    """The VM's id is asked for beside it, seldom, and not while an event is listed."""
    clock = [1000.0]
    service.inject_fault(InjectedFault(status=500), path="/metadata/instance", times=None)
    source = AzureSource(service.endpoint, "mine", read_raw_s=lambda: clock[0])
    assert [(news.me, news.vm_id) for news in (source.poll(), source.poll())] == [("mine", "")] * 2
    assert sum("compute" in request.target for request in service.requests) == 1
    service.clear_faults()
    event_id = service.add_event()
    document(source)
    clock[0] += 61
    assert source.poll().vm_id == ""
    service.remove_event(event_id)
    document(source)
    assert (source.poll().me, source.poll().vm_id) == ("mine", "id-of-pool-7")


def test_a_configured_name_is_kept_while_the_identity_hangs(service):
    service.inject_fault(InjectedFault(delay_s=9), path="/metadata/instance")
    began = time.monotonic()
    assert AzureSource(service.endpoint, "mine", later_call_s=0.05).poll().me == "mine"
    assert time.monotonic() - began < 1.0


def test_the_identity_can_be_asked_for_by_itself(service):
    service.inject_fault(InjectedFault(status=404), path="/metadata/instance")
    source = AzureSource(service.endpoint)
    assert source.identity() is None
    assert source.identity() == VmIdentity("pool_7", "id-of-pool-7")
    assert AzureSource(service.endpoint, "mine").identity().name == "mine"


@pytest.mark.parametrize(("fault", "outcome"), [
    (InjectedFault(status=200), AckOutcome.ACCEPTED), (InjectedFault(status=202), AckOutcome.ACCEPTED),
    (InjectedFault(status=400), AckOutcome.REFUSED), (InjectedFault(status=404), AckOutcome.REFUSED),
    (InjectedFault(status=403), AckOutcome.REFUSED), (InjectedFault(status=405), AckOutcome.REFUSED),
    (InjectedFault(status=408), AckOutcome.LOST), (InjectedFault(status=410), AckOutcome.LOST), (THROTTLED, AckOutcome.LOST),
    (InjectedFault(status=500), AckOutcome.LOST), (InjectedFault(status=503), AckOutcome.LOST), (InjectedFault(status=302), AckOutcome.LOST),
    (InjectedFault(reset=True), AckOutcome.LOST), (InjectedFault(drop=True), AckOutcome.LOST), (InjectedFault(delay_s=9), AckOutcome.LOST),
    pytest.param(InjectedFault(drip_s=0.02), AckOutcome.LOST, marks=pytest.mark.slow), (InjectedFault(raw=b"no\r\n\r\n"), AckOutcome.LOST)])
def test_what_came_of_an_acknowledgement(service, fault, outcome):
    """Only an answer that asking again cannot change is final; after silence that is not known."""
    event_id = service.add_event()
    service.inject_fault(fault, method="POST")
    found, reason = AzureSource(service.endpoint, **QUICK).acknowledge(event_id)
    assert found is outcome
    assert (reason == "") is (outcome is AckOutcome.ACCEPTED)


def test_an_acknowledgement_names_its_event_as_it_was_received(service):
    event_id = service.add_event(id="MiXed-Case")
    source = AzureSource(service.endpoint)
    assert source.acknowledge(document(source).events[0].id) == (AckOutcome.ACCEPTED, "")
    assert [given.event_id for given in service.acknowledgements] == [event_id]
    service.remove_event(event_id)
    assert source.acknowledge(event_id)[0] is AckOutcome.REFUSED


@pytest.mark.parametrize(("endpoint", "words"), [
    ("http://127.0.0.1:1", "connection refused"), ("https://127.0.0.1:1", "not an http:// address"),
    ("http://[", "not a valid address"), ("nonsense", "not an http:// address"), ("http://127.0.0.1:99999", "no document")])
def test_no_server_at_the_address_is_reported_with_a_hint(endpoint, words):
    source = AzureSource(endpoint + "/", "mine")
    assert words in failure(source)
    assert f" {endpoint} " in failure(source)
    assert "not be an Azure VM" in failure(source)
    assert "?" not in failure(source), "a full stop and a hint come after it"
    assert source.acknowledge("x")[0] is AckOutcome.LOST
    assert source.identity() is None


@pytest.mark.slow
def test_an_address_that_swallows_everything_costs_no_more_than_the_deadline():
    """A listener whose queue is full: the connection is never answered, nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        endpoint = "http://{}:{}".format(*deaf.getsockname())
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        began = time.monotonic()
        assert "not accepted in time" in failure(AzureSource(endpoint, "mine", **QUICK))
        assert time.monotonic() - began < 1.0
        for filler in fillers:
            filler.close()


def test_closing_ends_a_poll_under_way(service):
    source = AzureSource(service.endpoint, "pool_7")
    document(source)
    service.inject_fault(InjectedFault(delay_s=9))
    news = []
    thread = threading.Thread(target=lambda: news.append(source.poll()))
    thread.start()
    assert service.wait_until(lambda: len(service.requests) == 3)
    source.close()
    thread.join(1.0)
    assert "ended by this agent" in news[0].reason
    assert "ended by this agent" in failure(source)


def test_only_azure_is_a_source_that_can_be_asked():
    settings = SourceSettings("azure", "http://127.0.0.1:1", 1.0, "x")
    assert isinstance(open_source(AZURE, settings), AzureSource)
    assert open_source(HYPERV, settings) is open_source(NONE, settings) is None
