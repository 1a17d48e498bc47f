"""Every store keeps the same rules: one suite, run against the drill's etcd, a real etcd and the real Azurite."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from real_azurite import RealAzurite
from real_etcd import RealEtcd
from tideover.fleet.etcd import EtcdStore
from tideover.fleet.store import Conflict, Store, StoreFailed, open_store
from tideover.simulator.etcd_gateway import SimulatedEtcd

OpenStore = Callable[[], Store]

PREFIXES = count(1)


@contextmanager
def etcd(home: Path, members: int = 1) -> Iterator[Callable[[str], Store]]:
    with RealEtcd(home, members) as running:
        yield running.store


@contextmanager
def simulated_etcd(home: Path) -> Iterator[Callable[[str], Store]]:
    with SimulatedEtcd() as running:
        yield lambda prefix: EtcdStore([f"http://{running.address}"], prefix)


@contextmanager
def azurite(home: Path) -> Iterator[Callable[[str], Store]]:
    with RealAzurite(home) as running:
        yield lambda prefix: open_store(replace(running.keys, prefix=prefix))


SERVERS = {"simulated etcd": (simulated_etcd, ()), "etcd": (etcd, (pytest.mark.slow,)),
           "etcd, three members": (partial(etcd, members=3), (pytest.mark.slow,)),
           "azurite": (azurite, (pytest.mark.slow, pytest.mark.extra))}      # from npm: by hand
"""What runs a store, empty, for as long as it is entered, and yields what opens it with a prefix; and its marks."""


@pytest.fixture(scope="module", params=[pytest.param(name, marks=marks) for name, (_, marks) in SERVERS.items()])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    with SERVERS[request.param][0](tmp_path_factory.mktemp("store")) as opened:
        yield opened


@pytest.fixture
def open_one(server: Callable[[str], Store], request: pytest.FixtureRequest) -> Iterator[OpenStore]:
    """Each call returns one more member's way to the same store, in which nothing is."""
    prefix, opened = f"fleet-{next(PREFIXES)}", []

    def open_another() -> Store:
        opened.append(server(prefix))
        return opened[-1]

    yield open_another
    cleaner = server(prefix)
    for one in cleaner.list(""):
        cleaner.delete(one.key, one.revision)
    for store in (*opened, cleaner):
        store.close()


def refused(work: Callable[[], object]) -> bool:
    try:
        work()
    except Conflict:
        return True
    return False


def test_a_document_is_what_was_written_last(open_one: OpenStore) -> None:
    store, other = open_one(), open_one()
    assert store.get("v1/a") is None
    first = store.put("v1/a", b"one", None)
    found = other.get("v1/a")
    assert found is not None and (found.key, found.value, found.revision) == ("v1/a", b"one", first)
    second = other.put("v1/a", b"", first)
    found = store.get("v1/a")
    assert found is not None and (found.value, found.revision) == (b"", second) and first != second


def test_a_write_on_what_has_changed_is_a_conflict_and_changes_nothing(open_one: OpenStore) -> None:
    """Absent where it was expected, there where it was not, another revision: all the same."""
    store, other = open_one(), open_one()
    first = store.put("v1/a", b"one", None)
    second = other.put("v1/a", b"two", first)
    assert refused(lambda: store.put("v1/a", b"three", first))
    assert refused(lambda: store.put("v1/a", b"three", None))
    assert refused(lambda: store.put("v1/b", b"three", first))
    assert refused(lambda: store.delete("v1/a", first))
    assert refused(lambda: store.delete("v1/b", first))
    assert [(one.key, one.value, one.revision) for one in store.list("")] == [("v1/a", b"two", second)]


def test_a_deleted_document_is_absent_and_its_revision_never_comes_back(open_one: OpenStore) -> None:
    store = open_one()
    first = store.put("v1/a", b"one", None)
    store.delete("v1/a", first)
    assert store.get("v1/a") is None and store.list("v1/") == []
    assert refused(lambda: store.put("v1/a", b"two", first))
    assert store.put("v1/a", b"one", None) != first


def test_a_list_has_every_document_below_a_prefix_in_the_order_of_keys(open_one: OpenStore) -> None:
    store = open_one()
    for key in ("v1/events/b", "v1/events/a", "v1/eventsx", "v1/groups/x/slots"):
        store.put(key, key.encode(), None)
    assert [one.key for one in store.list("v1/events/")] == ["v1/events/a", "v1/events/b"]
    assert [one.value.decode() for one in store.list("v1/")] == ["v1/events/a", "v1/events/b", "v1/eventsx", "v1/groups/x/slots"]
    assert [one.key for one in store.list_stale("v1/e")] == ["v1/events/a", "v1/events/b", "v1/eventsx"]
    assert store.list("v2/") == []


def test_keys_and_values_of_any_bytes_come_back_as_they_were(open_one: OpenStore) -> None:
    store = open_one()
    keys = ["v1/members/web-1.example.org-0123", "v1/members/größe %2F?x=1&y#z-ab", "v1/members/a b+c"]
    for key in keys:
        store.put(key, bytes(range(256)), None)
    assert sorted(one.key for one in store.list("v1/members/")) == sorted(keys)
    for key in keys:
        found = store.get(key)
        assert found is not None and found.value == bytes(range(256))
        store.delete(key, found.revision)
    assert store.list("") == []


def test_of_many_writers_at_once_each_adds_one(open_one: OpenStore) -> None:
    """The compare-and-swap of the store: nothing is lost, nothing is counted twice."""
    writers, rounds = 4, 4
    open_one().put("v1/n", b"0", None)

    def add() -> None:
        store = open_one()
        for _ in range(rounds):
            while True:
                found = store.get("v1/n")
                assert found is not None
                if not refused(lambda found=found: store.put("v1/n", str(int(found.value) + 1).encode(), found.revision)):
                    break
        store.close()

    threads = [threading.Thread(target=add) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = open_one().get("v1/n")
    assert found is not None and found.value == str(writers * rounds).encode()


def test_a_closed_store_does_nothing_more(open_one: OpenStore) -> None:
    store = open_one()
    store.close()
    with pytest.raises(StoreFailed, match="by this agent"):
        store.put("v1/a", b"one", None)
    assert open_one().get("v1/a") is None
