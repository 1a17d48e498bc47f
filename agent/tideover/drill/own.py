"""The owner's hooks as a drill takes them over: their directory, and what the configuration says of hooks.

The rest of the owner's configuration (the platform, the policy, the clock's servers) is no part of a drill.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tideover.drill.plan import OwnHooks
from tideover.hooks import HookSettings, read_catalogue
from tideover.settings import Settings, options_for, show


def own_hooks(settings: Settings, origin: Mapping[str, int]) -> OwnHooks:
    """Given the owner's settings and the lines of their keys, return the hooks as they lie in the directory now."""
    def describe(name: str) -> HookSettings:
        options = options_for(settings, name)
        return HookSettings(options.kinds, options.min_pause_s, options.timeout_s, options.required, options.user,
                            options.umask, options.environment.get("PATH", ""))

    lines = tuple(f"{shown.key} = {shown.value}" for shown in show(settings, origin)
                  if shown.key.startswith(("hooks.", "hook.")))
    specs = read_catalogue(Path(settings.paths.hooks), describe).hooks
    return OwnHooks(settings.paths.hooks, specs, lines, settings.hooks.reserve_s)
