"""The drill's eyes: follows the agent's record, tells what is new as it happens, and waits for things within a time."""
from __future__ import annotations

import math
import time
from collections.abc import Callable

from tideover.api.client import read_status
from tideover.drill.following import Follower
from tideover.drill.stage import Stage
from tideover.drill.telling import Line, tell_row
from tideover.errors import TideoverError, UnreachableError
from tideover.record import Row

LOOK_S = 0.03               # between two looks at the record
SILENCE_S = 5.0             # after so long without news, say what is waited for; then after twice that, and so on
SLACK_S = 5.0               # beyond a plain wait, before time itself is doubted


class Broken(TideoverError):
    """The drill cannot go on; the verdict says what was seen up to here."""

    def __init__(self, cause: str) -> None:
        super().__init__("the drill ended early", cause, "The agent's log in the drill's folder tells more")


class Lookout:
    """Given a stage and who is told each line of the timeline."""

    def __init__(self, stage: Stage, tell: Callable[[Line], None]) -> None:
        self._stage, self._tell = stage, tell
        self._began_at = self._news_at = time.time()
        self._follower: Follower | None = None
        self._patience_s = SILENCE_S
        self.lines: list[Line] = []

    def follow(self, event_id: str) -> None:
        """From now on tell what becomes of this event."""
        self._follower = Follower(self._stage.folder.state, event_id)

    def say(self, who: str, what: str, at: float | None = None) -> None:
        """Tell what the drill does itself, now or at a time (since the epoch) just gone."""
        at = time.time() if at is None else at
        self.look(before=at)
        self._add(Line(at - self._began_at, who, what))

    def look(self, before: float = math.inf) -> None:
        """Tell what is new in the record, up to a time (since the epoch)."""
        for row in self._follower.news(before) if self._follower else ():
            self._patience_s = SILENCE_S
            told = tell_row(row)
            if told is not None:
                self._add(Line(row.at.timestamp() - self._began_at, *told))

    def has_seen(self, *whats: str) -> bool:
        """Whether the record has a row of one of these names."""
        return self._follower is not None and self._follower.has_seen(*whats)

    def rows(self) -> tuple[Row, ...]:
        """All rows of the record so far."""
        return self._follower.rows() if self._follower else ()

    def until(self, question: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Look until the answer is yes. Raise Broken when that takes too long, or the agent is gone."""
        agent, until = self._stage.agent, time.monotonic() + limit_s
        while True:
            gone = agent.exit_status
            self.look()
            if question():
                return
            if gone is not None:
                raise Broken(agent.how_it_ended())
            if time.monotonic() > until:
                raise Broken(f"{otherwise} within {limit_s:.0f} s")
            self._break_silence()
            time.sleep(LOOK_S)

    def wait(self, for_s: float) -> None:
        """Go on looking for so long. Raise Broken if the agent is gone."""
        until = time.monotonic() + for_s
        self.until(lambda: time.monotonic() >= until, for_s + SLACK_S, "time stood still")

    def _break_silence(self) -> None:
        if time.time() - self._news_at < self._patience_s:
            return
        self._patience_s *= 2
        try:
            status = read_status(self._stage.folder.socket, self._stage.folder.state)
            waits = "; ".join(event["waiting_for"] for event in status["events"])
            self._add(Line(time.time() - self._began_at, "agent", f"still waits for {waits or 'the next document'}"))
        except UnreachableError:
            self._news_at = time.time()

    def _add(self, line: Line) -> None:
        self._news_at = time.time()
        self.lines.append(line)
        self._tell(line)
