"""The source of AWS EC2 against an instance metadata service on a real socket."""
from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asked_sources import failed, polled
from running_agent import World
from tideover.model import Kind, VmIdentity
from tideover.observations import AckOutcome, PollTrouble
from tideover.simulator import InjectedFault, TimeServer
from tideover.simulator.ec2_metadata import (
    EVENT_WORDS,
    HISTORY,
    LIFECYCLE,
    REBALANCE,
    ROOT,
    SCHEDULED,
    SPOT,
    TOKEN,
    TOKEN_HEADER,
    Ec2MetadataService,
)
from tideover.sources import NotADocument
from tideover.sources.aws import Ec2Source
from tideover.sources.ec2_metadata import (
    InstanceKeys,
    events_of,
    read_lifecycle_state,
    read_rebalance,
    read_scheduled,
    read_spot_action,
)

DOCUMENTS = Path(__file__).parent / "platform_documents"
INSTANCE = "i-0123456789abcdef0"
NOW = datetime(2019, 1, 14, tzinfo=UTC)
DAY = timedelta(days=1)


# --- Documents, as captured or as the manuals show them

def document(name: str) -> bytes:
    body = (DOCUMENTS / name).read_bytes()
    return body.replace(b"\r\n", b"\n").partition(b"\n\n")[2] if name.startswith("aemm_http") else body


def keys(name: str, **more: object) -> InstanceKeys:
    entries, left_out = read_scheduled(document(name))
    assert left_out == ""
    return InstanceKeys(entries, **{"now": NOW, "booted_at": NOW - DAY, **more})


@pytest.mark.parametrize(("name", "expected"), [
    ("aws_scheduled_0-empty.json", []),
    ("aws_scheduled_2018-08-17_empty-body.txt", []),
    ("aws_scheduled_aemm-array.json", []),                  # completed
    ("aws_scheduled_aemm-readme-object.json", []),          # completed, and no list
    ("aws_scheduled_canceled_nth-fixture.json", []),
    ("aws_history_doc.json", []),                           # cancelled and completed
    ("aws_scheduled_instance-stop_captured.json",
     [("instance-event-07a1c1c08b77d4bf1", Kind.TERMINATE, datetime(2021, 1, 1, 2, tzinfo=UTC))]),
    ("aws_scheduled_system-reboot_doc.json",
     [("instance-event-0d59937288b749b32", Kind.REBOOT, datetime(2019, 1, 21, 9, 0, 43, tzinfo=UTC))]),
    ("aemm_http_scheduled.txt",
     [("instance-event-1234567890abcdef0", Kind.TERMINATE, datetime(2026, 12, 1, 1, 3, 47, tzinfo=UTC))]),
])
def test_each_document_of_scheduled_events_gives_the_events_that_are_ahead(name, expected):
    listed = events_of(keys(name), INSTANCE, ())
    assert [(event.id, event.kind, event.not_before) for event in listed] == expected
    assert all(event.resources == (INSTANCE,) and event.source == "aws" and not event.takes_acknowledgement
               and not event.started for event in listed)


@pytest.mark.parametrize("name", ["aws_400.html", "aws_401.html", "aws_404.html", "aws_asg_1-inservice.txt"])
def test_what_is_no_list_of_events_is_refused_with_a_sentence(name):
    with pytest.raises(NotADocument, match="not JSON"):
        read_scheduled(document(name))


def test_no_text_of_an_entry_is_one_that_a_journal_cannot_hold():
    body = json.dumps([{"EventId": "e-1", "Code": "\ud800", "Description": "\ud800\0", "\ud801": "\ud802"}]).encode()
    [entry], _ = read_scheduled(body)
    texts = (entry.code, entry.description, *entry.facts, *entry.facts.values())
    assert not any("\0" in text or text.encode(errors="replace") != text.encode(errors="ignore") for text in texts), texts


def test_an_entry_without_an_id_is_left_out_and_named_and_takes_no_other_away():
    good = json.loads(document("aws_scheduled_system-reboot_doc.json"))
    entries, left_out = read_scheduled(json.dumps([{"Code": "instance-stop"}, 7, *good]).encode())
    assert len(entries) == 1 and "entry 1 has no EventId, entry 2 is no object" in left_out


@pytest.mark.parametrize(("name", "action"), [
    ("aws_spot_instance-action_aemm.json", "terminate"), ("aws_spot_instance-action_doc.json", "stop"),
    ("aemm_http_spot_instance-action.txt", "hibernate"),
])
def test_each_document_of_a_spot_interruption_gives_its_action_and_time(name, action):
    found = read_spot_action(document(name))
    assert found.action == action and found.at is not None


@pytest.mark.parametrize("name", ["aws_rebalance_aemm.json", "aws_rebalance_doc.json"])
def test_a_rebalance_recommendation_is_read(name):
    assert read_rebalance(document(name))


def test_the_target_lifecycle_state_is_one_of_its_words_or_refused():
    assert read_lifecycle_state(document("aws_asg_1-inservice.txt")) == "InService"
    assert read_lifecycle_state(document("aws_asg_2-terminated.txt")) == "Terminated"
    assert read_lifecycle_state(b"Warmed:Stopped") == "Warmed:Stopped"
    with pytest.raises(NotADocument, match="no word of it"):
        read_lifecycle_state(document("aws_404.html"))


@pytest.mark.parametrize(("code", "description", "kind"), [
    ("instance-reboot", "", Kind.REBOOT), ("system-reboot", "", Kind.REBOOT), ("instance-stop", "", Kind.TERMINATE),
    ("instance-retirement", "", Kind.TERMINATE), ("system-maintenance", "", Kind.UNKNOWN),
    ("system-maintenance", "Scheduled network maintenance", Kind.FREEZE),
    ("system-maintenance", "scheduled Power maintenance", Kind.REBOOT),
    ("system-maintenance", "network and power", Kind.UNKNOWN), ("a-code-of-tomorrow", "", Kind.UNKNOWN),
])
def test_each_code_gives_its_kind_and_what_may_be_either_is_unknown(code, description, kind):
    body = json.dumps([{"EventId": "e", "Code": code, "Description": description, "State": "active"}]).encode()
    entries, _ = read_scheduled(body)
    assert [event.kind for event in events_of(InstanceKeys(entries, NOW, NOW - DAY), INSTANCE, ())] == [kind]


def test_an_event_that_is_still_listed_after_the_reboot_it_announced_is_over():
    after = datetime(2019, 1, 21, 9, 20, tzinfo=UTC)
    before_boot = keys("aws_scheduled_system-reboot_doc.json", now=after, booted_at=after - timedelta(minutes=5))
    not_booted = keys("aws_scheduled_system-reboot_doc.json", now=after, booted_at=after - DAY)
    assert events_of(before_boot, INSTANCE, ()) == ()
    assert len(events_of(not_booted, INSTANCE, ())) == 1


def test_a_rescheduled_event_is_the_same_event_with_its_new_date():
    """Its earlier date stands beside it as cancelled."""
    [entry] = json.loads(document("aws_scheduled_system-reboot_doc.json"))
    moved = {**entry, "NotBefore": "29 Jan 2019 09:00:43 GMT"}
    for both in ([{**entry, "State": "canceled"}, moved], [moved, {**entry, "State": "canceled"}]):
        entries, _ = read_scheduled(json.dumps(both).encode())
        [event] = events_of(InstanceKeys(entries, NOW, NOW - DAY), INSTANCE, ())
        assert event.not_before == datetime(2019, 1, 29, 9, 0, 43, tzinfo=UTC)


def test_an_event_that_was_completed_shows_as_started_before_it_is_gone():
    known = events_of(keys("aws_scheduled_system-reboot_doc.json"), INSTANCE, ())
    over = InstanceKeys((), NOW, NOW - DAY, completed=frozenset(event.id for event in known))
    [event] = events_of(over, INSTANCE, known)
    assert event.started and event.id == known[0].id
    assert events_of(over, INSTANCE, (event,)) == ()


# --- On a real socket

@pytest.fixture
def service():
    with Ec2MetadataService(INSTANCE) as running:
        yield running


@pytest.fixture
def source(service):
    opened = Ec2Source(service.endpoint)
    yield opened
    opened.close()


def paths(service: Ec2MetadataService) -> list[str]:
    return [request.target.removeprefix(ROOT) for request in service.requests]


def ask_all_keys(source: Ec2Source) -> None:
    source._seldom_due_raw_s = 0.0


def test_a_quiet_instance_learns_who_it_is_and_that_nothing_is_scheduled(source):
    news = polled(source)
    assert (news.me, news.vm_id, news.document.events) == (INSTANCE, INSTANCE, ())
    assert news.document.date is not None and source.identity() == VmIdentity(INSTANCE, INSTANCE)


def test_a_steady_poll_is_one_request_with_a_token_that_was_asked_for_once(service, source):
    polled(source)
    before = len(service.requests)
    polled(source)
    assert paths(service)[before:] == [SCHEDULED]
    assert service.requests[-1].header(TOKEN_HEADER)
    assert [request.method for request in service.requests].count("PUT") == 1


def test_a_token_that_is_gone_is_renewed_within_the_same_poll(service, source):
    polled(source)
    service.forget_tokens()
    polled(source)
    assert [request.method for request in service.requests].count("PUT") == 2


def test_a_token_is_renewed_before_it_expires(service):
    now_s = [1000.0]
    source = Ec2Source(service.endpoint, read_raw_s=lambda: now_s[0])
    polled(source)
    now_s[0] += 21000.0
    polled(source)
    assert [request.method for request in service.requests].count("PUT") == 2
    source.close()


def test_an_event_ahead_is_listed_though_the_answers_date_is_years_after_it(service, source):
    """By that Date the event lies before the machine's boot, so it would have taken place."""
    event_id = service.add_event(EVENT_WORDS["reboot"], not_before_in_s=900.0)
    service.platform_ahead_s = 10 * 365 * 86400.0
    assert [event.id for event in polled(source).document.events] == [event_id]


def test_a_scheduled_reboot_is_announced_moved_and_cancelled(service, source):
    event_id = service.add_event(EVENT_WORDS["reboot"])
    [event] = polled(source).document.events
    assert (event.id, event.kind, event.started) == (event_id, Kind.REBOOT, False)
    service.move_event(event_id, 90000.0)
    [moved] = polled(source).document.events
    assert moved.id == event_id and moved.not_before > event.not_before
    service.remove_event(event_id)
    assert polled(source).document.events == ()
    assert HISTORY in paths(service)
    assert source.acknowledge(event_id)[0] is AckOutcome.REFUSED


def test_maintenance_that_the_history_calls_completed_is_shown_as_started_once(service, source):
    event_id = service.add_event(EVENT_WORDS["freeze"])
    assert polled(source).document.events[0].kind is Kind.FREEZE
    service.start_event(event_id)
    service.remove_event(event_id)
    assert [event.started for event in polled(source).document.events] == [True]
    assert polled(source).document.events == ()


def test_a_spot_interruption_keeps_its_id_though_its_time_varies_by_milliseconds(service, source):
    service.add_event("spot-terminate", not_before_in_s=120.0)
    [first] = polled(source).document.events
    assert first.kind is Kind.PREEMPT and first.not_before is not None
    service.replayed[SPOT] = b'{"action": "terminate", "time": "2026-11-28T04:15:12.003Z"}'
    ask_all_keys(source)
    [second] = polled(source).document.events
    service.replayed[SPOT] = b'{"action": "terminate", "time": "2026-11-28T04:15:12.006Z"}'
    ask_all_keys(source)
    [third] = polled(source).document.events
    assert first.id == second.id == third.id and second == third


def test_hibernation_begins_at_once(service, source):
    service.add_event("spot-hibernate", not_before_in_s=120.0)
    assert polled(source).document.events[0].started


def test_a_rebalance_recommendation_counts_only_where_it_is_asked_for_and_becomes_the_interruption(service, source):
    service.recommends_rebalance = True
    assert polled(source).document.events == () and REBALANCE not in paths(service)
    asking = Ec2Source(service.endpoint, rebalance=True)
    [risk] = polled(asking).document.events
    assert risk.kind is Kind.PREEMPT and risk.not_before is None
    service.add_event("spot-terminate", not_before_in_s=120.0)
    ask_all_keys(asking)
    [real] = polled(asking).document.events
    assert real.id == risk.id and real.not_before is not None
    asking.close()


def test_an_auto_scaling_group_that_ends_the_instance_counts_only_where_it_is_asked_for(service, source):
    service.lifecycle_state = "Terminated"
    assert polled(source).document.events == () and LIFECYCLE not in paths(service)
    asking = Ec2Source(service.endpoint, autoscaling=True)
    [event] = polled(asking).document.events
    assert event.kind is Kind.TERMINATE
    ask_all_keys(asking)
    assert polled(asking).document.events == (event,)
    asking.close()


def test_a_source_that_is_opened_again_goes_on_with_the_event_of_before(service, source):
    service.add_event("spot-terminate", not_before_in_s=120.0)
    [event] = polled(source).document.events
    other = Ec2Source(service.endpoint)
    other.remember([event])
    assert polled(other).document.events == (event,)
    other.close()


def test_an_instance_whose_metadata_service_is_disabled_says_so(service, source):
    service.enabled = False
    assert "HttpEndpoint" in failed(source).reason


def test_a_token_that_never_comes_names_the_hop_limit(service):
    source = Ec2Source(service.endpoint, poll_s=0.04)
    service.inject_fault(InjectedFault(delay_s=1.0), method="PUT", path=TOKEN)
    news = failed(source)
    assert news.trouble is PollTrouble.NO_ANSWER and "hop limit" in news.reason
    source.close()


def test_where_ipv4_gives_no_answer_the_ipv6_address_is_tried(service):
    source = Ec2Source()
    source._endpoints = ("http://127.0.0.1:9", service.endpoint)
    source._endpoint = source._endpoints[0]
    failed(source)
    assert polled(source).me == INSTANCE
    source.close()


# --- The whole way, with a real agent

@pytest.fixture
def here(tmp_path):
    with Ec2MetadataService(INSTANCE) as service, TimeServer() as clock:
        world = World(tmp_path, service, clock, "aws")
        world.hook("10-web")
        world.configure('[policy]\nprepare = "at-once"')
        yield world
        world.close()


@pytest.mark.slow
def test_a_scheduled_event_that_is_completed_is_recovered_and_recorded_as_such(here):
    here.start()
    event = here.metadata.add_event(EVENT_WORDS["freeze"], not_before_in_s=60.0)
    here.until(lambda: here.begun() == ["web prepare"])
    here.kill()
    here.start()
    time.sleep(1.0)
    here.metadata.start_event(event)
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    record = here.record()
    assert here.begun()[-1] == "web recover" and here.begun().count("web recover") == 1
    assert (record["source"], record["kind"], record["outcome"]) == ("aws", "freeze", "resumed")
    assert record["acknowledged_at"] is None and len(here.records()) == 1


@pytest.mark.slow
def test_a_reboot_that_is_still_listed_after_it_took_place_prepares_nothing_a_second_time(here):
    """AWS lists it for up to an hour more. The boot after NotBefore tells; played by the platform's clock, which is
    ahead by more than this machine has been up, and by another boot in the journal."""
    here.start()
    event = here.metadata.add_event(EVENT_WORDS["reboot"], not_before_in_s=60.0)
    here.until(lambda: ["web", "prepare-ended"] in [line[1:3] for line in here.lines()])
    here.kill()
    with sqlite3.connect(here.home / "state" / "journal.db") as journal:
        journal.execute("UPDATE about SET value = json_set(value, '$.boot_id', 'the boot before') WHERE key = 'state'")
    here.metadata.platform_ahead_s = time.clock_gettime(time.CLOCK_BOOTTIME) + 120.0
    here.start()
    here.until(lambda: here.record()["status"] == "closed")
    asked = len(here.metadata.requests)
    here.until(lambda: len(here.metadata.requests) > asked + 10)
    assert here.metadata.status_of(event) == "Scheduled", "it is listed yet"
    assert here.begun() == ["web prepare", "web recover"] and len(here.records()) == 1
    assert here.record()["outcome"] == "restarted" and here.lines()[2][5] == "restarted"


@pytest.mark.slow
def test_a_scheduled_stop_that_is_cancelled_is_recovered_as_cancelled(here):
    here.start()
    event = here.metadata.add_event("instance-stop", not_before_in_s=60.0)
    here.until(lambda: here.begun() == ["web prepare"])
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert here.begun() == ["web prepare", "web recover"] and here.record()["outcome"] == "cancelled"


@pytest.mark.slow
def test_an_event_weeks_ahead_is_not_prepared_before_its_time(here):
    here.start()
    here.metadata.add_event(EVENT_WORDS["reboot"], not_before_in_s=14 * 86400.0)
    here.until(lambda: here.records())
    time.sleep(1.0)
    assert here.begun() == []
