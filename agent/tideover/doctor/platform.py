"""Which source of announcements is used here, and why."""
from __future__ import annotations

from pathlib import Path

from tideover.doctor.findings import Finding, bad, good, note
from tideover.settings import Settings
from tideover.sources import SourceKind, choose_source_kind

TOPIC = "source"


def kind_here(settings: Settings, root: Path) -> SourceKind:
    """Given the settings and the machine's files, return the kind of source the agent uses."""
    return choose_source_kind(root) if settings.source.kind == "auto" else settings.source.kind


def look_at_source(settings: Settings, root: Path) -> list[Finding]:
    """Given the settings and the machine's files, say which source is used and why."""
    if settings.source.kind != "auto":
        said = f"{settings.source.kind}, because [source] kind says so"
        return [note(TOPIC, f"{said}: nothing is announced here, pauses are noticed all the same")
                if settings.source.kind != "azure" else good(TOPIC, said)]
    kind = choose_source_kind(root)
    if kind == "azure":
        return [good(TOPIC, "azure, because the DMI chassis asset tag is that of every Azure VM")]
    if kind == "hyperv":
        return [note(TOPIC, "hyperv, because the DMI tables say Hyper-V and not Azure: nothing is announced here in "
                            "advance, pauses are noticed all the same")]
    return [bad(TOPIC, "none: the DMI tables name no platform that announces its maintenance, so no hook will ever be "
                       "prepared here",
                'If this is an Azure VM all the same, set [source] kind = "azure"; if it is none and pauses are all '
                'you want noticed, set "none".')]
