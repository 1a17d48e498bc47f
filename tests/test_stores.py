"""`[fleet] store` names a place in one of the stores of the table."""
from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

from tideover.stores import STORES, read_store


@pytest.mark.parametrize(("text", "hosts"), [
    ("etcd://10.0.0.1:2379,10.0.0.2:2379", ("10.0.0.1:2379", "10.0.0.2:2379")),
    ("etcds://store-1.example.org,[fd00::1]:12379/", ("store-1.example.org:2379", "[fd00::1]:12379")),
    ("etcd://[fd00::1]", ("[fd00::1]:2379",)),
])
def test_an_etcd_is_named_by_its_servers(text, hosts):
    place = read_store(text)
    assert place.hosts == hosts and f"{place.kind.scheme}://" in text and place.kind.name == "etcd"


def test_azure_blob_storage_is_named_by_account_and_container():
    place = read_store("azblob://fleetaccount/tide-over")
    assert (place.account, place.container) == ("fleetaccount", "tide-over")


@pytest.mark.parametrize("text", [
    "", "etcd", "consul://host", "etcd://", "etcd://host/path", "etcd://a,,b", "etcd://host:0", "etcd://host:65536", "etcd://user@host",
    "azblob://account", "azblob://Account/container", "azblob://account/a", "azblob://account/con--tainer", "http://host:2379",
])
def test_anything_else_is_refused_with_the_form_that_is_meant(text):
    with pytest.raises(ValueError, match=r"it must|a port"):
        read_store(text)


def test_each_store_has_a_module_of_its_own():
    for kind in STORES:
        if find_spec(kind.module) is not None:
            assert {"open_store", "findings"} <= set(dir(import_module(kind.module)))
