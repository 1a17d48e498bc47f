"""The servers that chrony's configuration names (chrony.conf(5)): server and pool, with include, confdir, sourcedir."""
from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tideover.clock.daemons.files import first_of_each_name, is_there, lines
from tideover.clock.surroundings import Surroundings
from tideover.timekeeping.ntp import PORT

MAIN = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")      # Debian and its like, the others
_COMMENTS = "!;#%"
_DEEPEST = 10            # includes within includes; chrony's own limit


@dataclass(frozen=True, slots=True)
class ConfiguredServer:
    """One server or pool directive."""

    host: str
    port: int = PORT
    is_pool: bool = False


def configured_servers(surroundings: Surroundings) -> tuple[ConfiguredServer, ...]:
    """Given the machine, return the servers that chrony is configured to use, in the files' order."""
    main = next((path for path in MAIN if is_there(surroundings.path(path))), None)
    return tuple(_server(name, words) for name, words in directives(surroundings, main)
                 if name in ("server", "pool") and words) if main else ()


def directives(surroundings: Surroundings, main: str) -> Iterator[tuple[str, list[str]]]:
    """Given a configuration's main file, yield each directive (in small letters) and its words, in the order in which
    chrony reads them: what a directive includes comes right after it."""
    return _read(surroundings, surroundings.path(main), 0)


def _read(surroundings: Surroundings, path: Path, depth: int) -> Iterator[tuple[str, list[str]]]:
    for line in lines(path):
        words = line.split()
        if not words or words[0][0] in _COMMENTS:
            continue
        directive = words[0].lower()
        yield directive, words[1:]
        if depth < _DEEPEST and len(words) > 1:
            for file in _further_files(surroundings, directive, words[1:]):
                yield from _read(surroundings, file, depth + 1)


def _server(directive: str, words: list[str]) -> ConfiguredServer:
    options = [word.lower() for word in words]
    port = options[options.index("port") + 1:][:1] if "port" in options[1:] else []
    number = int(port[0]) if port and port[0].isascii() and port[0].isdecimal() else PORT
    return ConfiguredServer(words[0], number, directive == "pool")


def _further_files(surroundings: Surroundings, directive: str, words: list[str]) -> Iterable[Path]:
    if directive == "include":
        pattern = surroundings.path(words[0])
        return [pattern.parent / name for name in sorted(fnmatch.filter(_names(pattern.parent), pattern.name))]
    suffix = {"confdir": ".conf", "sourcedir": ".sources"}.get(directive)
    return first_of_each_name([surroundings.path(word) for word in words], suffix) if suffix else []


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except (OSError, ValueError):       # a name with a NUL in it is no file's
        return []
