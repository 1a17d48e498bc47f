"""The simulated metadata service keeps to what the platform documents; asked here by raw HTTP, not by the agent."""
from __future__ import annotations

import http.client
import json
import time
from email.utils import parsedate_to_datetime

import pytest

from tideover.simulator import InjectedFault, MetadataService

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
HEADERS = {"Metadata": "true"}


@pytest.fixture
def service():
    with MetadataService("vm-1", "id-1", scale_set="pool") as running:
        yield running


def ask(service, method="GET", target=EVENTS, *, headers=HEADERS, body=None):
    """One request on a connection of its own: status, body, headers."""
    connection = http.client.HTTPConnection(service.endpoint.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, target, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def document(service, target=EVENTS):
    status, body, _ = ask(service, target=target)
    assert status == 200
    return json.loads(body)


def acknowledge(service, *ids):
    body = json.dumps({"StartRequests": [{"EventId": event_id} for event_id in ids]})
    return ask(service, "POST", body=body)[0]


def test_nothing_announced_is_an_empty_list(service):
    status, body, headers = ask(service)
    assert (status, body) == (200, b'{"DocumentIncarnation":1,"Events":[]}')
    assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - time.time()) < 5


def test_an_event_has_the_platforms_fields_in_the_platforms_order(service):
    event_id = service.add_event("Freeze", not_before_in_s=600)
    found = document(service)
    assert found["DocumentIncarnation"] == 2
    (event,) = found["Events"]
    assert list(event) == ["EventId", "EventStatus", "EventType", "ResourceType", "Resources", "NotBefore",
                           "Description", "EventSource", "DurationInSeconds"]
    assert (event["EventId"], event["Resources"], event["EventStatus"]) == (event_id, ["vm-1"], "Scheduled")
    assert event["NotBefore"].endswith(" GMT")
    assert 599 < parsedate_to_datetime(event["NotBefore"]).timestamp() - time.time() < 602


def test_the_incarnation_rises_with_each_change_and_not_before_is_empty_once_started(service):
    event_id = service.add_event()
    service.start_event(event_id.lower())
    found = document(service)
    assert (found["DocumentIncarnation"], found["Events"][0]["NotBefore"]) == (3, "")
    assert service.status_of(event_id) == found["Events"][0]["EventStatus"] == "Started"
    service.remove_event(event_id)
    assert document(service) == {"DocumentIncarnation": 4, "Events": []}
    assert service.status_of(event_id) is None


def test_a_not_before_can_be_moved_and_the_document_is_a_new_one(service):
    event_id = service.add_event(not_before_in_s=900.0)
    before = document(service)
    service.move_event(event_id.lower(), 60.0)
    after = document(service)
    moved_s = [parsedate_to_datetime(found["Events"][0]["NotBefore"]).timestamp() for found in (before, after)]
    assert 838 <= moved_s[0] - moved_s[1] <= 842 and after["DocumentIncarnation"] > before["DocumentIncarnation"]


@pytest.mark.parametrize(("target", "headers", "status"), [
    (EVENTS, {}, 400), (EVENTS, {"Metadata": "false"}, 400), (EVENTS, {**HEADERS, "X-Forwarded-For": "10.0.0.1"}, 400),
    ("/metadata/scheduledevents", HEADERS, 400), (EVENTS + "&api-version=2020-07-01", HEADERS, 400),
    ("/metadata/scheduledevents?api-version=latest", HEADERS, 400), ("/metadata/nothing?api-version=1", HEADERS, 404),
    ("/metadata/scheduledEvents?api-version=2020-07-01", {"metadata": "True"}, 200)])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_platform_refuses_is_refused(service, method, target, headers, status):
    event_id = service.add_event()
    body = json.dumps({"StartRequests": [{"EventId": event_id}]}) if method == "POST" else None
    assert ask(service, method, target, headers=headers, body=body)[0] == status
    assert len(service.acknowledgements) == (status == 200 and method == "POST")


def test_other_methods_are_not_allowed(service):
    assert ask(service, "PUT")[0] == ask(service, "DELETE")[0] == 405


def test_older_versions_leave_out_what_came_later(service):
    service.add_event("Freeze")
    service.add_event("Preempt")
    old = document(service, EVENTS.replace("2020-07-01", "2017-08-01"))["Events"]
    assert [(event["EventType"], len(event)) for event in old] == [("Freeze", 6)]
    newer = document(service, EVENTS.replace("2020-07-01", "2019-08-01"))["Events"]
    assert [(event["EventType"], len(event)) for event in newer] == [("Freeze", 8), ("Preempt", 8)]


def test_an_acknowledgement_is_accepted_again_and_again_with_an_empty_body(service):
    one, two = service.add_event(id="One"), service.add_event(resources=["vm-2"])
    assert ask(service, "POST", body=json.dumps({"StartRequests": [{"EventId": "ONE"}]}))[:2] == (200, b"")
    assert acknowledge(service, one, two) == 200
    assert [given.event_id for given in service.acknowledgements] == ["ONE", one, two]
    assert service.status_of(one) == "Scheduled"


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"StartRequests":[]}', '{"StartRequests":[{}]}',
                                  '{"StartRequests":7}', '{"StartRequests":[{"EventId":5}]}', "[" * 9000])
def test_a_malformed_acknowledgement_is_refused(service, body):
    service.add_event()
    assert ask(service, "POST", body=body)[0] == 400
    assert service.acknowledgements == []


def test_an_id_that_is_not_listed_is_refused_as_chosen(service):
    """What the platform answers then is written nowhere."""
    assert acknowledge(service, "gone") == 400
    service.unknown_id_status = 404
    assert acknowledge(service, service.add_event(), "gone") == 404
    assert service.acknowledgements == []


def test_events_start_by_themselves_only_where_set_to():
    clock = [1_800_000_000.0]
    with MetadataService(start_after_acknowledge_s=2, start_at_not_before=True, now=lambda: clock[0]) as service:
        due, asked = service.add_event(not_before_in_s=60), service.add_event(not_before_in_s=90)
        acknowledge(service, asked)
        assert service.status_of(asked) == "Scheduled"
        clock[0] += 2
        assert (service.status_of(asked), service.status_of(due)) == ("Started", "Scheduled")
        clock[0] += 58
        assert {event["EventStatus"] for event in document(service)["Events"]} == {"Started"}
        assert service.incarnation == 5


def test_who_the_vm_is_can_be_asked_as_json_and_leaf_by_leaf(service):
    base, version = "/metadata/instance", "?api-version=2021-02-01"
    compute = json.loads(ask(service, target=f"{base}/compute{version}&format=json")[1])
    assert (compute["name"], compute["vmId"], compute["vmScaleSetName"]) == ("vm-1", "id-1", "pool")
    assert json.loads(ask(service, target=base + version)[1])["compute"] == compute
    assert ask(service, target=f"{base}/compute/name{version}&format=text")[1] == b"vm-1"
    assert ask(service, target=f"{base}/compute/name{version}")[0] == 400
    assert ask(service, target=f"{base}/compute/shoe{version}")[0] == 404
    assert ask(service, target=f"{base}/compute")[0] == 400
    assert "2020-07-01" in json.loads(ask(service, target="/metadata/versions")[1])["apiVersions"]


def test_more_requests_a_second_than_allowed_are_throttled_in_plain_text():
    with MetadataService(requests_per_s=5) as service:
        answers = [ask(service) for _ in range(7)]
    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 2
    assert answers[-1][1] == b"Throttle Result: Too Many Requests"


def test_faults_happen_as_often_as_ordered_and_to_whom_they_were_ordered_for(service):
    event_id = service.add_event()
    service.inject_fault(InjectedFault(status=503, body=b"later"), times=2)
    service.inject_fault(InjectedFault(drop=True), method="POST")
    assert [ask(service)[:2] for _ in range(2)] == [(503, b"later")] * 2
    assert ask(service)[0] == 200
    with pytest.raises(ConnectionError):
        acknowledge(service, event_id)
    assert [given.event_id for given in service.acknowledgements] == [event_id]
    service.inject_fault(InjectedFault(reset=True), times=None)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            ask(service)
    service.clear_faults()
    assert ask(service)[0] == 200


def test_the_platforms_clock_can_be_ahead_and_its_date_be_missing(service):
    service.platform_ahead_s = 3600
    service.add_event(not_before_in_s=60)
    ahead_s = parsedate_to_datetime(document(service)["Events"][0]["NotBefore"]).timestamp() - time.time()
    assert 3655 < ahead_s < 3665
    assert abs(parsedate_to_datetime(ask(service)[2]["Date"]).timestamp() - time.time() - 3600) < 5
    service.sends_date = False
    assert ask(service)[2]["Date"] is None


def test_a_document_that_has_not_changed_is_not_sent_twice_to_who_asks_so(service):
    """As Microsoft's own sample does: the ETag of the last answer goes back with the next question."""
    tag = ask(service)[2]["ETag"]
    again = {**HEADERS, "If-None-Match": tag}
    assert ask(service, headers=again)[:2] == (304, b"")
    event = service.add_event()
    status, body, headers = ask(service, headers=again)
    assert (status, json.loads(body)["Events"][0]["EventId"], headers["ETag"] != tag) == (200, event, True)
    assert ask(service, headers={**HEADERS, "If-None-Match": "null"})[0] == 200


def test_every_request_is_remembered_as_it_came(service):
    ask(service, "POST", "/elsewhere?x=1", headers={"A": "b"}, body="text")
    (request,) = service.requests
    assert (request.method, request.target, request.body) == ("POST", "/elsewhere?x=1", b"text")
    assert (request.header("a"), request.header("Metadata")) == ("b", None)
    assert abs(request.at - time.time()) < 5
    assert service.wait_until(lambda: len(service.requests) == 1, 1)
    assert not service.wait_until(lambda: len(service.requests) == 2, 0.01)


def test_a_connection_that_is_going_to_be_closed_is_marked_so(service):
    """A pool that gets no such header sends its next request into a closing connection (node-fetch on Node 20 did)."""
    assert ask(service, headers={**HEADERS, "Connection": "close"})[2]["Connection"] == "close"
    assert ask(service)[2]["Connection"] is None


def test_one_connection_carries_many_requests_and_ends_with_the_service(service):
    connection = http.client.HTTPConnection(service.endpoint.removeprefix("http://"), timeout=5)
    for _ in range(3):
        connection.request("GET", EVENTS, headers=HEADERS)
        assert connection.getresponse().read()
    assert service.connections == 1
    service.close()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.request("GET", EVENTS, headers=HEADERS)
        connection.getresponse()
    connection.close()
