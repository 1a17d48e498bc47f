"""Doctor's findings about the fleet: what all members' documents say together; members that are silent."""
from __future__ import annotations

from datetime import UTC, datetime

from tideover.findings import Finding, bad, good, remark
from tideover.settings import Settings

TOPIC = "fleet"
GONE_AFTER_S = 7 * 86400.0           # as `fleet prune` counts
NAMED_AT_MOST = 3


def check_fleet(settings: Settings) -> list[Finding]:
    """Given the settings, ask the store and return what is found; nothing where [fleet] has none. Writes and deletes
    one probe key. Blocks for some 20 s at most."""
    if settings.fleet.store is None:
        return []
    from tideover.fleet.store import StoreFailed, load_store_module
    found = load_store_module(settings.fleet).findings(settings.fleet)
    try:
        return [*found, *_members(settings)]
    except StoreFailed as failure:
        return found or [bad("fleet store", failure.cause, _sentence(failure.hint))]


def _members(settings: Settings) -> list[Finding]:
    from tideover.fleet.administration import find_leftovers, read_fleet
    from tideover.fleet.store import open_store
    from tideover.fleet_documents import slots_key
    from tideover.fleet_status import fleet_status
    store = open_store(settings.fleet)
    try:
        reading = read_fleet(store)
    finally:
        store.close()
    status = fleet_status(settings.fleet.store or "", reading, {})
    problems = [remark(TOPIC, problem, "See tideover fleet status.") for problem in status["problems"]]
    left = find_leftovers(reading, datetime.now(UTC), GONE_AFTER_S)
    if left:
        names = "; ".join(one.what for one in left[:NAMED_AT_MOST])
        more = f" and {len(left) - NAMED_AT_MOST} more" if len(left) > NAMED_AT_MOST else ""
        problems.append(remark(TOPIC, f"{len(left)} {'entry was' if len(left) == 1 else 'entries were'} left behind by "
                               f"machines that are gone: {names}{more}", "tideover fleet prune --dry-run"))
    own = [group for group in status["groups"] if slots_key(group["name"]) == slots_key(settings.fleet.group)]
    count = len(own[0]["members"]) if own else 0
    return problems or [good(TOPIC, f"{count} {'member' if count == 1 else 'members'} in the group "
                                    f"{settings.fleet.group}, {settings.fleet.slots or 'no limit of'} "
                                    f"{'slot' if settings.fleet.slots == 1 else 'slots'}")]


def late(settings: Settings, wait_s: float) -> list[Finding]:
    """Given that no answer came in time, say so; nothing where [fleet] has no store."""
    return [] if settings.fleet.store is None else [
        bad("fleet store", f"{settings.fleet.store} has not answered within {wait_s:.0f} s",
            "Check that it runs, and that no firewall is between.")]


def _sentence(hint: str) -> str:
    return f"{hint[:1].upper()}{hint[1:]}." if hint else ""
