"""What `tideover status` prints: its lines, tables and columns, without layout. What is waited for: `status`. Pure."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tideover.cli.render import (
    KeyValue,
    Paragraph,
    Part,
    Style,
    StyledText,
    Table,
    TableRow,
    clock_fact,
    count_text,
    key_value,
    names_text,
    pause_length_text,
    table_row,
)
from tideover.humanize import Times, countdown_text, distance_text, length_text
from tideover.status import is_observing, read_finding

if TYPE_CHECKING:
    from tideover.documents import (
        AgentDocument,
        CatalogueDocument,
        ClockStatusDocument,
        EventStatusDocument,
        HookStatusDocument,
        ListedPauseDocument,
        ShownStatusDocument,
        SourceStatusDocument,
        StoreStatusDocument,
    )

START_IT = "start it with tideover service start"
STAGES = {
    "queued": "queued", "preparing": "preparing", "prepare-retry": "not yet; prepare is retried",
    "prepared": "prepared", "stopping": "prepare is being stopped", "recover-pending": "recovery pending",
    "recovering": "recovering", "recover-not-yet": "not yet; recover is retried",
    "recover-retry": "recover is retried", "recover-failed": "recovery failed",
}


def status_parts(status: ShownStatusDocument, times: Times) -> list[Part]:
    """Given a status, return its output; the first part is the summary."""
    parts: list[Part] = [Paragraph(_status_sentence(status))]
    journal = status["journal"]
    if journal is not None and not journal["writable"]:
        parts.append(Paragraph(StyledText("The journal cannot be written, so nothing is acknowledged: "
                                          f"{journal['reason']}",
                                   Style.BAD)))
    own = [event for event in status["events"] if event["ours"]]
    for event in own:
        parts += _event_parts(event, times)
    if status["events_of_others"]:
        parts.append(key_value("Not ours", f"{count_text(status['events_of_others'], 'event')} of other machines "
                                           "(tideover status --all)", Style.FAINT))
    if status["applications"]:
        parts.append(key_value("Applications", f"connected: {', '.join(status['applications'])}"))
    if status["applications_never_connected"]:
        parts.append(key_value("Not connected", f"since the agent's start: "
                                                f"{', '.join(status['applications_never_connected'])}"))
    if status["hooks"]:
        parts.append(_hooks(status))
    if status["events_left_out"]:
        parts.append(key_value("Left out", f"{status['events_left_out']} events: more are listed than are handled at "
                                           "once",
                               Style.WARN))
    if status["recover_pending"]:
        parts.append(key_value("Pending", f"recovery of {', '.join(status['recover_pending'])}", _pending_tone(status)))
    parts.append(_pause_fact(status["last_pause"], times))
    parts.append(_clock_facts(status["clock"], times))
    parts.append(_catalogue_facts(status["catalogue"]))
    if status["source"]:
        parts.append(_source_fact(status["source"], times))
    fleet = status.get("fleet")
    if fleet is not None:
        parts.append(_fleet_fact(fleet, times))
    parts.append(_agent_facts(status["agent"], times))
    others = [event for event in status["events"] if not event["ours"]]
    return [*parts, _others(others, times)] if others else parts


def _status_sentence(status: ShownStatusDocument) -> StyledText:
    agent, waits, pending = status["agent"], status["waiting_for"], status["recover_pending"]
    if agent["alive"] and agent["why"]:
        return StyledText(f"The agent (process {agent['pid'] or 'unknown'}) does not answer: {agent['why']}. By its "
                          f"journal, it waits for {waits}.", Style.BAD)
    if agent["alive"]:
        failed = any(hook["stage"] == "recover-failed" for hook in status["hooks"])
        silence = status["source"]["silence"] if status["source"] else None
        why = f" No events can be received: {silence}." if silence else ""
        observes = ("The agent only observes ([policy] mode): it prepares nothing and acknowledges nothing. It"
                    if is_observing(status) else "The agent")
        return StyledText(f"{observes} waits for {waits}.{why}",
                          Style.BAD if failed else Style.WARN if silence or is_observing(status) else Style.HEAD)
    if pending:
        return StyledText(f"No agent is running, and recovery of {', '.join(pending)} is pending: {START_IT}, or run "
                          "tideover "
                          f"recover. "
                    f"The last agent waited for {waits}.", Style.BAD)
    before = f"The last agent waited for {waits}." if status["events"] else "No event is open."
    return StyledText(f"No agent is running: {START_IT}. {before}", Style.BAD)


def _event_parts(event: EventStatusDocument, times: Times) -> list[Part]:
    about = StyledText(event["description"], Style.FAINT)
    return [key_value("Event", f"{event['kind']} {event['event_id']}", Style.HEAD, *([about] if about.text else [])),
            key_value("NotBefore", _due(event, times), _due_tone(event)), key_value("Phase", _phase_text(event))]


def _others(events: Sequence[EventStatusDocument], times: Times) -> Table:
    """Other machines' events: a row for each."""
    return Table(("NOT-OURS", "KIND", "NOTBEFORE", "MACHINES"), tuple(
        table_row(event["event_id"], event["kind"], _due(event, times), names_text(event["resources"]))
        for event in events))


PAST_START = frozenset({"checking-clock", "settling", "recovering", "recovered", "closed"})
"""The phases in which the start of the event is no longer waited for."""


def _due(event: EventStatusDocument, times: Times) -> str:
    left = event["seconds_left"]
    if event["started"]:
        return f"{times.local(event['not_before'])}; it has started"
    if left is None or event["phase"] in PAST_START:
        return times.moment(event["not_before"])
    if left <= 0:
        return f"{times.local(event['not_before'])}, passed {countdown_text(-left)} ago: it may start at any time"
    return f"{times.local(event['not_before'])}, {countdown_text(left)} left"


def _due_tone(event: EventStatusDocument) -> Style:
    left = event["seconds_left"]
    may_start = left is not None and left <= 0 and not event["started"] and event["phase"] not in PAST_START
    return Style.WARN if may_start else Style.PLAIN


def _phase_text(event: EventStatusDocument) -> str:
    parts = [event["phase"]]
    if event["wakes_in_s"] is not None:
        what = "prepare begins" if event["phase"] == "scheduled" else "recover begins at the latest"
        parts[0] += f" ({what} {distance_text(-event['wakes_in_s'])})"
    if event["why"]:
        parts[0] += f" ({event['why']})"
    if event["phase"] != "acknowledged":
        parts.append("acknowledged" if event["acknowledged"] else "not acknowledged")
    if event["expected_pause_s"] is not None:
        parts.append(f"expected pause {length_text(event['expected_pause_s'])}")
    return "; ".join(parts)


def _hooks(status: ShownStatusDocument) -> Table:
    runs = status["agent"]["alive"] and not status["agent"]["why"]
    hooks = sorted(status["hooks"], key=lambda hook: (hook["order"], hook["name"]))
    return Table(("HOOK", "STATE", "RUNNING", "BUDGET"), tuple(_hook_fact(hook, runs) for hook in hooks))


def _hook_fact(hook: HookStatusDocument, agent_answers: bool) -> TableRow:
    running, limit, tone = hook["running_s"], hook["limit_s"], Style.PLAIN
    state = STAGES.get(hook["stage"], hook["stage"])
    if hook["refused"]:
        state, tone = "refused: withholds the acknowledgement", Style.WARN       # required or not
    elif hook["worked"] is False:
        state, tone = "prepare failed" if hook["required"] else "prepare failed (not required)", Style.WARN
    elif hook["failures"]:
        state, tone = f"{state}, failed {count_text(hook['failures'])}", Style.WARN
    if hook["connected"] is False:
        state += ", not connected"
    if hook["again_in_s"] is not None and agent_answers:
        state += f", next try {distance_text(-hook['again_in_s'])}"
    if hook["stage"] == "recover-failed":
        tone = Style.BAD
    if running is not None and not agent_answers:
        running = None                  # it is not known whether it still runs
    late = running is not None and limit is not None and running > limit
    shown = StyledText(countdown_text(running), Style.WARN if late else Style.PLAIN) if running is not None else "-"
    return table_row(hook["file"], StyledText(state, tone), shown, _budget(hook))


def _budget(hook: HookStatusDocument) -> str:
    if hook["phase"] is None:
        return length_text(hook["timeout_s"])
    return countdown_text(hook["limit_s"]) if hook["limit_s"] is not None else "-"


def _pending_tone(status: ShownStatusDocument) -> Style:
    """While an event is open it is only to be expected."""
    return Style.PLAIN if status["events"] and status["agent"]["alive"] else Style.BAD


def _pause_fact(pause: ListedPauseDocument | None, times: Times) -> KeyValue:
    if pause is None:
        return key_value("Last pause", "none detected")
    length = pause_length_text(pause["length_s"], pause["uncertainty_s"])
    return key_value("Last pause", f"{length}, {pause['cause']}, {times.moment(pause['resumed_at'])}")


def _clock_facts(clock: ClockStatusDocument | None, times: Times) -> KeyValue:
    if clock is None:
        return key_value("Clock", "not checked yet (checked after each pause; check now with tideover clock)")
    check = read_finding(clock)
    return clock_fact(check, times.moment(check.checked_at))


def _catalogue_facts(catalogue: CatalogueDocument) -> KeyValue:
    refused = catalogue["refused"]
    text = f"{catalogue['ready']} ready"
    if catalogue["disabled"]:
        text += f", {len(catalogue['disabled'])} disabled"
    if refused:
        return key_value("Hooks", f"{text}, {len(refused)} refused: {', '.join(refused)} (see tideover hooks list)",
                    Style.BAD)
    return key_value("Hooks", text)


def _source_fact(source: SourceStatusDocument, times: Times) -> KeyValue:
    if source["silence"]:
        return key_value("Source", f"{source['kind']} ({source['platform']}); no events can be received", Style.WARN)
    last = source["last_answer_at"]
    text = f"{source['kind']}, last answer {times.moment(last)}" if last else f"{source['kind']}, no answer yet"
    if not source["takes_acknowledgement"]:
        text += "; takes no acknowledgement"
    if not source["failures"]:
        return key_value("Source", text)
    return key_value("Source", f"{text}; {count_text(source['failures'], 'failure')} since", Style.BAD,
                     StyledText(source["reason"]))


def _fleet_fact(fleet: StoreStatusDocument, times: Times) -> KeyValue:
    text = f"group {fleet['group']}, store {fleet['store']}"
    if fleet["failing_since"]:
        return key_value("Fleet", f"{text}, cannot be used since {times.moment(fleet['failing_since'])}", Style.BAD,
                         StyledText(fleet["reason"]))
    last = fleet["last_answer_at"]
    return key_value("Fleet", f"{text}, last answer {times.moment(last)}" if last else f"{text}, no answer yet")


def _agent_facts(agent: AgentDocument, times: Times) -> KeyValue:
    if not agent["alive"]:
        return key_value("Agent", "not running", Style.BAD)
    version = f", version {agent['version']}" if agent["version"] else ""
    since = f", since {times.moment(agent['started_at'])}" if agent["started_at"] else ""
    return key_value("Agent", f"process {agent['pid']}{version}{since}")
