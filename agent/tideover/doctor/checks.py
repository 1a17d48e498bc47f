"""The whole examination: collects all facts side by side, then runs each subject's checks."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tideover.clock import ClockCheckSettings, ClockReport, check_now
from tideover.config_file import Loaded
from tideover.doctor.clock import Guarantee, check_clock, check_guarantees
from tideover.doctor.findings import Finding, FindingLevel, bad, good, remark
from tideover.doctor.guest import check_guest
from tideover.doctor.local import ask_agent, check_agent, check_hooks, check_rights
from tideover.doctor.machine import Machine
from tideover.doctor.other_agents import check_other_agents
from tideover.doctor.platform import (
    MetadataReport,
    ask_metadata_service,
    ask_vm_name,
    check_events,
    check_metadata_service,
    check_proxies,
    check_source,
    check_vm_name,
    detected_kind,
)
from tideover.errors import ConfigurationError
from tideover.hooks import Catalogue
from tideover.observations import Polled
from tideover.settings import Settings, warnings_about
from tideover.threads import start_task

# --- Questions that may not be answered, asked side by side until one deadline

FactQuestion = Callable[[], Any]


def ask_all(questions: Mapping[str, FactQuestion], limit_s: float) -> dict[str, Any]:
    """Given questions by name, return the answers that came within the limit; what comes later is left alone."""
    answers: dict[str, Any] = {}
    until_s = time.monotonic() + limit_s
    threads = [start_task(f"doctor-{name}", partial(_answer, answers, name, question))
               for name, question in questions.items()]
    for thread in threads:
        if thread is not None:
            thread.join(max(0.0, until_s - time.monotonic()))
    return dict(answers)


def _answer(answers: dict[str, Any], name: str, question: FactQuestion) -> None:
    answers[name] = question()


# --- The examination

WAIT_S = 8.0                # for all answers together; the files take less than a second more


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found, and what can be promised of pauses here."""

    findings: tuple[Finding, ...]
    guarantees: tuple[Guarantee, ...]

    @property
    def is_well(self) -> bool:
        return all(finding.state is not FindingLevel.BAD for finding in self.findings)


def examine(loaded: Loaded, catalogue: Catalogue, machine: Machine, wait_s: float = WAIT_S) -> Examination:
    """Given the configuration, what lies in the hooks directory and the machine, return what was found.

    Blocks for `wait_s` and a little at most, whoever does not answer.
    """
    settings = loaded.settings
    kind = detected_kind(settings, machine.root)
    answers = ask_all(_questions(settings, machine, kind == "azure"), wait_s)
    heard: MetadataReport | None = answers.get("service")
    clock: ClockReport | None = answers.get("clock")
    shown, kept = check_guest(settings, machine)
    sends_date = heard is not None and isinstance(heard.news, Polled) and heard.news.document.date is not None
    pauses, promised = check_guarantees(settings, clock, sends_date)
    platform = _platform(settings, answers, machine) if kind == "azure" else []
    findings = (
        *_configuration(loaded), *check_source(settings, machine.root), *platform, *check_proxies(machine),
        *shown, *pauses, *check_clock(clock),
        *kept, *check_hooks(loaded, catalogue),
        *check_rights(settings, machine), *check_agent(settings, answers.get("agent")), *check_other_agents(machine))
    return Examination(findings, tuple(promised))


def _questions(settings: Settings, machine: Machine, is_azure: bool) -> dict[str, FactQuestion]:
    checked = ClockCheckSettings.of(settings)
    questions: dict[str, FactQuestion] = {"clock": partial(check_now, checked, surroundings=machine.surroundings),
                                      "agent": partial(ask_agent, settings)}
    if is_azure:
        questions["service"] = partial(ask_metadata_service, settings)
        if settings.source.vm_name:
            questions["name"] = partial(ask_vm_name, settings)
    return questions


def _platform(settings: Settings, answers: Mapping[str, Any], machine: Machine) -> list[Finding]:
    heard: MetadataReport | None = answers.get("service")
    return [*check_metadata_service(settings, heard),
            *check_vm_name(settings, heard, answers.get("name"), machine.hostname), *check_events(heard)]


def _configuration(loaded: Loaded) -> list[Finding]:
    if loaded.trouble is not None:
        faults = loaded.trouble.faults if isinstance(loaded.trouble, ConfigurationError) else ()
        return [bad("configuration", "; ".join([f"{loaded.trouble.operation}: {loaded.trouble.cause}", *faults]),
                    "Until it is fixed, a running agent keeps its previous configuration, and no agent can start.")]
    said = f"{loaded.file} is read" if loaded.file else "there is no file; every key has its default"
    cautions = [remark("configuration", line) for line in warnings_about(loaded.settings, loaded.origin)]
    return [good("configuration", said), *cautions]
