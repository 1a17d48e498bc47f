"""On which line each key of a TOML text stands. tomllib gives values without places; this gives places without values.

It reads only text that tomllib has accepted, so it may look for the next token and never has to judge one.
"""
from __future__ import annotations

import re
import tomllib

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
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


class _Walk:
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
