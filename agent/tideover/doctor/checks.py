"""The order of doctor's checks; the facts that they need are collected side by side, each within a bound."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tideover.api.protocol import read_time_queries
from tideover.clock.on_demand import check_now
from tideover.clock.types import ClockCheckSettings, ClockReport
from tideover.config_file import Loaded
from tideover.doctor.clock import Guarantee, check_clock, check_guarantees
from tideover.doctor.fleet import check_fleet, late
from tideover.doctor.local import (
    ask_agent,
    check_agent,
    check_applications,
    check_hooks,
    check_notify,
    check_rights,
)
from tideover.doctor.machine import Machine
from tideover.doctor.other_agents import check_other_agents
from tideover.doctor.platform import (
    ask_identity,
    ask_service,
    check_platform,
    check_proxies,
    check_service,
    detect_platform,
)
from tideover.errors import ConfigurationError
from tideover.findings import Finding, FindingLevel, PollReport, bad, good, remark
from tideover.hooks.directory import Catalogue
from tideover.platforms import Platform
from tideover.settings import Settings, warnings_about
from tideover.threads import start_task

# --- The checks of the guest that this operating system has

if sys.platform == "win32":
    from tideover.doctor.guest_windows import check_time_service, check_windows

    def check_guest(settings: Settings, machine: Machine) -> tuple[list[Finding], list[Finding]]:
        """Given the settings and the machine, say what shows a pause, and who keeps the clock."""
        return check_windows(), check_time_service(settings, machine)

else:
    from tideover.doctor.guest_linux import check_pause_signals, probe
    from tideover.doctor.time_daemons import check_time_daemon

    def check_guest(settings: Settings, machine: Machine) -> tuple[list[Finding], list[Finding]]:
        """Given the settings and the machine, say what shows a pause, and who keeps the clock."""
        seen = probe(machine.root)
        return check_pause_signals(seen), check_time_daemon(settings, machine, seen.hypervisor)


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

    Blocks for `wait_s` and a little at most, also without an answer.
    """
    settings = loaded.settings
    platform = detect_platform(settings, machine)
    answers = ask_all(_questions(settings, machine, platform), wait_s)
    polled = replace(answers.get("service") or PollReport(), named=answers.get("name"))
    clock: ClockReport | None = answers.get("clock")
    shown, kept = check_guest(settings, machine)
    sends_date = polled.answer is not None and polled.answer.document.date is not None
    pauses, promised = check_guarantees(settings, clock, sends_date)
    findings = (
        *_configuration(loaded), *check_platform(settings, platform),
        *check_service(settings, platform, polled, machine.hostname), *check_proxies(machine),
        *shown, *pauses, *check_clock(clock),
        *kept, *check_hooks(loaded, catalogue),
        *check_applications(settings, answers.get("agent")), *check_notify(settings),
        *(answers["fleet"] if "fleet" in answers else late(settings, wait_s)),
        *check_rights(settings, machine), *check_agent(settings, answers.get("agent")), *check_other_agents(machine))
    return Examination(findings, tuple(promised))


def _questions(settings: Settings, machine: Machine, platform: Platform) -> dict[str, FactQuestion]:
    checked = ClockCheckSettings.of(settings)
    queries = partial(read_time_queries, Path(settings.paths.socket), Path(settings.paths.state))
    questions: dict[str, FactQuestion] = {
        "clock": partial(check_now, checked, surroundings=machine.surroundings, agent_queries=queries),
        "agent": partial(ask_agent, settings)}
    if settings.fleet.store is not None:
        questions["fleet"] = partial(check_fleet, settings)
    if platform.is_served:
        questions["service"] = partial(ask_service, settings, platform)
        if settings.source.vm_name:
            questions["name"] = partial(ask_identity, settings, platform)
    return questions


def _configuration(loaded: Loaded) -> list[Finding]:
    if loaded.trouble is not None:
        faults = loaded.trouble.faults if isinstance(loaded.trouble, ConfigurationError) else ()
        return [bad("configuration", "; ".join([f"{loaded.trouble.operation}: {loaded.trouble.cause}", *faults]),
                    "Until it is fixed, a running agent keeps its previous configuration, and no agent can start.")]
    text = f"{loaded.file} is read" if loaded.file else "there is no file; every key has its default"
    cautions = [remark("configuration", line) for line in warnings_about(loaded.settings, loaded.origin)]
    return [good("configuration", text), *cautions]
