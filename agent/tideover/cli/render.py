"""What `status` tells a person: one sentence that says it all, then the facts. Pure."""
from __future__ import annotations

from typing import Any

from tideover.telling.parts import Fact, Part, Row, Sentence, Table, Text, Tone, fact, row
from tideover.wording import NOT_KNOWN, Times, bounded_text, countdown_text, distance_text, length_text, offset_text

START_IT = "start it with tideover service start"
STAGES = {
    "queued": "waits for its turn", "preparing": "prepare runs", "retrying": "not yet, prepare is tried again",
    "prepared": "prepared", "stopping": "prepare is being ended", "leaving": "recover is owed",
    "recovering": "recover runs", "repeating": "recover is tried again", "owed": "recover failed for good",
}
VERDICT_TONES = {"good": Tone.GOOD, "bad": Tone.BAD}         # any other leaves a doubt


def status_parts(status: dict[str, Any], times: Times) -> list[Part]:
    """Given a status, return what a person is told; the first part says it all."""
    parts: list[Part] = [Sentence(_first(status))]
    journal = status.get("journal")
    if journal is not None and not journal["writable"]:
        parts.append(Sentence(Text(f"Nothing can be remembered, so nothing is acknowledged: {journal['reason']}",
                                   Tone.BAD)))
    for event in status["events"]:
        parts += _event_parts(event, times)
    if status["hooks"]:
        parts.append(_hooks(status))
    if status.get("events_left_out"):
        parts.append(fact("Left out", f"{status['events_left_out']} events: too many are listed at once", Tone.WARN))
    if status["recover_owed"]:
        parts.append(fact("Owed", f"recover of {', '.join(status['recover_owed'])}", _owed_tone(status)))
    parts.append(_pause(status["last_pause"], times))
    parts.append(_clock(status["clock"], times))
    if status.get("catalogue"):
        parts.append(_catalogue(status["catalogue"]))
    if status["source"]:
        parts.append(_source(status["source"], times))
    parts.append(_agent(status["agent"], times))
    return parts


def _first(status: dict[str, Any]) -> Text:
    agent, waits, owed = status["agent"], status["waiting_for"], status["recover_owed"]
    if agent["alive"] and agent.get("why"):
        return Text(f"The agent (process {agent['pid'] or 'unknown'}) does not answer: {agent['why']}. By its journal "
                    f"it waits for {waits}.", Tone.BAD)
    if agent["alive"]:
        failed = any(hook["stage"] == "owed" for hook in status["hooks"])
        return Text(f"The agent waits for {waits}.", Tone.BAD if failed else Tone.HEAD)
    if owed:
        return Text(f"No agent runs, and recover of {', '.join(owed)} is owed: {START_IT}, or run tideover recover. "
                    f"When one last ran it waited for {waits}.", Tone.BAD)
    before = f"When one last ran it waited for {waits}." if status["events"] else "Nothing is open."
    return Text(f"No agent runs: {START_IT}. {before}", Tone.BAD)


def _event_parts(event: dict[str, Any], times: Times) -> list[Part]:
    about = Text(event["description"], Tone.FAINT)
    return [fact("Event", f"{event['kind']} {event['event_id']}", Tone.HEAD, *([about] if about.text else [])),
            fact("NotBefore", _due(event, times), _due_tone(event)), fact("Phase", _phase(event))]


def _due(event: dict[str, Any], times: Times) -> str:
    left = event["seconds_left"]
    if event["started"]:
        return f"{times.local(event['not_before'])}; it has started"
    if left is None:
        return times.moment(event["not_before"])
    if left <= 0:
        return f"{times.local(event['not_before'])}, passed {countdown_text(-left)} ago: it may start at any time"
    return f"{times.local(event['not_before'])}, {countdown_text(left)} left"


def _due_tone(event: dict[str, Any]) -> Tone:
    left = event["seconds_left"]
    return Tone.WARN if left is not None and left <= 0 and not event["started"] else Tone.PLAIN


def _phase(event: dict[str, Any]) -> str:
    said = [event["phase"]]
    if event.get("wakes_in_s") is not None:         # an agent of an earlier version does not say
        what = "prepare begins" if event["phase"] == "waiting" else "recover begins at the latest"
        said[0] += f" ({what} {distance_text(-event['wakes_in_s'])})"
    if event.get("why"):
        said[0] += f" ({event['why']})"
    said.append("acknowledged" if event["acknowledged"] else "not acknowledged")
    if event["expected_pause_s"] is not None:
        said.append(f"announced pause {length_text(event['expected_pause_s'])}")
    return "; ".join(said)


def _hooks(status: dict[str, Any]) -> Table:
    runs = status["agent"]["alive"] and not status["agent"].get("why")
    hooks = sorted(status["hooks"], key=lambda hook: (hook["order"], hook["name"]))
    return Table(("HOOK", "STATE", "RUNNING", "BUDGET"), tuple(_hook(hook, runs) for hook in hooks))


def _hook(hook: dict[str, Any], agent_answers: bool) -> Row:
    running, limit, tone = hook.get("running_s"), hook["limit_s"], Tone.PLAIN
    state = STAGES.get(hook["stage"], hook["stage"])
    if hook.get("refused"):
        state, tone = "refused: holds the acknowledgement", Tone.WARN       # required or not
    elif hook.get("worked") is False:
        state, tone = "prepare failed" if hook.get("required") else "prepare failed (not required)", Tone.WARN
    elif hook["failures"]:
        state, tone = f"{state}, failed {_times(hook['failures'])}", Tone.WARN
    if hook["again_in_s"] is not None and agent_answers:
        state += f" {distance_text(-hook['again_in_s'])}"
    if hook["stage"] == "owed":
        tone = Tone.BAD
    if running is not None and not agent_answers:
        running = None                  # nobody can say whether it still runs
    late = running is not None and limit is not None and running > limit
    shown = Text(countdown_text(running), Tone.WARN if late else Tone.PLAIN) if running is not None else "-"
    file = hook.get("file") or f"{hook['order']:02d}-{hook['name']}"        # an earlier agent does not say
    return row(file, Text(state, tone), shown, _budget(hook))


def _budget(hook: dict[str, Any]) -> str:
    if hook.get("phase") is None:
        return "-" if hook.get("timeout_s") is None else length_text(hook["timeout_s"])
    return countdown_text(hook["limit_s"]) if hook["limit_s"] is not None else "-"


def _owed_tone(status: dict[str, Any]) -> Tone:
    """While an event is open it is only to be expected."""
    return Tone.PLAIN if status["events"] and status["agent"]["alive"] else Tone.BAD


def _pause(pause: dict[str, Any] | None, times: Times) -> Fact:
    if pause is None:
        return fact("Last pause", "none noticed yet")
    return fact("Last pause", f"{pause_text(pause)}, {pause['cause']}, {times.moment(pause['resumed_at'])}")


def pause_text(pause: dict[str, Any]) -> str:
    """Given a pause of a record, return its length with its bounds, as a fact: "5.003 s ± 31 ms"."""
    if pause["length_s"] is None:
        return f"length {NOT_KNOWN}"
    return bounded_text(pause["length_s"], pause["uncertainty_s"])


def _clock(clock: dict[str, Any] | None, times: Times) -> Fact:
    if clock is None:
        return fact("Clock", "not checked yet (it is after each pause; tideover clock checks now)")
    return clock_fact(clock, times.moment(clock["checked_at"]))


def clock_fact(clock: dict[str, Any], checked: str) -> Fact:
    """Given a verdict with what it rests on, and its moment in words, return it as a fact."""
    said = [clock["verdict"] + (f" ({clock['reason']})" if clock["reason"] else "")]
    if clock["offset_s"] is not None:
        said.append(offset_text(clock["offset_s"], clock["error_bound_s"]))
    if clock.get("good_after_s") is not None:
        said.append(f"{length_text(clock['good_after_s'])} after the resume")
    if clock["checked_at"] is not None:
        said.append(checked)
    return fact("Clock", ", ".join(said), VERDICT_TONES.get(clock["verdict"], Tone.WARN))


def _catalogue(catalogue: dict[str, Any]) -> Fact:
    refused = catalogue["refused"]
    said = f"{catalogue['ready']} ready"
    if catalogue["disabled"]:
        said += f", {len(catalogue['disabled'])} disabled"
    if refused:
        return fact("Hooks", f"{said}, {len(refused)} refused: {', '.join(refused)} (tideover hooks list tells why)",
                    Tone.BAD)
    return fact("Hooks", said)


def _source(source: dict[str, Any], times: Times) -> Fact:
    if source["kind"] != "azure":
        return fact("Source", f"{source['kind']}; nothing is announced on this machine")
    last = source["last_answer_at"]
    said = f"{source['kind']}, last answer {times.moment(last)}" if last else f"{source['kind']}, no answer yet"
    if not source["failures"]:
        return fact("Source", said)
    return fact("Source", f"{said}; {_times(source['failures'], 'failure')} since", Tone.BAD, Text(source["reason"]))


def _agent(agent: dict[str, Any], times: Times) -> Fact:
    if not agent["alive"]:
        return fact("Agent", "none runs", Tone.BAD)
    version = f", version {agent['version']}" if agent["version"] else ""
    since = f", since {times.moment(agent['started_at'])}" if agent["started_at"] else ""
    return fact("Agent", f"process {agent['pid']}{version}{since}")


def _times(count: int, what: str = "time") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
