"""Finds and reads the configuration file. Its keys are judged by `settings`."""
from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tideover.errors import TideoverError, WrongUseError
from tideover.settings import LARGEST_BYTES, LINUX, PlatformPaths, Settings, read, read_tolerantly, windows_paths

VARIABLE = "TIDEOVER_CONFIG"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the file they came from (None: there is none, all is default), and the line of each key in it.

    `last_error`: what is wrong with the file, where it was read all the same; None: nothing is.
    """

    settings: Settings
    file: Path | None
    origin: Mapping[str, int]
    trouble: TideoverError | None = None


def platform_paths() -> PlatformPaths:
    """Return the paths of the system this runs on."""
    if sys.platform == "win32":
        from tideover.winapi.base import program_data
        return windows_paths(program_data())
    return LINUX


def load_settings(path: Path | None, environ: Mapping[str, str], platform: PlatformPaths | None = None) -> Loaded:
    """Given what --config names (or None) and the environment, return the settings of the file that counts.

    --config goes before TIDEOVER_CONFIG, that before the platform's own place; only the last may be missing.
    Raise ConfigurationError with all faults of the file, WrongUseError if it cannot be read.
    """
    paths = platform or platform_paths()
    file, named_by = _file_that_counts(path, environ, paths)
    data = _content(file, named_by)
    reading = read(data or b"", file=str(file), defaults=paths)
    return Loaded(reading.settings, None if data is None else file, reading.origin)


def load_tolerantly(path: Path | None, environ: Mapping[str, str], platform: PlatformPaths | None = None) -> Loaded:
    """Given the same, return what can be read of that file, the defaults elsewhere, and what is wrong with it.

    For what must not depend on a configuration without faults. Raise WrongUseError if a file that is named cannot be
    read at all: the defaults would be about another instance.
    """
    paths = platform or platform_paths()
    file, named_by = _file_that_counts(path, environ, paths)
    try:
        data = _content(file, named_by)
    except WrongUseError as unreadable:
        if named_by is not None:
            raise
        return Loaded(read(b"", file=str(file), defaults=paths).settings, None, {}, unreadable)
    reading, trouble = read_tolerantly(data or b"", file=str(file), defaults=paths)
    return Loaded(reading.settings, None if data is None else file, reading.origin, trouble)


def _file_that_counts(path: Path | None, environ: Mapping[str, str], paths: PlatformPaths) -> tuple[Path, str | None]:
    """Return the file, and what names it (None: it is the platform's own place)."""
    named_by = "--config" if path else VARIABLE if environ.get(VARIABLE) else None
    return path or Path(environ.get(VARIABLE) or paths.configuration), named_by


def _content(file: Path, named_by: str | None) -> bytes | None:
    """Return what stands in the file, or None if nobody named it and it is not there. Raise WrongUseError."""
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST_BYTES + 1)     # one more than may be: the reader sees that it is too much
    except FileNotFoundError:
        if named_by is None:
            return None
        cause, hint = "there is no such file", f"{named_by} names it; correct the path or remove it"
    except IsADirectoryError:
        cause, hint = "it is a directory", "Name the file inside it"
    except PermissionError:
        cause, hint = "this user may not read it", "Run as root, or name another file with --config"
        if file.is_dir():           # as Windows says it
            cause, hint = "it is a directory", "Name the file inside it"
    except OSError as error:
        cause, hint = (error.strerror or str(error)).lower(), "Check the name and the disk"
    raise WrongUseError(f"cannot read the configuration {file}", cause, hint)
