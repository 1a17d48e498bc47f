"""The names that a completion script offers (hooks, events, members, scenarios): `tideover __complete KIND`.

Typed by a shell at each press of a key, so it loads no more than it needs, and fails without a word.
"""
from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tideover.config_file import load_tolerantly
from tideover.errors import EXIT_NO, EXIT_OK, EXIT_WRONG_USE, TideoverError
from tideover.settings import Settings

EVENTS_AT_MOST = 50
SAFE = re.compile(r"[A-Za-z0-9._/@+][A-Za-z0-9._/@+-]*")
"""Words that a shell reads as more than a word, and this program as an option, are left out."""


def print_words(arguments: list[str]) -> int:
    """Given what stands after `__complete`, print the words; return the exit status."""
    kind, *rest = arguments or [""]
    if kind not in WORDS or rest[:1] not in ([], ["--config"]):
        return EXIT_WRONG_USE
    try:
        settings = load_tolerantly(Path(rest[1]) if len(rest) > 1 else None, os.environ).settings
        words = dict.fromkeys(word for word in WORDS[kind](settings) if SAFE.fullmatch(word))
    except (OSError, TideoverError):
        return EXIT_NO
    print("".join(f"{word}\n" for word in words), end="")
    return EXIT_OK


def _hooks(settings: Settings) -> Iterable[str]:
    """Of the hooks directory."""
    from tideover.hooks.directory import name_of
    found = (name_of(path.name) for path in sorted(Path(settings.paths.hooks).iterdir()))
    return [parts[1] for parts in found if parts is not None]


def _library(settings: Settings) -> Iterable[str]:
    from tideover.hooks import library
    return library.known_names(library.library())


def _all_hooks(settings: Settings) -> Iterable[str]:
    try:
        own = _hooks(settings)
    except OSError:
        own = ()
    return [*own, *_library(settings)]


def _events(settings: Settings) -> Iterable[str]:
    """Of this machine, newest first."""
    from tideover.journal.store import Journal, read_memory
    from tideover.record import records_of
    state, rows = read_memory(settings, Journal.newest_rows)
    own = [record.event_id for record in records_of(row for row in rows if row.event_id) if record.concerns(state.me)]
    return ["last", *reversed(own[-EVENTS_AT_MOST:])] if own else []


def _pending(settings: Settings) -> Iterable[str]:
    """Names of the hooks whose recovery is pending."""
    from tideover.journal.store import read_memory
    from tideover.status import recover_pending
    return recover_pending(read_memory(settings, lambda journal: ())[0])


def _members(settings: Settings) -> Iterable[str]:
    """Of the fleet's store, which is asked once."""
    from tideover.fleet.store import StoreFailed, open_store
    from tideover.fleet_documents import members_prefix
    from tideover.fleet_status import read_documents
    if settings.fleet.store is None:
        return []
    try:
        store = open_store(settings.fleet)
        try:
            found = read_documents((one.key, one.value, None) for one in store.list(members_prefix()))
        finally:
            store.close()
    except StoreFailed:
        return []
    return [entry.document.name for entry in found.members]


def _scenarios(settings: Settings) -> Iterable[str]:
    """Of any platform."""
    from tideover.platforms import SIMULATED_KINDS
    from tideover.simulator.scenarios import scenario_names
    return [name for kind in SIMULATED_KINDS for name in scenario_names(kind)]


WORDS: dict[str, Callable[[Settings], Iterable[str]]] = {
    "hooks": _hooks, "library": _library, "all-hooks": _all_hooks, "events": _events, "pending": _pending,
    "scenarios": _scenarios, "members": _members}
