"""The settings: what the configuration file may say, what it means, what is wrong with it.

Text in, values or faults out. Reading the file itself, and knowing which, is `tideover.config_file`'s.
Everything follows from the one table in `keys`.
"""
from __future__ import annotations

from tideover.settings.reader import (
    DropIn,
    ReadResult,
    default_settings,
    read,
    read_settings,
    read_tolerantly,
)
from tideover.settings.toml import LARGEST_BYTES, KeyOrigin
from tideover.settings.types import Address, read_duration, write_duration
from tideover.settings.values import (
    LINUX,
    ClockSettings,
    FleetSettings,
    HealthSettings,
    HookOptions,
    HooksSettings,
    JournalSettings,
    LogSettings,
    MetricsSettings,
    NotifySettings,
    PathsSettings,
    PauseSettings,
    PlatformPaths,
    PolicySettings,
    Settings,
    SourceSettings,
    options_for,
    windows_paths,
)
from tideover.settings.warnings import unused_hook_tables, warnings_about

__all__ = [
    "LARGEST_BYTES",
    "LINUX",
    "Address",
    "ClockSettings",
    "DropIn",
    "FleetSettings",
    "HealthSettings",
    "HookOptions",
    "HooksSettings",
    "JournalSettings",
    "KeyOrigin",
    "LogSettings",
    "MetricsSettings",
    "NotifySettings",
    "PathsSettings",
    "PauseSettings",
    "PlatformPaths",
    "PolicySettings",
    "ReadResult",
    "Settings",
    "SourceSettings",
    "default_settings",
    "options_for",
    "read",
    "read_duration",
    "read_settings",
    "read_tolerantly",
    "unused_hook_tables",
    "warnings_about",
    "windows_paths",
    "write_duration",
]
