"""The hooks: which would be run, which not and why, and whether their time fits into the platform's notice."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from tideover.configuration import Loaded
from tideover.doctor.findings import Finding, bad, good, note
from tideover.hooks import Catalogue
from tideover.lifecycle.budget import longest_by_order
from tideover.model import HookSpec, Kind
from tideover.settings import Settings, unused_hook_tables
from tideover.wording import length_text

TOPIC = "hooks"
# The least notice of each kind (Azure Scheduled Events docs, Linux).
NOTICE_S: Mapping[Kind, float] = {Kind.PREEMPT: 30.0, Kind.TERMINATE: 300.0, Kind.REDEPLOY: 600.0, Kind.FREEZE: 900.0,
                                  Kind.REBOOT: 900.0}


def look_at_hooks(loaded: Loaded, catalogue: Catalogue) -> list[Finding]:
    """Given the configuration and what lies in the hooks directory, say what would be run."""
    return [_count(loaded.settings, catalogue), *_not_run(loaded.settings, catalogue), *_tables(loaded, catalogue),
            *_time(loaded.settings, [spec for spec in catalogue.hooks if spec.refused is None])]


def _count(settings: Settings, catalogue: Catalogue) -> Finding:
    place = settings.paths.hooks
    if not catalogue.hooks:
        seen = f"{place} is not there, or not for this user to read" if catalogue.warnings else f"no hook in {place}"
        return note(TOPIC, f"{seen}: without a hook nothing is prepared, and the platform's events are left alone",
                    "tideover hooks enable NAME links one of the library's; one of your own is a file NN-name there.")
    ready = [spec.name for spec in catalogue.hooks if spec.refused is None]
    said = f"{len(ready)} of {len(catalogue.hooks)} in {place} would be run{': ' if ready else ''}{', '.join(ready)}"
    return good(TOPIC, said) if ready else note(TOPIC, said)


def _not_run(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    for spec in catalogue.hooks:
        if spec.refused is not None:
            what, _, remedy = spec.refused.rpartition(": ")
            yield bad(TOPIC, f"{spec.path} is refused, which counts as a preparation that failed: {what or remedy}",
                      remedy if what else "Mend it; tideover hooks check says when it is good.")
    for file in catalogue.disabled:
        yield note(TOPIC, f"{file} is disabled: it has no run bit",
                   f"chmod +x {settings.paths.hooks}/{file} enables it.")
    for file, why in catalogue.ignored:
        yield bad(TOPIC, f"{file} is ignored: {why}", "Rename it, or take it away.")


def _tables(loaded: Loaded, catalogue: Catalogue) -> Iterator[Finding]:
    names = [spec.name for spec in catalogue.hooks] + [file.partition("-")[2] for file in catalogue.disabled]
    for line in unused_hook_tables(loaded.settings, names, loaded.origin):
        yield note(TOPIC, line, "Add the hook, or take the table away.")


def _time(settings: Settings, hooks: list[HookSpec]) -> Iterator[Finding]:
    """Those of one NN run side by side, so each NN counts with its longest."""
    for kind, notice_s in NOTICE_S.items():
        wanted = [spec for spec in hooks if kind in spec.kinds]
        if not wanted or kind not in settings.policy.act_on:
            continue
        longest_s = sum(longest_by_order(wanted).values())
        if longest_s + settings.hooks.reserve_s > notice_s:
            spot = " (Spot VMs only)" if kind is Kind.PREEMPT else ""
            yield note(TOPIC, f"before a {kind.value}{spot} they may take {length_text(longest_s)} by their timeouts "
                              f"and {length_text(settings.hooks.reserve_s)} are kept in reserve, but the notice can be "
                              f"{length_text(notice_s)}: each gets its share of that",
                       f"Shorten the timeouts of [hook.NAME], or leave {kind.value} out of its kinds.")
