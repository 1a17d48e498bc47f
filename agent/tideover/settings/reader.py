"""A configuration's text to settings or to all of its errors: unknown keys, keys that must go together, drop-ins."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tideover.errors import ConfigurationError
from tideover.model import Kind
from tideover.settings.keys import (
    ANNOUNCED_IN_ORDER,
    APPLICATION,
    HOOK,
    HOOK_NAME,
    NAMED_TABLES,
    TABLES,
    KeyTable,
    PlatformDefault,
    SettingKey,
)
from tideover.settings.toml import KeyOrigin, NotToml, Path, TomlDocument, merge, parse, parse_readable_tables
from tideover.settings.types import (
    InvalidValue,
    SettingProblem,
    Wrong,
    dotted,
    found_secret_text,
    found_text,
    problem_lines,
)
from tideover.settings.values import LINUX, FleetSettings, HooksSettings, PlatformPaths, PolicySettings, Settings
from tideover.stores import STORES, read_store

_NAMED = tuple(table.name for table in NAMED_TABLES)
_ROWS = {table.name: table.keys for table in (*TABLES, *NAMED_TABLES)}
_KINDS = tuple(kind.value for kind in ANNOUNCED_IN_ORDER)


DropIn = tuple[str, str | bytes]
"""The name of a file of conf.d, and what stands in it."""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Settings, and where each key and table that the files name stands, by its dotted name; of several places the
    one that counts."""

    settings: Settings
    origin: Mapping[str, KeyOrigin]


UNKNOWN_AT_TOP = "unknown table or key"


def read(text: str | bytes, *, file: str, defaults: PlatformPaths, drop_ins: Sequence[DropIn] = ()) -> ReadResult:
    """Given a whole file, the drop-ins beside it in their order and the platform's paths, return what they mean.

    Raise ConfigurationError with all faults of all files."""
    reading, faults = _read_files([(file, text), *drop_ins], defaults)
    if faults:
        raise ConfigurationError(file, problem_lines(faults))
    return reading


def read_tolerantly(text: str | bytes, *, file: str, defaults: PlatformPaths,
                    drop_ins: Sequence[DropIn] = ()) -> tuple[ReadResult, ConfigurationError | None]:
    """Given the same, return what can be read of them, defaults elsewhere; and all faults, None where there is none."""
    reading, faults = _read_files([(file, text), *drop_ins], defaults)
    return reading, ConfigurationError(file, problem_lines(faults)) if faults else None


def _read_files(files: Sequence[DropIn], defaults: PlatformPaths) -> tuple[ReadResult, list[SettingProblem]]:
    """Each file is judged by itself, so that a value is wrong also where a later file has another; what is wrong in a
    file takes nothing away from the files before it."""
    tree: dict[str, object] = {}
    origin: dict[str, KeyOrigin] = {}
    faults: list[SettingProblem] = []
    for name, text in files:
        is_drop_in = name != files[0][0]
        document, found = _parsed(text)
        reader = _SettingsReader(document, defaults)
        reader.settings()
        if found:
            reader.faults = [fault for fault in reader.faults if not _is_consequence(fault, document)]
        faults += [replace(fault, drop_in=name if is_drop_in else "") for fault in (*found, *reader.faults)]
        tree = merge(tree, _without(document.tree, reader.wrong) if len(files) > 1 else document.tree)
        origin |= {dotted(path): KeyOrigin(name, line, is_drop_in) for path, line in document.lines.items()}
    settings = _SettingsReader(TomlDocument(tree, {}), defaults).settings()
    if not any(fault.key.startswith("fleet.") for fault in faults):     # what follows from one is no fault of its own
        faults += _find_broken_combinations(settings, origin)
    return ReadResult(settings, MappingProxyType(origin)), faults


def _parsed(text: str | bytes) -> tuple[TomlDocument, list[SettingProblem]]:
    """A file that is not TOML is judged as far as it can be read: its other faults are named with that one."""
    try:
        return parse(text), []
    except NotToml as trouble:
        return parse_readable_tables(text), [trouble.fault]


def _is_consequence(fault: SettingProblem, document: TomlDocument) -> bool:
    """Whether this fault of a file that is not TOML comes of that: where a table's header cannot be read, its keys are
    taken for the file's own."""
    value = document.tree.get(fault.key)
    return fault.what == UNKNOWN_AT_TOP and not isinstance(value, dict)


def _without(tree: Mapping[str, object], wrong: Iterable[Path]) -> dict[str, object]:
    """Given a file's values, return them without those at these paths."""
    left = merge({}, tree)
    for path in wrong:
        inner: object = left
        for name in path[:-1]:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(path[-1], None)
    return left


def read_settings(text: str | bytes, *, file: str, defaults: PlatformPaths) -> Settings:
    """Given a whole file and the platform's paths, return the settings. Raise ConfigurationError with all faults."""
    return read(text, file=file, defaults=defaults).settings


def default_settings(platform: PlatformPaths = LINUX) -> Settings:
    """Return what holds where no file says anything."""
    return read_settings("", file="", defaults=platform)


def _participant_defaults(table: KeyTable, hooks: HooksSettings) -> dict[str, Any]:
    followed = {"timeout_s": hooks.timeout_s, "required": hooks.on_failure == "hold"}
    return {key.field: followed[key.field] if key.default is None else key.takes.read(key.default)
            for key in table.keys}


class _SettingsReader:
    """One pass over one document; gathers faults and goes on with the default, so that none hides another."""

    def __init__(self, document: TomlDocument, platform: PlatformPaths) -> None:
        self._document, self._platform = document, platform
        self.faults: list[SettingProblem] = []
        self.wrong: list[Path] = []

    def settings(self) -> Settings:
        tree = self._document.tree
        self._refuse_unknown((), tree, tuple(name for name in _ROWS if "." not in name))
        top: dict[str, Mapping[str, object]] = {}
        for name in _ROWS:
            parent, _, _ = name.rpartition(".")
            top[name] = self._table(tuple(name.split(".")), top[parent] if parent else tree)
        made: dict[str, Any] = {}
        for table in reversed(TABLES):      # a table within another one before that
            within = {other.rpartition(".")[2]: made.pop(other) for other in list(made)
                      if other.rpartition(".")[0] == table.name}
            made[table.name] = table.makes(**self._section(table.name, top[table.name]), **within)
        return Settings(**made,
                        policy_by_kind=self._policies(top["policy"], made["policy"]),
                        hook=self._participants(HOOK, top, made["hooks"]),
                        any_hook=HOOK.makes(**_participant_defaults(HOOK, made["hooks"])),
                        application=self._participants(APPLICATION, top, made["hooks"]))

    def _section(self, name: str, raw: Mapping[str, object]) -> dict[str, Any]:
        path = tuple(name.split("."))
        tables_within = _KINDS if name == "policy" else tuple(
            other.rpartition(".")[2] for other in _ROWS if other.rpartition(".")[0] == name)
        own = {key: value for key, value in raw.items() if key not in tables_within}
        self._refuse_unknown(path, own, (*(key.name for key in _ROWS[name]), *tables_within))
        return {key.field: self._default(key) for key in _ROWS[name]} | self._given(path, own, _ROWS[name])

    def _policies(self, raw: Mapping[str, object], policy: PolicySettings) -> Mapping[Kind, PolicySettings]:
        tables = {kind: self._table(("policy", kind.value), raw) for kind in ANNOUNCED_IN_ORDER}
        return MappingProxyType({kind: self._policy_of(kind, table, policy) for kind, table in tables.items()})

    def _policy_of(self, kind: Kind, raw: Mapping[str, object], policy: PolicySettings) -> PolicySettings:
        path, rows = ("policy", kind.value), _ROWS["policy"]
        misplaced = {row.name: row.elsewhere for row in rows if row.name in raw and kind not in row.kinds}
        for name, elsewhere in misplaced.items():
            self._fault((*path, name), f"cannot differ for {kind.value}: {elsewhere}")
        allowed = tuple(row for row in rows if kind in row.kinds)
        own = {name: value for name, value in raw.items() if name not in misplaced}
        self._refuse_unknown(path, own, tuple(row.name for row in allowed))
        changes: dict[str, Any] = {row.field: row.takes.read(row.by_kind[kind]) for row in rows if kind in row.by_kind}
        return replace(policy, **changes | self._given(path, own, allowed))

    def _participants(self, named: KeyTable, top: Mapping[str, Mapping[str, object]],
                      hooks: HooksSettings) -> Mapping[str, Any]:
        """Return the options of [hook.NAME] or [application.NAME], by name."""
        defaults = _participant_defaults(named, hooks)
        made = {}
        for name in top[named.name]:
            path = (named.name, name)
            if not HOOK_NAME.fullmatch(name):
                self._fault(path, f"expected a name of small letters, digits and hyphens for the {named.name}")
            if named is APPLICATION and name in top[HOOK.name]:
                self._fault(path, f"a hook and an application may not share a name, and there is [hook.{name}]")
            table = self._table(path, top[named.name])
            self._refuse_unknown(path, table, tuple(key.name for key in named.keys))
            made[name] = named.makes(**defaults | self._given(path, table, named.keys))
        return MappingProxyType(made)

    def _table(self, path: Path, parent: Mapping[str, object]) -> Mapping[str, object]:
        found = parent.get(path[-1], {})
        if isinstance(found, dict):
            return found
        name = f"{path[0]}.NAME" if path[0] in _NAMED else dotted(path)
        self._fault(path, f"expected a table [{name}], found {found_text(found)}")
        return {}

    def _given(self, path: Path, raw: Mapping[str, object], keys: Iterable[SettingKey]) -> dict[str, Any]:
        """Return the values of those keys that stand in the file and are right."""
        values = {}
        for key in keys:
            if key.name in raw:
                try:
                    values[key.field] = self._read(key, raw[key.name])
                except InvalidValue as misfit:
                    self._refuse((*path, key.name), key, misfit.wrongs)
        return values

    def _read(self, key: SettingKey, raw: object) -> object:
        value = key.takes.read(raw)
        paths = value[:1] if isinstance(value, tuple) else (value,)         # of a program and its arguments
        if key.takes.is_path and not all(self._platform.is_absolute(path) for path in paths if isinstance(path, str)):
            raise InvalidValue(Wrong(found_secret_text(raw) if isinstance(raw, list) else found_text(raw)))
        return value

    def _default(self, key: SettingKey) -> object:
        raw = getattr(self._platform, key.name) if key.default is PlatformDefault.PLATFORM else key.default
        return key.takes.read(raw)

    def _refuse(self, path: Path, key: SettingKey, wrongs: Sequence[Wrong]) -> None:
        for wrong in wrongs:
            because = f" ({wrong.because})" if wrong.because else ""
            self._fault((*path, *wrong.below), f"expected {key.takes.expected}, found {wrong.found}{because}",
                        near=wrong.near, likely=wrong.likely)

    def _refuse_unknown(self, path: Path, raw: Mapping[str, object], known: tuple[str, ...]) -> None:
        for name in raw:
            if name not in known:
                others = _tables_with(name)
                # A key before the first header lacks only its table; within a table a slip of the pen is likelier.
                near = "" if others and not path else name
                self._fault((*path, name), "unknown key" if path else UNKNOWN_AT_TOP, near=near, likely=known,
                            otherwise=_where_it_belongs(others, path, name, raw[name]) or _what_it_takes(path, known))

    def _fault(self, path: Path, what: str, *, near: str = "", likely: tuple[str, ...] = (),
               otherwise: str = "") -> None:
        self.wrong.append(path)
        lines = self._document.lines
        line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
        self.faults.append(SettingProblem(line, dotted(path), what, near, likely, otherwise))


def _tables_with(name: str) -> list[str]:
    return [f"[{f'{table}.NAME' if table in _NAMED else table}]" for table, keys in _ROWS.items()
            if name in {key.name for key in keys}]


def _where_it_belongs(others: list[str], path: Path, name: str, value: object) -> str:
    """Given an unknown key of a table, and the tables that have such a key, say where it should stand, or nothing."""
    if path == ("hooks",) and isinstance(value, dict):
        return f", one hook's own table is [{dotted((HOOK.name, name))}]"
    return f", it belongs in {' or '.join(others)}" if others else ""


def _what_it_takes(path: Path, known: tuple[str, ...]) -> str:
    return f", [{dotted(path)}] takes {', '.join(known)}" if path else f", the tables are {', '.join(known)}"


# --- Keys of [fleet] that only make sense together, or not together. Each value is right by itself; a rule is a row.
# Judged on all files merged: the store may stand in one of them and its credentials in another.

@dataclass(frozen=True, slots=True)
class CombinationRule:
    """A key of [fleet], and when it does not fit the others."""

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


def _find_broken_combinations(settings: Settings, origin: Mapping[str, KeyOrigin]) -> list[SettingProblem]:
    """Given settings and where their keys stand, return one fault for each key that does not fit the others."""
    fleet = settings.fleet
    if fleet.store is None:
        return []
    kind = read_store(fleet.store).kind
    found = [(key, f"is not for {kind.scheme}://, which takes {', '.join(kind.takes)}")
             for key in OF_A_STORE if getattr(fleet, key) and key not in kind.takes]
    found += [(rule.key, rule.text) for rule in PAIRS if rule.is_broken(fleet)]
    return [_combination_fault(key, text, origin.get(f"fleet.{key}")) for key, text in found]


def _combination_fault(key: str, text: str, place: KeyOrigin | None) -> SettingProblem:
    return SettingProblem(place.line if place else None, f"fleet.{key}", text,
                          drop_in=place.file if place and place.is_drop_in else "")
