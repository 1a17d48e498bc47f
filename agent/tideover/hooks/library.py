"""The hook library of this installation, and which of its hooks are enabled in the hooks directory.

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
from tideover.hooks.directory import NAME, SDK_PYTHON, SDK_SHELL

# --- Files of the library on each system
# Linux links them. Windows copies them: a link there needs a right of its own, and is refused as a hook.

if sys.platform == "win32":
    import filecmp
    import shutil

    from tideover.hooks.windows_process import command_for
    from tideover.system.platform import make_own_directory

    FOLDER = "windows"
    HOW_DISABLED = "Rename a file of your own to NN-name.off to disable it"
    _SUFFIX = ".py"

    def names_in(place: Path) -> list[str]:
        """Given the library, return the names of its files that are hooks, without suffix."""
        return [path.stem for path in place.iterdir() if path.suffix == _SUFFIX]

    def file_of(place: Path, name: str) -> Path:
        """Given the library and a hook's name, return the file."""
        return place / f"{name}{_SUFFIX}"

    def stem_of(file: str) -> str:
        """Given the name of a file of the hooks directory, return it without suffix."""
        return file.rpartition(".")[0] or file

    def place_link(source: Path, directory: Path, stage: int) -> Path:
        """Given the library's file, the hooks directory and a stage, put it there; return where. Raise OSError."""
        make_own_directory(directory, 0o755)
        target = directory / f"{stage:02d}-{source.name}"
        shutil.copyfile(source, target)
        return target

    def is_from(file: Path, source: Path) -> bool:
        """Given a file of the hooks directory and one of the library, return whether it is that, unchanged."""
        return source.is_file() and filecmp.cmp(file, source, shallow=False)

    def describe_command(source: Path) -> str:
        """Given the library's file, return the command that has it describe itself."""
        return command_for(str(source), "describe")

else:
    FOLDER = ""
    HOW_DISABLED = "chmod -x disables a file of your own"

    def names_in(place: Path) -> list[str]:
        """Given the library, return the names of its files."""
        return [path.name for path in place.iterdir() if path.is_file()]

    def file_of(place: Path, name: str) -> Path:
        """Given the library and a hook's name, return the file."""
        return place / name

    def stem_of(file: str) -> str:
        """Given the name of a file of the hooks directory, return it: there are no suffixes here."""
        return file

    def place_link(source: Path, directory: Path, stage: int) -> Path:
        """Given the library's file, the hooks directory and a stage, link it there; return the link. Raise OSError."""
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        link = directory / f"{stage:02d}-{source.name}"
        link.symlink_to(source)
        return link

    def is_from(file: Path, source: Path) -> bool:
        """Given a file of the hooks directory and one of the library, return whether it is a link to that."""
        return file.is_symlink() and file.readlink() == source

    def describe_command(source: Path) -> list[str]:
        """Given the library's file, return the command that has it describe itself."""
        return [str(source), "describe"]


# --- Enable and disable

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
    raise TideoverError("cannot find the hook library", f"there is no {places[-1]}", "Reinstall tideover.")


def sdk() -> Path:
    """Return the directory of the hook SDK that came with this installation. Raise TideoverError if there is none."""
    place = library()
    for directory in (place, place.parent):         # the second one: Windows in a checkout
        if (directory / SDK_PYTHON).is_file():
            return directory
    raise TideoverError("cannot find the hook SDK", f"there is no {place / SDK_PYTHON}", "Reinstall tideover.")


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
        return place_link(source, directory, stage)
    except OSError as trouble:
        raise TideoverError(f"cannot put {name} into {directory}", (trouble.strerror or str(trouble)).lower(),
                            "Run as the user that owns the hooks directory.") from trouble


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
                                    "Run as the user that owns the hooks directory.") from trouble
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
        described = subprocess.run(describe_command(source), capture_output=True, timeout=DESCRIBE_LIMIT_S, check=False)
        stage = json.loads(described.stdout)["stage"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as trouble:
        raise TideoverError(f"cannot enable {source.name}", f"{source} describe does not print its stage: {trouble}",
                            "Link it by hand, as NN-name.") from trouble
    if not isinstance(stage, int) or not 0 <= stage <= 99:
        raise TideoverError(f"cannot enable {source.name}", f"its stage is {stage!r}, not 0 to 99",
                            "Link it by hand, as NN-name.")
    return stage
