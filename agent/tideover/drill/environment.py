"""The environment of a drill: its directory, the simulated platform, the agent, the sample application."""
from __future__ import annotations

import sqlite3

from tideover.drill.plan import DrillPlan
from tideover.drill.processes import DrillAgent, SampleAppProcess
from tideover.drill.sandbox import DrillDirectory, make_folder
from tideover.errors import TideoverError, WrongUseError
from tideover.journal import FILE, Journal
from tideover.simulator import TimeServer, load_simulator
from tideover.status import recover_pending

RECOVER_MORE_S = 10.0       # beside the hooks' own timeouts


class DrillEnvironment:
    """As a context: leaving it recovers what the owner's hooks have prepared, ends every process, and removes the
    folder unless `keeps_folder` is set or something is left prepared (`left_prepared`: the names of the hooks)."""

    def __init__(self, plan: DrillPlan) -> None:
        """Raise WrongUseError if there is no room for a drill."""
        self.folder: DrillDirectory = make_folder()
        self.keeps_folder = False
        self.left_prepared: list[str] = []
        self._plan = plan
        self.agent, self.counter = DrillAgent(self.folder), SampleAppProcess(self.folder)
        try:
            self.simulator = load_simulator(plan.platform)
            self.service, self.time = self.simulator.open_service(), TimeServer()
        except OSError as trouble:
            self.folder.remove()
            raise WrongUseError("cannot run a drill", "there is no free port on 127.0.0.1 "
                                f"({(trouble.strerror or str(trouble)).lower()})", "Retry later.") from trouble

    def __enter__(self) -> DrillEnvironment:
        self.service.start()
        self.time.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._plan.own is not None and self._pending():
            self.agent.run_pending_recovers(self._plan.budget_s + RECOVER_MORE_S)
            self.left_prepared = self._pending()
        self.agent.close()
        self.counter.kill()
        self.service.close()
        self.time.close()
        self.keeps_folder = self.keeps_folder or bool(self.left_prepared)
        if not self.keeps_folder:
            self.folder.remove()

    def _pending(self) -> list[str]:
        try:
            journal = Journal.reading(self.folder.state / FILE)
        except TideoverError:
            return []                       # the agent never came so far as to have one
        try:
            return recover_pending(journal.load())
        except (TideoverError, sqlite3.Error):
            return [spec.name for spec in self._plan.own.specs] if self._plan.own else []
        finally:
            journal.close()
