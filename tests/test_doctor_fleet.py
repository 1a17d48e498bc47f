"""Doctor's findings about a fleet: its store, its members, what is left behind."""
from __future__ import annotations

import pytest

from fleet_kept import OWN, holder, member, stored
from tideover.doctor.fleet import check_fleet, late
from tideover.findings import FindingLevel
from tideover.fleet.etcd import EtcdStore
from tideover.settings import LINUX, default_settings, read_settings
from tideover.simulator.etcd_gateway import SimulatedEtcd


@pytest.fixture
def etcd():
    with SimulatedEtcd() as running:
        yield running


def examined(etcd: SimulatedEtcd, documents: dict[str, bytes]) -> list[tuple[str, FindingLevel, str, str]]:
    store = EtcdStore([f"http://{etcd.address}"], "tideover")
    for key, value in documents.items():
        store.put(key, value, None)
    store.close()
    settings = read_settings(f'[fleet]\nstore = "{etcd.setting}"\ngroup = "web"\nslots = 1\n', file="t", defaults=LINUX)
    return [(one.topic, one.state, one.what, one.do) for one in check_fleet(settings)]


def test_without_a_store_nothing_is_said():
    settings = default_settings()
    assert check_fleet(settings) == [] and late(settings, 8.0) == []


def test_a_store_that_works_is_told_with_its_size_and_the_members_of_the_group(etcd):
    found = examined(etcd, stored(member("web-1", at=""), member("web-2", at="")))
    assert {level for _, level, _, _ in found} == {FindingLevel.GOOD}
    assert any("database" in what for _, _, what, _ in found)
    assert found[-1][2] == "2 members in the group web, 1 slot"
    assert all("/probes/" not in key for key in etcd.values())


def test_members_that_disagree_and_what_machines_that_are_gone_left_behind_are_notes(etcd):
    found = examined(etcd, stored(member("web-1", at=""), member("web-2", at="", slots=2), member("old", at="2020-01-01T00:00:00Z"),
                                  slots={"web": [holder(OWN, "old")]}))
    notes = [(what, do) for _, level, what, do in found if level is FindingLevel.NOTE]
    assert [do for _, do in notes] == ["See tideover fleet status.", "tideover fleet prune --dry-run"]
    assert notes[0][0].startswith("members of web disagree on fleet.slots: old, web-1 have 1; web-2 has 2")
    assert notes[1][0].startswith("2 entries were left behind by machines that are gone: the entry of old")


def test_a_store_that_cannot_be_used_is_a_problem(etcd):
    etcd.is_down = True
    found = examined(etcd, {})
    assert found[0][1] is FindingLevel.BAD and "503" in found[0][2] and found[0][3]
    settings = read_settings(f'[fleet]\nstore = "{etcd.setting}"\n', file="t", defaults=LINUX)
    assert late(settings, 8.0)[0].what == f"{etcd.setting} has not answered within 8 s"


