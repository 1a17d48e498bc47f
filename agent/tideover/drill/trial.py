"""The agent of `tideover simulate` with applications: one of its own, on the simulated platform."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tideover.api.protocol import read_status
from tideover.documents import AgentStatusDocument
from tideover.drill.environment import DrillAgent
from tideover.drill.sandbox import DrillDirectory, fill_for_trial, make_folder
from tideover.errors import TideoverError, UnreachableError
from tideover.logs import LogLine
from tideover.platforms import Platform
from tideover.simulator import TimeServer

LOOK_S = 0.1
AGENT_START_S = 15.0
UNSEEN = frozenset({"debug"})


@dataclass
class TrialAgent:
    """Runs while it is entered. `names`: of the applications; their processes run as the user that runs this.

    Raise WrongUseError where there is no room for it.
    """

    names: Sequence[str]
    platform: Platform
    source: Mapping[str, str]
    time_server: TimeServer
    folder: DrillDirectory = field(default_factory=make_folder)
    _read_bytes: int = 0

    def __enter__(self) -> TrialAgent:
        try:
            fill_for_trial(self.folder, self.names, self.platform, self.source, self.time_server.address)
            self._agent = DrillAgent(self.folder)
            self._agent.start()
        except TideoverError:
            self.folder.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._agent.close()
        self.folder.remove()

    @property
    def address(self) -> str:
        """Where the applications connect."""
        return self.folder.applications

    def wait_connected(self) -> None:
        """Wait, however long, until all of them are connected. Raise TideoverError if the agent cannot run."""
        until_s = time.monotonic() + AGENT_START_S
        while (status := self._status()) is None or not set(self.names) <= set(status["applications"]):
            if self._agent.exit_status is not None or (status is None and time.monotonic() > until_s):
                raise TideoverError("cannot run an agent for the applications", self._agent.how_it_ended(), "")
            if status is not None:
                until_s = time.monotonic() + AGENT_START_S
            time.sleep(LOOK_S)

    def news(self) -> Iterator[str]:
        """Yield what the agent has logged since the last call, without the times."""
        with self.folder.log.open("rb") as file:
            file.seek(self._read_bytes)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(end)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            try:
                fields = json.loads(line)
                fields.pop("trace_id", None)
                entry = LogLine(fields.pop("at"), fields.pop("level"), fields.pop("name"), fields)
            except (ValueError, KeyError, AttributeError):
                yield line                      # what Python says itself
            else:
                if entry.level not in UNSEEN:
                    yield entry.as_text(dated=False)

    def _status(self) -> AgentStatusDocument | None:
        try:
            return read_status(self.folder.socket, self.folder.state)
        except UnreachableError:
            return None
