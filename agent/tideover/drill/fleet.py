"""`drill --fleet`: three agents on this machine and an etcd in memory; one event for all, then one after the other.

The machines are three agents with simulated metadata services of their own; the store is an etcd that lives in the
drill's memory. Judged by what the hooks noted, what the platform received and what was written to the store.
"""
from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from tideover.drill.checks import CheckResult, ObservedRun, all_checks_passed, prepares, recovers, runs_from_notes
from tideover.drill.environment import DrillAgent, require_process_table
from tideover.drill.observer import CHECK_INTERVAL_S, DrillFailed, TimelineLine, timeline_line
from tideover.drill.process_group import HOW_STOPPED
from tideover.drill.sandbox import DrillDirectory, fill_member_folder, make_folder
from tideover.errors import WrongUseError, system_reason
from tideover.fleet_documents import Holder, UnusableDocument, decode_slots
from tideover.humanize import length_text
from tideover.journal import FILE, Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle import Phase
from tideover.model import EntryKind
from tideover.record import Row
from tideover.simulator import MetadataService, TimeServer
from tideover.simulator.etcd_gateway import SimulatedEtcd

NAMES = ("vm-1", "vm-2", "vm-3")
SLOTS = 1
GROUP = "drill"
DEFAULT_PAUSE_S = 2.0
AGENT_START_S = 20.0        # three at once, on a small machine
MOVE_S = 20.0               # for what does not depend on hooks; a slot is asked for once a second
NOTICE_S = 100.0            # a waiting machine asks for a slot each hundredth of it
BEFORE_START_S = 0.4        # from the acknowledgement to the start, to be seen; the platform takes longer
PREFIX = "tideover"


@dataclass(frozen=True, slots=True)
class FleetOutcome:
    """How a drill of a fleet ended. `broken`: why it ended early."""

    findings: tuple[CheckResult, ...]
    lines: tuple[TimelineLine, ...]
    broken: str | None
    acknowledgements: int

    @property
    def held(self) -> bool:
        return self.broken is None and all_checks_passed(self.findings)


class _FleetMachine:
    """One machine: its directory, its metadata service and its agent; `rows` of its record that came so far."""

    def __init__(self, service: MetadataService, folder: DrillDirectory) -> None:
        self.name, self.service, self.folder = service.vm_name, service, folder
        self.agent = DrillAgent(folder)
        self.rows: list[Row] = []

    def news(self) -> list[Row]:
        """Return the rows of its record since the last time."""
        try:
            journal = Journal.reading(self.folder.state / FILE)
        except (JournalUnreadable, JournalUnwritable):
            return []
        try:
            fresh = journal.rows()[len(self.rows):]
        except (sqlite3.Error, ValueError, JournalUnreadable):
            return []                       # locked for longer than a reader waits: the next look will tell
        finally:
            journal.close()
        self.rows += fresh
        return fresh

    def has_seen(self, event_id: str, *whats: EntryKind | Phase) -> bool:
        return any(row.event_id == event_id and row.what in whats for row in self.rows)


class FleetDrill:
    """As a context: leaving it ends every process and removes the directories, unless `keeps_folders` is set."""

    def __init__(self, pause_s: float, show: Callable[[TimelineLine], None]) -> None:
        """Raise WrongUseError if there is no room for a drill."""
        require_process_table()
        self.pause_s, self._show = pause_s, show
        self.keeps_folders = False
        self.lines: list[TimelineLine] = []
        self._began_at = time.time()
        self._shared, self._own = "", dict[str, str]()
        self._entries: list[tuple[float, int]] = []         # of the slots document: when, and how many it had
        self._opened = ExitStack()
        try:
            self.etcd = SimulatedEtcd(on_write=self._note_slots)
            first = MetadataService(NAMES[0])
            self.services = [first, *(first.beside(name) for name in NAMES[1:])]
            self.time = TimeServer()
        except OSError as trouble:
            raise WrongUseError("cannot run a drill", "there is no free port on 127.0.0.1 "
                                f"({system_reason(trouble)})", "Retry later.") from trouble
        self.machines = [_FleetMachine(service, make_folder()) for service in self.services]

    def __enter__(self) -> FleetDrill:
        servers: list[SimulatedEtcd | MetadataService | TimeServer] = [self.etcd, *self.services, self.time]
        for server in servers:
            self._opened.enter_context(server)
        for machine in self.machines:
            self._opened.callback(machine.agent.close)
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.agent.resume()
        self._opened.close()
        if not self.keeps_folders:
            for machine in self.machines:
                machine.folder.remove()

    @property
    def folders(self) -> list[Path]:
        return [machine.folder.path for machine in self.machines]

    # --- the course

    def run(self) -> FleetOutcome:
        """Play it to its end, or as far as it goes, and judge."""
        broken = None
        try:
            self._open()
            self._play_shared_event()
            self._play_own_events()
        except DrillFailed as trouble:
            broken = trouble.cause
            self._note("drill", f"cannot go on: {broken}")
        findings = tuple(self._check())
        outcome = FleetOutcome(findings, tuple(self.lines), broken, len(self.services[0].acknowledgements))
        self.keeps_folders = not outcome.held
        return outcome

    def _open(self) -> None:
        self._note("platform", f"an availability set of {len(NAMES)} VMs: {', '.join(NAMES)}")
        self._note("store", f"an etcd in this drill's memory, at {self.etcd.address}; the group has one slot")
        for machine in self.machines:
            fill_member_folder(machine.folder, machine.service.endpoint, self.time.address, (
                f'fleet.store = "{self.etcd.setting}"', f'fleet.group = "{GROUP}"', f"fleet.slots = {SLOTS}"))
            machine.agent.start()
        self._until(lambda: all(len(machine.service.requests) > 1 for machine in self.machines), AGENT_START_S,
                    "an agent asked for no events")
        self._until(lambda: sum("/members/" in key for key in self.etcd.values()) == len(NAMES), AGENT_START_S,
                    "an agent did not write its entry to the store")

    def _play_shared_event(self) -> None:
        lead = self.services[0]
        self._note("platform", f"announces a freeze of all {len(NAMES)} VMs at once")
        event_id = self._shared = lead.add_event("Freeze", resources=NAMES, not_before_in_s=NOTICE_S,
                                                 duration_s=max(1, round(self.pause_s)))
        self._until(lambda: lead.acknowledgements, MOVE_S, "nothing was acknowledged")
        self._go_through(event_id, self.machines)

    def _play_own_events(self) -> None:
        lead, known = self.services[0], len(self.services[0].acknowledgements)
        self._note("platform", "announces one freeze for each VM, all at the same time")
        for name in NAMES:
            self._own[lead.add_event("Freeze", resources=[name], not_before_in_s=NOTICE_S,
                                     duration_s=max(1, round(self.pause_s)))] = name
        for number in range(len(NAMES)):
            wanted = known + number + 1
            self._until(partial(self._has_acknowledged, wanted), MOVE_S,
                        f"event {number + 1} of {len(NAMES)} was not acknowledged")
            event_id = lead.acknowledgements[wanted - 1].event_id
            name = next((name for known_id, name in self._own.items() if known_id.lower() == event_id.lower()), "")
            self._go_through(event_id, [machine for machine in self.machines if machine.name == name])

    def _go_through(self, event_id: str, machines: Sequence[_FleetMachine]) -> None:
        """From the acknowledgement to the end of the event, for the machines that it names."""
        lead, names = self.services[0], ", ".join(machine.name for machine in machines)
        self._wait(BEFORE_START_S)
        self._note("platform", f"starts the event of {names}")
        lead.start_event(event_id)
        self._until_all(machines, event_id, EntryKind.STARTED, "did not detect the start")
        self._note("machine", f"{names} paused for {length_text(self.pause_s)} (in the drill: the agent's process, "
                              f"{HOW_STOPPED})")
        for machine in machines:
            machine.agent.stop()
        time.sleep(self.pause_s)
        for machine in machines:
            machine.agent.resume()
        self._note("machine", f"{names} resumed")
        self._until_all(machines, event_id, Phase.RECOVERED, "did not recover")
        self._note("platform", f"removes the event of {names}")
        lead.remove_event(event_id)
        self._until_all(machines, event_id, Phase.CLOSED, "did not close its record")

    def _has_acknowledged(self, wanted: int) -> bool:
        return len(self.services[0].acknowledgements) >= wanted

    # --- watching

    def _until_all(self, machines: Sequence[_FleetMachine], event_id: str, what: EntryKind | Phase,
                   otherwise: str) -> None:
        for machine in machines:
            self._until(partial(machine.has_seen, event_id, what), MOVE_S, f"{machine.name} {otherwise}")

    def _until(self, question: Callable[[], object], limit_s: float, otherwise: str) -> None:
        until = time.monotonic() + limit_s
        while True:
            self._look()
            if question():
                return
            gone = next((machine for machine in self.machines if machine.agent.exit_status is not None), None)
            if gone is not None:
                raise DrillFailed(f"{gone.name}: {gone.agent.how_it_ended()}")
            if time.monotonic() > until:
                raise DrillFailed(f"{otherwise} within {limit_s:.0f} s")
            time.sleep(CHECK_INTERVAL_S)

    def _wait(self, for_s: float) -> None:
        until = time.monotonic() + for_s
        self._until(lambda: time.monotonic() >= until, for_s + MOVE_S, "the clock did not advance")

    def _look(self) -> None:
        """Show what is new in the records, in the order in which it happened."""
        fresh = [(row, machine) for machine in self.machines for row in machine.news()]
        for row, machine in sorted(fresh, key=lambda one: one[0].at):
            line = timeline_line(row)
            if line is not None and self._is_ours(row, machine):
                self._add(TimelineLine(row.at.timestamp() - self._began_at, machine.name, line[1]))

    def _is_ours(self, row: Row, machine: _FleetMachine) -> bool:
        """Each machine sees the events of all, and does nothing about those of others."""
        named = next((name for event_id, name in self._own.items() if event_id == row.event_id), machine.name)
        return bool(row.event_id) and named == machine.name

    def _note(self, who: str, what: str) -> None:
        self._look()
        self._add(TimelineLine(time.time() - self._began_at, who, what))

    def _add(self, line: TimelineLine) -> None:
        self.lines.append(line)
        self._show(line)

    def _note_slots(self, key: str, value: bytes | None) -> None:
        """Called by the store while a key is written."""
        if key == f"{PREFIX}/v1/groups/{GROUP}/slots":
            self._entries.append((time.time(), sum(one.counts for one in _holders(key, value or b""))))

    # --- the verdict

    def _check(self) -> list[CheckResult]:
        return [self._check_shared_event(), self._check_slots(), self._check_own_events(), self._check_recovery(),
                self._check_store()]

    def _posts(self, event_id: str) -> list[tuple[str, float]]:
        """Who acknowledged an event, and when."""
        return [(one.vm_name, one.at) for one in self.services[0].acknowledgements
                if one.event_id.lower() == event_id.lower()]

    def _check_shared_event(self) -> CheckResult:
        title, posts = "One acknowledgement of the shared event, after every machine was prepared", self._posts(
            self._shared)
        ends = [max((run.ended_at or 0.0 for run in self._runs_of(machine, 0)[0]), default=0.0)
                for machine in self.machines]
        if len(posts) != 1 or not all(ends):
            return CheckResult(1, title, False, (f"the platform received {len(posts)}; expected 1",))
        [(who, at)] = posts
        fact = f"{who} acknowledged it {length_text(at - max(ends))} after the last prepare had ended"
        return CheckResult(1, title, at >= max(ends), (fact,))

    def _check_slots(self) -> CheckResult:
        """From the first prepare to the last recover of each machine's own event, by the hooks' own notes."""
        title = "Never two machines away at once"
        away: list[tuple[float, float, str]] = []
        for machine in self.machines:
            before, after = self._runs_of(machine, 1)
            ended = [run.ended_at for run in after if run.ended_at is not None]
            if before and ended:
                away.append((min(run.began_at for run in before), max(ended), machine.name))
        away.sort()
        most = max((count for _, count in self._entries), default=0)
        facts = [f"{name} was prepared or away from +{begin - self._began_at:.2f} s to +{end - self._began_at:.2f} s"
                 for begin, end, name in away]
        facts.append(f"the store never had more than {most} {'entry' if most == 1 else 'entries'} in the group's slots")
        is_apart = all(first[1] <= second[0] for first, second in pairwise(away))
        return CheckResult(2, title, len(away) == len(NAMES) and is_apart and most == SLOTS, tuple(facts))

    def _check_own_events(self) -> CheckResult:
        posts = {name: [who for who, _ in self._posts(event_id)] for event_id, name in self._own.items()}
        wrong = {name: who for name, who in posts.items() if who != [name]}
        facts = (f"{', '.join(posts)} acknowledged its own event once each",) if not wrong and posts else tuple(
            f"the event of {name} was acknowledged {len(who)} times" for name, who in wrong.items()) or (
            "the drill did not reach this point",)
        return CheckResult(3, "One acknowledgement of each own event, by the machine that it names",
                           bool(posts) and not wrong, facts)

    def _check_recovery(self) -> CheckResult:
        notes = {machine.name: runs_from_notes(machine.folder.notes) for machine in self.machines}
        counts = [(len(prepares(runs)), sum(run.worked for run in recovers(runs))) for runs in notes.values()]
        fact = "; ".join(f"{name}: {before} prepared, {after} recovered"
                         for name, (before, after) in zip(notes, counts, strict=True))
        return CheckResult(4, "Every hook that was prepared was recovered",
                           all(before == after and before > 0 for before, after in counts), (fact,))

    def _check_store(self) -> CheckResult:
        left = [key.removeprefix(f"{PREFIX}/v1/") for key, value in self.etcd.values().items()
                if "/events/" in key or ("/groups/" in key and _holders(key, value))]
        return CheckResult(5, "Nothing is left in the store but the machines' entries", not left,
                           (f"left: {', '.join(left)}",) if left else ("no slot, no shared event",))

    def _runs_of(self, machine: _FleetMachine, number: int) -> tuple[list[ObservedRun], list[ObservedRun]]:
        """The prepares and the recovers of the machine's first (0: the shared one) or second (1: its own) event."""
        runs = runs_from_notes(machine.folder.notes)
        hooks = len(dict.fromkeys(run.hook for run in runs)) or 1
        before, after = prepares(runs), recovers(runs)
        part = slice(number * hooks, (number + 1) * hooks)
        return before[part], after[part]


def _holders(key: str, value: bytes) -> tuple[Holder, ...]:
    """Given a group's slots as the store has them (empty: they were deleted), return their entries."""
    try:
        return decode_slots(key, value).holders if value else ()
    except UnusableDocument:
        return ()
