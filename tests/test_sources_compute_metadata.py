"""The keys of Google's metadata server become events, and no word of them is guessed."""
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tideover.model import Kind
from tideover.sources.compute_metadata import (
    HostAction,
    MetadataKeys,
    UpcomingMaintenance,
    VmFacts,
    events_of,
    read_flag,
    read_host_action,
    read_upcoming,
)
from tideover.sources.scheduled_events import NotADocument

DOCUMENTS = Path(__file__).parent / "platform_documents"
NOW = datetime(2026, 11, 28, 10, 0, 0, tzinfo=UTC)
VM = VmFacts("web-1", "1234567890123456789")
QUIET = MetadataKeys(HostAction.NONE, False, None, NOW)
MIGRATES = replace(QUIET, host_action=HostAction.MIGRATE)


def captured(name: str) -> bytes:
    return (DOCUMENTS / name).read_bytes()


def after(keys: MetadataKeys, seconds: float) -> MetadataKeys:
    return replace(keys, now=keys.now + timedelta(seconds=seconds), first=False)


@pytest.mark.parametrize(("name", "word"), [
    ("gcp_maintenance-event_1-none.txt", HostAction.NONE), ("gcp_maintenance-event_2-migrate.txt", HostAction.MIGRATE),
    ("gcp_maintenance-event_3-terminate.txt", HostAction.TERMINATE),
    ("gcp_maintenance-event_old-word.txt", HostAction.TERMINATE),
    ("yandex_maintenance-event_migrate.txt", HostAction.MIGRATE),
    ("yandex_maintenance-event_terminate.txt", HostAction.TERMINATE),
])
def test_each_documented_word_is_read(name, word):
    assert read_host_action(captured(name)) == word


@pytest.mark.parametrize("starts", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("action", [HostAction.NONE, HostAction.MIGRATE])
def test_a_window_at_the_edge_of_time_makes_an_event_all_the_same(starts, action):
    upcoming = read_upcoming(f'{{"window_start_time": "{starts}", "maintenance_status": "PENDING", "x": "\\ud800"}}'.encode())
    assert upcoming is not None and upcoming.facts["x"] == "?"
    assert events_of(replace(QUIET, host_action=action, upcoming=upcoming), VM, ())


def test_another_drift_token_shows_that_the_announced_migration_has_taken_place():
    """Also one that is over before its minute is, and whose pause no clock shows."""
    [event] = events_of(replace(MIGRATES, drift_token="3"), VM, ())
    assert events_of(replace(after(MIGRATES, 20), drift_token="3"), VM, (event,)) == (event,)
    [moved] = events_of(replace(after(MIGRATES, 20), drift_token="4"), VM, (event,))
    assert moved.started and moved.id == event.id
    [over] = events_of(replace(after(QUIET, 20), drift_token="4"), VM, (event,))
    assert over.started and over.id == event.id
    assert events_of(replace(after(QUIET, 21), drift_token="4"), VM, (over,)) == ()
    for unknown in ("3", ""):
        assert events_of(replace(after(QUIET, 20), drift_token=unknown), VM, (event,)) == (), "withdrawn"


def test_the_stop_of_a_vm_is_not_shown_by_its_drift_token():
    [event] = events_of(replace(QUIET, host_action=HostAction.TERMINATE, drift_token="3"), VM, ())
    assert events_of(replace(after(QUIET, 20), drift_token="4"), VM, (event,)) == ()


@pytest.mark.parametrize("body", [b"", b"MAYBE", b"\xff\xfe", b"<html>", b"migrate_on_host_maintenance"])
def test_an_unknown_word_is_no_document(body):
    with pytest.raises(NotADocument):
        read_host_action(body)


def test_a_preemption_is_a_flag():
    assert read_flag("k", captured("gcp_preempted_true.txt")) and not read_flag("k", captured("gcp_preempted_false.txt"))
    with pytest.raises(NotADocument):
        read_flag("k", b"PERHAPS")


@pytest.mark.parametrize("name", ["none-1-error.json", "none-2-empty.json", "none-3-word.txt"])
def test_every_way_to_say_that_nothing_is_planned_is_understood(name):
    assert read_upcoming(captured(f"gcp_upcoming-maintenance_{name}")) is None


@pytest.mark.parametrize(("name", "begins"), [
    ("gcp_upcoming-maintenance_alt-text.txt", datetime(2024, 7, 29, 14, 19, 57, tzinfo=UTC)),
    ("gcp_api_upcomingMaintenance.json", datetime(2024, 11, 1, 19, 0, 0, tzinfo=UTC)),
    ("gcp_api_upcomingMaintenance_peer-fixture.json", datetime(2023, 6, 21, 15, 57, 53, tzinfo=UTC)),
])
def test_a_window_is_read_in_each_form_it_has(name, begins):
    found = read_upcoming(captured(name))
    assert found is not None and found.starts_at == begins and found.facts["maintenance_status"] == "PENDING"


@pytest.mark.parametrize("body", [captured("gcp_upcoming-maintenance_doc-not-json.txt"), b'{"a": 1}', b"[1]", b"{" * 9999])
def test_what_is_neither_json_nor_lines_is_refused_and_says_nothing_of_any_event(body):
    with pytest.raises(NotADocument):
        read_upcoming(body)


def test_a_live_migration_is_a_freeze_a_minute_ahead_that_starts_when_the_minute_is_over():
    """The key never says that it starts: a migration whose pause is not detected would look cancelled."""
    [event] = events_of(MIGRATES, VM, ())
    assert (event.kind, event.resources, event.started) == (Kind.FREEZE, ("web-1",), False)
    assert event.not_before == NOW + timedelta(seconds=60) and not event.takes_acknowledgement
    [same] = events_of(after(MIGRATES, 59), VM, (event,))
    assert same == event
    [begun] = events_of(after(MIGRATES, 60), VM, (same,))
    assert begun.started and begun.id == event.id
    assert events_of(after(QUIET, 70), VM, (begun,)) == ()


def test_a_live_migration_that_is_there_at_the_first_look_was_missed():
    [event] = events_of(replace(MIGRATES, first=True), VM, ())
    assert event.started and event.not_before is None


def test_an_agent_that_starts_again_goes_on_with_the_event_of_its_journal():
    [event] = events_of(MIGRATES, VM, ())
    [same] = events_of(replace(after(MIGRATES, 20), first=True), VM, (event,))
    assert same == event


def test_the_next_maintenance_is_another_event():
    [event] = events_of(MIGRATES, VM, ())
    [other] = events_of(after(MIGRATES, 3600), VM, events_of(after(QUIET, 90), VM, (event,)))
    assert other.id != event.id


@pytest.mark.parametrize(("restarts", "kind"), [(True, Kind.REDEPLOY), (False, Kind.TERMINATE)])
def test_a_stop_for_maintenance_is_as_hard_as_what_comes_after_it(restarts, kind):
    vm = replace(VM, restarts=restarts, terminate_notice_s=3600.0)
    [event] = events_of(replace(QUIET, host_action=HostAction.TERMINATE), vm, ())
    assert (event.kind, event.not_before, event.started) == (kind, NOW + timedelta(hours=1), False)


def test_a_planned_window_and_the_minute_before_it_are_one_event():
    upcoming = UpcomingMaintenance(NOW + timedelta(days=7), NOW + timedelta(days=7, hours=3), {"type": "SCHEDULED"})
    [planned] = events_of(replace(QUIET, upcoming=upcoming), VM, ())
    assert planned.not_before == upcoming.starts_at and planned.kind is Kind.FREEZE
    ongoing = after(replace(QUIET, upcoming=upcoming), 7 * 86400 + 5)
    [still] = events_of(ongoing, VM, (planned,))
    assert not still.started, "the window is open; nothing has begun"
    [minute] = events_of(replace(ongoing, host_action=HostAction.MIGRATE), VM, (still,))
    assert minute.id == planned.id and minute.not_before == ongoing.now + timedelta(seconds=60)
    [later] = events_of(replace(after(ongoing, 30), host_action=HostAction.MIGRATE), VM, (minute,))
    assert later == minute, "its start does not move from poll to poll"
    [alone] = events_of(replace(after(ongoing, 61), host_action=HostAction.MIGRATE, upcoming=None), VM, (later,))
    assert alone.id == planned.id and alone.started


def test_a_migration_long_before_a_planned_window_is_another_event():
    upcoming = UpcomingMaintenance(NOW + timedelta(days=7), NOW + timedelta(days=7, hours=3))
    [planned] = events_of(replace(QUIET, upcoming=upcoming), VM, ())
    both = events_of(replace(MIGRATES, upcoming=upcoming), VM, (planned,))
    assert len({event.id for event in both}) == 2 and planned in both


@pytest.mark.parametrize(("notice_s", "started"), [(0.0, True), (120.0, False)])
def test_a_preemption_has_the_notice_that_the_vm_was_made_with(notice_s, started):
    vm = replace(VM, preempt_notice_s=notice_s)
    [event] = events_of(replace(QUIET, is_preempted=True), vm, ())
    assert (event.kind, event.started) == (Kind.PREEMPT, started)
    [later] = events_of(after(replace(QUIET, is_preempted=True), 121), vm, (event,))
    assert later.started and later.id == event.id
