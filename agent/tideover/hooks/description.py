"""`HOOK describe`: what a hook says of itself, its required settings, and which of them are missing.

Only a hook that reads the hook SDK is asked: another program might take the word "describe" for one of its phases.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tideover.errors import Refusal, TideoverError
from tideover.hooks.directory import Catalogue
from tideover.hooks.environment_file import owner_variables
from tideover.hooks.trust import sdk_text, standing_environment
from tideover.model import HookSpec
from tideover.settings import Settings, options_for
from tideover.system.commands import finish_command, start_command

DESCRIBE_LIMIT_S = 10.0
MOST_BYTES = 1 << 16         # of a description


@dataclass(frozen=True, slots=True)
class HookSetting:
    """One setting of a hook: an environment variable."""

    name: str
    default: str
    meaning: str
    required: bool


@dataclass(frozen=True, slots=True)
class HookDescription:
    """A hook's own words. `does`: what it does before a freeze, before a restart, and in recover."""

    name: str
    stage: int
    summary: str
    does: Mapping[str, str]
    settings: tuple[HookSetting, ...]
    needs: tuple[str, ...]
    proved_against: str

    def missing(self, variables: Mapping[str, str]) -> tuple[HookSetting, ...]:
        """Given the variables that the owner sets, return the required settings that have no value."""
        return tuple(one for one in self.settings
                     if one.required and not one.default and not variables.get(one.name, "").strip())

    def as_json(self) -> dict[str, Any]:
        """Return it as the hook prints it."""
        settings = {one.name: {"default": one.default, "meaning": one.meaning, "required": one.required}
                    for one in self.settings}
        return {"name": self.name, "stage": self.stage, "summary": self.summary, "does": dict(self.does),
                "settings": settings, "needs": list(self.needs), "proved_against": self.proved_against}


def can_describe(file: Path) -> bool:
    """Given a hook's file, return whether it reads the hook SDK, whose first word is `describe`."""
    try:
        return bool(sdk_text(str(file)))
    except OSError:
        return False


def describe(file: Path, name: str) -> HookDescription:
    """Given a hook's file and its NAME, run it with `describe`; return what it says. Raise TideoverError."""
    description = describe_all({name: file})[name]
    if isinstance(description, TideoverError):
        raise description
    return description


def describe_all(files: Mapping[str, Path]) -> dict[str, HookDescription | TideoverError]:
    """Given files by the NAME of their hook, run all of them at once; return what each says of itself, or why it says
    nothing."""
    started = {name: _start(file) for name, file in files.items()}
    return {name: _described(name, file, started[name]) for name, file in files.items()}


def _start(file: Path) -> subprocess.Popen[bytes] | OSError:
    """Its output is shorter than a pipe holds, so it does not have to be read while the others are."""
    try:
        return start_command(_command(file), standing_environment(os.environ), with_errors=True)
    except OSError as error:
        return error


def _described(name: str, file: Path, ran: subprocess.Popen[bytes] | OSError) -> HookDescription | TideoverError:
    try:
        if isinstance(ran, OSError):
            raise ran
        ended = finish_command(ran, DESCRIBE_LIMIT_S, MOST_BYTES)
        if ended.was_cut:
            raise ValueError("it prints more than 64 KiB")
        if ended.status:
            raise ValueError(ended.errors.decode(errors="replace").strip() or f"exit status {ended.status}")
        return _read(json.loads(ended.output), name)
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError, AttributeError,
            RecursionError) as trouble:
        return TideoverError(f"cannot describe {name}", f"{file} describe does not print a description: {trouble}",
                             "Run that command to see why.")


def missing_settings(settings: Settings, catalogue: Catalogue) -> tuple[tuple[HookSpec, Refusal], ...]:
    """Given the configuration and what lies in the hooks directory, return the hooks whose required settings are not
    set, and which those are. Hooks that are refused are not run, and one that cannot describe itself says so."""
    refused = {spec.path for spec, _ in catalogue.refusals}
    asked = [spec for spec in catalogue.hooks if spec.path not in refused and can_describe(Path(spec.path))]
    found = describe_all({spec.path: Path(spec.path) for spec in asked})
    lacking = ((spec, _lack(settings, spec, found[spec.path])) for spec in asked)
    return tuple((spec, lack) for spec, lack in lacking if lack is not None)


def _lack(settings: Settings, spec: HookSpec, found: HookDescription | TideoverError) -> Refusal | None:
    if isinstance(found, TideoverError):
        return Refusal(found.cause, found.hint)
    owners = owner_variables(options_for(settings, spec.name))
    names = ", ".join(f"{one.name} ({one.meaning})" for one in found.missing(owners.variables))
    if not names or owners.trouble:
        return None
    return Refusal(f"required settings are not set: {names}",
                   f"set them in [hook.{spec.name}] environment; see tideover hooks describe {spec.name}")


def _command(file: Path) -> list[str] | str:
    if sys.platform == "win32":
        from tideover.hooks.windows_process import command_for
        return command_for(str(file), "describe")
    return [str(file), "describe"]


def _read(description: Mapping[str, Any], name: str) -> HookDescription:
    """A hook of the owner's may say less than the library's do; its stage must be there."""
    settings = tuple(HookSetting(str(key), str(one.get("default", "")), str(one.get("meaning", "")),
                                 one.get("required") is True) for key, one in description.get("settings", {}).items())
    stage = description["stage"]
    if not isinstance(stage, int) or not 0 <= stage <= 99:
        raise ValueError(f"its stage is {stage!r}, not 0 to 99")
    return HookDescription(
        name, stage, str(description.get("summary", "")),
        {str(key): str(text) for key, text in description.get("does", {}).items()}, settings,
        tuple(str(one) for one in description.get("needs", ())), str(description.get("proved_against", "")))
