"""What `tideover fleet status` prints: sentences, facts and columns, without layout. Pure."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tideover.cli.render import (
    KeyValue,
    Paragraph,
    Part,
    Style,
    StyledText,
    Table,
    TableRow,
    key_value,
    names_text,
    table_row,
)
from tideover.humanize import Times, distance_text

if TYPE_CHECKING:
    from tideover.documents import (
        FleetEventDocument,
        FleetGroupDocument,
        FleetHolderDocument,
        FleetMachineDocument,
        FleetMemberDocument,
        FleetSharedEventDocument,
        FleetStatusDocument,
    )

ID_SIGNS = 8                # of an id in a table; commands take the beginning of one
READY_WORDS = {"ready": "ready", "not-ready": "not ready", "over": "over"}
SLOT_WORDS = {"granted": "granted", "not-granted": "not granted", "waiting": "waiting", "released": "released"}


def slot_text(granted: bool) -> str:
    """Given whether a slot was granted, return what to call it in a sentence."""
    return "a granted slot for" if granted else "an entry without a granted slot for"


def fleet_parts(fleet: FleetStatusDocument, times: Times) -> list[Part]:
    """Given the view of the fleet, return its output; the first part is the worst problem."""
    first, *more = fleet["problems"] or [_well(fleet)]
    bad = Style.BAD if fleet["problems"] else Style.HEAD
    parts: list[Part] = [Paragraph(StyledText(_sentence(first), bad))]
    parts += [Paragraph(StyledText(_sentence(problem), Style.WARN)) for problem in more]
    how = "" if fleet["reachable"] else ", without a quorum" if fleet["stale"] else ", not reachable"
    parts.append(key_value("Store", f"{fleet['store']}{how}"))
    for group in fleet["groups"]:
        parts += _group_parts(group, fleet, times)
    parts += [_event_part(event, times) for event in fleet["events"]]
    return parts


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _well(fleet: FleetStatusDocument) -> str:
    count = sum(len(group["members"]) for group in fleet["groups"])
    if not count:
        return "no agent has written to this store yet"
    return f"no problem: {count} {'member' if count == 1 else 'members'} in {len(fleet['groups'])} " \
           f"{'group' if len(fleet['groups']) == 1 else 'groups'}"


def _group_parts(group: FleetGroupDocument, fleet: FleetStatusDocument, times: Times) -> Iterator[Part]:
    yield key_value("Group", f"{group['name']}: {_slots_text(group)}", Style.HEAD)
    rows = tuple(row for member in group["members"] for row in _member_rows(member, group, fleet, times))
    if rows:
        yield Table(("MEMBER", "PHASE", "EVENT", "SLOT", "READY", "CHANGED", "VERSION"), rows)


def _slots_text(group: FleetGroupDocument) -> str:
    used, allowed = group["slots_used"], group["slots_allowed"]
    if allowed is None:
        return f"no limit of slots{f', {used} in use' if used else ''}"
    largest = max((sum(len(holder["members"]) for holder in group["holders"] if holder["counts"]), 0))
    machines = f", by {largest} machines" if largest > used else ""
    return f"slots in use: {used} of {allowed}{machines}"


def _member_rows(member: FleetMemberDocument, group: FleetGroupDocument, fleet: FleetStatusDocument,
                 times: Times) -> Iterator[TableRow]:
    changed = _changed_text(member, times)
    if not member["events"]:
        yield table_row(member["name"], member["phase"] or "idle", "-", "-", "-", changed, member["version"] or "-")
    for index, event in enumerate(member["events"]):
        slot = StyledText(SLOT_WORDS.get(event["slot"] or "", "-"),
                          Style.WARN if event["slot"] in ("not-granted", "released") else Style.PLAIN)
        below = [StyledText(event["why"], Style.FAINT)] if event["why"] and event["ready"] == "not-ready" else []
        if event["slot"] == "waiting":
            below.append(StyledText(_waits_for(event, group, fleet), Style.FAINT))
        yield table_row(member["name"] if not index else "", (member["phase"] or "-") if not index else "",
                        _event_text(event), slot, READY_WORDS.get(event["ready"] or "", "-"),
                        changed if not index else "",
                        (member["version"] or "-") if not index else "", below=tuple(below))


def _waits_for(event: FleetEventDocument, group: FleetGroupDocument, fleet: FleetStatusDocument) -> str:
    """Whose slot it waits for, and what that event waits for in turn."""
    holders = [holder for holder in group["holders"] if holder["counts"] and holder["digest"] != event["digest"]]
    if not holders:
        return "waits for a slot"
    held = "; ".join(names_text(holder["members"]) + f" ({_event_text(holder)}{_waits_in_turn(holder, fleet)})"
                     for holder in holders)
    return f"waits for a slot of {group['name']}, held by {held}"


def _event_text(event: FleetEventDocument | FleetHolderDocument) -> str:
    return f"{event['kind'] or 'event'} {(event['event_id'] or event['digest'])[:ID_SIGNS]}"


def _waits_in_turn(holder: FleetHolderDocument, fleet: FleetStatusDocument) -> str:
    """Two events can wait for each other's groups: only NotBefore ends that."""
    waiting = [f"{member['name']}, which waits for a slot of {group['name']}"
               for group in fleet["groups"] for member in group["members"] for own in member["events"]
               if own["digest"] == holder["digest"] and own["slot"] == "waiting"]
    return f", which waits for {'; '.join(waiting)}" if waiting else ""


def _changed_text(member: FleetMemberDocument, times: Times) -> str:
    if member["last_change_s"] is not None:
        return distance_text(member["last_change_s"])
    return times.ago(member["written_at"]) if member["written_at"] else "-"


def _event_part(event: FleetSharedEventDocument, times: Times) -> KeyValue:
    more = []
    if event["not_before"]:
        more.append(StyledText(f"NotBefore {times.local(event['not_before'])}"))
    more += [StyledText(f"{what}: {', '.join(names)}", tone) for what, names, tone in _by_state(event["machines"])]
    if event["result"] is not None:
        more.append(StyledText(f"acknowledged by {event['acknowledged_by']}, answered {event['result']}", Style.GOOD
                               if event["result"] == 200 else Style.WARN))
    elif event["acknowledged_by"]:
        more.append(StyledText(f"{event['acknowledged_by']} acknowledges it"))
    return key_value("Shared event", f"{event['kind']} {event['event_id']}", Style.HEAD, *more)


def _by_state(machines: list[FleetMachineDocument]) -> Iterator[tuple[str, list[str], Style]]:
    ready = [one["name"] for one in machines if one["state"] == "ready" and one["slot"] is not False]
    no_slot = [one["name"] for one in machines if one["state"] == "ready" and one["slot"] is False]
    waited = [f"{one['name']} ({one['why']})" if one["why"] else one["name"] for one in machines
              if one["state"] == "not-ready" or (one["state"] is None and one["has_agent"])]
    over = [one["name"] for one in machines if one["state"] == "over"]
    absent = [one["name"] for one in machines if not one["has_agent"]]
    for what, names, tone in (("ready", ready, Style.GOOD), ("ready without a granted slot", no_slot, Style.WARN),
                              ("not ready", waited, Style.PLAIN), ("recovered", over, Style.GOOD),
                              ("no agent has written for", absent, Style.BAD)):
        if names:
            yield what, names, tone
