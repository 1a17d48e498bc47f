"""The table of the fleet's stores by the scheme of `[fleet] store`: forms of addresses, keys that each takes. Pure.

This is the one table of stores: the configuration, doctor and `fleet.store.open_store` read it. What a store's service
says and does stands in its module, which is imported only where that store is configured.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

ETCD_PORT = 2379


@dataclass(frozen=True, slots=True)
class StoreKind:
    """One kind of store. `form`: how `[fleet] store` names one, for messages; `takes`: the keys of [fleet] that say how
    it is opened, beside `store` and `prefix`."""

    scheme: str
    name: str                    # for people
    module: str
    form: str
    pattern: re.Pattern[str]     # of what follows "://"
    takes: tuple[str, ...]
    is_tls: bool = True          # unless `endpoint` says http://


_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_ETCD = re.compile(rf"(?P<hosts>{_HOST}(?:,{_HOST})*)/?")
# learn.microsoft.com, "Naming rules and restrictions for Azure resources": storage accounts and containers
_AZURE_BLOB = re.compile("(?P<account>[a-z0-9]{3,24})/(?P<container>[a-z0-9](?:-?[a-z0-9]){2,62})/?")
_USER, _TLS = ("user", "password_file"), ("ca_file", "cert_file", "key_file")

STORES = (
    StoreKind("etcd", "etcd", "tideover.fleet.etcd", "etcd://HOST:2379,HOST:2379", _ETCD, _USER, is_tls=False),
    StoreKind("etcds", "etcd", "tideover.fleet.etcd", "etcds://HOST:2379,HOST:2379", _ETCD, (*_USER, *_TLS)),
    StoreKind("azblob", "Azure Blob Storage", "tideover.fleet.azure_blob", "azblob://ACCOUNT/CONTAINER", _AZURE_BLOB,
              ("endpoint", "sas_file", "identity")),
)


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A store's address, read. `hosts`: of an etcd, as "host:port"; `account`, `container`: of Azure Blob Storage."""

    kind: StoreKind
    hosts: tuple[str, ...] = ()
    account: str = ""
    container: str = ""


def read_store(text: str) -> StorePlace:
    """Given `[fleet] store`, not "", return the place. Raise ValueError with what is wrong, as a part of a sentence."""
    scheme, separator, rest = text.partition("://")
    kind = next((one for one in STORES if separator and one.scheme == scheme), None)
    if kind is None:
        raise ValueError(f"it must begin with {', '.join(f'{one.scheme}://' for one in STORES)}")
    match = kind.pattern.fullmatch(rest)
    if match is None:
        raise ValueError(f"it must have the form {kind.form}")
    found = match.groupdict()
    hosts = tuple(_with_port(host) for host in found.get("hosts", "").split(",") if host)
    if not all(0 < int(host.rpartition(":")[2]) < 65536 for host in hosts):
        raise ValueError("a port is a number from 1 to 65535")
    return StorePlace(kind, hosts, found.get("account", ""), found.get("container", ""))


def _with_port(host: str) -> str:
    return host if re.search(r":[0-9]+$", host) and not host.endswith("]") else f"{host}:{ETCD_PORT}"
