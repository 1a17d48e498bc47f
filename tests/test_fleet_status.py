"""The view of a fleet: what the documents of a store say together, and what of it needs a look."""
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleet_kept import OWN, SHARED, digest, holder, member, said, shared, stored
from tideover.cli.fleet_lines import fleet_parts
from tideover.cli.terminal import Terminal, render_lines
from tideover.daemon.policy_source import policy_of
from tideover.fleet_documents import Claim
from tideover.fleet_status import fleet_status, read_documents, unreachable
from tideover.hooks.directory import Catalogue
from tideover.humanize import Times
from tideover.model import Kind
from tideover.settings import LINUX, read_settings

STORE = "etcd://a:2379"
IDLE = member("web-1"), member("web-2"), member("db-1", group="db", slots=0)


def view(documents: dict[str, bytes], ages: dict[str, float] | None = None, **known: str):
    reading = read_documents((key, value, (ages or {}).get(key)) for key, value in documents.items())
    return fleet_status(STORE, reading, {digest(OWN): OWN, **known})


def shown(document, width: int | None = 120) -> str:
    return "\n".join(render_lines(fleet_parts(document, Times(datetime(2026, 11, 20, 10, 0, 30, tzinfo=UTC), utc=True)), Terminal(width)))


def member_of(document, name: str):
    return next(one for group in document["groups"] for one in group["members"] if one["name"] == name)


def test_an_idle_fleet_has_no_problem_and_shows_each_groups_slots_and_members():
    found = view(stored(*IDLE))
    assert found["problems"] == [] and found["reachable"]
    assert [(group["name"], group["slots_used"], group["slots_allowed"], len(group["members"])) for group in found["groups"]] == [
        ("db", 0, None, 1), ("web", 0, 1, 2)]
    assert shown(found).startswith("No problem: 3 members in 2 groups.\n")


def test_one_group_in_two_spellings_is_one_group():
    """Its slots are under one key."""
    [group] = view(stored(member("web-1", group="Web"), member("web-2", slots=2), slots={"web": [holder(OWN, "web-1")]}))["groups"]
    assert [one["name"] for one in group["members"]] == ["web-1", "web-2"] and group["slots_used"] == 1


def test_a_machine_that_waits_shows_whose_slot_it_waits_for():
    other = "9F9F9F9F-0000-4000-8000-000000000002"
    found = view(stored(member("web-1", phase="preparing", events=(digest(),)),
                        member("web-2", phase="waiting-for-slot", events=(digest(other),)), slots={"web": [holder(OWN, "web-1")]}))
    assert found["problems"] == []
    [first], [second] = (member_of(found, name)["events"] for name in ("web-1", "web-2"))
    assert (first["slot"], first["event_id"], first["ready"]) == ("granted", OWN, None)
    assert (second["slot"], second["event_id"]) == ("waiting", None)
    assert "waits for a slot of web, held by web-1 (freeze 1A2B3C4D)" in shown(found)
    assert "web: slots in use: 1 of 1" in shown(found)


def test_a_wait_for_a_slot_whose_event_waits_for_another_groups_slot_is_told():
    """Only NotBefore ends two events that wait for each other's groups."""
    own = digest(OWN)
    found = view(stored(
        member("web-1", phase="waiting-for-peers", events=(digest(SHARED),)), member("web-2", phase="waiting-for-slot", events=(own,)),
        member("db-1", group="db", phase="waiting-for-slot", events=(digest(SHARED),)), member("db-2", group="db", phase="started"),
        slots={"web": [holder(SHARED, "web-1")], "db": [holder("other", "db-2")]},
        events=(shared({"web-1": said("web-1", slot=True)}, resources=("web-1", "db-1")),)))
    assert "held by web-1 (freeze 602D9444, which waits for db-1, which waits for a slot of db)" in shown(found)


PROBLEMS = {
    "two machines named web-1 write": stored(
        *IDLE, events=(shared({"web-1": said("web-1", disputed=True), "web-2": said("web-2", "not-ready")}),)),
    "recovery of haproxy has failed on web-1, which keeps its slot of web": stored(
        member("web-1", phase="recovering", events=(digest(),), failed=("haproxy",)), slots={"web": [holder(OWN, "web-1")]}),
    f"freeze {SHARED} names db-9, for which no agent has written": stored(
        *IDLE, events=(shared({"web-1": said("web-1")}, resources=("web-1", "db-9")),)),
    f"freeze {SHARED} is not acknowledged: web-2 is not ready (haproxy failed)": stored(
        member("web-1"), member("web-2", phase="held", events=(digest(SHARED),)),
        events=(shared({"web-1": said("web-1"), "web-2": said("web-2", "not-ready", why="haproxy failed")}),)),
    "a slot of web is in use that was not granted: web-1 (freeze 1A2B3C4D": stored(
        member("web-1", phase="started", events=(digest(),)), slots={"web": [holder(OWN, "web-1", granted=False)]}),
    "a slot of web was taken over: web-2 has that of web-1": stored(
        member("web-2", phase="preparing", events=(digest(),)), slots={"web": [holder(OWN, "web-2", taken_from=("web-1",))]}),
    "members of web disagree on fleet.slots: web-1 has 1; web-2, web-3 have 2": stored(
        member("web-1"), member("web-2", slots=2), member("web-3", slots=2)),
    "the store's key v1/events/0 was written by a newer version": {**stored(*IDLE), "v1/events/0": b'{"schema": 2}'},
    "the store's key v1/members/x holds no document of a fleet": {**stored(*IDLE), "v1/members/x": b"hello"},
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_needs_a_look_is_the_first_line(problem: str):
    found = view(PROBLEMS[problem])
    assert len(found["problems"]) == 1 and found["problems"][0].startswith(problem), found["problems"]
    assert shown(found, None).startswith(f"{problem[:1].upper()}{problem[1:]}")


def test_of_several_problems_the_worst_comes_first():
    whole = {key: value for documents in PROBLEMS.values() for key, value in documents.items()}
    found = view({**whole, **PROBLEMS["the store's key v1/members/x holds no document of a fleet"]})
    assert found["problems"][0].startswith("the store's key")
    assert len(shown(found).split("\n")) > len(found["problems"])


@pytest.mark.parametrize("documents", [
    stored(member("web-1", phase="preparing", events=(digest(SHARED),)), member("web-2", phase="scheduled", events=(digest(SHARED),)),
           events=(shared({"web-1": said("web-1", "not-ready", why="its hooks are not ready yet")}),)),
    stored(*IDLE, events=(shared({"web-1": said("web-1"), "web-2": said("web-2")}, Claim("web-1", 1, result=200)),)),
    stored(member("web-1", phase="started"), member("web-2", phase="held"), events=(shared({"web-2": said("web-2", "not-ready")}),)),
    stored(member("web-1"), slots={"web": [holder(OWN, "web-1", granted=False, released=True)]}),
])
def test_what_is_in_order_is_no_problem(documents: dict[str, bytes]):
    assert view(documents)["problems"] == []


def test_a_shared_event_shows_who_is_ready_and_who_is_not():
    found = view(stored(*IDLE, events=(shared(
        {"web-1": said("web-1"), "web-2": said("web-2", "not-ready", why="prepare of haproxy runs")},
        Claim("web-1", 2), resources=("web-1", "web-2", "DB-1", "db-9")),)))
    [event] = found["events"]
    assert (event["acknowledged_by"], event["claim"], event["result"]) == ("web-1", 2, None)
    text = shown(found)
    assert "ready: web-1\n" in text and "not ready: web-2 (prepare of haproxy runs), DB-1\n" in text
    assert "no agent has written for: db-9" in text and "web-1 acknowledges it" in text


def test_the_last_change_is_by_the_stores_clock_where_it_has_one_and_else_by_the_machines_own():
    documents = stored(*IDLE)
    key = next(key for key in documents if "/web-1-" in key)
    found = view(documents, {key: 12.4})
    assert member_of(found, "web-1")["last_change_s"] == 12.4
    rows = [line.split() for line in shown(found).splitlines() if line.startswith("web-")]
    assert [row[5:8] for row in rows] == [["12", "s", "ago"], ["30", "s", "ago"]]


def test_a_store_that_cannot_be_reached_is_the_only_line():
    found = unreachable(STORE, "connection refused", None)
    assert shown(found).splitlines() == ["The store cannot be reached: connection refused.", "", f"Store  {STORE}, not reachable"]


def test_a_store_that_answers_here_and_refuses_the_agents_writes_is_the_first_line():
    full = "cannot write v1/members/web-1 in etcd: its database is full"
    found = fleet_status(STORE, read_documents((key, value, None) for key, value in stored(*IDLE).items()), {}, full)
    assert found["problems"] == [f"this machine's agent cannot use the store: {full}"] and found["reachable"]


def test_what_one_server_without_a_quorum_knows_is_shown_and_the_store_counts_as_not_reachable():
    reading = read_documents(((key, value, None) for key, value in stored(*IDLE).items()), is_stale=True)
    found = fleet_status(STORE, reading, {})
    assert not found["reachable"] and found["stale"] and len(found["groups"]) == 2
    assert shown(found).startswith("The store answers without a quorum: no agent can write to it")
    assert f"{STORE}, without a quorum" in shown(found)


def test_since_when_the_store_cannot_be_reached_is_as_this_machines_agent_has_seen_it():
    assert unreachable(STORE, "no answer", "2026-11-20T10:00:00.000Z")["problems"] == [
        "the store cannot be reached since 2026-11-20T10:00:00.000Z, by this machine: no answer"]


def test_an_event_that_takes_several_machines_of_a_group_says_how_many():
    found = view(stored(*IDLE, slots={"web": [holder(SHARED, "web-1", "web-2")]}))
    assert "web: slots in use: 1 of 1, by 2 machines" in shown(found)


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(width: int):
    found = view(stored(
        member("web-1", phase="waiting-for-peers", events=(digest(SHARED),)), member("web-2", phase="waiting-for-slot", events=(digest(),)),
        slots={"web": [holder(SHARED, "web-1")]}, events=(shared({"web-1": said("web-1")}),)))
    assert max(map(len, shown(found, width).splitlines())) <= width


@pytest.mark.parametrize(("fleet", "alone"), [
    ("", True), ('store = "etcd://a"', False), ('store = "etcd://a"\nshared = "alone"', True)])
def test_with_a_store_fleet_shared_decides_about_events_of_several_machines_and_the_policys_key_is_ignored(fleet: str, alone: bool):
    settings = read_settings(f"[policy]\nacknowledge_shared = true\n[fleet]\n{fleet}\n", file="t", defaults=LINUX)
    assert policy_of(settings, Catalogue()).rules_for(Kind.FREEZE).acknowledge_shared is alone
