"""Scenarios: the form of their TOML files, the verbs of their steps, and the player that does them.

A file has `about` and a list of `[[step]]`. Each step has `do`, one of the verbs of STEPS, and that verb's own keys;
`event` is the scenario's own name for an event. Steps follow one another; only `wait…` takes time.
`vms`: how many VMs it is about, 1 if it does not say; `announce` names those that an event is for by their numbers, as
in `vms = [1, 3]`.
"""
from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tideover.errors import WrongUseError
from tideover.platforms import SIMULATED_KINDS
from tideover.simulator.http import InjectedFault
from tideover.simulator.service import SimulatedService

SHELF = Path(__file__).parent
LARGEST_BYTES = 256 * 1024      # a device or an image named by mistake is not read to its end
MOST_VMS = 100
IN_SECONDS = frozenset({"for_s", "at_most_s", "not_before_in_s"})    # what a quicker pace makes shorter


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story: what it shows, and its steps as they stand in the file."""

    name: str
    about: str
    steps: tuple[Mapping[str, Any], ...]
    vms: int = 1


@dataclass(slots=True)
class _Play:
    """A scenario that is played."""

    service: SimulatedService
    vm_names: tuple[str, ...]
    stopping: threading.Event
    ids: dict[str, str] = field(default_factory=dict)

    def announce(self, *, event: str, others: tuple[str, ...] = (), vms: tuple[int, ...] = (), **fields: Any) -> None:
        """`others`: VMs that the event names beside this one; `vms`: the numbers of those that it names, from 1;
        `resources`: the names of all."""
        if others:
            fields["resources"] = [self.service.vm_name, *others]
        if vms:
            numbered = dict(enumerate(self.vm_names, start=1))
            fields["resources"] = [numbered[number] for number in vms]
        self.ids[event] = self.service.add_event(**fields)

    def start(self, *, event: str) -> None:
        self.service.start_event(self.ids[event])

    def move(self, *, event: str, not_before_in_s: float) -> None:
        self.service.move_event(self.ids[event], not_before_in_s)

    def remove(self, *, event: str) -> None:
        self.service.remove_event(self.ids[event])

    def wait(self, *, for_s: float) -> None:
        self.stopping.wait(for_s)

    def wait_for_acknowledgement(self, *, event: str, at_most_s: float) -> None:
        wanted = self.ids[event].lower()
        self.service.wait_until(lambda: self.stopping.is_set() or any(
            given.event_id.lower() == wanted for given in self.service.acknowledgements), at_most_s)

    def inject_fault(self, *, times: int = 1, method: str = "GET", body: str | None = None, **fault: Any) -> None:
        bytes_ = None if body is None else body.encode()
        self.service.inject_fault(InjectedFault(body=bytes_, **fault), method=method, times=times)


STEPS: Mapping[str, Callable[..., None]] = MappingProxyType({
    "announce": _Play.announce, "start": _Play.start, "move": _Play.move, "remove": _Play.remove, "wait": _Play.wait,
    "wait-for-acknowledgement": _Play.wait_for_acknowledgement, "misbehave": _Play.inject_fault,
})


def scenario_names(kind: str = SIMULATED_KINDS[0]) -> tuple[str, ...]:
    """Given a platform's kind, return the names of the scenarios of it that come with the program."""
    return tuple(sorted(path.stem for path in (SHELF / kind).glob("*.toml")))


def read_scenario(name: str, kind: str = SIMULATED_KINDS[0]) -> Scenario:
    """Given the name of a scenario of that platform that comes along, or the path of a file, return it. Raise
    WrongUseError."""
    path = SHELF / kind / f"{name}.toml" if name in scenario_names(kind) else Path(name)
    operation = f"cannot run the scenario {name}"
    try:
        with path.open("rb") as opened:
            text = opened.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise WrongUseError(operation, f"it is larger than {LARGEST_BYTES // 1024} KiB",
                                "Name a file that describes a scenario")
        content = tomllib.loads(text.decode())
    except OSError:
        raise WrongUseError(operation, "there is no such scenario or file",
                            f"Built-in scenarios: {', '.join(scenario_names(kind))}") from None
    except (ValueError, RecursionError) as error:
        raise WrongUseError(operation, f"not valid TOML ({error})", "Fix the file") from None
    steps = content.get("step")
    if not isinstance(steps, list) or not all(isinstance(step, dict) and step.get("do") in STEPS for step in steps):
        raise WrongUseError(operation, "it has no list of steps, or one with an unknown `do`",
                            f"Each [[step]] does one of: {', '.join(STEPS)}")
    vms = content.get("vms", 1)
    if not isinstance(vms, int) or not 1 <= vms <= MOST_VMS:
        raise WrongUseError(operation, f"its number of VMs is not from 1 to {MOST_VMS}", "Write it as: vms = 3")
    return Scenario(path.stem, str(content.get("about", "")), tuple(steps), vms)


def play(scenario: Scenario, service: SimulatedService, *, vm_names: tuple[str, ...] = (),
         show: Callable[[str], None] = lambda line: None, stopping: threading.Event | None = None,
         pace: float = 1.0) -> None:
    """Given a scenario and a service, do the steps in this thread, each shown in a line before it is done.

    `vm_names`: of all VMs that see the service's events, its own first; (): of its own alone.

    `pace` 2.0 takes half the time; `stopping`, once set, ends it at the next step. Raise WrongUseError for a step whose
    keys do not fit its verb, or that names an event which was not announced.
    """
    stage = _Play(service, vm_names or (service.vm_name,), stopping or threading.Event())
    for number, step in enumerate(scenario.steps, start=1):
        if stage.stopping.is_set():
            return
        show(" ".join([step["do"], *(f"{key}={value}" for key, value in step.items() if key != "do")]))
        try:
            keys = {key: value / pace if key in IN_SECONDS else value for key, value in step.items() if key != "do"}
            STEPS[step["do"]](stage, **keys)
        except NotImplementedError as error:
            raise WrongUseError(f"cannot run the scenario {scenario.name}", f"step {number}: this platform gives no "
                                f"time that {step['do']} could change",
                                "Compare with the built-in scenarios") from error
        except (KeyError, TypeError) as error:
            raise WrongUseError(f"cannot run the scenario {scenario.name}", f"step {number} does not fit ({error})",
                                "Compare with the built-in scenarios") from error
