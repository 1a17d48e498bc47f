"""One play of the lab: a guest with the agent at work, the cloud around it, and the truth about what is done to it."""
from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import Any

from . import agent
from .agent import Choices, HookRan
from .channels import Told
from .cloud import Cloud
from .ground import LabError
from .machine import Machine
from .snapshot import Snapshot

NOTICED = re.compile(r"pause\.detected .*\bpause=(\S+)")
POLLS = 3                            # answered: the agent is at work


class Play:
    """Wakes the guest and starts the agent in it. `machine` changes when the guest moves."""

    def __init__(self, snapshot: Snapshot) -> None:
        with ExitStack() as undo:
            self.stage = snapshot.stage()
            undo.callback(self.stage.close)
            self.cloud = Cloud(self.stage)
            undo.callback(self.cloud.close)
            self.machine: Machine = snapshot.wake(self.stage)
            self._choices = Choices()
            agent.install(self.machine, self._choices)
            self.cloud.wait_for_polls(POLLS)
            self._undo = undo.pop_all()

    def begin_event(self, kind: str = "Freeze") -> str:
        """Announce an event, let the agent agree, start it; return its id once the agent has seen that."""
        since = time.time()
        event = self.cloud.announce(kind)
        self.cloud.service.start_event(event)
        self.expect(f"event={event} to=started", since, 15.0)
        return event

    def end_event(self, event: str, patience_s: float = 60.0) -> None:
        """Take the event off the list and wait until the agent has closed it."""
        self.cloud.service.remove_event(event)
        self.expect(f"event={event} to=closed", 0.0, patience_s)

    def expect(self, words: str, since: float, patience_s: float) -> Told:
        """Return the agent's first line since then with these words. Raise LabError if there is none in time."""
        heard = self.stage.ear.wait_for(words, since, patience_s)
        if heard is None:
            said = "\n".join(line.text for line in self.stage.ear.told(since))
            raise LabError(f"the agent did not say {words!r} in {patience_s:.0f} s, but:\n{said}")
        return heard

    def claims(self, since: float) -> list[tuple[float, dict[str, Any]]]:
        """Return the pauses reported since then, each with the time of its report, by the host."""
        told = {found[1]: line.at for line in self.stage.ear.told(since) if (found := NOTICED.search(line.text))}
        return [(told[one["id"]], one) for one in agent.pauses(self.machine) if one["id"] in told]

    def record(self, event: str) -> dict[str, Any]:
        """Given an event's id, return the agent's record of it."""
        return agent.record(self.machine, event)

    def hooks_run(self, since: float) -> list[HookRan]:
        """Return which hooks have run since then, in order."""
        return agent.hooks_run(self.stage.ear, since)

    def configure(self, choices: Choices) -> None:
        """Let the agent start again with these choices, unless it runs with them already."""
        if choices != self._choices:
            self._choices = choices
            agent.configure(self.machine, choices)
            self.cloud.wait_for_polls(POLLS)

    def start_time_daemon(self, manner: str) -> None:
        """Start the guest's chrony in one of the lab's ways, and wait until the clock is right by it."""
        self.machine.set_clock()
        self.machine.run(f"cp /etc/chrony/lab-{manner}.conf /etc/chrony/chrony.conf; systemctl restart chrony; "
                         "chronyc waitsync 40 0.01 0 0.5")

    def stop_time_daemon(self) -> None:
        self.machine.run("systemctl stop chrony")
        self.machine.set_clock()

    def close(self) -> None:
        self._undo.close()
