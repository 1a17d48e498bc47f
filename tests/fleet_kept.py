"""A fleet's documents for tests of what shows them: three machines of two groups, as agents would have written them."""
from __future__ import annotations

from tideover.fleet_documents import (
    Claim,
    EventDocument,
    EventMember,
    Holder,
    MemberDocument,
    SlotMember,
    SlotsDocument,
    encode,
    event_digest,
    event_key,
    member_key,
    slots_key,
)

SOURCE, SHARED, OWN = "azure", "602D9444-D2CD-49C7-8624-8643E7171297", "1A2B3C4D-0000-4000-8000-000000000001"


def digest(event_id: str = OWN) -> str:
    return event_digest(SOURCE, event_id)


def member(name: str, **more: object) -> MemberDocument:
    return MemberDocument(name, f"id-{name}", **{"group": "web", "slots": 1, "version": "0.1.0", "at": "2026-11-20T10:00:00.000Z",
                                                **more})   # type: ignore[arg-type]


def holder(event_id: str, *names: str, granted: bool = True, released: bool = False, not_before: str = "2026-11-20T10:15:00Z",
           **more: object) -> Holder:
    return Holder(digest(event_id), granted, "freeze", not_before, tuple(names),
                  {name: SlotMember(f"id-{name}", released=released) for name in names}, **more)      # type: ignore[arg-type]


def shared(members: dict[str, EventMember], claim: Claim | None = None, resources: tuple[str, ...] = ("web-1", "web-2"),
           not_before: str = "2026-11-20T10:15:00Z") -> EventDocument:
    return EventDocument(SHARED, SOURCE, "freeze", resources, not_before, members, claim)


def said(name: str, state: str = "ready", **more: object) -> EventMember:
    return EventMember(state, vm_id=f"id-{name}", **more)     # type: ignore[arg-type]


def stored(*members: MemberDocument, slots: dict[str, list[Holder]] | None = None,
           events: tuple[EventDocument, ...] = ()) -> dict[str, bytes]:
    """What the store holds, by key."""
    return {**{member_key(one.name, one.vm_id): encode(one) for one in members},
            **{slots_key(group): encode(SlotsDocument(tuple(holders))) for group, holders in (slots or {}).items()},
            **{event_key(digest(one.event_id)): encode(one) for one in events}}
