"""Which configuration file is read, how, its drop-ins (conf.d) in their order; its keys are judged by `settings`."""
from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tideover.errors import TideoverError, WrongUseError, system_reason
from tideover.platforms import platform_of
from tideover.settings import (
    LARGEST_BYTES,
    LINUX,
    DropIn,
    KeyOrigin,
    PlatformPaths,
    Settings,
    read,
    read_tolerantly,
    windows_paths,
)
from tideover.system.dmi import read_dmi
from tideover.threads import reason_of

VARIABLE = "TIDEOVER_CONFIG"


DROP_INS = "conf.d"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the file they came from (None: there is none, all is default), where each key stands that a file names,
    and the files of conf.d beside the main one, in their order.

    `trouble`: what is wrong with the files, where they were read all the same; None: nothing is.
    """

    settings: Settings
    file: Path | None
    origin: Mapping[str, KeyOrigin]
    trouble: TideoverError | None = None
    drop_ins: tuple[Path, ...] = ()

    @property
    def trusted_paths(self) -> tuple[Path, ...]:
        """What no other user may change: the files, and the directory of the drop-ins."""
        directories = dict.fromkeys(path.parent for path in self.drop_ins)
        return tuple(filter(None, (self.file, *directories, *self.drop_ins)))

    @property
    def credential_files(self) -> dict[Path, bool]:
        """The files with which the fleet's store is opened, and whether no other user may read it."""
        fleet = self.settings.fleet
        return {Path(name): is_secret for names, is_secret in ((fleet.public_files, False), (fleet.secret_files, True))
                for name in names}


def platform_paths() -> PlatformPaths:
    """Return the paths of the system this runs on."""
    if sys.platform == "win32":
        from tideover.winapi.base import program_data
        return windows_paths(program_data())
    return LINUX


def load_settings(path: Path | None, environ: Mapping[str, str], platform: PlatformPaths | None = None) -> Loaded:
    """Given what --config names (or None) and the environment, return the settings of the file that counts.

    --config goes before TIDEOVER_CONFIG, that before the platform's own place; only the last may be missing.
    Raise ConfigurationError with all faults of the file and its drop-ins, WrongUseError if one cannot be read.
    """
    paths = platform or platform_paths()
    file, named_by = _file_that_counts(path, environ, paths)
    data = _content(file, named_by)
    drop_ins, unreadable = _drop_ins(file)
    if unreadable is not None:
        raise unreadable
    reading = read(data or b"", file=str(file), defaults=paths, drop_ins=_named(drop_ins))
    settings = _with_platform_defaults(reading.settings, reading.origin)
    return Loaded(settings, None if data is None else file, reading.origin, drop_ins=tuple(drop_ins))


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
    drop_ins, missing = _drop_ins(file)
    reading, faults = read_tolerantly(data or b"", file=str(file), defaults=paths, drop_ins=_named(drop_ins))
    settings = _with_platform_defaults(reading.settings, reading.origin)
    return Loaded(settings, None if data is None else file, reading.origin, faults or missing, tuple(drop_ins))


def _with_platform_defaults(settings: Settings, origin: Mapping[str, KeyOrigin]) -> Settings:
    """Given settings and which keys a file names, return them with the defaults that differ on this platform: where
    NotBefore begins a long window, preparation starts just in time."""
    if "policy.prepare" in origin or not platform_of(settings.source.kind, read_dmi()).prepares_just_in_time:
        return settings
    by_kind = {kind: rules if f"policy.{kind.value}.prepare" in origin else replace(rules, prepare="just-in-time")
               for kind, rules in settings.policy_by_kind.items()}
    return replace(settings, policy=replace(settings.policy, prepare="just-in-time"),
                   policy_by_kind=MappingProxyType(by_kind))


def _drop_ins(file: Path) -> tuple[dict[Path, bytes], WrongUseError | None]:
    """Given the main file, return what stands in the drop-ins beside it, by their names in order, and why one could not
    be read, if so. One that was removed meanwhile is none."""
    found: dict[Path, bytes] = {}
    trouble = None
    try:
        names = sorted(path for path in (file.parent / DROP_INS).iterdir()
                       if path.suffix == ".toml" and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}, None
    except OSError as error:
        return {}, WrongUseError(f"cannot read the configuration {file.parent / DROP_INS}", reason_of(error),
                                 "Run as root, or check the directory")
    for path in names:
        try:
            data = _content(path, None)
        except WrongUseError as unreadable:
            trouble = unreadable
        else:
            if data is not None:
                found[path] = data
    return found, trouble


def _named(drop_ins: Mapping[Path, bytes]) -> list[DropIn]:
    return [(str(path), data) for path, data in drop_ins.items()]


def _file_that_counts(path: Path | None, environ: Mapping[str, str], paths: PlatformPaths) -> tuple[Path, str | None]:
    """Return the file, and what names it (None: it is the platform's own place)."""
    named_by = "--config" if path else VARIABLE if environ.get(VARIABLE) else None
    return path or Path(environ.get(VARIABLE) or paths.configuration), named_by


def _open_without_wait(path: str, flags: int) -> int:
    """To open a pipe would wait for a writer, for ever, and a reload is read on the engine's thread."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _content(file: Path, named_by: str | None) -> bytes | None:
    """Return what stands in the file, or None if it was not named and does not exist. Raise WrongUseError."""
    try:
        with open(file, "rb", opener=_open_without_wait) as opened:
            if stat.S_ISFIFO(os.fstat(opened.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is a pipe, not a file")
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
        cause, hint = system_reason(error), "Check the name and the disk"
    raise WrongUseError(f"cannot read the configuration {file}", cause, hint)
