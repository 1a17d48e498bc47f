"""A configuration file as TOML: its tree of values, the line of each key, syntax errors in words, size limit.

It reads only text that tomllib has accepted, so it may look for the next token and never has to judge one.
"""
from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from tideover.settings.types import SettingProblem

# --- Line numbers. tomllib gives values without lines; this gives lines without values

DEEPEST = 32                     # parts of one key, all its tables counted: ours have four

# No possessive quantifier on a group: Python before 3.11.5 (Debian 12 has 3.11.2) matches those wrongly (gh-106052).
_BLANK = re.compile(r"[ \t\n]*(?:#[^\n]*[ \t\n]*)*")
_BLANK_OR_COMMA = re.compile(r"[ \t\n,]*(?:#[^\n]*[ \t\n,]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\n]*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_OPENING = re.compile(r"\[\[?[ \t]*")
_CLOSING = re.compile(r"[ \t]*\]\]?")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
# In a string of three quotes up to two may stand inside, also right before the closing ones.
_STRING = (r'"""[^"\\]*(?:(?:\\.|"{1,2}(?!"))[^"\\]*)*"{3,5}' r"|'''[^']*(?:'{1,2}(?!')[^']*)*'{3,5}"
           r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"' r"|'[^'\n]*'")
_SCALAR = re.compile(_STRING + r"|[^,\]}#\n]+", re.DOTALL)
_IN_ARRAY = re.compile(_STRING + r"""|#[^\n]*|[\[\]]|[^\[\]"'#]+""", re.DOTALL)

Path = tuple[str, ...]


class TooDeep(Exception):
    """A key has more than DEEPEST parts; remembering each of its tables would take memory with their square."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


def key_lines(text: str) -> dict[Path, int]:
    """Given valid TOML, return the line (from 1) on which each table and key is first named; outer ones included.

    Raise TooDeep for a key that no configuration needs.
    """
    walk = _TomlScanner(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


class _TomlScanner:
    """A position that only moves forward through the text, and the lines noted on the way."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self._line, self._counted_to = 1, 0

    def document(self) -> None:
        table: Path = ()
        self._take(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._take(_BLANK)

    def _header(self) -> Path:
        self._take(_OPENING)
        path = self._key(())
        self._take(_CLOSING)
        return path

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._take(_EQUALS)
        if self.text[self.at] == "{":
            self._inline_table(path)
        elif self.text[self.at] == "[":
            self._array()
        else:
            self._take(_SCALAR)

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        self._take(_BLANK_OR_COMMA)
        while self.text[self.at] != "}":
            self._pair(path)
            self._take(_BLANK_OR_COMMA)
        self.at += 1

    def _array(self) -> None:
        depth = 0
        while True:
            token = self._take(_IN_ARRAY)
            depth += {"[": 1, "]": -1}.get(token, 0)
            if not depth:
                return

    def _key(self, path: Path) -> Path:
        line = self._line_here()
        while True:
            path = (*path, _plain(self._take(_KEY_PART)))
            if len(path) > DEEPEST:
                raise TooDeep(line)
            self.lines.setdefault(path, line)
            if not _DOT.match(self.text, self.at):
                return path
            self._take(_DOT)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise AssertionError(f"tomllib accepted what {pattern.pattern} does not, at {self.at}")
        self.at = match.end()
        return match.group()

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line


def _plain(part: str) -> str:
    """Given one part of a key as written, return the key; tomllib knows the escapes."""
    return next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part


# --- The document
# Knows TOML, nothing of tideover's keys.

LARGEST_BYTES = 256 * 1024       # hundreds of hooks fit; a log or an image named by mistake is refused unread

WRONG_LINES_AT_MOST = 8         # of one table that are left out; each costs another look at it

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = "\ufeff"            # Windows editors begin a file with it
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_KEY_AND_DOT = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
# Looked for before tomllib sees it, whose time grows with the square of the parts.
_DEEP_KEY = re.compile(rf"(?:^|[{{,])[ \t\[]*+(?:{_KEY_AND_DOT}){{{DEEPEST}}}", re.MULTILINE)
# What tomllib says first, and what a person needs to hear.
_PLAINLY = (
    ("Cannot overwrite a value", "this key is set twice, or is both a value and a table"),
    ("Cannot declare", "this table is in the file twice"),
    ("Duplicate inline table key", "a key is set twice in an inline table"),
    ("Cannot mutate immutable", "an inline table or a list cannot be extended later in the file"),
    ("Invalid value", 'expected a value: text in quotes, as in "5s", or true, false or a list'),
    ("Expected newline", 'expected the end of the line; text needs quotes, as in "5s"'),
    ("Expected '='", "expected = and a value after the key"),
    ("Invalid statement", "expected [table] or key = value"),
)


@dataclass(frozen=True, slots=True)
class TomlDocument:
    """A file as it was read, and in which line each key stands."""

    tree: dict[str, object]
    lines: Mapping[Path, int]


@dataclass(frozen=True, slots=True)
class KeyOrigin:
    """Where a key stands: its file and line. `is_drop_in`: the file is one of conf.d, not the main one."""

    file: str
    line: int
    is_drop_in: bool = False

    @property
    def full(self) -> str:
        return f"{self.file} line {self.line}"

    @property
    def short(self) -> str:
        """For a text that names the main file itself."""
        return self.full if self.is_drop_in else f"line {self.line}"


def merge(tree: dict[str, object], later: Mapping[str, object]) -> dict[str, object]:
    """Given the values of two files, return them as one: tables are merged key by key, of all else the later counts."""
    merged = dict(tree)
    for name, value in later.items():
        known = merged.get(name)
        merged[name] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


class NotToml(Exception):
    """The text cannot be read as TOML at all."""

    def __init__(self, line: int | None, why: str) -> None:
        super().__init__(why)
        self.fault = SettingProblem(line, "", why)


def parse(text: str | bytes) -> TomlDocument:
    """Given a whole file, return its tree and lines. Raise NotToml if it is none."""
    if len(text) > LARGEST_BYTES:
        raise NotToml(None, f"larger than {LARGEST_BYTES // 1024} KiB, which cannot be a configuration of tideover")
    plain = (_decoded(text) if isinstance(text, bytes) else text).removeprefix(_UTF8_MARK)
    try:
        if deep := _DEEP_KEY.search(plain):
            raise TooDeep(_line_of(plain, deep.start()))
        return TomlDocument(tomllib.loads(plain), key_lines(plain))
    except TooDeep as deep_key:
        raise NotToml(deep_key.line, f"a key of more than {DEEPEST} parts") from None
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(str(error), plain) from None
    except RecursionError:
        raise NotToml(None, "not a valid configuration: lists or tables are nested too deeply") from None
    except ValueError:      # int() refuses thousands of digits and tomllib lets that through
        raise NotToml(None, "not a valid configuration: a number has thousands of digits") from None


def parse_readable_tables(text: str | bytes) -> TomlDocument:
    """Given a whole file that is not TOML, return what can be read of it: each table by itself, less its wrong lines.

    A table that stands in it twice counts as it stood first. A line with a byte that is not UTF-8 is not read.
    """
    if len(text) > LARGEST_BYTES or (isinstance(text, bytes) and text.startswith(_UTF16)):
        return TomlDocument({}, {})
    plain = (text.decode(errors="replace") if isinstance(text, bytes) else text).removeprefix(_UTF8_MARK)
    starts = [0, *(found.start() for found in _HEADER.finditer(plain) if found.start()), len(plain)]
    tree: dict[str, object] = {}
    lines: dict[Path, int] = {}
    for start, end in pairwise(starts):
        table = _without_wrong_lines(plain[start:end].replace("\ufffd", "\0"))   # a character that TOML does not allow
        _add_missing(tree, table.tree)
        above = plain.count("\n", 0, start)
        lines = {path: line + above for path, line in table.lines.items()} | lines
    return TomlDocument(tree, lines)


def _without_wrong_lines(text: str) -> TomlDocument:
    """Given a table's text, return it without the lines that are no TOML; nothing of it where there are too many."""
    lines = text.split("\n")
    for _ in range(WRONG_LINES_AT_MOST):
        try:
            return parse("\n".join(lines))
        except NotToml as trouble:
            if trouble.fault.line is None:
                break
            lines[min(trouble.fault.line, len(lines)) - 1] = ""
    return TomlDocument({}, {})


def _add_missing(tree: dict[str, object], more: Mapping[str, object]) -> None:
    for name, value in more.items():
        known = tree.setdefault(name, value)
        if known is not value and isinstance(known, dict) and isinstance(value, dict):
            _add_missing(known, value)


def _decoded(data: bytes) -> str:
    if data.startswith(_UTF16):
        raise NotToml(1, "the file is UTF-16; save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotToml(line, f"not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8") from None


def _not_toml(message: str, text: str) -> NotToml:
    place = _PLACE.search(message)
    line = int(place[1]) if place and place[1] else _line_of(text, len(text.rstrip()))
    bare = message[:place.start()] if place else message
    plainly = next((ours for theirs, ours in _PLAINLY if bare.startswith(theirs)), bare[:1].lower() + bare[1:80])
    return NotToml(line, f"not TOML: {plainly}")


def _line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
