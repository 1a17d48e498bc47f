"""The acts of a drill in their order, each with its deadline."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tideover.api.protocol import read_status
from tideover.drill.checks import (
    CheckResult,
    DrillEvidence,
    ObservedRun,
    all_checks_passed,
    check_evidence,
    prepares,
    read_numbers,
    runs_from_notes,
    runs_from_record,
)
from tideover.drill.environment import DrillEnvironment, Outage
from tideover.drill.observer import DrillFailed, DrillObserver, TimelineLine
from tideover.drill.plan import DrillPlan, hooks_that_run
from tideover.drill.process_group import HOW_KILLED, HOW_STOPPED
from tideover.drill.sandbox import (
    CLOCK_DEADLINE_S,
    POLL,
    SAMPLE_APPLICATION,
    fill_folder,
    sample_hook_names,
)
from tideover.errors import UnreachableError
from tideover.humanize import length_text
from tideover.lifecycle import Phase
from tideover.model import EntryKind, HookOutcome, HookPhase, HookRun, Kind
from tideover.record import EventRecord, last_check, record_of

AGENT_START_S = 15.0        # Python starts in half a second; a small machine under load takes its time
MOVE_S = 10.0                # for the agent to see and write down what does not depend on hooks
HOOKS_MORE_S = 10.0         # beside the hooks' own timeouts; the sample hooks need a second of it
BEFORE_START_S = 0.4        # from the acknowledgement to the start, to be seen; the platform takes longer
BEFORE_STOP_S = 0.3
BEFORE_WITHDRAWAL_S = 0.5
FAILURES = frozenset({HookOutcome.FAILED, HookOutcome.TIMED_OUT, HookOutcome.REFUSED})


@dataclass(frozen=True, slots=True)
class DrillOutcome:
    """How a drill ended."""

    findings: tuple[CheckResult, ...]
    lines: tuple[TimelineLine, ...]
    evidence: DrillEvidence

    @property
    def held(self) -> bool:
        """Whether it came to its end and every guarantee held."""
        return self.evidence.broken is None and all_checks_passed(self.findings)

    @property
    def record(self) -> EventRecord | None:
        return self.evidence.record


def run_drill(stage: DrillEnvironment, plan: DrillPlan, show: Callable[[TimelineLine], None]) -> DrillOutcome:
    """Given a stage, play the plan to its end, or as far as it goes, and judge; each line is shown as it happens.

    The stage keeps its folder if a check failed. Raise WrongUseError if the drill cannot even begin.
    """
    course = _DrillRun(stage, plan, show)
    fill_folder(stage.folder, plan, stage.simulator.source_settings(stage.service), stage.time.address)
    broken = None
    try:
        course.run()
    except DrillFailed as trouble:
        broken = trouble.cause
        course.observer.note("drill", f"cannot go on: {broken}")
    evidence = course.gather(broken)
    findings = check_evidence(evidence)
    outcome = DrillOutcome(findings, tuple(course.observer.lines), evidence)
    stage.keeps_folder = not outcome.held
    return outcome


class _DrillRun:
    def __init__(self, stage: DrillEnvironment, plan: DrillPlan, show: Callable[[TimelineLine], None]) -> None:
        self._stage, self._plan = stage, plan
        self._has_counter = plan.own is None
        self._has_feed = plan.own is None and stage.folder.has_application
        self._event_id = ""
        self._ntp_queries = 0            # when the machine came back
        self._seen = DrillEvidence(plan, (), "", None)
        self.observer = DrillObserver(stage, show)

    def run(self) -> None:
        """All acts. Raise Broken where one does not come to its end."""
        self._open()
        self._announce()
        if self._plan.cancel:
            self._withdraw()
        else:
            self._let_go_ahead()
            self.observer.wait(BEFORE_STOP_S)
            act = self._pause if self._plan.stops else self._go_down_and_come_up
            act()
        self._close_the_event()

    # --- the acts -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        stage, note = self._stage, self.observer.note
        note("platform", f"{self._plan.platform.service} at {stage.service.endpoint.removeprefix('http://')}, "
                        f"a time server at {stage.time.address}")
        if self._has_counter:
            stage.counter.start()
            note("machine", "the sample application runs: it counts, and must not be stopped in the middle of a number")
        self._start_agent()
        if self._has_feed:
            stage.feed.start()
            self.observer.until(self._is_feed_connected, AGENT_START_S, "the sample application did not connect")
            note("machine", f"the application {SAMPLE_APPLICATION} is connected: it takes part over the socket")
        note("agent", f"runs (pid {stage.agent.pid}) and polls {self._plan.platform.service} every {self._poll()}")

    def _poll(self) -> str:
        shortest_s = self._plan.platform.shortest_poll_s
        return length_text(shortest_s) if shortest_s else POLL

    def _start_agent(self) -> None:
        requests = self._stage.service.requests
        asked = len(requests)
        self._stage.agent.start()
        self.observer.until(lambda: any(map(self._stage.simulator.asks_for_events, requests[asked:])),
                           AGENT_START_S, "the agent asked for no events")

    def _is_feed_connected(self) -> bool:
        try:
            status = read_status(self._stage.folder.socket, self._stage.folder.state)
        except UnreachableError:
            return False
        return SAMPLE_APPLICATION in status["applications"]

    def _announce(self) -> None:
        plan, word = self._plan, self._stage.simulator.EVENT_WORDS[self._plan.kind.value]
        self._event_id = self._stage.service.add_event(word, duration_s=plan.duration_s,
                                                       not_before_in_s=plan.notice_s)
        tells_length = plan.platform.tells_pause and plan.duration_s > 0
        length = f" of about {length_text(plan.duration_s)}" if tells_length else ""
        sooner = ", or as soon as it is acknowledged" if plan.platform.takes_acknowledgement else ""
        self.observer.note("platform", f"announces {word}{length}: in {length_text(plan.notice_s)}{sooner}")
        self.observer.follow(self._event_id)
        self.observer.until(lambda: self.observer.has_seen(Phase.PREPARING), MOVE_S,
                            "the agent did not begin to prepare")

    def _withdraw(self) -> None:
        if self._has_counter:
            self.observer.until(lambda: any(run.hook == "traffic" for run in self._runs()), MOVE_S,
                               "the second hook did not begin")
        self.observer.wait(BEFORE_WITHDRAWAL_S)
        self.observer.note("platform", "cancels the event" + (
            ", while prepare of traffic runs" if self._has_counter else ""))
        self._stage.service.remove_event(self._event_id)
        self._seen = replace(self._seen, withdrawn_at=time.time())

    def _let_go_ahead(self) -> None:
        has_seen = self.observer.has_seen
        if not self._plan.platform.takes_acknowledgement:
            self._start_in_its_own_time()
            return
        self.observer.until(lambda: has_seen(Phase.ACKNOWLEDGED, Phase.HELD),
                           self._plan.budget_s + HOOKS_MORE_S, "preparation did not end")
        self.observer.wait(BEFORE_START_S)
        self.observer.note("platform", "starts the event" if self._stage.service.acknowledgements else
                         "starts the event without an acknowledgement")
        self._stage.service.start_event(self._event_id)
        self.observer.until(lambda: has_seen(EntryKind.STARTED), MOVE_S, "the agent did not detect the start")

    def _start_in_its_own_time(self) -> None:
        """The platform takes no acknowledgement, and never says that the event has started."""
        plan, service = self._plan, self._stage.service
        names = {*_hook_names(plan), *([SAMPLE_APPLICATION] if self._has_feed else [])}
        self.observer.until(lambda: names <= {run.hook for run in prepares(self._runs()) if run.ended_at is not None},
                           plan.budget_s + HOOKS_MORE_S, "preparation did not end")
        if plan.kind.info.ends_by_pause:
            self.observer.note("platform", "takes no acknowledgement: it starts the event when its notice is over")
            self.observer.until(lambda: self.observer.has_seen(EntryKind.STARTED), plan.notice_s + MOVE_S,
                               "the agent did not take the event as started when its notice was over")
        self.observer.note("platform", "starts the event, without a word")
        service.start_event(self._event_id)

    def _pause(self) -> None:
        self.observer.note("machine",
                           f"paused for {length_text(self._plan.away_s)} (in the drill: the agent's process, "
                                    f"{HOW_STOPPED})")
        self._stage.agent.stop()
        time.sleep(self._plan.away_s)
        self._ntp_queries = self._stage.time.asked
        stop = self._stage.agent.resume()
        self._seen = replace(self._seen, stop=stop)
        self.observer.note("machine", f"resumed after {length_text(stop.middle_s)}", at=stop.ended_at)

    def _go_down_and_come_up(self) -> None:
        stage, what = self._stage, "the agent and the counter are" if self._has_counter else "the agent is"
        self.observer.note("machine", f"goes down ({what} killed: {HOW_KILLED})")
        down, down_at = time.monotonic(), time.time()
        stage.agent.kill()
        stage.counter.kill()
        stage.feed.kill()
        time.sleep(self._plan.away_s)
        self._ntp_queries = stage.time.asked
        self.observer.note("machine", f"comes up ({what} started again)")
        if self._has_counter:
            stage.counter.start()
        if self._has_feed:
            stage.feed.start()
        self._start_agent()
        length_s = time.monotonic() - down
        self._seen = replace(self._seen, away=Outage(length_s, length_s, down_at, time.time()))

    def _close_the_event(self) -> None:
        """A freeze stays listed for minutes after it is over, and is recovered before; other kinds end by leaving."""
        limit_s = self._plan.budget_s + CLOCK_DEADLINE_S + HOOKS_MORE_S
        if self._plan.kind is Kind.FREEZE and not self._plan.cancel:
            self._until_recovered(Phase.RECOVERED, limit_s)
        if self._stage.service.status_of(self._event_id) is not None:
            self.observer.note("platform", "removes the event")
            self._stage.service.remove_event(self._event_id)
        self._until_recovered(Phase.CLOSED, limit_s)

    def _until_recovered(self, what: Phase, limit_s: float) -> None:
        """Raise Broken when a recover fails a second time: the agent would go on trying for minutes."""
        self.observer.until(lambda: self.observer.has_seen(what) or bool(self._failing()), limit_s,
                           f"the event was not {what.value}")
        if self._failing():
            raise DrillFailed(f"recover of {', '.join(self._failing())} failed twice; an agent would retry for minutes")

    def _failing(self) -> list[str]:
        """Hooks whose recover has failed a second time."""
        failed = [row.subject.name for row in self.observer.rows() if isinstance(row.subject, HookRun)
                  and row.subject.phase is HookPhase.RECOVER and row.subject.report.outcome in FAILURES]
        return sorted({name for name in failed if failed.count(name) > 1})

    # --- what was seen ------------------------------------------------------------------------------------------

    def gather(self, broken: str | None) -> DrillEvidence:
        """Everything that was seen, for the verdict."""
        stage, rows = self._stage, self.observer.rows()
        return replace(
            self._seen, runs=self._runs(), record=record_of(rows) if rows else None, check=last_check(rows),
            event_id=self._event_id, broken=broken,
            seen_by="by the hooks' own notes" if self._has_counter else "by the record",
            posts=tuple(request.at for request in stage.service.requests
                        if stage.simulator.is_acknowledgement(request)),
            acknowledged_ids=tuple(given.event_id for given in stage.service.acknowledgements),
            numbers=read_numbers(stage.folder.counter / "numbers") if self._has_counter else None,
            ntp_queries=stage.time.asked - self._ntp_queries)

    def _runs(self) -> tuple[ObservedRun, ...]:
        if self._has_counter:
            return runs_from_notes(self._stage.folder.notes)
        rows = self.observer.rows()
        return runs_from_record(record_of(rows) if rows else None, self._plan)


def _hook_names(plan: DrillPlan) -> list[str]:
    """Return the names of the hooks that the event of a plan runs."""
    if plan.own is None:
        return [Path(name).stem[3:] for name in sample_hook_names()]
    return [spec.name for spec in hooks_that_run(plan.kind, plan.duration_s, plan.own.specs)]
