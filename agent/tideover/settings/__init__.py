"""The owner's settings: what the configuration file may say, what it means, what is wrong with it.

Text in, values or faults out. Reading the file itself, and knowing which, is `tideover.configuration`'s.
Everything follows from the one table in `keys`.
"""
from __future__ import annotations

from tideover.settings.addresses import Address
from tideover.settings.cautions import cautions_about, unused_hook_tables
from tideover.settings.document import LARGEST_BYTES
from tideover.settings.durations import read_duration, write_duration
from tideover.settings.platforms import LINUX, PlatformPaths, windows_paths
from tideover.settings.reading import (
    Reading,
    default_settings,
    options_for,
    read,
    read_settings,
    read_tolerantly,
)
from tideover.settings.showing import Shown, render_default_file, show, show_hidden
from tideover.settings.values import (
    ClockSettings,
    HealthSettings,
    HookOptions,
    HooksSettings,
    JournalSettings,
    LogSettings,
    MetricsSettings,
    PathsSettings,
    PauseSettings,
    PolicySettings,
    Settings,
    SourceSettings,
)

__all__ = [
    "LARGEST_BYTES",
    "LINUX",
    "Address",
    "ClockSettings",
    "HealthSettings",
    "HookOptions",
    "HooksSettings",
    "JournalSettings",
    "LogSettings",
    "MetricsSettings",
    "PathsSettings",
    "PauseSettings",
    "PlatformPaths",
    "PolicySettings",
    "Reading",
    "Settings",
    "Shown",
    "SourceSettings",
    "cautions_about",
    "default_settings",
    "options_for",
    "read",
    "read_duration",
    "read_settings",
    "read_tolerantly",
    "render_default_file",
    "show",
    "show_hidden",
    "unused_hook_tables",
    "windows_paths",
    "write_duration",
]
