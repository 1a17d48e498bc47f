"""A small language for tests of the decision: events, documents, answers, and a life played through `step`."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tideover import effects as fx, observations as ob
from tideover.lifecycle import Entry, Phase, State, desired_effects, step
from tideover.model import (
    Cause,
    ClockCheck,
    Document,
    Event,
    HookOutcome,
    HookPhase,
    HookReport,
    HookSpec,
    Kind,
    Moment,
    Pause,
    Verdict,
)
from tideover.policy import Policy

ME = "vm-1"
BEGIN = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
RAW_S = 1000.0
PREPARE, RECOVER = HookPhase.PREPARE, HookPhase.RECOVER
DONE, NOTHING, REFUSED = HookOutcome.DONE, HookOutcome.NOTHING, HookOutcome.REFUSED
NOT_YET, FAILED, TIMED_OUT, STOPPED = HookOutcome.NOT_YET, HookOutcome.FAILED, HookOutcome.TIMED_OUT, HookOutcome.STOPPED


def at(after_s: float) -> Moment:
    return Moment(BEGIN + timedelta(seconds=after_s), RAW_S + after_s)


def event(event_id: str = "e1", kind: Kind = Kind.FREEZE, *, started: bool = False, notice_s: float | None = 900.0,
          resources: tuple[str, ...] = (ME,), source: str = "platform", expected_s: float | None = 5.0) -> Event:
    not_before = None if notice_s is None or started else BEGIN + timedelta(seconds=notice_s)
    return Event(event_id, kind, resources, started, not_before, expected_s, "", source)


def document_at(events: tuple[Event, ...], now: Moment, incarnation: str = "1") -> Document:
    """What is listed, asked for and answered now."""
    return Document(events, now.raw_s, now.raw_s, incarnation, now.utc)


def started(thing: Event) -> Event:
    return replace(thing, started=True, not_before=None)


def hook(name: str = "drain", order: int = 20, **options: object) -> HookSpec:
    return HookSpec(name, order, f"/hooks/{order}-{name}", **options)  # type: ignore[arg-type]


def pause(pause_id: str = "p1", length_s: float = 5.0, cause: Cause = Cause.VM_PAUSE, now: Moment | None = None) -> Pause:
    now = now or at(0)
    return Pause(pause_id, now.utc, now.raw_s, length_s, 0.1, cause)


def report(outcome: HookOutcome = DONE, exit_status: int | None = 0) -> HookReport:
    return HookReport(outcome, exit_status, BEGIN, 0.1)


GOOD = ClockCheck(Verdict.GOOD, 0.001, 0.004, BEGIN)
BAD = ClockCheck(Verdict.BAD, -4.0, 0.01, BEGIN, reason="4 s behind")
UNKNOWN = ClockCheck(Verdict.UNKNOWN, reason="no source")


@dataclass
class Life:
    """One machine's life, played observation by observation. `now_s` is how long it has lasted."""

    policy: Policy = field(default_factory=lambda: Policy(hooks=(hook(),)))
    now_s: float = 0.0
    state: State = field(default_factory=State)
    entries: list[Entry] = field(default_factory=list)
    begun: list[fx.Effect] = field(default_factory=list)
    boot_id: str = "boot-1"

    def __post_init__(self) -> None:
        self.see(ob.Restarted(self.boot_id))

    @property
    def now(self) -> Moment:
        return at(self.now_s)

    def see(self, *observations: ob.Observation) -> Life:
        for seen in observations:
            before = self.wanted()
            move = step(self.state, seen, self.policy, self.now)
            self.state = move.state
            self.entries += move.entries
            self.begun += [effect for key, effect in self.wanted().items() if key not in before]
        return self

    def wanted(self) -> dict[str, fx.Effect]:
        return {effect.key: effect for effect in desired_effects(self.state, self.now)}

    def polled(self, *events: Event) -> Life:
        return self.see(ob.Polled(document_at(events, self.now), ME))

    def polled_in_part(self, *events: Event) -> Life:
        """A document of which an entry had to be left out."""
        part = replace(document_at(events, self.now), left_out="entry 1 of the list of events has no usable EventId")
        return self.see(ob.Polled(part, ME))

    def after(self, seconds: float) -> Life:
        """Time passes, and each waiter whose time has come is woken."""
        end_s = self.now_s + seconds
        while True:
            wakes = [effect for effect in self.wanted().values() if isinstance(effect, fx.WakeAt)]
            first = min(wakes, key=lambda wake: wake.at_raw_s, default=None)
            if first is None or first.at_raw_s > RAW_S + end_s:
                break
            self.now_s = max(self.now_s, first.at_raw_s - RAW_S)
            before = self.state
            self.see(ob.Due(first.key))
            if self.state == before:
                break
        self.now_s = end_s
        return self

    def paused(self, length_s: float = 5.0, cause: Cause = Cause.VM_PAUSE, pause_id: str = "p1") -> Life:
        self.now_s += length_s
        return self.see(ob.Resumed(pause(pause_id, length_s, cause, self.now)))

    def settle(self, outcome: HookOutcome = DONE, *names: str, exit_status: int | None = 0) -> Life:
        """The runs now wanted (of the hooks named, or all) end with `outcome`."""
        for run in self.runs():
            if not names or run.spec.name in names:
                self.see(ob.HookSettled(run.spec.name, run.phase, run.run, report(outcome, exit_status)))
        return self

    def stop_ended(self, outcome: HookOutcome = STOPPED) -> Life:
        """The hooks being stopped have ended."""
        for name, stopping in self.state.hooks.items():
            if stopping.stage.value == "stopping":
                self.see(ob.HookSettled(name, PREPARE, stopping.run, report(outcome, None)))
        return self

    def acknowledged(self, outcome: ob.AckOutcome = ob.AckOutcome.ACCEPTED) -> Life:
        for effect in self.wanted().values():
            if isinstance(effect, fx.Acknowledge):
                self.see(ob.AckSettled(effect.event_id, effect.attempt, outcome))
        return self

    def judged(self, check: ClockCheck = GOOD) -> Life:
        for effect in self.wanted().values():
            if isinstance(effect, fx.CheckClock):
                self.see(ob.ClockJudged(effect.event_id, effect.round, check))
        return self

    def restarted(self, boot_id: str | None = None, down_s: float | None = 1.0) -> Life:
        self.boot_id = boot_id or self.boot_id
        return self.see(ob.Restarted(self.boot_id, down_s))

    def runs(self) -> list[fx.RunHook]:
        return [effect for effect in self.wanted().values() if isinstance(effect, fx.RunHook)]

    def running(self) -> list[str]:
        return [f"{run.spec.name} {run.phase.value}" for run in self.runs()]

    def begun_runs(self) -> list[str]:
        return [f"{run.spec.name} {run.phase.value}" for run in self.begun if isinstance(run, fx.RunHook)]

    def acknowledgements(self) -> int:
        return sum(isinstance(effect, fx.Acknowledge) for effect in self.begun)

    def phase(self, event_id: str = "e1") -> str:
        case = self.state.cases.get(event_id)
        return case.phase.value if case else "closed"

    def outcome(self, event_id: str = "e1") -> str | None:
        return next((entry.subject.value for entry in reversed(self.entries)
                     if entry.event_id == event_id and entry.what is Phase.CLOSED and entry.subject), None)

    def reasons(self) -> list[str]:
        return [run.reason for run in self.begun if isinstance(run, fx.RunHook) and run.phase is RECOVER]
