"""The hook library: where it lies, enable and disable, and `hooks new` with its template.

A hook of the library is enabled by a link NN-NAME, NN being the stage that the hook itself tells (`NAME describe`).
Nothing but such links is ever removed; what is made besides them is an owner's new hook, from a template.
"""
from __future__ import annotations

import re
import shlex
import site
import sys
import sysconfig
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import tideover
from tideover.errors import TideoverError, WrongUseError, system_reason
from tideover.hooks.description import HookDescription, describe
from tideover.hooks.directory import NAME
from tideover.hooks.trust import SDK_PYTHON, SDK_SHELL

# --- Files of the library on each system
# Linux links them. Windows copies them: a link there needs a right of its own, and is refused as a hook.

if sys.platform == "win32":
    import filecmp
    import shutil

    from tideover.system.private_files import make_own_directory

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


# --- Enable and disable

PLACE = Path("share/tideover/hooks", FOLDER)        # below the prefix, in a wheel's data as in a Debian package
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


@dataclass(frozen=True, slots=True)
class EnabledHook:
    """A hook of the library in the hooks directory. `was_there`: it was enabled already."""

    file: Path
    description: HookDescription
    was_there: bool


def enable(name: str, directory: Path, place: Path) -> EnabledHook:
    """Given a hook's NAME, the hooks directory and the library, link it there unless it is already.

    Raise WrongUseError if the library has no such hook, TideoverError if the directory has another of that NAME.
    """
    source = library_file(name, place, f"cannot enable {name}")
    for file in files_of(name, directory):
        if not is_from(file, source):
            raise TideoverError(f"cannot enable {name}", f"{file} is there already", "Remove or rename it first.")
        return EnabledHook(file, describe(source, name), was_there=True)
    description = describe(source, name)
    try:
        return EnabledHook(place_link(source, directory, description.stage), description, was_there=False)
    except OSError as trouble:
        raise _unwritable(f"cannot put {name} into {directory}", trouble) from trouble


def disable(name: str, directory: Path, place: Path) -> Path | None:
    """Given a hook's NAME, the hooks directory and the library, remove the link to it; return what it was, None if
    this hook of the library was not enabled.

    Raise WrongUseError if neither has one of that NAME, TideoverError if it is something else than such a link.
    """
    files = files_of(name, directory)
    if not files:
        if name in known_names(place):
            return None
        raise WrongUseError(f"cannot disable {name}", f"neither {directory} nor the library has a hook of that name",
                            "Nothing was changed; see tideover hooks list.")
    for file in files:
        if is_from(file, file_of(place, name)):
            try:
                file.unlink()
            except OSError as trouble:
                raise _unwritable(f"cannot remove the link {file}", trouble) from trouble
            return file
    raise TideoverError(f"cannot disable {name}", f"{files[0]} is no link to the library",
                        f"{HOW_DISABLED}.")


def library_file(name: str, place: Path, operation: str) -> Path:
    """Given a hook's NAME, the library and what is to be done, return its file. Raise WrongUseError where it is not."""
    source = file_of(place, name)
    if not LIBRARY_NAME.fullmatch(name) or not source.is_file():
        near = get_close_matches(name, known_names(place), n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise WrongUseError(operation, f"the library {place} has no such hook",
                            f"{meant}See tideover hooks list --available.")
    return source


def known_names(place: Path) -> list[str]:
    """Given the library, return the names of its hooks."""
    return sorted(name for name in names_in(place) if LIBRARY_NAME.fullmatch(name))


def files_of(name: str, directory: Path) -> list[Path]:
    """Given a hook's NAME and the hooks directory, return its files there: one, or none."""
    if not directory.is_dir():
        return []
    found = [(path, NAME.fullmatch(stem_of(path.name))) for path in sorted(directory.iterdir())]
    return [path for path, parts in found if parts is not None and parts["name"] == name]


# --- A new hook of the owner's

TEMPLATES = Path(__file__).with_name("templates")
MODE = 0o755


def new_hook(name: str, stage: int, directory: Path, *, python: bool) -> Path:
    """Given a NAME, a stage and the hooks directory, write a commented template on the hook SDK there, in Python or in
    POSIX sh; return its file. Windows runs no shell hooks, so it is Python there.

    Raise WrongUseError for a NAME that no hook can have, TideoverError if the directory has a hook of that NAME.
    """
    operation = f"cannot make the hook {name}"
    if not LIBRARY_NAME.fullmatch(name):
        raise WrongUseError(operation, "a hook's name consists of a-z, 0-9 and hyphens", "For example: my-application.")
    for file in files_of(name, directory):
        raise TideoverError(operation, f"{file} is there already", "Edit that file, or choose another name.")
    is_python = python or sys.platform == "win32"
    text = (TEMPLATES / ("python" if is_python else "shell")).read_text(encoding="utf-8")
    for mark, value in (("@NAME@", name), ("@STAGE@", str(stage)), ("@SDK@", sdk_lines(is_python))):
        text = text.replace(mark, value)
    path = directory / f"{stage:02d}-{name}{'.py' if sys.platform == 'win32' else ''}"
    try:
        directory.mkdir(mode=MODE, parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as new:
            new.write(text)
        path.chmod(MODE)
    except OSError as trouble:
        raise _unwritable(operation, trouble) from trouble
    return path


def _unwritable(operation: str, trouble: OSError) -> TideoverError:
    return TideoverError(operation, system_reason(trouble),
                         "Run as the user that owns the hooks directory.")
