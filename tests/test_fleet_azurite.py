"""The store in Azure Blob Storage against the real Azurite, by hand: it comes by npm (real_azurite.py)."""
from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from real_azurite import RealAzurite
from tideover.findings import FindingLevel
from tideover.fleet.azure_blob import findings
from tideover.fleet.store import Conflict, StoreFailed, StoreTrouble, open_store

pytestmark = [pytest.mark.slow, pytest.mark.extra]


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAzurite]:
    with RealAzurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def test_a_sas_that_has_ended_or_lacks_a_right_is_told_and_a_new_one_is_used(azurite: RealAzurite, tmp_path: Path) -> None:
    file = tmp_path / "sas"
    keys = replace(azurite.keys, prefix="sas", sas_file=str(file))
    file.write_text(azurite.sas(ends_in_s=-60))
    store = open_store(keys)
    for text in (azurite.sas(ends_in_s=-60), azurite.sas("rl"), "sv=2023-11-03&sr=c&sp=rcwdl&se=2099-01-01T00%3A00%3A00Z&sig=wrong%3D"):
        file.write_text(text)
        with pytest.raises(StoreFailed) as found:
            store.put("v1/a", b"x", None)
        assert found.value.trouble is StoreTrouble.DENIED and "rwdl" in str(found.value), found.value
    assert [one.state for one in findings(keys)][-1] is FindingLevel.BAD
    file.write_text(azurite.sas())
    store.put("v1/a", b"x", None)
    assert [one.state for one in findings(keys)] == [FindingLevel.NOTE, FindingLevel.GOOD]      # its end is near


def test_a_container_that_is_not_there_is_told(azurite: RealAzurite) -> None:
    with pytest.raises(StoreFailed, match=r"there is no such container|may not do this"):
        open_store(replace(azurite.keys, store="azblob://devstoreaccount1/other")).put("v1/a", b"x", None)


def test_a_thousand_members_are_one_list_of_three_requests(azurite: RealAzurite) -> None:
    store = open_store(replace(azurite.keys, prefix="thousand"))
    for number in range(1000):
        store.put(f"v1/members/m{number:04}", b"x" * 218, None)
    store.put("v1/members/long", b"y" * 50_000, None)
    began = time.monotonic()
    found = store.list("v1/members/")
    print(f"\na list of 1 001 members: {(time.monotonic() - began) * 1000:.0f} ms")
    assert len(found) == 1001 and {one.value for one in found} == {b"x" * 218, b"y" * 50_000}
    assert found[0].key == "v1/members/long" and found[0].age_s is not None
    with pytest.raises(Conflict):
        store.put("v1/members/long", b"z", found[1].revision)
    store.put("v1/members/long", b"z", found[0].revision)


def test_the_least_rights_of_a_sas_are_read_write_delete_and_list(azurite: RealAzurite, tmp_path: Path) -> None:
    """As docs/fleet.md and the hints say; without any one of them doctor finds it."""
    file = tmp_path / "sas"
    keys = replace(azurite.keys, prefix="least", sas_file=str(file))
    file.write_text(azurite.sas("rwdl"))
    assert [one.state for one in findings(keys)] == [FindingLevel.NOTE, FindingLevel.GOOD]
    for missing in "rwdl":
        file.write_text(azurite.sas("rwdl".replace(missing, "")))
        found = findings(keys)[-1]
        assert found.state is FindingLevel.BAD and "permissions rwdl" in found.do, (missing, found)
