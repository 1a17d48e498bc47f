"""The whole examination: asks everybody side by side, then lets each subject say what it makes of the answers."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tideover.clock import ClockReport, ClockSettings, check_now
from tideover.configuration import Loaded
from tideover.doctor.agent import ask_agent, look_at_agent
from tideover.doctor.asking import Question, ask_all
from tideover.doctor.clocks import look_at_clock
from tideover.doctor.findings import Finding, State, bad, good, note
from tideover.doctor.hooks import look_at_hooks
from tideover.doctor.machine import Machine
from tideover.doctor.metadata import (
    Heard,
    hear_name,
    hear_service,
    look_at_events,
    look_at_name,
    look_at_service,
)
from tideover.doctor.others import look_at_others
from tideover.doctor.platform import kind_here, look_at_source
from tideover.doctor.promises import look_at_promises
from tideover.doctor.proxies import look_at_proxies
from tideover.doctor.rights import look_at_rights
from tideover.doctor.surroundings import look_around
from tideover.errors import ConfigurationError
from tideover.hooks import Catalogue
from tideover.observations import Polled
from tideover.pause.promise import Promise
from tideover.settings import Settings, cautions_about

WAIT_S = 8.0                # for all answers together; the files take less than a second more


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found, and what can be promised of pauses here."""

    findings: tuple[Finding, ...]
    promises: tuple[Promise, ...]

    @property
    def is_well(self) -> bool:
        return all(finding.state is not State.BAD for finding in self.findings)


def examine(loaded: Loaded, catalogue: Catalogue, machine: Machine, wait_s: float = WAIT_S) -> Examination:
    """Given the configuration, what lies in the hooks directory and the machine, return what was found.

    Blocks for `wait_s` and a little at most, whoever does not answer.
    """
    settings = loaded.settings
    kind = kind_here(settings, machine.root)
    answers = ask_all(_questions(settings, machine, kind == "azure"), wait_s)
    heard: Heard | None = answers.get("service")
    clock: ClockReport | None = answers.get("clock")
    shown, kept = look_around(settings, machine)
    sends_date = heard is not None and isinstance(heard.news, Polled) and heard.news.document.date is not None
    pauses, promised = look_at_promises(settings, clock, sends_date)
    platform = _platform(settings, answers, machine) if kind == "azure" else []
    findings = (
        *_configuration(loaded), *look_at_source(settings, machine.root), *platform, *look_at_proxies(machine),
        *shown, *pauses, *look_at_clock(clock),
        *kept, *look_at_hooks(loaded, catalogue),
        *look_at_rights(settings, machine), *look_at_agent(settings, answers.get("agent")), *look_at_others(machine))
    return Examination(findings, tuple(promised))


def _questions(settings: Settings, machine: Machine, is_azure: bool) -> dict[str, Question]:
    checked = ClockSettings.of(settings)
    questions: dict[str, Question] = {"clock": partial(check_now, checked, surroundings=machine.surroundings),
                                      "agent": partial(ask_agent, settings)}
    if is_azure:
        questions["service"] = partial(hear_service, settings)
        if settings.source.vm_name:
            questions["name"] = partial(hear_name, settings)
    return questions


def _platform(settings: Settings, answers: Mapping[str, Any], machine: Machine) -> list[Finding]:
    heard: Heard | None = answers.get("service")
    return [*look_at_service(settings, heard),
            *look_at_name(settings, heard, answers.get("name"), machine.hostname), *look_at_events(heard)]


def _configuration(loaded: Loaded) -> list[Finding]:
    if loaded.trouble is not None:
        faults = loaded.trouble.faults if isinstance(loaded.trouble, ConfigurationError) else ()
        return [bad("configuration", "; ".join([f"{loaded.trouble.operation}: {loaded.trouble.cause}", *faults]),
                    "Until it is mended an agent that runs keeps its old one, and none can be started.")]
    said = f"{loaded.file} is read" if loaded.file else "there is no file, so every key has its default"
    cautions = [note("configuration", line) for line in cautions_about(loaded.settings, loaded.origin)]
    return [good("configuration", said), *cautions]
