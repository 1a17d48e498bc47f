"""`tideover fleet status`, `release` and `prune`: options, questions and results."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tideover.cli.endings import until_interrupted
from tideover.cli.fleet_lines import fleet_parts, slot_text
from tideover.cli.options import (
    SuggestingGroup,
    confirmed,
    duration_between,
    example,
    print_json,
    print_lines,
    print_sentence,
    with_config_for_all,
    with_json,
    with_readable_settings,
    with_utc,
    with_yes,
)
from tideover.cli.render import Part
from tideover.cli.terminal import render_lines, this_terminal
from tideover.config_file import Loaded
from tideover.errors import (
    EXIT_NO,
    EXIT_OK,
    EXIT_UNREACHABLE,
    TideoverError,
    UnconfirmedError,
    UnreachableError,
    WrongUseError,
)
from tideover.humanize import Times, distance_text
from tideover.text_safety import dot_controls

if TYPE_CHECKING:
    from tideover.documents import AgentStatusDocument, FleetStatusDocument, StoreStatusDocument
    from tideover.fleet.store import Store
    from tideover.fleet_status import MemberEntry

REFRESH_S = 2.0             # of --watch: one reading lists the whole store


@click.group("fleet", cls=SuggestingGroup, epilog=example("tideover fleet status --watch"))
@with_config_for_all
def command() -> None:
    """Show the machines that coordinate through a store ([fleet]), and release or remove their entries by hand."""


@command.command("status", epilog=example("tideover fleet status --watch"))
@click.option("--watch", is_flag=True, help="Update every two seconds until interrupted.")
@with_json
@with_utc
@with_readable_settings
def status_command(loaded: Loaded, watch: bool, as_json: bool, utc: bool) -> int:
    """Show slots and members of every group, and shared events. The first line is the worst problem.

    Exit status 0 no problem, 1 something needs a look, 3 the store cannot be reached.
    """
    with _opened(loaded) as store:
        def look() -> FleetStatusDocument:
            return _look(loaded, store)

        if watch:
            _watch(look, as_json=as_json, utc=utc)
            return EXIT_OK
        found = look()
    if as_json:
        print_json(found)
    else:
        print_lines(render_lines(fleet_parts(found, Times(datetime.now(UTC), utc)), this_terminal()))
    return EXIT_UNREACHABLE if not found["reachable"] else EXIT_NO if found["problems"] else EXIT_OK


@command.command("release", epilog=example("tideover fleet release web-2"))
@click.argument("member")
@with_yes
@with_json
@with_readable_settings
def release_command(loaded: Loaded, member: str, yes: bool, as_json: bool) -> int:
    """Release the slots of MEMBER: for a machine that is gone for good, or whose recovery has failed.

    The command shows what it would release and asks first. A released machine acknowledges nothing with that slot. A
    machine that has written to the store within the last minute is refused without --yes: its agent runs. Where the
    store keeps no times (etcd), the command watches for 20 s whether it writes.
    """
    from tideover.fleet import administration
    with _opened(loaded) as store, _reporting("release the slots"):
        reading = administration.read_fleet(store)
        held = administration.held_slots(reading, member)
        entries = administration.entries_of(reading, member)
        if not held:
            known = "it holds none" if entries else "no machine of that name has written to the store"
            raise TideoverError(f"cannot release the slots of {dot_controls(member)}", known,
                                "tideover fleet status lists the members.")
        slots = ", ".join(f"{slot_text(one.granted)} {one.kind or 'event'} {one.digest[:8]} in {one.group}"
                          for one in held)
        what = f"cannot release the slots of {dot_controls(member)}"
        if not as_json:
            print_sentence(f"{dot_controls(member)} holds {slots}; {_last_heard(entries)}.", to_errors=True)

        def act(sure: bool) -> None:
            if not sure:
                raise UnconfirmedError(what, "other machines may then be away at the same time",
                                       "Add --yes to confirm.")
            if not yes and administration.has_written_lately(store, entries):
                raise TideoverError(what, "it has written to the store within the last minute, so its agent runs",
                                    "Run tideover recover there, or add --yes.")
            administration.release(store, member, dict.fromkeys(one.group for one in held))

        confirmed(act, yes)
    if as_json:
        print_json({"ok": True, "member": member,
                    "released": [{"group": one.group, "digest": one.digest, "kind": one.kind or None,
                                  "granted": one.granted} for one in held]})
    else:
        print_sentence(f"Released: {slots}.")
    return EXIT_OK


def _last_heard(entries: Sequence[MemberEntry]) -> str:
    """When the machine wrote last, for a person."""
    ages = [entry.age_s for entry in entries if entry.age_s is not None]
    if ages:
        return f"it wrote to the store {distance_text(min(ages))}"
    at = max((entry.document.at for entry in entries), default="")
    return f"it wrote to the store {Times(datetime.now(UTC)).moment(at)}, by its own clock" if at else (
        "when it wrote to the store is not known")


@command.command("prune", epilog=example("tideover fleet prune --dry-run"))
@click.option("--dry-run", "dry_run", is_flag=True, help="List what would be removed, and remove nothing.")
@click.option("--older-than", "older_than_s", callback=duration_between(86400.0, 3650 * 86400.0), default="7d",
              show_default=True, metavar="DURATION", help="How long a machine has written nothing to count as gone; an "
                                                          "idle agent writes each hour.")
@with_yes
@with_json
@with_readable_settings
def prune_command(loaded: Loaded, dry_run: bool, older_than_s: float, yes: bool, as_json: bool) -> int:
    """Remove what machines that are gone have left in the store: their entries, slots and shared events.

    The command lists what it would remove and asks first. On etcd, which keeps no times, it goes by the time that each
    machine wrote by its own clock.
    """
    from tideover.fleet import administration
    with _opened(loaded) as store, _reporting("prune"):
        found = administration.find_leftovers(administration.read_fleet(store), datetime.now(UTC), older_than_s)
        lines = [f"{one.what}: {one.why}" for one in found]
        if not as_json:
            print_lines(dot_controls(line) for line in lines)

        def act(sure: bool) -> list[administration.Leftover]:
            if not sure:
                raise UnconfirmedError("cannot prune", f"{len(found)} entries are to be removed from the store",
                                       "Add --yes to confirm.")
            return [one for one in found if administration.remove(store, one)]

        removed = [] if dry_run or not found else confirmed(act, yes)
    if as_json:
        print_json({"ok": True, "found": [{"key": one.key, "what": one.what, "why": one.why} for one in found],
                    "removed": [one.key for one in removed]})
    elif not found:
        print_sentence("Nothing is left behind.")
    else:
        print_sentence(f"Would remove {len(found)}." if dry_run else f"Removed {len(removed)} of {len(found)}.")
    return EXIT_OK


# --- The store

@contextmanager
def _opened(loaded: Loaded) -> Iterator[Store]:
    """Raise WrongUseError where the configuration has no store."""
    from tideover.fleet.store import StoreFailed, open_store
    if loaded.settings.fleet.store is None:
        raise WrongUseError("there is no fleet", "[fleet] store is not set",
                            "Set it in the configuration, see docs/fleet.md.")
    try:
        store = open_store(loaded.settings.fleet)
    except StoreFailed as failure:
        raise UnreachableError("cannot open the fleet's store", failure.cause, _sentence(failure.hint)) from failure
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _reporting(doing: str) -> Iterator[None]:
    """A store that fails is an error for people."""
    from tideover.fleet.store import StoreFailed
    from tideover.fleet_documents import UnusableDocument
    try:
        yield
    except StoreFailed as failure:
        raise UnreachableError(f"cannot {doing}", failure.cause, _sentence(failure.hint)) from failure
    except UnusableDocument as trouble:
        raise TideoverError(f"cannot {doing}", str(trouble), "See tideover doctor.") from trouble


def _sentence(hint: str) -> str:
    return f"{hint[:1].upper()}{hint[1:]}." if hint else "See tideover doctor."


def _look(loaded: Loaded, store: Store) -> FleetStatusDocument:
    from tideover.fleet.administration import read_fleet
    from tideover.fleet.store import StoreFailed
    from tideover.fleet_status import fleet_status, unreachable
    address = loaded.settings.fleet.store or ""
    try:
        reading = read_fleet(store, may_be_stale=True)
    except StoreFailed as failure:
        known = _fleet_of(_agent_status(loaded))
        return unreachable(address, str(failure), known["failing_since"] if known is not None else None)
    status = _agent_status(loaded)
    known = _fleet_of(status)
    return fleet_status(address, reading, _known_ids(status), known["reason"] if known is not None else "")


def _fleet_of(status: AgentStatusDocument | None) -> StoreStatusDocument | None:
    return status.get("fleet") if status is not None else None


def _agent_status(loaded: Loaded) -> AgentStatusDocument | None:
    """What this machine's agent, or its journal, says; None: nothing can be read."""
    from tideover.cli.status import read_status
    try:
        return read_status(loaded.settings)
    except TideoverError:
        return None


def _known_ids(status: AgentStatusDocument | None) -> dict[str, str]:
    """The ids of the events that this machine's agent knows, by their digests: the store has the ids of shared events
    alone."""
    from tideover.fleet_documents import event_digest
    if status is None:
        return {}
    kind = status["source"]["kind"] if status["source"] is not None else ""
    return {event_digest(kind, event["event_id"]): event["event_id"] for event in status["events"]}


def _watch(look: Callable[[], FleetStatusDocument], *, as_json: bool, utc: bool) -> None:
    from tideover.cli.status import draw, print_changes, print_documents

    def parts_of(times: Times) -> list[Part]:
        return fleet_parts(look(), times)

    with until_interrupted():
        if as_json:
            print_documents(look, REFRESH_S)
        elif sys.stdout.isatty():
            draw(parts_of, utc, REFRESH_S, "every two seconds")
        else:
            print_changes(parts_of, utc, REFRESH_S)
