"""`tideover fleet`: what it shows of a store, and what it does there by hand, against an etcd that is simulated over a real socket."""
from __future__ import annotations

import io
import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from fleet_kept import OWN, SHARED, digest, holder, member, said, shared, stored
from tideover.cli import main
from tideover.cli.completion_words import print_words
from tideover.fleet import administration
from tideover.fleet.etcd import EtcdStore
from tideover.fleet_documents import decode_slots
from tideover.simulator.etcd_gateway import SimulatedEtcd

NOW = datetime.now(UTC)


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """A store, and a configuration that names it; `fill` writes documents as agents would."""
    with SimulatedEtcd() as etcd:
        file = tmp_path / "tideover.toml"
        file.write_text(f'[source]\nkind = "azure"\n[fleet]\nstore = "{etcd.setting}"\n'
                        + "[paths]\n" + "".join(f'{name} = "{tmp_path}/{name}"\n' for name in ("hooks", "state", "runtime")))
        monkeypatch.setenv("TIDEOVER_CONFIG", str(file))
        monkeypatch.setattr(administration, "WATCH_S", 0.03)
        monkeypatch.setattr(administration, "LOOK_S", 0.01)
        yield Fleet(etcd)


class Fleet:
    def __init__(self, etcd: SimulatedEtcd) -> None:
        self.etcd = etcd

    def fill(self, documents: dict[str, bytes]) -> None:
        with self.opened() as store:
            for key, value in documents.items():
                store.put(key, value, None)

    @contextmanager
    def opened(self):
        store = EtcdStore([f"http://{self.etcd.address}"], "tideover")
        try:
            yield store
        finally:
            store.close()

    def slots(self, group: str = "web"):
        return decode_slots("", self.etcd.values()[f"tideover/v1/groups/{group}/slots"]).holders


def run(capsys, *words: str) -> tuple[int, str, str]:
    status = main(["fleet", *words])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_status_is_0_where_all_is_well_1_where_something_needs_a_look_and_3_without_the_store(fleet, capsys):
    fleet.fill(stored(member("web-1"), member("web-2")))
    assert run(capsys, "status")[0] == 0
    fleet.fill(stored(slots={"web": [holder(OWN, "web-1", granted=False)]}))
    status, out, _ = run(capsys, "status")
    assert status == 1 and out.startswith("A slot of web is in use that was not granted: web-1")
    fleet.etcd.is_down = True
    status, out, _ = run(capsys, "status")
    assert status == 3 and out.startswith("The store cannot be reached: ")


def test_status_as_json_is_one_document(fleet, capsys):
    fleet.fill(stored(member("web-1"), events=(shared({"web-1": said("web-1")}),)))
    status, out, _ = run(capsys, "status", "--json")
    document = json.loads(out)
    assert status == 1 and document["schema"] == 1 and document["store"] == fleet.etcd.setting
    assert [one["name"] for one in document["groups"][0]["members"]] == ["web-1"]
    assert document["problems"][0].startswith(f"freeze {SHARED} names web-2, for which no agent")


def test_without_a_store_the_commands_say_what_to_set(tmp_path, capsys):
    (tmp_path / "tideover.toml").write_text("")
    for words in (["status"], ["release", "web-1"], ["prune"]):
        assert main(["fleet", *words, "--config", str(tmp_path / "tideover.toml")]) == 2
        assert "[fleet] store is not set" in capsys.readouterr().err


def test_release_asks_first_and_then_frees_every_slot_of_the_machine(fleet, capsys):
    fleet.fill(stored(member("web-1"), member("web-2"), slots={"web": [holder(OWN, "web-1"), holder(SHARED, "web-1", "web-2")]}))
    status, _, err = run(capsys, "release", "WEB-1")
    assert status == 2 and "other machines may then be away at the same time" in err and "--yes" in err
    assert all(one.counts for one in fleet.slots())
    status, out, _ = run(capsys, "release", "WEB-1", "--yes")
    assert status == 0 and out.startswith("Released: a granted slot for freeze ")
    own, both = fleet.slots()
    assert not own.counts and both.counts and both.members["web-1"].released and not both.members["web-2"].released
    status, _, err = run(capsys, "release", "web-1", "--yes")
    assert status == 1 and "it holds none" in err


class Terminal(io.StringIO):
    """A terminal with a person who answers yes."""

    def isatty(self) -> bool:
        return True


def test_a_person_who_confirms_releases_a_machine_that_is_silent_and_none_that_writes_meanwhile(fleet, capsys, monkeypatch):
    """On etcd nobody knows how old an entry is: silence is what was observed."""
    fleet.fill(stored(member("web-1"), slots={"web": [holder(OWN, "web-1")]}))
    [key] = [key.removeprefix("tideover/") for key in fleet.etcd.values() if "/members/" in key]

    def wait_while_it_writes(seconds: float) -> None:
        with fleet.opened() as other:
            known = other.get(key)
            other.put(key, known.value, known.revision)

    with monkeypatch.context() as patched:
        patched.setattr(administration.time, "sleep", wait_while_it_writes)
        patched.setattr("sys.stdin", Terminal("y\n"))
        status, _, err = run(capsys, "release", "web-1")
    assert status == 1 and "it has written to the store within the last minute, so its agent runs" in err
    assert fleet.slots()[0].counts
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    status, _, err = run(capsys, "release", "web-1")
    assert status == 0 and "web-1 holds a granted slot for freeze" in err and "by its own clock" in err
    assert not fleet.slots()[0].counts


def test_release_of_a_machine_that_has_no_slot_says_so(fleet, capsys):
    fleet.fill(stored(member("web-1")))
    assert "it holds none" in run(capsys, "release", "web-1")[2]
    assert "no machine of that name has written" in run(capsys, "release", "web-7")[2]
    fleet.etcd.is_down = True
    assert run(capsys, "release", "web-1")[0] == 3


def test_prune_removes_what_machines_that_are_gone_left_and_nothing_of_the_others(fleet, capsys):
    old, new = ((NOW - timedelta(days=days)).isoformat() for days in (9, 0.1))
    documents = stored(member("gone", at=old, events=(digest(OWN),)), member("web-2", at=new), member("silent", at=""),
                       slots={"web": [holder(OWN, "gone"), holder(SHARED, "web-2")]},
                       events=(shared({"gone": said("gone")}, resources=("gone",)),))
    fleet.fill(documents)
    status, out, _ = run(capsys, "prune", "--dry-run")
    assert status == 0 and out.endswith("Would remove 3.\n") and "the entry of gone" in out
    status, _, err = run(capsys, "prune")
    assert status == 2 and "3 entries are to be removed" in err
    before = set(fleet.etcd.values())
    status, out, _ = run(capsys, "prune", "--yes", "--json")
    assert status == 0 and len(json.loads(out)["removed"]) == 3
    removed = before - set(fleet.etcd.values())
    assert {key.split("/")[2] for key in removed} == {"members", "events"} and len(removed) == 2
    assert [sorted(one.members) for one in fleet.slots()] == [["web-2"]]
    assert run(capsys, "prune")[1] == "Nothing is left behind.\n"


def test_prune_leaves_what_has_changed_meanwhile_and_what_a_machine_may_just_have_entered(fleet, capsys, monkeypatch):
    """A machine may enter an event before it has written an entry of its own."""
    old = (NOW - timedelta(days=9)).isoformat()
    fleet.fill(stored(member("back", at=old), slots={"web": [holder(OWN, "new", not_before=NOW.isoformat())]},
                      events=(shared({"new": said("new")}, resources=("new",), not_before=""),)))
    reads = administration.read_fleet

    def read_and_come_back(store):
        found = reads(store)
        [entry] = found.members
        known = store.get(entry.key)
        store.put(entry.key, known.value.replace(old.encode(), NOW.isoformat().encode()), known.revision)
        return found

    monkeypatch.setattr(administration, "read_fleet", read_and_come_back)
    before = len(fleet.etcd.values())
    status, out, _ = run(capsys, "prune", "--yes")
    assert status == 0 and out.endswith("Removed 0 of 1.\n") and len(fleet.etcd.values()) == before


def test_names_of_members_are_completed(fleet, capsys):
    fleet.fill(stored(member("web-1"), member("web-2")))
    capsys.readouterr()
    assert print_words(["members"]) == 0
    assert capsys.readouterr().out.split() == ["web-1", "web-2"]
