"""The metrics' names, help texts, labels and buckets, and the gauges from the state.

Names and labels follow prometheus.io/docs/practices/naming: base units, `_total`, an info metric. What can be known
beforehand is there from the start with 0: a counter that is born with 1 has no increase that a rule could see
(prometheus.io/docs/practices/instrumentation, "Avoid missing metrics"). Unknown values are NaN, never 0.
"""
from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric, StateSetMetricFamily

from tideover import __version__
from tideover.lifecycle import Case, Entry, Phase, Stage, State, hook_stages
from tideover.lifecycle.state import AWAITING_PLATFORM
from tideover.metrics.updates import (
    ACKNOWLEDGEMENTS,
    FLEET_ANSWERS,
    OF_CLAIM,
    OF_SLOT,
    OUTCOMES,
    Counted,
    CounterName,
    HistogramName,
    MetricUpdate,
    PendingTimes,
    kind_word,
    updates_of,
)
from tideover.model import Cause, ClockCheck, HookOutcome, HookPhase, Kind, Moment, Verdict
from tideover.observations import PollTrouble, SlotState
from tideover.status import recover_pending

# --- Gauges from the state alone, right after a restart as well as before it

FOREMOST = (Phase.SETTLING, Phase.CHECKING_CLOCK, Phase.STARTED, Phase.ACKNOWLEDGED, Phase.HELD, Phase.UNCONFIRMED,
            Phase.ACKNOWLEDGING, Phase.WAITING_FOR_PEERS, Phase.PREPARING, Phase.RECOVERING, Phase.WAITING_FOR_SLOT,
            Phase.SCHEDULED, Phase.RECOVERED, Phase.OBSERVED)
"""Where several events are open, the one furthest on says how the machine is. One that recovers waits for all claims to
go, so it comes after them; what is over, or not ours, comes last."""

IDLE = "idle"
STATES = (IDLE, *(phase.value for phase in FOREMOST))
AHEAD = AWAITING_PLATFORM | {Phase.SCHEDULED, Phase.WAITING_FOR_SLOT}
CLAIMED, DUE, FAILED = "claimed", "due", "failed"
PENDING_STAGES = (CLAIMED, DUE, FAILED)


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """The machine at one moment."""

    state: str                          # one of STATES
    next_not_before: datetime | None    # of the events of this VM that have not begun; None: there is none
    recoveries_pending: Mapping[str, int]  # hooks, by PENDING_STAGES
    acknowledgements_held: int          # events whose "go ahead" a failed required preparation holds back


def state_snapshot(state: State) -> StateSnapshot:
    """Given the state, return how things stand."""
    phases = {case.phase for case in state.cases.values()}
    ahead = [case.event.not_before for case in state.cases.values() if case.phase in AHEAD and case.event.not_before]
    return StateSnapshot(
        state=next((phase.value for phase in FOREMOST if phase in phases), IDLE),
        next_not_before=min(ahead, default=None),
        recoveries_pending=_recoveries_pending(state),
        acknowledgements_held=sum(_is_held(state, case) for case in state.cases.values()),
    )


def _recoveries_pending(state: State) -> dict[str, int]:
    pending = dict.fromkeys(PENDING_STAGES, 0)
    open_ = CLAIMED if state.claimed() else DUE
    for name in recover_pending(state):
        pending[FAILED if state.hooks[name].stage is Stage.RECOVER_FAILED else open_] += 1
    return pending


def _is_held(state: State, case: Case) -> bool:
    wanted = any(case.id in hook.wanted_by for hook in state.hooks.values())
    return case.phase is Phase.HELD and wanted and hook_stages.why_held(state, case) is not None


# --- The registry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""prometheus.io/docs/instrumenting/exposition_formats: the text format, which every Prometheus reads."""

CREATED = "_created"        # the library's own times of birth say nothing that the start time does not

COUNTERS: dict[CounterName, tuple[str, tuple[str, ...]]] = {
    CounterName.EVENTS: ("Events that are over, by kind and how they ended.", ("kind", "outcome")),
    CounterName.HOOK_RUNS: ("Runs of hooks and applications that have ended, by how.",
                            ("hook", "kind", "phase", "outcome")),
    CounterName.ACKNOWLEDGEMENTS: ("Acknowledgements sent, by the answer of the platform.", ("outcome",)),
    CounterName.PAUSES: ("Pauses detected (and steps of the clock), by cause and whether an event announced them.",
                   ("cause", "announced")),
    CounterName.FLEET_ACKNOWLEDGEMENTS: ("Events of the fleet: acknowledged by this machine, by another one, or "
                                         "withheld.", ("outcome",)),
    CounterName.FLEET_TAKEOVERS: ("Takeovers from silent machines by this one: a slot, or the claim to acknowledge.",
                                  ("of",)),
}
BUCKETS_S: dict[HistogramName, tuple[str, tuple[float, ...]]] = {
    HistogramName.PAUSE: ("Lengths of pauses; a pause of unknown length is only counted.",
                 (0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300)),
    HistogramName.NOTICE: ("Time from detection of an event to its NotBefore.",
                  (5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 86400)),
    HistogramName.PREPARATION: ("Time from the start of the first prepare hook to the end of the last.",
                       (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)),
    HistogramName.GOOD_CLOCK: ("Time from the end of a pause until the clock was good.",
                      (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)),
    HistogramName.FLEET_SLOT_WAIT: ("Time that an event waited for a slot of its group.",
                                    (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600)),
}
STORE_OPERATIONS = ("get", "put", "delete")
STORE_OUTCOMES = ("ok", "conflict", "unavailable", "denied", "full", "malformed")
STORE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)
FLEET = "tideover_fleet_"
"""Begins the names of what is there only where [fleet] has a store."""


@dataclass(frozen=True, slots=True)
class FleetPresent:
    """This machine's part in its fleet. `is_up`: the store answered last; None: it was not asked yet."""

    slots: int
    is_up: bool | None
    last_success_at: datetime | None


@dataclass(frozen=True, slots=True)
class Present:
    """What is read at the time of each scrape."""

    state: State
    clock: ClockCheck | None            # the newest finding
    asks_platform: bool                 # False: there is no source that could be polled
    last_poll_at: datetime | None       # the newest that brought a document; None: none yet
    hook_names: tuple[str, ...]
    application_names: tuple[str, ...]
    started_at: datetime                # the agent
    fleet: FleetPresent | None = None   # None: [fleet] has no store


class MetricsCollector:
    """Counts what is reported to it, and writes all figures as one text. Any thread."""

    def __init__(self, present: Callable[[], Present], moment: Callable[[], Moment]) -> None:
        self._present, self._moment = present, moment
        self._unfinished = PendingTimes()
        self._is_writable = True
        self._grown, self._all = CollectorRegistry(), CollectorRegistry()
        self._counters = {tally: Counter(tally.value, about, labels, registry=self._grown)
                          for tally, (about, labels) in COUNTERS.items()}
        self._histograms = {span: Histogram(span.value, about, buckets=buckets, registry=self._grown)
                            for span, (about, buckets) in BUCKETS_S.items()}
        self._polls = Counter("tideover_polls_total", "Polls of the platform, failed ones included.",
                              registry=self._grown)
        self._poll_errors = Counter("tideover_poll_errors_total", "Failed polls, by reason.",
                                    ("reason",), registry=self._grown)
        self._store_requests = Counter(f"{FLEET}store_requests_total", "Requests to the fleet's store, by outcome.",
                                       ("operation", "outcome"), registry=self._grown)
        self._store_durations = Histogram(f"{FLEET}store_request_duration_seconds",
                                          "Time from a request to the fleet's store to its answer.",
                                          buckets=STORE_BUCKETS_S, registry=self._grown)
        self._begin_with_nothing()
        self._all.register(self)

    def go_on(self, present: Callable[[], Present], moment: Callable[[], Moment]) -> None:
        """From now on another agent of the same process is counted, after a new configuration: what has been counted
        stays, as for a process that was not restarted."""
        self._present, self._moment, self._is_writable = present, moment, True

    # --- reported
    # -------------------------------------------------------------------------------------------------------

    def on_transition(self, before: State, after: State, entries: tuple[Entry, ...]) -> None:
        """The engine has taken one step. On its thread only."""
        self._unfinished, changes = updates_of(self._unfinished, before, after, entries, self._moment())
        for change in changes:
            self._take(change)

    def on_journal_unwritable(self, trouble: Exception) -> None:
        self._is_writable = False

    def on_journal_writable(self) -> None:
        self._is_writable = True

    def polled(self, trouble: PollTrouble | None) -> None:
        """A poll has ended; `trouble`: why it brought no document, None if it brought one."""
        self._polls.inc()
        if trouble is not None:
            self._poll_errors.labels(trouble.value).inc()

    def store_requested(self, operation: str, outcome: str, duration_s: float) -> None:
        """A request to the fleet's store has ended."""
        self._store_requests.labels(operation, outcome).inc()
        self._store_durations.observe(duration_s)

    # --- asked ------------------------------------------------------------------------------------------------------

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._all)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; this is what the library's registry asks for."""
        present = self._present()
        self._know_hooks(present.hook_names, is_application=False)
        self._know_hooks(present.application_names, is_application=True)
        for family in self._grown.collect():
            if present.fleet is None and family.name.startswith(FLEET):
                continue
            family.samples = [sample for sample in family.samples if not sample.name.endswith(CREATED)]
            yield family
        yield from _about_agent(present, self._is_writable)
        yield from _about_state(present.state)
        yield from _about_clock(present.clock)
        if present.fleet is not None:
            yield from _about_fleet(present.fleet, present.state)

    # --- counting ---------------------------------------------------------------------------------------------------

    def _take(self, change: MetricUpdate) -> None:
        if isinstance(change, Counted):
            self._counters[change.tally].labels(*change.labels).inc()
        else:
            self._histograms[change.span].observe(change.seconds)

    def _begin_with_nothing(self) -> None:
        for kind in Kind:
            for outcome in OUTCOMES:
                self._counters[CounterName.EVENTS].labels(kind.value, outcome)
        for word in ACKNOWLEDGEMENTS.values():
            self._counters[CounterName.ACKNOWLEDGEMENTS].labels(word)
        for cause in Cause:
            for announced in ("true", "false"):
                self._counters[CounterName.PAUSES].labels(cause.value, announced)
        for trouble in PollTrouble:
            self._poll_errors.labels(trouble.value)
        for outcome in FLEET_ANSWERS.values():
            self._counters[CounterName.FLEET_ACKNOWLEDGEMENTS].labels(outcome)
        for of in (OF_SLOT, OF_CLAIM):
            self._counters[CounterName.FLEET_TAKEOVERS].labels(of)
        for operation in STORE_OPERATIONS:
            for outcome in STORE_OUTCOMES:
                self._store_requests.labels(operation, outcome)

    def _know_hooks(self, names: Iterable[str], *, is_application: bool) -> None:
        for name in names:
            for phase in HookPhase:
                for outcome in HookOutcome:
                    self._counters[CounterName.HOOK_RUNS].labels(name, kind_word(is_application), phase.value,
                                                                     outcome.value)


def _about_agent(present: Present, is_writable: bool) -> Iterator[Metric]:
    yield InfoMetricFamily("tideover_build", "Which tideover this is, on which Python.",
                           {"version": __version__, "python": platform.python_version()})
    yield GaugeMetricFamily("tideover_start_time_seconds", "Start time of this agent, since the epoch.",
                            present.started_at.timestamp())
    yield GaugeMetricFamily("tideover_journal_writable",
                            "Whether the journal can be written; while it cannot, nothing is acknowledged.",
                            float(is_writable))
    if present.asks_platform:
        yield GaugeMetricFamily("tideover_poll_last_success_timestamp_seconds",
                                "When the platform last gave a document, since the epoch; 0 before the first. "
                                "Absent where there is no platform to ask.",
                                present.last_poll_at.timestamp() if present.last_poll_at else 0.0)


def _about_state(state: State) -> Iterator[Metric]:
    standing = state_snapshot(state)
    yield StateSetMetricFamily("tideover_state", "What is waited for, by the open event that is furthest on.",
                               {name: name == standing.state for name in STATES})
    yield GaugeMetricFamily("tideover_next_not_before_timestamp_seconds",
                            "The earliest NotBefore of this VM's events that have not begun, since the epoch; "
                            "NaN when there is none.", _seconds(standing.next_not_before))
    pending = GaugeMetricFamily("tideover_recoveries_pending",
                             "Hooks prepared and not recovered yet: claimed by an open event, due now, or failed "
                             "(operator action needed).", labels=["stage"])
    for stage, hooks in standing.recoveries_pending.items():
        pending.add_metric([stage], hooks)
    yield pending
    yield GaugeMetricFamily("tideover_acknowledgements_held",
                            "Events whose acknowledgement is held back because a required preparation failed.",
                            standing.acknowledgements_held)


def _about_fleet(fleet: FleetPresent, state: State) -> Iterator[Metric]:
    """Of this machine alone, so that sums over the agents are those of the fleet."""
    phase = state_snapshot(state).state
    members = GaugeMetricFamily(f"{FLEET}members", "1 for the phase that this machine is in.", labels=["phase"])
    for name in STATES:
        members.add_metric([name], float(name == phase))
    yield members
    yield GaugeMetricFamily(f"{FLEET}slots", "[fleet] slots of this machine; 0 is no limit.", fleet.slots)
    in_use = GaugeMetricFamily(f"{FLEET}slots_in_use", "Events of this machine that are entered in its group's slots.",
                               labels=["granted"])
    held = [case.fleet.view.slot for case in state.cases.values() if case.fleet is not None]
    in_use.add_metric(["true"], held.count(SlotState.GRANTED))
    in_use.add_metric(["false"], held.count(SlotState.NOT_GRANTED))
    yield in_use
    yield GaugeMetricFamily(f"{FLEET}store_up", "Whether the store answered last; NaN before it was asked.",
                            math.nan if fleet.is_up is None else float(fleet.is_up))
    yield GaugeMetricFamily(f"{FLEET}store_last_success_timestamp_seconds",
                            "When the store last answered, since the epoch; 0 before the first.",
                            fleet.last_success_at.timestamp() if fleet.last_success_at else 0.0)


def _about_clock(check: ClockCheck | None) -> Iterator[Metric]:
    """The newest finding: of a check, or of outside time heard in passing."""
    found = check or ClockCheck(Verdict.UNKNOWN)
    yield StateSetMetricFamily("tideover_clock_verdict", "Verdict of the last clock check.",
                               {verdict.value: verdict is found.verdict for verdict in Verdict})
    yield GaugeMetricFamily("tideover_clock_offset_seconds",
                            "Offset of this machine's clock, positive if ahead; NaN when unknown.",
                            _number(found.offset_s))
    yield GaugeMetricFamily("tideover_clock_error_bound_seconds",
                            "Error bound of the offset; NaN when unknown.",
                            _number(found.error_bound_s))
    yield GaugeMetricFamily("tideover_clock_checked_timestamp_seconds",
                            "Time of the last clock check, since the epoch; NaN before it.",
                            _seconds(found.checked_at))


def _seconds(at: datetime | None) -> float:
    return math.nan if at is None else at.timestamp()


def _number(value: float | None) -> float:
    return math.nan if value is None else value
