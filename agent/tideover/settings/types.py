"""The types of configuration values: durations, addresses, lists, flags; how a wrong value is reported.

A type is a value made of words and two functions, so that a row of the table in `keys` says everything about its key.
Reading gives a value of Python, or raises InvalidValue with what was found instead.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from typing import Any

from tideover.model import Kind
from tideover.stores import read_store

# --- Durations: "250ms", "5s", "2m", "1h", "365d"; decimals such as "1.5s" too

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def read_duration(text: str) -> float | None:
    """Given a number and its unit without a gap, return seconds, or None if it is no duration."""
    match = _DURATION.fullmatch(text)
    if not match:
        return None
    number, unit = float(match[1]), match[2]
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def write_duration(seconds: float) -> str:
    """Given seconds, not negative, return the same as people write it, in the unit that needs no decimals."""
    whole = int(seconds)
    if whole == seconds:
        if whole and whole % 86400 == 0:
            return f"{whole // 86400}d"
        if whole and whole % 3600 == 0:
            return f"{whole // 3600}h"
        if whole >= 120 and whole % 60 == 0:     # "60s" and "90s" are how people write those
            return f"{whole // 60}m"
        return f"{whole}s"
    thousandths = round(seconds * 1000, 6)
    return f"{int(thousandths)}ms" if thousandths == int(thousandths) else f"{thousandths:f}".rstrip("0") + "ms"


# --- TOML literals: always on one line, with everything that does not print escaped

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def quoted(text: str) -> str:
    """Given any text, return it as a TOML string; one with backslashes is put in single quotes where it can be."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    safe = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(mark if mark.isprintable() else _escaped(mark) for mark in safe) + '"'


def listed(texts: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(text) for text in texts) + "]"


def inline_table(pairs: Mapping[str, str]) -> str:
    inside = ", ".join(f"{dotted((name,))} = {quoted(value)}" for name, value in pairs.items())
    return f"{{ {inside} }}" if inside else "{}"


def dotted(path: Iterable[str]) -> str:
    """Given the parts of a key, return it as a file would write it: hook.haproxy.kinds, hook."odd name"."""
    return ".".join(part if _BARE.fullmatch(part) else quoted(part) for part in path)


def _escaped(mark: str) -> str:
    code = ord(mark)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# --- Errors: one line each, with what was found and what is expected

MOST_SHOWN = 100          # beyond that a list helps no reader, and guessing names costs time
LONGEST_FOUND = 60       # characters of a wrong value that are repeated


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One fault. `near` is what stood there, `likely` what may have been meant: compared only when it is shown."""

    line: int | None
    key: str
    what: str
    near: str = ""
    likely: tuple[str, ...] = ()
    otherwise: str = ""              # shown where nothing likely is near
    drop_in: str = ""                # the file it stands in, "": the main one

    def message(self) -> str:
        """Return the fault on one line, a drop-in's with its file: `line 4: policy.acknowledge: expected …`."""
        line = f"line {self.line}" if self.line else ""
        place = [" ".join(filter(None, (self.drop_in, line)))] if self.drop_in or line else []
        guess = did_you_mean(self.near, self.likely) if self.near else ""
        return ": ".join([*place, *([self.key] if self.key else []), self.what + (guess or self.otherwise)])


def problem_lines(faults: Sequence[SettingProblem]) -> tuple[str, ...]:
    """Given all faults of a configuration, return their lines in its files' order; far too many are counted."""
    in_order = sorted(faults, key=lambda fault: (fault.drop_in, fault.line or 0))
    lines = tuple(fault.message() for fault in in_order[:MOST_SHOWN])
    rest = len(in_order) - MOST_SHOWN
    return (*lines, f"and {rest} more of this kind") if rest > 0 else lines


def did_you_mean(word: str, likely: Sequence[str]) -> str:
    """Given a word and the right ones, return ", did you mean X?" or nothing when none is near."""
    import difflib  # imported only where there is a fault

    plain = word.lower().replace("_", "-")
    known = {name.lower().replace("_", "-"): name for name in likely}
    near = difflib.get_close_matches(plain[:LONGEST_FOUND], list(known), n=1, cutoff=0.6)
    return f", did you mean {known[near[0]]}?" if near else ""


def found_text(value: object) -> str:
    """Given a value of the file, return what to call it: short, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value if len(value) <= LONGEST_FOUND else value[:LONGEST_FOUND] + "…")
    if isinstance(value, int | float):
        return "a very large number" if abs(value) >= 1e15 else str(value)
    if isinstance(value, date | time):
        return "a date or time"
    return _type_text(value)


def found_secret_text(value: object) -> str:
    """Given a value that may be a secret, return what to call it without repeating any of it."""
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number" if isinstance(value, int | float) else _type_text(value)


def _type_text(value: object) -> str:
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a date or time"


# --- Addresses: time servers, listening addresses, the metadata endpoint, the fleet's store
# Syntax only. Nothing here resolves a name or asks whether a server listens.

NTP_PORT = 123                 # RFC 5905, section 7.2; a number, because the service's name needs /etc/services
LONGEST_NAME = 253             # characters of a DNS name in text form (RFC 1035, section 2.3.4)

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,15}")     # fe80::1%eth0; 15 is the longest interface name (IFNAMSIZ)
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_ENDPOINT = re.compile(r"http://(?P<address>[^/?#@]+)/?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. `host` has no brackets; it is an IP address where the key takes nothing else."""

    host: str
    port: int

    @property
    def text(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def time_server(text: str) -> Address | None:
    """Given "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address, return it, or None if it is none."""
    if is_ipv6(text):
        return Address(text, NTP_PORT)
    return _address(text, NTP_PORT)


def listen_address(text: str) -> Address | None:
    """Given "ip:port" or "[v6]:port", return it, or None. A name is none: it may resolve elsewhere tomorrow."""
    found = _address(text, None)
    return found if found and (is_ipv4(found.host) or is_ipv6(found.host)) else None


def http_endpoint(text: str) -> str | None:
    """Given "http://host" or "http://host:port", return it without a last slash, or None.

    Plain http only: the metadata service has no TLS. Path, query and user info are no part of it.
    """
    match = _ENDPOINT.fullmatch(text)
    return text.rstrip("/") if match and _address(match["address"], 80) else None


_BLOB_ENDPOINT = re.compile(r"https?://(?P<address>[^/?#@\s]+)(?:/[A-Za-z0-9-]+)?/?")


def store_address(text: str) -> str | None:
    """Given the address of a store of a kind that the table of stores has, return it, or None if it is none."""
    try:
        read_store(text)
    except ValueError:
        return None
    return text


def blob_endpoint(text: str) -> str | None:
    """Given "https://HOST[:PORT]" or, as emulators have it, with the account as a path, return it without a last slash,
    or None."""
    match = _BLOB_ENDPOINT.fullmatch(text)
    return text.rstrip("/") if match and _address(match["address"], 443) else None


def is_ipv4(text: str) -> bool:
    return isinstance(_ip_address(text), IPv4Address)


def is_ipv6(text: str) -> bool:
    """Is this an IPv6 address in one of the text forms of RFC 4291, section 2.2, a zone (RFC 4007) allowed?"""
    address = _ip_address(text)
    if not isinstance(address, IPv6Address):
        return False
    return address.scope_id is None or _ZONE.fullmatch(address.scope_id) is not None


def is_loopback(host: str) -> bool:
    """Given an IP address, can only this machine reach it (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3)?"""
    address = _ip_address(host)
    return address is not None and address.is_loopback


def _ip_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_host(text: str) -> bool:
    if len(text) > LONGEST_NAME or not _NAME.fullmatch(text):
        return False
    last = text.rstrip(".").rpartition(".")[2]
    return is_ipv4(text) if last.isdigit() else True


def _address(text: str, usual_port: int | None) -> Address | None:
    match = _WITH_PORT.fullmatch(text)
    if not match or not (is_ipv6(match["v6"]) if match["v6"] else _is_host(match["host"])):
        return None
    port = int(match["port"]) if match["port"] else usual_port
    return Address(match["v6"] or match["host"], port) if port is not None and 0 < port < 65536 else None


# --- Types: what is expected, how it is read, how it is written back

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UMASK = re.compile("0?[0-7]{3}")
OURS = "TIDEOVER_"                 # the agent tells hooks by these; an owner's could contradict them


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that does not fit. `below`: the key inside this one, where it has keys of its own."""

    found: str
    near: str = ""
    likely: tuple[str, ...] = ()
    because: str = ""
    below: tuple[str, ...] = ()


class InvalidValue(Exception):
    """A value is not of its key's shape; carries everything that is wrong with it."""

    def __init__(self, *wrongs: Wrong) -> None:
        super().__init__(*(wrong.found for wrong in wrongs))
        self.wrongs = wrongs


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a key takes: how it is read, written and described."""

    expected: str                          # completes "expected …"
    read: Callable[[object], object]
    write: Callable[[Any], str]
    unit: str = ""                         # what the value's name gets appended
    reason: str = ""                       # why the range is what it is
    is_path: bool = False                  # whether it is absolute depends on the platform: the reader asks
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})     # JSON Schema of the value


def one_of(choices: tuple[str, ...]) -> ValueType:
    """Given what can be chosen, and why each of some more cannot be chosen yet, return the type."""
    def read(raw: object) -> object:
        if isinstance(raw, str) and raw in choices:
            return raw
        raise InvalidValue(Wrong(found_text(raw), raw if isinstance(raw, str) else "", choices))

    return ValueType(_either(choices), read, quoted, schema={"enum": list(choices)})


def duration(shortest: str, longest: str, reason: str) -> ValueType:
    low, high = read_duration(shortest), read_duration(longest)
    if low is None or high is None:
        raise ValueError(f"not a range: {shortest} to {longest}")

    def read(raw: object) -> object:
        seconds = read_duration(raw) if isinstance(raw, str) else None
        if seconds is None:
            raise InvalidValue(Wrong(found_text(raw)))
        if not low <= seconds <= high:
            raise InvalidValue(Wrong(found_text(raw), because=reason))
        return seconds

    return ValueType(f'a duration from "{shortest}" to "{longest}"', read,
                 lambda seconds: quoted(write_duration(seconds)), unit="_s", reason=reason,
                 schema={"type": "string", "pattern": f"^{_DURATION.pattern}$"})


def duration_or(word: str, shortest: str, longest: str, reason: str) -> ValueType:
    """Given a word, and a range of durations, return the type that takes either; the word is None."""
    timed = duration(shortest, longest, reason)

    def read(raw: object) -> object:
        return None if raw == word else timed.read(raw)

    return replace(timed, expected=f'"{word}" or {timed.expected}', read=read,
                   write=lambda seconds: quoted(word) if seconds is None else timed.write(seconds),
                   schema={"type": "string", "pattern": f"^(?:{word}|{_DURATION.pattern})$"})


def kinds_among(allowed: tuple[Kind, ...]) -> ValueType:
    names = tuple(kind.value for kind in allowed)

    def read(raw: object) -> object:
        if not isinstance(raw, list):
            raise InvalidValue(Wrong(found_text(raw)))
        unknown = [item for item in raw if not isinstance(item, str) or item not in names]
        if unknown:
            near = unknown[0] if isinstance(unknown[0], str) else ""
            raise InvalidValue(Wrong(_several(unknown), near, names))
        return frozenset(Kind(item) for item in raw)

    return ValueType(f"a list of {_either(names)}", read,
                 lambda kinds: listed(kind.value for kind in Kind if kind in kinds),
                 schema={"type": "array", "items": {"enum": list(names)}})


def optional(expected: str, understand: Callable[[str], object], write: Callable[[Any], str] = quoted) -> ValueType:
    """Given words, and a reading of text that gives None for what does not fit, return a shape where "" is None."""
    def read(raw: object) -> object:
        return None if raw == "" else _understood(understand, raw)

    return ValueType(f'{expected}, or ""', read, lambda value: quoted("") if value is None else write(value))


def text_of(expected: str, understand: Callable[[str], object]) -> ValueType:
    """Given the same, return a type where "" does not fit."""
    return ValueType(expected, lambda raw: _understood(understand, raw), quoted)


def _understood(understand: Callable[[str], object], raw: object) -> object:
    value = understand(raw) if isinstance(raw, str) and raw.isprintable() else None
    if value is None:
        raise InvalidValue(Wrong(_found_address_text(raw)))
    return value


def _found_address_text(value: object) -> str:
    """A URL may hold a password or a signature."""
    is_url_with_secret = isinstance(value, str) and "://" in value and ("@" in value or "?" in value)
    return "a URL with a user or a query" if is_url_with_secret else found_text(value)


def list_of(expected: str, understand: Callable[[str], object], write: Callable[[Any], str]) -> ValueType:
    def read(raw: object) -> object:
        if not isinstance(raw, list):
            raise InvalidValue(Wrong(found_text(raw)))
        values = [understand(item) if isinstance(item, str) else None for item in raw]
        unknown = [item for item, value in zip(raw, values, strict=True) if value is None]
        if unknown:
            raise InvalidValue(Wrong(_several(unknown)))
        return tuple(values)

    return ValueType(f"a list of {expected}", read, lambda values: listed(write(value) for value in values),
                     schema={"type": "array", "items": {"type": "string"}})


def whole_number(lowest: int, highest: int) -> ValueType:
    """Given the bounds, both allowed, return the type."""
    def read(raw: object) -> object:
        if isinstance(raw, int) and not isinstance(raw, bool) and lowest <= raw <= highest:
            return raw
        raise InvalidValue(Wrong(found_text(raw)))

    return ValueType(f"a whole number from {lowest} to {highest}", read, str,
                     schema={"type": "integer", "minimum": lowest, "maximum": highest})


def _read_command(raw: object) -> object:
    """Arguments may hold secrets: a fault repeats none."""
    if not isinstance(raw, list) or not all(isinstance(word, str) and "\0" not in word for word in raw) or (
            raw and not raw[0].isprintable()):
        raise InvalidValue(Wrong(found_secret_text(raw)))
    return tuple(raw)


def _read_flag(raw: object) -> object:
    if isinstance(raw, bool):
        return raw
    raise InvalidValue(Wrong(found_text(raw)))


def _read_path(raw: object) -> object:
    if isinstance(raw, str) and raw.strip() and raw.isprintable():
        return without_last_slash(raw)
    raise InvalidValue(Wrong(found_text(raw)))


def _read_environment(raw: object) -> object:
    if not isinstance(raw, dict):
        raise InvalidValue(Wrong(found_secret_text(raw)))
    wrongs = [wrong for name, value in raw.items() for wrong in _wrong_variable(name, value)]
    if wrongs:
        raise InvalidValue(*wrongs)
    return MappingProxyType(dict(raw))


def _wrong_variable(name: str, value: object) -> Iterable[Wrong]:
    if not _VARIABLE.fullmatch(name):
        yield Wrong(f"the name {quoted(name)}", below=(name,), because="letters, digits and _, not starting with a "
                                                                       "digit")
    elif name.upper().startswith(OURS):
        yield Wrong(f"the name {name}", below=(name,), because="names that begin with TIDEOVER_ are reserved for the "
                                                               "agent")
    elif not isinstance(value, str) or "\0" in value:
        yield Wrong(found_secret_text(value), below=(name,))


def _read_umask(raw: object) -> object:
    if isinstance(raw, str) and _UMASK.fullmatch(raw):
        return int(raw, 8)
    raise InvalidValue(Wrong(found_text(raw)))


def without_last_slash(path: str) -> str:
    """Given a path, return it without slashes at its end; the root of a disk keeps its one."""
    bare = path.rstrip("/")
    return bare if bare and not bare.endswith(":") else path


def _several(unknown: list[object]) -> str:
    shown = ", ".join(found_text(item) for item in unknown[:3])
    rest = len(unknown) - 3
    return f"{shown} and {rest} more in it" if rest > 0 else f"{shown} in it"


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _write_flag(value: bool) -> str:
    return "true" if value else "false"


def _write_environment(value: Mapping[str, str]) -> str:
    return inline_table(value)


FLAG = ValueType("true or false", _read_flag, _write_flag, schema={"type": "boolean"})
COMMAND = ValueType("a list of texts, the first one the absolute path of a program", _read_command, listed,
                    schema={"type": "array", "items": {"type": "string"}}, is_path=True)
PATH = ValueType("an absolute path", _read_path, quoted, is_path=True)
UMASK = ValueType('three octal digits in quotes, such as "022"', _read_umask, lambda mask: quoted(f"{mask:03o}"),
                  schema={"type": "string", "pattern": f"^{_UMASK.pattern}$"})
ENVIRONMENT = ValueType('text for each name, as in { NAME = "value" }', _read_environment, _write_environment,
                        schema={"type": "object", "additionalProperties": {"type": "string"},
                                "propertyNames": {"pattern": f"^{_VARIABLE.pattern}$"}})
