"""The lives of events whose every point is tried: what the platform does in each, and what must have come of it."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faults.trials import Stage
from tideover.simulator import InjectedFault

BRIEF = "unless_orphaned 0.05"


@dataclass(frozen=True)
class Life:
    """`play` plays the platform on a stage with the hooks; then all its events are closed.

    `posts`: of each event, how often an acknowledgement is sent; `outcomes`: of each event, how it may have ended when
    nothing befell the agent. `stage`: further settings of the stage.
    """

    play: Callable[[Stage], None]
    posts: Mapping[str, int]
    outcomes: Mapping[str, str]
    hooks: Mapping[str, str] = field(default_factory=lambda: {"10-first": BRIEF, "20-second": BRIEF})
    stage: Mapping[str, Any] = field(default_factory=dict)
    recovers: frozenset[str] = frozenset({"first", "second"})


def _freeze(here: Stage) -> None:
    here.announce("E1")
    here.until(lambda: here.has_started("E1"))
    here.pause_until(lambda: here.has_committed("E1 pause"))
    here.until(lambda: here.has_committed("E1 recovered"), here.lingers_within_s, must=False)
    here.finish("E1")


def _failed_hook(here: Stage) -> None:
    here.announce("E1")
    here.until(lambda: here.has_committed("E1 held"))
    here.finish("E1")


def _cancelled(here: Stage) -> None:
    """Withdrawn while the second hook prepares."""
    here.announce("E1")
    here.until(lambda: here.begun("second", "prepare"))
    here.finish("E1")


def _overlap(here: Stage) -> None:
    """A reboot is announced while a freeze is prepared for; both start, one after the other leaves the list."""
    here.announce("E1")
    here.until(lambda: here.begun("first", "prepare"))
    here.announce("E2", "Reboot")
    here.until(lambda: here.has_started("E1") and here.has_started("E2"))
    here.metadata.remove_event("E1")
    here.until(lambda: here.has_committed("E1 removed"))
    here.finish("E1", "E2")


def _reboot(here: Stage) -> None:
    here.announce("E1", "Reboot")
    here.until(lambda: here.has_started("E1"))
    here.reboot()
    here.finish("E1")


def _shared(here: Stage) -> None:
    """It names another VM too: the platform starts it when it likes."""
    here.announce("E1", resources=["vm-1", "vm-2"])
    here.until(lambda: here.has_committed("E1 held"))
    here.metadata.start_event("E1")
    here.until(lambda: here.has_started("E1"))
    here.pause_until(lambda: here.has_committed("E1 pause"))
    here.until(lambda: here.has_committed("E1 recovered"), here.lingers_within_s, must=False)
    here.finish("E1")


def _waiting(here: Stage) -> None:
    """Announced earlier than the owner wants to begin; the platform starts it once it is acknowledged."""
    here.announce("E1", not_before_in_s=1.5)
    here.until(lambda: here.has_started("E1"))
    here.finish("E1")


def _doubt(here: Stage) -> None:
    """The first acknowledgement gets no clear answer."""
    here.metadata.inject_fault(InjectedFault(status=503), method="POST", times=1)
    _freeze(here)


LIVES: Mapping[str, Life] = {
    "freeze": Life(_freeze, {"E1": 1}, {"E1": "resumed"}),
    "failed hook": Life(_failed_hook, {"E1": 0}, {"E1": "cancelled"},
                        hooks={"10-first": BRIEF, "20-second": 'unless_orphaned 0.02; [ "$1" = recover ]'}),
    "cancelled": Life(_cancelled, {"E1": 0}, {"E1": "cancelled"},
                      hooks={"10-first": BRIEF, "20-second": 'if [ "$1" = recover ]; then unless_orphaned 0.05; else unless_orphaned 0.4; fi'}),
    "overlap": Life(_overlap, {"E1": 1, "E2": 1}, {"E1": "resumed", "E2": "resumed"}),
    "reboot": Life(_reboot, {"E1": 1}, {"E1": "restarted"}, stage={"start_after_s": 0.6}),
    "shared": Life(_shared, {"E1": 0}, {"E1": "resumed"}),
    "slow freeze": Life(_freeze, {"E1": 1}, {"E1": "resumed"}, stage={"settle": "1s"},
                        hooks={"10-first": BRIEF, "20-second": "unless_orphaned 0.7"}),
    "waiting": Life(_waiting, {"E1": 1}, {"E1": "resumed"}, stage={"policy": 'lead = "1s"'}),
    "doubt": Life(_doubt, {"E1": 2}, {"E1": "resumed"}),
}
SIX = ("freeze", "failed hook", "cancelled", "overlap", "reboot", "shared")


def live(life: Life, starter: Any, **options: Any) -> Any:
    """Given a life and what is to befall it, return the stage on which it will be played."""
    stage = Stage(starter, **{**life.stage, **options})
    for file, body in life.hooks.items():
        stage.hook(file, body)
    stage.hook("30-other")
    return stage
