"""The hooks directory: rules of file names, the catalogue of hooks with their options, and why a file is refused.

Reads; never runs or changes a file.
"""
from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tideover.errors import Refusal
from tideover.hooks.environment import UnusableAccountError
from tideover.hooks.environment_file import owner_variables
from tideover.hooks.trust import (
    SDK_FILES,
    SHOWN_PATH,
    SUFFIXES,
    find_account,
    find_hook_refusal,
    find_obstacle,
    has_run_bit,
    standing_environment,
    trusted_users,
)
from tideover.model import HookSpec, RunConditions
from tideover.settings import HookOptions
from tideover.text_safety import drop_controls

# --- File names: NN-NAME, on Windows with a suffix. NAME identifies the hook; number and suffix may change

NAME = re.compile(r"(?P<order>[0-9]{2})-(?P<name>[a-z0-9-]+)")
# What dpkg, rpm, ucf, patch, pacman and editors leave beside a file they change. They are not worth a message.
LEFTOVER = re.compile(
    r"\..*|.*~|#.*#|.*\.(bak|old|orig|rej|save|tmp|swp|swo|swx|rpmnew|rpmsave|rpmorig|pacnew|pacsave"
    r"|dpkg-[a-z-]+|ucf-[a-z-]+)", re.IGNORECASE | re.DOTALL)


def name_of(file: str, suffixes: tuple[str, ...] = SUFFIXES) -> tuple[int, str] | None:
    """Given a file's name and the platform's suffixes, return its number and its NAME, None if it is no hook's."""
    for suffix in suffixes:
        stem = file[:len(file) - len(suffix)]
        matched = NAME.fullmatch(stem) if file.lower().endswith(suffix) else None
        if matched is not None:
            return int(matched["order"]), matched["name"]
    return None


def find_renumbered(path: str) -> str | None:
    """Given a hook's path, return where it lies by now if that file is gone and exactly one other of its directory has
    its NAME; None if it is where it was, gone altogether, or more than one could be meant."""
    file = Path(path)
    known = name_of(file.name)
    if known is None or os.path.lexists(file):
        return None
    try:
        same = [other for other in file.parent.iterdir() if not LEFTOVER.fullmatch(other.name)
                and (found := name_of(other.name)) is not None and found[1] == known[1] and not other.is_dir()]
    except OSError:
        return None
    return str(same[0]) if len(same) == 1 else None


# --- The catalogue

SPEC_OPTIONS = tuple(field.name for field in fields(RunConditions))
"""The options that a hook's spec carries, into the journal as well; the others, which may be secret, it does not."""

FILE_NAME_SHOWN = 255       # NAME_MAX: no real name is cut
UNREADABLE = "hooks-directory"      # the NAME of the entry that stands for a directory that cannot be read


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What lies in the hooks directory. Only a hook whose `refused` is None may be run; it could be started, too."""

    hooks: tuple[HookSpec, ...] = ()                  # by (order, name)
    disabled: tuple[str, ...] = ()                    # file names without their run bit
    ignored: tuple[tuple[str, str], ...] = ()         # (file name, why it is no hook)
    warnings: tuple[str, ...] = ()
    is_readable: bool = True                          # False: the first of `hooks` stands for it
    reasons: tuple[tuple[str, Refusal], ...] = ()     # (path, why its prepare would be refused), by path

    @property
    def refusals(self) -> tuple[tuple[HookSpec, Refusal], ...]:
        """The hooks whose prepare would be refused, and why: `refused`, or for their environment file alone."""
        reasons = dict(self.reasons)
        return tuple((spec, reasons[spec.path]) for spec in self.hooks if spec.path in reasons)

    @property
    def judged(self) -> tuple[HookSpec, ...]:
        """The hooks, each with why its prepare would be refused as its `refused`: as commands show them."""
        reasons = dict(self.reasons)
        return tuple(replace(spec, refused=str(reasons[spec.path])) if spec.path in reasons else spec
                     for spec in self.hooks)

    @property
    def faults(self) -> tuple[tuple[str, str], ...]:
        """What cannot work, as (path or file name, why): as `hooks check`, the doctor and the start's log say it."""
        return *((spec.path, str(why)) for spec, why in self.refusals), *self.ignored


def read_catalogue(
    directory: Path, describe: Callable[[str], HookOptions], suffixes: tuple[str, ...] = SUFFIXES,
    applications: Collection[str] = (),
) -> Catalogue:
    """Given the hooks directory, the configuration by NAME, the platform's suffixes and the names of applications,
    which no hook may have, return what lies there.

    Never raises for what lies there or does not. A directory that does not exist is an empty catalogue with a warning.
    One that exists and cannot be read may hold any hook: it counts as one refused hook, which holds acknowledgements.
    """
    home = directory.absolute()
    try:
        files = sorted(path.name for path in home.iterdir())
    except OSError as error:
        shown = drop_controls(str(home), SHOWN_PATH)
        if isinstance(error, FileNotFoundError) and not home.is_symlink():
            return Catalogue(warnings=(
                f"no hooks: cannot read {shown}: {error.strerror}. Create it, or correct [paths] hooks",))
        why = Refusal(f"the hooks directory {shown} cannot be read ({error.strerror})",
                      "correct that, or [paths] hooks")
        return Catalogue((HookSpec(UNREADABLE, 0, str(home), refused=str(why)),), is_readable=False,
                         reasons=((str(home), why),))
    found = _CatalogueBuilder(home, describe, suffixes, applications)
    for file in files:
        if not LEFTOVER.fullmatch(file) and file not in SDK_FILES:
            found.take(file)
    return found.as_catalogue()


class _CatalogueBuilder:
    """One walk through the directory, file by file in the order of their names."""

    def __init__(self, home: Path, describe: Callable[[str], HookOptions], suffixes: tuple[str, ...],
                 applications: Collection[str]) -> None:
        self._home, self._describe, self._suffixes, self._applications = home, describe, suffixes, applications
        self._hooks: dict[str, HookSpec] = {}         # file name → hook
        self._first_of: dict[str, str] = {}           # NAME → the file that has it
        self._disabled: list[str] = []
        self._ignored: list[tuple[str, str]] = []
        self._reasons: list[tuple[str, Refusal]] = []
        self._safe: set[str] = set()
        self._trusted = trusted_users()
        self._search_path = standing_environment(os.environ)["PATH"]

    def as_catalogue(self) -> Catalogue:
        hooks = sorted(self._hooks.values(), key=lambda hook: (hook.order, hook.name, hook.path))
        return Catalogue(tuple(hooks), tuple(self._disabled), tuple(self._ignored),
                         reasons=tuple(self._reasons))

    def take(self, file: str) -> None:
        path = self._home / file
        parts = name_of(file, self._suffixes)
        if parts is None:
            self._ignore(file, "its name is not NN-name (two digits, then a-z, 0-9 and -)" + self._suffix_wanted())
            return
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            if path.is_symlink():    # an enabled hook: ignored, the event would be acknowledged without it
                self._add(file, parts, Refusal("its link is broken", "install its target, or remove the link"))
            return
        except OSError as error:
            self._add(file, parts, _unreadable(error))
            return
        if not stat.S_ISREG(mode):
            self._ignore(file, "it is not a regular file")
        elif not has_run_bit(mode):
            self._disabled.append(file)
        else:
            self._add(file, parts, None)

    def _add(self, file: str, parts: tuple[int, str], refused: Refusal | None) -> None:
        order, name = parts
        wanted = self._describe(name)
        kept = {field: getattr(wanted, field) for field in SPEC_OPTIONS}
        spec = HookSpec(name, order, str(self._home / file), **kept)
        first = self._first_of.setdefault(name, file)
        if first != file:
            refused = Refusal(f"{first} has the name {name} already", "rename or remove one of the two")
        elif name in self._applications:
            refused = Refusal(f"[application.{name}] has the name {name} already", "rename the file or the table")
        owners = owner_variables(wanted)
        refused = refused or self._why_not(spec, owners.variables.get("PATH", ""))
        why = refused or (owners.trouble if not owners.is_unknown else None)
        if why is not None:
            self._reasons.append((spec.path, why))
        self._hooks[file] = replace(spec, refused=str(refused) if refused is not None else None)

    def _why_not(self, spec: HookSpec, search_path: str) -> Refusal | None:
        try:
            find_account(spec.user)
            return find_hook_refusal(spec.path, self._trusted, self._safe) or find_obstacle(
                spec.path, search_path or self._search_path)
        except UnusableAccountError as error:
            return error.refusal
        except OSError as error:
            return _unreadable(error)

    def _ignore(self, file: str, why: str) -> None:
        self._ignored.append((drop_controls(file, FILE_NAME_SHOWN), why))

    def _suffix_wanted(self) -> str:
        wanted = [suffix for suffix in self._suffixes if suffix]
        return f" with one of {' '.join(wanted)}" if wanted else ""


def _unreadable(error: OSError) -> Refusal:
    return Refusal(f"it cannot be read ({error.strerror})", "fix its link or its directory")
