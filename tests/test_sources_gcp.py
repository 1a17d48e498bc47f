"""The source of Google Compute Engine against a metadata server on a real socket."""
from __future__ import annotations

import time
from pathlib import Path

import pytest

from asked_sources import failed, polled
from running_agent import World
from tideover.http_client import HttpClient
from tideover.model import Kind, VmIdentity
from tideover.observations import AckOutcome, PollTrouble
from tideover.simulator import InjectedFault, TimeServer
from tideover.simulator.gce_metadata import EVENT_WORDS, MAINTENANCE, PLANNED, ROOT, GceMetadataServer
from tideover.sources.gcp import ComputeEngineSource

DOCUMENTS = Path(__file__).parent / "platform_documents"
UPCOMING, DRIFT = "instance/upcoming-maintenance", "instance/virtual-clock/drift-token"


@pytest.fixture
def server():
    with GceMetadataServer("web-1") as running:
        yield running


@pytest.fixture
def source(server):
    opened = ComputeEngineSource(server.endpoint)
    yield opened
    opened.close()


def paths(server: GceMetadataServer) -> list[str]:
    return [request.target.removeprefix(ROOT) for request in server.requests]


def test_a_quiet_vm_learns_who_it_is_and_that_nothing_is_announced(server, source):
    news = polled(source)
    assert (news.me, news.vm_id, news.document.events) == ("web-1", "1234567890123456789", ())
    assert news.document.date is not None
    assert source.identity() == VmIdentity("web-1", "1234567890123456789")


def test_a_steady_poll_asks_for_the_two_keys_by_their_exact_names_on_one_connection(server, source):
    """Only the exact key of maintenance gives notice of a live migration."""
    polled(source)
    before = len(server.requests)
    polled(source)
    assert paths(server)[before:] == [MAINTENANCE, "instance/preempted"]
    assert all(request.header("Metadata-Flavor") == "Google" for request in server.requests)
    assert server.is_armed and server.connections == 1


def test_a_live_migration_is_announced_ended_and_never_acknowledged(server, source):
    polled(source)
    event_id = server.add_event(EVENT_WORDS["freeze"])
    [event] = polled(source).document.events
    assert event.kind is Kind.FREEZE and not event.started and event.source == "gcp"
    server.platform_ahead_s = 61.0
    assert polled(source).document.events[0].started
    server.remove_event(event_id)
    assert polled(source).document.events == ()
    assert source.acknowledge(event.id)[0] is AckOutcome.REFUSED
    assert all(request.method == "GET" for request in server.requests)


def test_a_live_migration_that_is_over_before_its_minute_is_known_by_the_drift_token(server, source):
    polled(source)
    event_id = server.add_event()
    [event] = polled(source).document.events
    server.start_event(event_id)
    server.remove_event(event_id)
    document = polled(source).document
    assert [(one.id, one.started) for one in document.events] == [(event.id, True)]
    assert "from 0 to 1" in document.moved and polled(source).document.events == ()


def test_a_live_migration_that_nothing_announced_is_proved_by_the_drift_token(server):
    """On a sole-tenant node, or where nobody asked for the key."""
    now_s = [1000.0]
    source = ComputeEngineSource(server.endpoint, read_raw_s=lambda: now_s[0])
    assert polled(source).document.moved == ""
    server.drift_token = 7
    now_s[0] += 5.0
    assert "from 0 to 7" in polled(source).document.moved
    now_s[0] += 5.0
    assert polled(source).document.moved == ""
    server.replayed[DRIFT] = b"<html>"
    now_s[0] += 5.0
    assert polled(source).document.moved == "", "evidence only: what cannot be read fails no poll"
    source.close()


@pytest.mark.parametrize("key", ["preempted", "scheduling/on-host-maintenance", "scheduling/automatic-restart",
                                 "upcoming-maintenance", "virtual-clock/drift-token"])
def test_a_server_without_one_of_the_keys_still_announces_a_live_migration(server, source, key):
    """Yandex Cloud has not all of Google's."""
    server.inject_fault(InjectedFault(status=404), path=f"{ROOT}instance/{key}".lower(), times=None)
    polled(source)
    server.add_event()
    assert [event.kind for event in polled(source).document.events] == [Kind.FREEZE]


def test_planned_maintenance_that_is_moved_stays_one_event_and_becomes_the_migration(server, source):
    window = server.add_event(PLANNED, not_before_in_s=604800.0)
    [planned] = polled(source).document.events
    assert planned.kind is Kind.FREEZE and planned.extra["maintenance_status"] == "PENDING"
    server.move_event(window, 30.0)
    source._upcoming_due_raw_s = 0.0
    [moved] = polled(source).document.events
    assert moved.id == planned.id and moved.not_before < planned.not_before
    server.start_event(window)
    server.add_event()
    source._upcoming_due_raw_s = 0.0
    [event] = polled(source).document.events
    assert event.id == planned.id and not event.started, "an open window is no migration that runs"


def test_the_scheduling_policy_is_asked_for_when_something_is_announced(server, source):
    polled(source)
    server.restarts = False
    server.add_event(EVENT_WORDS["terminate"])
    assert polled(source).document.events[0].kind is Kind.TERMINATE


def test_a_source_that_is_opened_again_goes_on_with_the_event_of_before(server, source):
    polled(source)
    server.add_event()
    [event] = polled(source).document.events
    other = ComputeEngineSource(server.endpoint)
    other.remember([event])
    assert polled(other).document.events == (event,)
    other.close()


def test_planned_maintenance_is_listed_and_what_cannot_be_read_takes_nothing_away(server, source):
    server.announce_upcoming(7 * 86400)
    [event] = polled(source).document.events
    assert event.not_before is not None and event.extra["type"] == "SCHEDULED"
    source._upcoming_due_raw_s = 0.0
    server.replayed[UPCOMING] = (DOCUMENTS / "gcp_upcoming-maintenance_doc-not-json.txt").read_bytes()
    document = polled(source).document
    assert document.events == (event,) and "upcoming-maintenance" in document.left_out


def test_a_machine_family_without_planned_maintenance_is_asked_for_it_hourly(server, source):
    server.has_upcoming = False
    polled(source)
    polled(source)
    assert sum(UPCOMING in path for path in paths(server)) == 1


def test_all_requests_of_one_poll_share_one_deadline(server):
    source = ComputeEngineSource(server.endpoint, poll_s=0.05)
    server.inject_fault(InjectedFault(delay_s=0.0375), path=f"{ROOT}instance/maintenance-event".lower())
    server.inject_fault(InjectedFault(delay_s=0.0375), path=f"{ROOT}instance/preempted".lower())
    assert failed(source).trouble is PollTrouble.NO_ANSWER
    source.close()


def test_a_client_that_looks_whether_the_server_is_googles_finds_its_header_at_the_root(server):
    """google-auth does so before it asks for anything."""
    answer = HttpClient({"Metadata-Flavor": "Google"}).get(f"{server.endpoint}/", 5.0)
    assert answer.status == 200 and answer.headers["Metadata-Flavor"] == "Google"


# --- The whole way, with a real agent

@pytest.fixture
def here(tmp_path):
    with GceMetadataServer("web-1") as server, TimeServer() as clock:
        world = World(tmp_path, server, clock, "gcp")
        world.hook("10-web")
        world.configure()
        yield world
        world.close()


@pytest.mark.slow
def test_a_live_migration_is_carried_from_notice_to_record_without_an_acknowledgement(here):
    here.start()
    event = here.metadata.add_event()
    here.until(lambda: here.begun() == ["web prepare"])
    with here.stopped():
        time.sleep(1.2)
    here.metadata.platform_ahead_s = 61.0
    here.until(lambda: here.record()["status"] == "recovered")
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    record = here.record()
    assert here.begun() == ["web prepare", "web recover"]
    assert (record["source"], record["kind"], record["outcome"]) == ("gcp", "freeze", "resumed")
    assert record["acknowledged_at"] is None and record["started_at"] is not None
    assert not {"held", "acknowledging", "acknowledged"} & {entry["what"] for entry in record["timeline"]}


@pytest.mark.slow
def test_a_migration_whose_pause_is_below_the_threshold_is_recorded_as_resumed(here):
    """It may also be over before the minute of notice is: the drift token tells it from one that was withdrawn."""
    here.start()
    for moves in (True, False):
        event = here.metadata.add_event()
        here.until(lambda: here.begun()[-1:] == ["web prepare"])
        if moves:
            here.metadata.start_event(event)
        here.metadata.remove_event(event)
        here.until(lambda: here.begun()[-1:] == ["web recover"])
        here.until(lambda: here.record()["status"] == "closed")
    moved, withdrawn = [record for record in here.records() if record["kind"] == "freeze"]
    assert (moved["outcome"], withdrawn["outcome"]) == ("resumed", "cancelled")
    assert moved["started_at"] is not None and withdrawn["started_at"] is None
    pauses = here.ask("pauses")["pauses"]
    assert [pause for pause in pauses if any("drift token" in words for words in pause["evidence"])]


@pytest.mark.slow
def test_a_pause_that_nothing_announced_is_proved_a_live_migration_by_the_drift_token(here):
    here.start()
    here.until(lambda: any("drift-token" in request.target for request in here.metadata.requests))
    time.sleep(0.5)                         # the first answer has been read: only a change of it proves something
    with here.stopped():
        time.sleep(1.2)
    here.metadata.drift_token = 9
    proofs = lambda: [words for pause in here.ask("pauses")["pauses"] for words in pause["evidence"]]     # noqa: E731
    here.until(lambda: any("from 0 to 9" in words for words in proofs()))
    assert "event.pause-evidence" in here.said() and "machine.moved" in here.said()
    assert here.begun() == []


@pytest.mark.slow
def test_an_agent_that_is_killed_while_prepared_goes_on_with_the_same_event(here):
    here.start()
    event = here.metadata.add_event()
    here.until(lambda: here.begun() == ["web prepare"])
    here.kill()
    here.start()
    here.metadata.platform_ahead_s = 61.0
    here.until(lambda: here.record()["status"] == "started")
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert len(here.records()) == 1 and here.record()["outcome"] == "resumed"
    assert here.begun()[-1] == "web recover" and here.begun().count("web recover") == 1
