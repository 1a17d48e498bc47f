"""The policy made from the settings and the hooks directory, and when the directory is read again; the chosen source.

Runs nothing.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from tideover.hooks.directory import Catalogue, read_catalogue
from tideover.hooks.environment_file import OwnerVariables, owner_variables
from tideover.model import ANNOUNCED, HookSpec, Kind
from tideover.observations import Observation, Polled, Restarted
from tideover.platforms import Platform, platform_of
from tideover.policy import FleetRules, Policy, Rules
from tideover.settings import Settings, options_for, unused_hook_tables, warnings_about
from tideover.sources import Source, SourceContext, open_source
from tideover.system.dmi import read_dmi
from tideover.system.process import RESERVE


class PolicySource:
    """Answers which policy holds now. Used by the engine's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen_at: int | None = None
        self._known: frozenset[str] = frozenset()
        self.catalogue = Catalogue()
        self._policy = policy_of(settings, self.catalogue)

    @property
    def current(self) -> Policy:
        """The policy as it was asked for last. Any thread."""
        return self._policy

    def policy(self, seen: Observation) -> Policy:
        """Given what was just observed, return the policy; the hooks directory is read again when it has changed, at
        the start, and when an event is seen for the first time (a file's own rights change nothing of its directory).

        Each observation costs one stat(2), a few microseconds: a hook that was just put there takes part at once."""
        if isinstance(seen, Restarted) or self._directory_changed() or self._is_news(seen):
            with RESERVE.available():        # a directory that cannot be opened would be one without hooks
                self.catalogue = _with_known(catalogue_of(self._settings), self.catalogue)
            self._policy = policy_of(self._settings, self.catalogue)
        return self._policy

    def _directory_changed(self) -> bool:
        try:
            changed_at: int | None = Path(self._settings.paths.hooks).stat().st_mtime_ns
        except OSError:
            changed_at = None
        changed, self._seen_at = changed_at != self._seen_at, changed_at
        return changed

    def _is_news(self, seen: Observation) -> bool:
        if not isinstance(seen, Polled):
            return False
        listed = frozenset(event.id for event in seen.document.events)
        news, self._known = bool(listed - self._known), listed
        return news


def open_chosen_source(settings: Settings, context: SourceContext | None = None) -> tuple[Platform, Source | None]:
    """Given the settings and the context of the agent that runs on them, None for a command without one, return the
    platform that is used here, and its source; None: it announces nothing."""
    platform = platform_of(settings.source.kind, read_dmi())
    return platform, open_source(platform, settings.source, context=context)


def environment_of(settings: Settings, name: str) -> OwnerVariables:
    """Given the settings and a hook's NAME, return the variables that its owner sets for it, its file's as they stand
    there now. The values may be secret: they go to the hook and nowhere else."""
    return owner_variables(options_for(settings, name))


def catalogue_of(settings: Settings) -> Catalogue:
    """Given the settings, return what lies in their hooks directory now."""
    return read_catalogue(Path(settings.paths.hooks), lambda name: options_for(settings, name),
                          applications=settings.application.keys())


def _with_known(now: Catalogue, before: Catalogue) -> Catalogue:
    """Where the directory cannot be read, the hooks that were known before are prepared all the same: the platform can
    start the event without an acknowledgement."""
    if now.is_readable:
        return now
    known = before.hooks if before.is_readable else before.hooks[1:]
    return replace(now, hooks=(*now.hooks, *known), reasons=(*now.reasons, *before.reasons))


def config_warnings(settings: Settings) -> tuple[str, ...]:
    """Given the settings, return one line for each thing in them, and in the hooks directory beside them, that is
    allowed and may surprise their owner."""
    names = [spec.name for spec in catalogue_of(settings).hooks]
    return *warnings_about(settings), *unused_hook_tables(settings, names)


def policy_of(settings: Settings, catalogue: Catalogue) -> Policy:
    """Given settings and hooks, return them as the decision asks for them."""
    return Policy(
        rules=MappingProxyType({kind: _rules(settings, kind) for kind in ANNOUNCED}),
        act_on=settings.policy.act_on,
        hooks=(*_distinct(catalogue.hooks, settings.application), *application_specs(settings)),
        reserve_s=settings.hooks.reserve_s,
        settle_s=settings.pause.settle_s,
        recover_unannounced=settings.policy.unannounced == "recover",
        hold_for_clock=settings.clock.on_deadline == "hold",
        observes=settings.policy.mode == "observe",
        fleet=_fleet_rules(settings),
    )


def _fleet_rules(settings: Settings) -> FleetRules | None:
    fleet = settings.fleet
    if fleet.store is None:
        return None
    return FleetRules(fleet.slots, fleet.shared == "together", fleet.on_unreachable == "proceed")


def application_specs(settings: Settings) -> tuple[HookSpec, ...]:
    """Given the settings, return the participants that are applications."""
    return tuple(HookSpec(name, options.order, "", kinds=options.kinds, timeout_s=options.timeout_s,
                          required=options.required, user=options.user, is_application=True,
                          fails_absent=options.absent == "fail")
                 for name, options in settings.application.items())


def _distinct(hooks: tuple[HookSpec, ...], applications: Iterable[str]) -> tuple[HookSpec, ...]:
    """Given the hooks and the names of applications: a file whose NAME another file or an application has is refused,
    and counts as a preparation of its own that failed."""
    seen = set(applications)
    distinct = []
    for spec in hooks:
        distinct.append(replace(spec, name=f"{spec.order:02d}-{spec.name}") if spec.name in seen else spec)
        seen.add(spec.name)
    return tuple(distinct)


def _rules(settings: Settings, kind: Kind) -> Rules:
    chosen, fleet = settings.policy_for(kind), settings.fleet
    return Rules(
        acknowledge=chosen.acknowledge == "when-ready",
        acknowledge_shared=chosen.acknowledge_shared if fleet.store is None else fleet.shared == "alone",
        just_in_time=chosen.prepare == "just-in-time",
        lead_s=chosen.lead_s,
        recover_after_pause=chosen.recover_after == "pause",
    )
