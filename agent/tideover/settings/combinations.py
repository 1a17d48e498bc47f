"""Keys of [fleet] that only make sense together, or not together. Each value is right by itself; a rule is a row.

Judged on all files merged: the store may stand in one of them and its credentials in another.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tideover.settings.toml import KeyOrigin
from tideover.settings.types import SettingProblem
from tideover.settings.values import FleetSettings, Settings
from tideover.stores import STORES, read_store


@dataclass(frozen=True, slots=True)
class CombinationRule:
    key: str                                       # of [fleet]
    is_broken: Callable[[FleetSettings], bool]
    text: str


def _takes(fleet: FleetSettings, key: str) -> bool:
    return key in read_store(fleet.store or "").kind.takes


# Asked only where there is a store.
PAIRS = (
    CombinationRule("user", lambda it: _takes(it, "user") and it.user is not None and it.password_file is None,
                    "needs password_file too"),
    CombinationRule("password_file", lambda it: _takes(it, "user") and it.password_file is not None and it.user is None,
                    "needs user too"),
    CombinationRule("cert_file", lambda it: _takes(it, "key_file") and it.cert_file is not None and it.key_file is None,
                    "needs key_file too"),
    CombinationRule("key_file", lambda it: _takes(it, "key_file") and it.key_file is not None and it.cert_file is None,
                    "needs cert_file too"),
    CombinationRule("store", lambda it: _takes(it, "sas_file") and it.sas_file is None and not it.identity,
                    "needs sas_file or identity = true"),
    CombinationRule("identity", lambda it: _takes(it, "sas_file") and it.identity and it.sas_file is not None,
                    "cannot be used with sas_file: choose one"),
)

OF_A_STORE = tuple(dict.fromkeys(key for kind in STORES for key in kind.takes))


def find_broken_combinations(settings: Settings, origin: Mapping[str, KeyOrigin]) -> list[SettingProblem]:
    """Given settings and where their keys stand, return one fault for each key that does not fit the others."""
    fleet = settings.fleet
    if fleet.store is None:
        return []
    kind = read_store(fleet.store).kind
    found = [(key, f"is not for {kind.scheme}://, which takes {', '.join(kind.takes)}")
             for key in OF_A_STORE if getattr(fleet, key) and key not in kind.takes]
    found += [(rule.key, rule.text) for rule in PAIRS if rule.is_broken(fleet)]
    return [_fault(key, text, origin.get(f"fleet.{key}")) for key, text in found]


def _fault(key: str, text: str, place: KeyOrigin | None) -> SettingProblem:
    return SettingProblem(place.line if place else None, f"fleet.{key}", text,
                          drop_in=place.file if place and place.is_drop_in else "")
