"""The environment of one hook's run. Values of an event are foreign: they are made plain before they go in."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tideover.effects import RunHook
from tideover.hooks.plain_text import plain
from tideover.model import HookPhase

# The kernel refuses to start a program for one string over 128 KiB (execve(2), MAX_ARG_STRLEN): a long event id must
# not stop a hook. Its exact text is on standard input.
VALUE_AT_MOST = 4096
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RUN_NAME, TRACE_NAME, DIRECTORY_NAME = "TIDEOVER_RUN", "TIDEOVER_TRACE_ID", "TIDEOVER_STATE_DIR"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run happens: its user's home and its state directory; and what all runs of this agent are given."""

    home: str
    state_directory: str
    standing: Mapping[str, str]             # PATH, LANG …; the owner may set others for a hook
    owners: Mapping[str, str]               # what the owner sets for this hook; may be secret
    told: Mapping[str, str]                 # further TIDEOVER_*; nobody may set others


def encoded(text: str) -> bytes:
    """Given a text, return it as it stands in an environment, whatever the locale says."""
    return text.encode("utf-8", "surrogateescape")


def run_name(name: str, phase: str, run: int) -> str:
    """Given a hook's name, a phase and the number of the run, return the value of TIDEOVER_RUN."""
    return f"{name}:{phase}:{run}"


def environment_marks(run: str, trace_id: str, state_directory: str) -> frozenset[bytes]:
    """Given a run's name, its trace and its state directory, return the entries that only its environment has.

    All three: a second agent on this machine may run a hook of the same name for the same event.
    """
    marks = {RUN_NAME: plain(run, VALUE_AT_MOST), TRACE_NAME: plain(trace_id, VALUE_AT_MOST),
             DIRECTORY_NAME: state_directory}
    return frozenset(encoded(f"{name}={value}") for name, value in marks.items())


def hook_environment(run: RunHook, trace_id: str, place: Place) -> dict[str, str]:
    """Given a run, the trace it belongs to and its place, return the whole environment of the hook."""
    ours = {
        "TIDEOVER_PHASE": run.phase.value,
        "TIDEOVER_EVENT_ID": run.event_id,
        "TIDEOVER_KIND": run.kind.value,
        "TIDEOVER_ATTEMPT": str(run.attempt),
        RUN_NAME: run_name(run.spec.name, run.phase.value, run.run),
        TRACE_NAME: trace_id,
    }
    if run.phase is HookPhase.RECOVER:
        ours["TIDEOVER_REASON"] = run.reason
    owners = {name: value.replace("\0", "") for name, value in place.owners.items()}
    events = {name: plain(value, VALUE_AT_MOST) for name, value in [*run.fixed, *ours.items()]}
    whole = {"HOME": place.home, **place.standing, **owners, **events, **place.told,
             DIRECTORY_NAME: place.state_directory}
    return {name: value for name, value in whole.items() if NAME.fullmatch(name)}
