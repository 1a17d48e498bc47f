"""Keys of [fleet] that only make sense together, or not together. Each value is right by itself; a rule is a row.

Judged on all files merged: the store may stand in one of them and its credentials in another.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tideover.settings.toml import KeyOrigin
from tideover.settings.types import SettingProblem
from tideover.settings.values import FleetSettings, Settings


@dataclass(frozen=True, slots=True)
class CombinationRule:
    key: str                                       # of [fleet]
    is_broken: Callable[[FleetSettings], bool]
    text: str


def _is_etcd(fleet: FleetSettings) -> bool:
    return fleet.store is not None and fleet.store.is_etcd


def _is_blob(fleet: FleetSettings) -> bool:
    return fleet.store is not None and not fleet.store.is_etcd


def _is_without_tls(fleet: FleetSettings) -> bool:
    return fleet.store is not None and fleet.store.scheme == "etcd"


_ETCD_ONLY = ("user", "password_file", "ca_file", "cert_file", "key_file")
_TLS_ONLY = ("ca_file", "cert_file", "key_file")
_BLOB_ONLY = ("endpoint", "sas_file", "identity")


def _rows(keys: tuple[str, ...], applies: Callable[[FleetSettings], bool], text: str) -> list[CombinationRule]:
    """Return one rule for each key: it may not be set where this applies."""
    def is_broken(fleet: FleetSettings, key: str) -> bool:
        return applies(fleet) and bool(getattr(fleet, key))

    return [CombinationRule(key, partial(is_broken, key=key), text) for key in keys]


COMBINATIONS = (
    *_rows(_ETCD_ONLY, _is_blob, "is for etcd; azblob takes sas_file or identity"),
    *_rows(_BLOB_ONLY, _is_etcd,
           "is for azblob; etcd takes user and password_file, etcds also ca_file, cert_file and key_file"),
    *_rows(_TLS_ONLY, _is_without_tls, "needs TLS: write the store as etcds://"),
    CombinationRule("user", lambda it: _is_etcd(it) and it.user is not None and it.password_file is None,
                    "needs password_file too"),
    CombinationRule("password_file", lambda it: _is_etcd(it) and it.password_file is not None and it.user is None,
                    "needs user too"),
    CombinationRule("cert_file", lambda it: _is_etcd(it) and it.cert_file is not None and it.key_file is None,
                    "needs key_file too"),
    CombinationRule("key_file", lambda it: _is_etcd(it) and it.key_file is not None and it.cert_file is None,
                    "needs cert_file too"),
    CombinationRule("store", lambda it: _is_blob(it) and it.sas_file is None and not it.identity,
                    "azblob needs sas_file or identity = true"),
    CombinationRule("identity", lambda it: _is_blob(it) and it.identity and it.sas_file is not None,
                    "cannot be used with sas_file: choose one"),
)


def find_broken_combinations(settings: Settings, origin: Mapping[str, KeyOrigin]) -> list[SettingProblem]:
    """Given settings and where their keys stand, return one fault for each rule that they break."""
    faults = []
    for rule in COMBINATIONS:
        if rule.is_broken(settings.fleet):
            place = origin.get(f"fleet.{rule.key}")
            faults.append(SettingProblem(place.line if place else None, f"fleet.{rule.key}", rule.text,
                                         drop_in=place.file if place and place.is_drop_in else ""))
    return faults
