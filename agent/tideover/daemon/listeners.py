"""The wiring of the figures for Prometheus: opened where [metrics] asks for them, told of what the engine does.

Without the library, the address or the file the agent goes on: applications are carried over, only nobody can watch.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tideover import observations as ob
from tideover.engine import Listener
from tideover.journal import JournalUnwritable
from tideover.lifecycle import Entry, State
from tideover.logs import Log, Trouble
from tideover.metrics import why_not
from tideover.model import Moment
from tideover.settings import MetricsSettings

if TYPE_CHECKING:
    from tideover.metrics.figures import Figures, Present
    from tideover.metrics.page import MetricsPage
    from tideover.metrics.textfile import Textfile

CONSEQUENCE = "Prometheus gets no figures of this agent there; everything else goes on"


class Metering:
    """The figures of one agent and the ways they are handed out. `start`, then `close`."""

    def __init__(self, settings: MetricsSettings, log: Log, figures: Figures, moment: Callable[[], Moment]) -> None:
        self._settings, self._log, self.figures = settings, log, figures
        self._writing = Trouble(log, "metrics-file", lambda: moment().raw_s)
        self._asked = Trouble(log, "metrics", lambda: moment().raw_s)
        self._page: MetricsPage | None = None
        self._textfile: Textfile | None = None

    def start(self) -> None:
        from tideover.metrics.figures import CONTENT_TYPE
        from tideover.metrics.page import MetricsPage
        from tideover.metrics.textfile import Textfile
        address = self._settings.listen
        if address is not None:
            try:
                self._page = MetricsPage(address.host, address.port, self.figures.text, CONTENT_TYPE,
                                         self._asked.told)
            except OSError as trouble:
                self._log.error("metrics.closed", address=address.text, reason=trouble, consequence=CONSEQUENCE,
                                hint="name another address under [metrics] listen, or end what listens there")
        if self._settings.textfile:
            self._textfile = Textfile(Path(self._settings.textfile), self.figures.text, self._writing.told)

    def polled(self, news: ob.Observation) -> None:
        """A poll has ended. On the poller's thread."""
        self.figures.polled(news.trouble if isinstance(news, ob.PollFailed) else None)

    def close(self) -> None:
        for part in (self._page, self._textfile):
            if part is not None:
                part.close()


class Listeners:
    """Several listeners of the engine, as one."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def moved(self, before: State, after: State, entries: tuple[Entry, ...]) -> None:
        for listener in self._listeners:
            listener.moved(before, after, entries)

    def unwritable(self, trouble: JournalUnwritable) -> None:
        for listener in self._listeners:
            listener.unwritable(trouble)

    def writable_again(self) -> None:
        for listener in self._listeners:
            listener.writable_again()


def open_metering(settings: MetricsSettings, log: Log, present: Callable[[], Present],
                  moment: Callable[[], Moment], before: Figures | None = None) -> Metering | None:
    """Given an owner's [metrics] that ask for figures, return them; None without the library, which the log is told.

    `before`: the figures of the agent whose place this one takes, which go on.
    """
    reason = why_not()
    if reason is not None:
        log.error("metrics.closed", reason=reason, consequence=CONSEQUENCE)
        return None
    from tideover.metrics.figures import Figures
    if before is None:
        before = Figures(present, moment)
    else:
        before.go_on(present, moment)
    return Metering(settings, log, before, moment)
