"""A life whose record is kept, and what people see of it at any moment."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lives import Life, at
from tideover import observations as ob
from tideover.cli.event_lines import event_parts
from tideover.cli.status_lines import status_parts
from tideover.cli.terminal import Terminal, render_lines
from tideover.humanize import Times
from tideover.record import Row, records_of
from tideover.status import status_of

AGENT = {"alive": True, "pid": 4711, "version": "0.1.0", "started_at": "2026-11-20T09:00:00.000Z",
         "why": ""}
SOURCE = {"kind": "azure", "platform": "Azure", "silence": None, "takes_acknowledgement": True,
          "last_answer_at": "2026-11-20T10:00:00.000Z", "silent_s": 0.4, "failures": 0, "reason": ""}
CATALOGUE = {"ready": 2, "refused": [], "disabled": []}


@dataclass
class ToldLife(Life):
    rows: list[Row] = field(default_factory=list)

    def see(self, *observations: ob.Observation) -> Life:
        for seen in observations:
            known = len(self.entries)
            super().see(seen)
            self.rows += [Row(self.now.utc, entry.event_id, entry.what, entry.note, entry.subject)
                          for entry in self.entries[known:]]
        return self

    @property
    def times(self) -> Times:
        return Times(at(self.now_s).utc)

    def status(self, **agent: Any) -> dict[str, Any]:
        return status_of(self.state, self.rows, self.now) | {
            "mode": "act", "agent": AGENT | agent, "source": SOURCE, "journal": None, "events_of_others": 0,
            "catalogue": CATALOGUE}

    def shown(self, width: int | None = 80, **agent: Any) -> list[str]:
        return render_lines(status_parts(self.status(**agent), self.times), Terminal(width))

    def first(self, **agent: Any) -> str:
        """The first sentence, whole."""
        return self.shown(None, **agent)[0]

    def event_shown(self, width: int | None = 80) -> list[str]:
        return render_lines(event_parts(records_of(self.rows)[-1], self.times), Terminal(width))
