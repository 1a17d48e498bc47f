"""One agent put together: settings passed to each part, listeners opened, its status, its start and stop."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tideover import __version__, effects as fx, observations as ob
from tideover.api.protocol import ApiServer
from tideover.clock.checker import ClockChecker
from tideover.clock.types import ClockCheckSettings
from tideover.config_file import Loaded
from tideover.daemon.api_handlers import ApiHandlers
from tideover.daemon.applications import ApplicationService
from tideover.daemon.effect_handlers import (
    AcknowledgeHandler,
    ClockHandler,
    NullHandler,
    ParticipantHandler,
    WatchHandler,
)
from tideover.daemon.listeners import CompositeListener, LogListener, NotifyListener, open_metering, open_notifier
from tideover.daemon.policy_source import PolicySource, environment_of, open_chosen_source
from tideover.daemon.startup import (
    HOOKS_STATE,
    fallback_hooks_state,
    make_directory,
    open_state_directory,
    renew_journal,
    require_trusted,
    resume_from_journal,
)
from tideover.engine import Engine, Listener
from tideover.errors import WrongUseError
from tideover.hooks.notifier import Notifier
from tideover.hooks.runner import HookRunner
from tideover.humanize import offset_text
from tideover.journal import JournalUnwritable
from tideover.lifecycle import Stage, State
from tideover.lifecycle.polls import date_ahead_s, is_date_doubtful
from tideover.logs import Log, Sink, Trouble
from tideover.model import NO_SOURCE, ClockCheck, Moment, Verdict, utc_text
from tideover.pause import MachineClocks, PauseWatch, PauseWatchSettings
from tideover.record import Row
from tideover.sources import SourceContext
from tideover.sources.poller import Acknowledger, Poller
from tideover.status import draining_because, finding_of, is_checking, status_of
from tideover.system.clocks import read_boot_id
from tideover.timekeeping.intervals import NS, TimeSample

if TYPE_CHECKING:
    from tideover.daemon.listeners import MetricsExport
    from tideover.documents import AgentStatusDocument, StoreStatusDocument
    from tideover.fleet.member import Member
    from tideover.http_server import HealthPage
    from tideover.metrics.collector import MetricsCollector, Present
    from tideover.settings import Settings

RUNTIME_MODE = 0o755
LISTEN_AGAIN_S = 10.0            # between two tries to listen where that failed
CLOCK_STAYS_GOOD_S = 3600.0      # after its last check: an idle agent samples time sources each minute


class Agent:
    """All parts of one agent, wired. `start`, then `engine.run()`, then `close`."""

    def __init__(self, loaded: Loaded, *, drill: bool = False, log_sink: Sink | None = None,
                 before: Agent | None = None, recent_log: Callable[[], list[str]] = list) -> None:
        """Given the configuration, open what this agent works on.

        Raise WrongUseError if another one works on it, or another user could change it. `log_sink`: where log lines
        go; None: standard error, or the journal behind it. `before`: the closed agent whose place this one takes in
        the same process: what is reported of the process (its start, its counters) continues. `recent_log`: the newest
        lines of the log, for a bundle.
        """
        require_trusted(loaded)
        settings = self.settings = loaded.settings
        self._recent_log, self._drill = recent_log, drill
        self.log = Log(settings.log.format, settings.log.level, log_sink)
        self.clocks = MachineClocks()
        self.started_at = self.clocks.moment()
        self.applications: ApplicationService
        self.process_started_at: datetime = before.process_started_at if before is not None else self.started_at.utc
        state_directory = Path(settings.paths.state)
        self.memory = open_state_directory(state_directory, self.log)
        with ExitStack() as on_failure:     # its lock must not outlive an agent that could not be built
            on_failure.callback(self.memory.close)
            self.choices = PolicySource(settings)
            self._polling = Trouble(self.log, "poll", lambda: self.clocks.moment().raw_s)
            self._reading = Trouble(self.log, "document", lambda: self.clocks.moment().raw_s)
            self._dating = Trouble(self.log, "date", lambda: self.clocks.moment().raw_s)
            self.platform, self._source = open_chosen_source(
                settings, SourceContext(state_directory, lambda kind: self.choices.current.wants(kind)))
            self.checker = ClockChecker(self.post, ClockCheckSettings.of(settings), on_sample=self._on_sample)
            self._runtime_trouble = self._make_runtime_directory()
            self._spare = fallback_hooks_state(settings)
            self.runner = HookRunner(self.post, state_directory / HOOKS_STATE, spare=self._spare, drill=drill,
                                     environment_of=partial(environment_of, settings), log_line=self._hook_line)
            self.applications = ApplicationService(settings, self.runner, self.log, self.clocks.moment, self.post,
                                                   before.applications if before is not None else None)
            self.watch = PauseWatch(
                self._on_pause, PauseWatchSettings(settings.pause.tick_s, threshold_s=settings.pause.threshold_s),
                clock_was_set=self.checker.clock_was_set, outside_wanted=self.checker.sample_now,
                host_changed=self._on_host_change, disruption_announced=self._disruption_announced, clocks=self.clocks)
            self._answered_before: datetime | None = before.last_answer_at() if before is not None else None
            self.poller = self._acknowledger = None
            if self._source is not None:
                self.poller = Poller(self._on_poll, self._source,
                                     max(settings.source.poll_s, self.platform.shortest_poll_s))
                self._acknowledger = Acknowledger(self.post, self._source)
            self._pauses = 0            # detected by this process
            self.fleet = self._open_fleet()
            self._metering: MetricsExport | None = None
            self.notifiers: list[Notifier] = [
                one for one in before.notifiers if one.is_running] if before is not None else []
            self._figures: MetricsCollector | None = before.figures if before is not None else None
            self.engine = Engine(self.memory.journal, self._effect_handlers(), self.choices.policy, self.clocks.moment,
                                 self._listener(), lambda: renew_journal(self.memory.journal))
            self.engine.keep_house = self._prune
            self._server: ApiServer | None = None
            self._is_closing = False
            self._closed: set[str] = set()      # what was to listen and could not
            self._opened_raw_s = self.started_at.raw_s
            self._health: HealthPage | None = None
            on_failure.pop_all()


    def post(self, seen: ob.Observation) -> None:
        """Post an observation to the engine, from any thread."""
        self.engine.post(seen)

    def check_clocks(self) -> None:
        """The machine slept, or its clock was set: read the clocks and ask the platform now. Any thread."""
        self.watch.check_now()
        if self.poller is not None:
            self.poller.poll_now()

    def start(self) -> None:
        """Resume from the journal, then start to poll, to watch and to listen."""
        self.applications.open(self.engine, lambda: self.choices.current, self._trouble("applications"))
        resume_from_journal(self.memory, self.engine, self.runner, self.started_at, self.log, self._spare)
        if self._source is not None:
            self._source.remember(case.event for case in self.engine.state.cases.values() if case.listed)
        if self.fleet is not None:
            cases = self.engine.state.cases.values()
            in_store = {case.id for case in cases if case.fleet is not None and case.fleet.uses_store}
            self.fleet.open(frozenset(in_store | {left.event_id for left in self.engine.state.leaving}))
        self.watch.start()
        self.checker.sample_idle()
        if self.poller is not None:
            self.poller.start()
        self._listen()
        self._show_health()
        if self._metering is not None:
            self._metering.start()
        self._prune()

    def close(self, wanted: Settings | None = None) -> None:
        """Stop looking, end what runs (it stands in the journal), and let the next agent in. `wanted`: its
        configuration, where it takes this one's place in the same process."""
        self._is_closing = True
        self.applications.close(wanted)
        for part in (self._health, self._metering, self._server, self.poller, self._source,
                     self.watch, self.runner, self.checker, self.fleet, self._acknowledger):
            if part is not None:
                part.close()
        if self.engine.trouble:
            self.log.error("journal.not-flushed", reason=self.engine.trouble,
                           consequence="what happened since its last successful write is lost")
        self.memory.close()

    def end_notifications(self) -> None:
        """The process ends: kill what notification programs run, also of the agents before this one."""
        for notifier in self.notifiers:
            notifier.end()

    @property
    def figures(self) -> MetricsCollector | None:
        """What this agent, and those before it in this process, have counted; None: nothing was to be counted."""
        return self._metering.figures if self._metering is not None else self._figures

    # --- parts ------------------------------------------------------------------------------------------------------

    def _effect_handlers(self) -> Mapping[type[Any], Any]:
        acknowledger = self._acknowledger
        acknowledge = AcknowledgeHandler(acknowledger, self.fleet) if acknowledger is not None else NullHandler()
        return {fx.Coordinate: self.fleet or NullHandler(),
                fx.RunHook: ParticipantHandler(self.runner, self.applications, self.memory.journal.rows),
                fx.Acknowledge: acknowledge, fx.CheckClock: ClockHandler(self.checker),
                fx.WatchClosely: WatchHandler(self.watch, self.checker)}

    def _open_fleet(self) -> Member | None:
        """This machine's part in a fleet; None where [fleet] names no store: then none of it is loaded."""
        settings = self.settings.fleet
        if settings.store is None:
            return None
        from tideover.fleet.member import Member, MemberSettings
        from tideover.fleet.store import load_store_module
        store = load_store_module(settings)
        return Member(MemberSettings(settings.group, settings.slots, settings.takeover_s),
                      lambda: store.open_store(settings), read_boot_id(), __version__, self.post, self.clocks.moment,
                      self._trouble("fleet"), pauses=lambda: self._pauses, failed_hooks=self._failed_hooks,
                      requested=self._on_store_request)

    def _on_store_request(self, operation: str, outcome: str, duration_s: float) -> None:
        figures = self.figures
        if figures is not None:
            figures.store_requested(operation, outcome, duration_s)

    def _failed_hooks(self) -> tuple[str, ...]:
        """Whose recovery has failed for good. Any thread."""
        hooks = self.engine.state.hooks
        return tuple(sorted(name for name, hook in hooks.items() if hook.stage is Stage.RECOVER_FAILED))

    def _listener(self) -> Listener:
        """The log listener; applications that listen; the metrics where [metrics] asks for them (their library costs
        memory); and the notification program where [notify] names one."""
        settings = self.settings
        listeners: list[Listener] = [LogListener(self.log, self.runner.forget, self._prune)]
        if settings.application or settings.applications.listeners:
            listeners.append(self.applications)
        if settings.metrics.listen is not None or settings.metrics.textfile:
            self._metering = open_metering(settings.metrics, self.log, self._present, self.clocks.moment, self._figures)
            listeners += [self._metering.figures] if self._metering is not None else []
        if settings.notify.command:
            notifier = open_notifier(settings.notify, self.log, Path(settings.paths.state), drill=self._drill)
            self.notifiers.append(notifier)
            listeners.append(NotifyListener(notifier, self.clocks.moment))
        return CompositeListener(*listeners)

    def _make_runtime_directory(self) -> str:
        """Return why there is none that can be used; "" where there is. Without one no command can ask this agent."""
        if self.settings.paths.socket == self.settings.paths.runtime:
            return ""                   # a pipe lies in no directory
        try:
            make_directory(Path(self.settings.paths.runtime), RUNTIME_MODE)
        except WrongUseError as trouble:
            return f"{trouble.operation}: {trouble.cause}"
        return ""

    def _listen(self) -> None:
        """Where that fails it is tried again (`_look_after_listeners`)."""
        requests = ApiHandlers(self.engine, self.memory.journal.path, self.status_of, self.checker.look,
                            lambda: self.choices.current, self._recent_log, self.checker.recent_queries)
        reason: object = self._runtime_trouble
        if not reason:
            try:
                self._server = ApiServer(Path(self.settings.paths.socket), requests.answers(), self._trouble("api"))
            except (OSError, RuntimeError) as trouble:
                reason = trouble
        if self._is_news("api", reason):
            if reason:
                self.log.warning("api.listen-failed", reason=reason, socket=self.settings.paths.socket,
                                 consequence="commands cannot reach this agent; tideover status reads the journal only")
            else:
                self.log.info("api.listening")

    def _look_after_listeners(self) -> None:
        """At each poll, on the poller's thread: commands must find this agent, whatever became of its socket, a load
        balancer its health page and Prometheus its figures, however scarce descriptors were at the start."""
        server, raw_s = self._server, self.clocks.moment().raw_s
        if self._is_closing:
            return
        if server is not None and server.is_replaced():
            self.log.warning("api.socket-replaced", socket=self.settings.paths.socket,
                             what="another process removed or replaced it; the agent listens again")
            self._server = None
            server.close()
            self._listen()
        elif raw_s - self._opened_raw_s >= LISTEN_AGAIN_S:
            self._opened_raw_s = raw_s
            if server is None:
                self._runtime_trouble = self._make_runtime_directory()
                self._listen()
            self.applications.look_after()
            if self._health is None:
                self._show_health()
            if self._metering is not None:
                self._metering.listen()

    def _show_health(self) -> None:
        address = self.settings.health.listen
        if address is None:
            return
        from tideover.http_server import HealthPage
        reason: object = ""
        try:
            self._health = HealthPage(address.host, address.port, lambda: draining_because(
                self.engine.state, observes=self.choices.current.observes),
                                      self._trouble("health"))
        except (OSError, RuntimeError) as trouble:
            reason = trouble
        if self._is_news("health", reason):
            if reason:
                self.log.error("health.listen-failed", address=address.text, reason=reason,
                               consequence="load balancers get no answer there")
            else:
                self.log.info("health.listening")

    def _is_news(self, name: str, reason: object) -> bool:
        """Given what listens and why it cannot ("": it does), return whether that has changed since the last time."""
        was_closed = name in self._closed
        if reason:
            self._closed.add(name)
        else:
            self._closed.discard(name)
        return bool(reason) is not was_closed

    def _trouble(self, name: str) -> Callable[[str | None], None]:
        """What takes why something does not work, and None when it does again."""
        return Trouble(self.log, name, lambda: self.clocks.moment().raw_s).report

    def status_of(self, state: State, rows: Sequence[Row]) -> AgentStatusDocument:
        """Given a state and rows of the record, return the status: what they say, and what only the wiring knows. Any
        thread."""
        polling = self.poller.status() if self.poller is not None else None
        last = polling.last_good if polling else None
        found = self._clock_found()
        about = status_of(state, rows, self.clocks.moment(), polling.failures if polling else 0, self.platform)
        return {
            **about, "clock": finding_of(found) if found is not None else about["clock"],
            "applications_never_connected": self.applications.never_connected(),
            "mode": self.settings.policy.mode,
            "agent": {"alive": True, "pid": os.getpid(), "version": __version__,
                      "started_at": utc_text(self.process_started_at), "why": ""},
            "journal": {"writable": not self.engine.trouble, "reason": self.engine.trouble},
            "source": {"kind": self.platform.source_kind, "platform": self.platform.name,
                       "silence": self.platform.silence or None,
                       "takes_acknowledgement": self.platform.takes_acknowledgement and self.platform.is_served,
                       "last_answer_at": utc_text(last.utc) if last else None,
                       "silent_s": round(self.clocks.moment().raw_s - (last or self.started_at).raw_s, 3),
                       "failures": polling.failures if polling else 0, "reason": polling.reason if polling else ""},
            "fleet": self._fleet_status(),
        }

    @property
    def reaches_store(self) -> bool:
        """Whether there is a fleet, and its store answered last time."""
        status = self.fleet.status if self.fleet is not None else None
        return status is not None and status.last_good is not None and status.failing_since is None

    def _fleet_status(self) -> StoreStatusDocument | None:
        settings = self.settings.fleet
        if self.fleet is None:
            return None
        from tideover.fleet.member import UNREACHED_S
        store, since = self.fleet.status, self.fleet.status.failing_since
        if since is not None and self.clocks.moment().raw_s - since.raw_s < UNREACHED_S:
            since = None                    # an election takes some seconds
        return {"store": settings.store or "", "group": settings.group, "slots": settings.slots,
                "last_answer_at": utc_text(store.last_good.utc) if store.last_good is not None else None,
                "failing_since": utc_text(since.utc) if since is not None else None,
                "reason": store.reason if since is not None else ""}

    def _clock_found(self) -> ClockCheck | None:
        """What is known of the clock beside its last verdict: that no source can be asked, or what a check under way
        has found so far."""
        if self.checker.has_sources() is False:
            return ClockCheck(Verdict.UNKNOWN, reason=NO_SOURCE)
        return self.checker.latest() if is_checking(self.engine.state) else None

    def last_answer_at(self) -> datetime | None:
        """When the platform last gave a document to this process; None: not yet. Any thread."""
        last = self.poller.status().last_good if self.poller is not None else None
        return last.utc if last is not None else self._answered_before

    def _present(self) -> Present:
        """What the figures show as it is now. Any thread."""
        from tideover.metrics.collector import FleetPresent, Present
        fleet = None
        if self.fleet is not None:
            status = self.fleet.status
            asked = status.last_good is not None or status.failing_since is not None
            fleet = FleetPresent(self.settings.fleet.slots, status.failing_since is None if asked else None,
                                 status.last_good.utc if status.last_good is not None else None)
        return Present(self.engine.state, self.checker.latest(), self.poller is not None, self.last_answer_at(),
                       tuple(spec.name for spec in self.choices.catalogue.hooks), tuple(self.settings.application),
                       self.process_started_at, fleet)

    def _prune(self) -> None:
        """At the start, whenever an event has closed, and hourly: on the engine's thread, whose journal it is. Only by
        a clock that time servers have confirmed lately, and that was not set since: a wrong one takes all for old."""
        now, check = self.clocks.moment(), self.checker.latest()
        if not is_confirmed(check, now):
            return
        try:
            removed = self.memory.journal.forget_before(now, self.settings.journal.keep_s)
        except JournalUnwritable as trouble:
            self.log.warning("journal.not-pruned", reason=trouble)
            return
        if removed:
            self.log.info("journal.pruned", rows=removed)

    # --- news -------------------------------------------------------------------------------------------------------

    def _on_poll(self, news: ob.Observation) -> None:
        """A poll's news, on the poller's thread."""
        self._look_after_listeners()
        if self._metering is not None:
            self._metering.polled(news)
        if isinstance(news, ob.PollFailed):
            self._polling.again(news.reason)
            return
        self._polling.over()
        if isinstance(news, ob.Polled):
            document = news.document
            if document.left_out:
                self._reading.again(f"{document.left_out}; the other events are used, and no event is considered "
                                    "removed")
            else:
                self._reading.over()
            self.log.debug("poll.answered", events=len(document.events), incarnation=document.incarnation,
                           took_s=round(document.received_raw_s - document.asked_raw_s, 4))
            self.watch.outside_date(self.platform.service.removeprefix("the "), news.document)
            if self.fleet is not None:
                self.fleet.identify(news.me, news.vm_id)
            news = replace(news, clock_is_good=is_confirmed(self.checker.latest(), self.clocks.moment()))
            self._doubt_date(news)
            if document.moved:
                self.log.info("machine.moved", evidence=document.moved)
                self.watch.move_proved(document.moved)
        self.post(news)

    def _doubt_date(self, news: ob.Polled) -> None:
        now = self.clocks.moment()
        if is_date_doubtful(news, now):
            ahead_s = date_ahead_s(news.document, now)
            self._dating.again(f"the Date of the answers is {offset_text(ahead_s)} of this machine's clock, which "
                               "time servers confirm: the earlier of the two possible starts of an event is used")
        else:
            self._dating.over()

    def _on_pause(self, seen: ob.Observation) -> None:
        """On the pause watch's thread: what is listed after a resume decides whose pause it was, so ask at once."""
        self._pauses += 1
        self.post(seen)
        if self.poller is not None:
            self.poller.poll_now()

    def _on_host_change(self, before: str, after: str) -> None:
        """On the pause watch's thread; the pause that goes with it carries both names too."""
        self.log.warning("machine.host-changed", before=before, after=after)

    def _disruption_announced(self, imminent: bool) -> None:
        """On the pause watch's thread: a fresh sample of outside time will stand before the disruption."""
        self.log.warning("vmclock.disruption-announced", within="about an hour" if imminent else "about a day",
                         consequence="none by itself: the notice of the platform decides when hooks run")
        self.checker.sample_now()

    def _on_sample(self, sample: TimeSample) -> None:
        """A valid answer of a time server, on the clock checker's thread. Two of one address may differ by half the
        round trip; what the server is wrong by cancels."""
        self.log.debug("clock.sample", server=sample.server, address=sample.address,
                       delay_s=round(sample.delay_ns / NS, 6), stratum=sample.stratum)
        self.watch.outside_sample(f"{sample.server} {sample.address}", sample.began_raw_ns, sample.truth_minus_raw_ns,
                                  sample.delay_ns // 2 + 1)

    def _hook_line(self, name: str, line: str) -> None:
        """On the thread of the hook's run."""
        known = self.engine.state.hooks.get(name)
        self.log.info("hook.output", event=known.event_id if known else None, hook=name, line=line)


def is_confirmed(check: ClockCheck | None, now: Moment) -> bool:
    """Given the newest finding about the clock and the moment, return whether time servers have lately found the wall
    clock right, and it was not set since."""
    if check is None or check.verdict is not Verdict.GOOD or check.checked_at is None:
        return False
    return abs((now.utc - check.checked_at).total_seconds()) <= CLOCK_STAYS_GOOD_S
