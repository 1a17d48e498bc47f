"""The hook library of this installation, and which of its hooks are linked into the hooks directory.

A hook of the library is enabled by a link NN-NAME, NN being the stage that the hook itself tells (`NAME describe`).
Nothing but such links is ever made or removed.
"""
from __future__ import annotations

import json
import re
import shlex
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import tideover
from tideover.errors import TideoverError, WrongUseError
from tideover.hooks.file_names import NAME, SDK_PYTHON, SDK_SHELL
from tideover.hooks.library_files import FOLDER, HOW_DISABLED, describing, file_of, is_from, names_in, put, stem_of

PLACE = Path("share/tideover/hooks", FOLDER)        # below the prefix, in a wheel's data as in a Debian package
DESCRIBE_LIMIT_S = 10.0
LIBRARY_NAME = re.compile(r"[a-z0-9-]+")


def library() -> Path:
    """Return the directory of the library that came with this installation. Raise TideoverError if there is none."""
    places = [Path(prefix) / PLACE for prefix in (sysconfig.get_path("data"), sys.prefix, site.getuserbase())]
    package = Path(tideover.__file__).absolute().parent
    if package.parent.name == "agent":              # a checkout
        places.insert(0, package.parent.parent / "hooks" / FOLDER)
    for place in places:
        if place.is_dir():
            return place
    raise TideoverError("cannot find the hook library", f"there is no {places[-1]}", "Install tideover anew.")


def sdk() -> Path:
    """Return the directory of the hook SDK that came with this installation. Raise TideoverError if there is none."""
    place = library()
    for directory in (place, place.parent):         # the second one: Windows in a checkout
        if (directory / SDK_PYTHON).is_file():
            return directory
    raise TideoverError("cannot find the hook SDK", f"there is no {place / SDK_PYTHON}", "Install tideover anew.")


def sdk_lines(python: bool) -> str:
    """Return the lines by which a hook of the owner's, in Python or in POSIX sh, reads the SDK of this installation."""
    directory = sdk()
    if python:
        return (f"sys.dont_write_bytecode = True      # the SDK's directory is the installation's\n"
                f"sys.path.insert(0, {str(directory)!r})\n")
    return f". {shlex.quote(str(directory / SDK_SHELL))}\n"


def enable(name: str, directory: Path, place: Path) -> Path:
    """Given a hook's NAME, the hooks directory and the library, link it; return the link.

    Raise WrongUseError if the library has no such hook, TideoverError if the directory has one of that NAME already.
    """
    source = file_of(place, name)
    if not LIBRARY_NAME.fullmatch(name) or not source.is_file():
        raise WrongUseError(f"cannot enable {name}", f"the library {place} has no such hook",
                            f"It has: {', '.join(known_names(place))}.")
    for file in _files_of(name, directory):
        raise TideoverError(f"cannot enable {name}", f"{file} is there already", "Remove or rename it first.")
    stage = _stage(source)
    try:
        return put(source, directory, stage)
    except OSError as trouble:
        raise TideoverError(f"cannot put {name} into {directory}", (trouble.strerror or str(trouble)).lower(),
                            "Run as the owner of the hooks directory.") from trouble


def disable(name: str, directory: Path, place: Path) -> Path:
    """Given a hook's NAME, the hooks directory and the library, remove the link to it; return what it was.

    Raise WrongUseError if the directory has none of that NAME, TideoverError if it is something else than such a link.
    """
    files = _files_of(name, directory)
    if not files:
        raise WrongUseError(f"cannot disable {name}", f"{directory} has no hook of that name", "Nothing was changed.")
    for file in files:
        if is_from(file, file_of(place, name)):
            try:
                file.unlink()
            except OSError as trouble:
                raise TideoverError(f"cannot remove the link {file}", (trouble.strerror or str(trouble)).lower(),
                                    "Run as the owner of the hooks directory.") from trouble
            return file
    raise TideoverError(f"cannot disable {name}", f"{files[0]} is no link to the library",
                        f"{HOW_DISABLED}.")


def known_names(place: Path) -> list[str]:
    """Given the library, return the names of its hooks."""
    return sorted(name for name in names_in(place) if LIBRARY_NAME.fullmatch(name))


def _files_of(name: str, directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    found = [(path, NAME.fullmatch(stem_of(path.name))) for path in sorted(directory.iterdir())]
    return [path for path, parts in found if parts is not None and parts["name"] == name]


def _stage(source: Path) -> int:
    try:
        told = subprocess.run(describing(source), capture_output=True, timeout=DESCRIBE_LIMIT_S, check=False)
        stage = json.loads(told.stdout)["stage"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as trouble:
        raise TideoverError(f"cannot enable {source.name}", f"{source} describe does not tell its stage: {trouble}",
                            "Link it by hand, as NN-name.") from trouble
    if not isinstance(stage, int) or not 0 <= stage <= 99:
        raise TideoverError(f"cannot enable {source.name}", f"its stage is {stage!r}, not 0 to 99",
                            "Link it by hand, as NN-name.")
    return stage
