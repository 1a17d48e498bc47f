"""Doctor's findings about this installation: agent, journal, directories and rights, hooks, applications, notify."""
from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tideover.api.protocol import read_status
from tideover.applications.admission import unusable_tables
from tideover.applications.transport import address_of
from tideover.config_file import Loaded
from tideover.doctor.machine import Machine
from tideover.errors import Refusal, UnreachableError, system_reason
from tideover.findings import Finding, bad, good, remark
from tideover.hooks.description import missing_settings
from tideover.hooks.directory import Catalogue
from tideover.hooks.environment import UnusableAccountError
from tideover.hooks.notifier import notify_account, why_not_run
from tideover.humanize import length_text
from tideover.journal import FILE, Journal, JournalUnreadable, JournalUnwritable
from tideover.lifecycle.hook_stages import longest_by_order
from tideover.model import HookSpec, Kind
from tideover.settings import Settings, unused_hook_tables
from tideover.status import recover_pending
from tideover.system.file_lock import read_holder
from tideover.system.private_files import ADMIN_NAME, HOW_TO_ELEVATE

if TYPE_CHECKING:
    from tideover.documents import AgentStatusDocument, JournalStatusDocument

# --- The agent

START = f"tideover service start, or tideover run as {ADMIN_NAME}."


def ask_agent(settings: Settings) -> AgentStatusDocument | str:
    """Given the settings, return the agent's status, or why there is none."""
    try:
        return read_status(Path(settings.paths.socket), Path(settings.paths.state))
    except UnreachableError as trouble:
        return trouble.cause


def check_agent(settings: Settings, status: AgentStatusDocument | str | None) -> list[Finding]:
    """Given the settings and the agent's status (text: why there is none; None: no answer in time), say how it is."""
    if isinstance(status, dict):
        pending = status["recover_pending"]
        runs = [good("agent", f"it runs (process {status['agent']['pid']})"), *_unwritable(status["journal"])]
        return [*runs, remark("agent", f"recovery is pending for {', '.join(pending)}: the agent retries it",
                           "See tideover status.")] if pending else runs
    held = read_holder(Path(settings.paths.state))
    if held is not None:
        why = status or "nothing came in time"
        process = f"process {held.pid or 'unknown'}"
        return [bad("agent", f"{process} uses {settings.paths.state} and does not answer: {why}",
                    "tideover service stop, then tideover service start"), *_journal(settings, False)]
    if _is_hidden(settings):
        return [remark("agent", f"this user cannot read whether an agent uses {settings.paths.state}",
                     f"Run it again {HOW_TO_ELEVATE}.")]
    return [remark("agent", "not running", START), *_journal(settings, True)]


def _unwritable(journal: JournalStatusDocument | None) -> list[Finding]:
    if journal is None or journal["writable"]:
        return []
    return [bad("journal", f"the agent cannot write its journal, so it acknowledges nothing: {journal['reason']}",
                "Free disk space and make the state directory writable; the agent then continues by itself.")]


def _is_hidden(settings: Settings) -> bool:
    """Its lock and its journal are for its own user alone."""
    try:
        with (Path(settings.paths.state) / FILE).open("rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def _journal(settings: Settings, is_ours_alone: bool) -> Iterator[Finding]:
    """Say what the journal of an agent that does not answer holds; `is_ours_alone`: no agent writes it now."""
    path = Path(settings.paths.state) / FILE
    try:
        if not os.path.lexists(path):
            return
        pending = _pending(path)
    except JournalUnwritable as trouble:
        yield bad("journal", f"{path} cannot be opened: {trouble.cause}", "Check its directory and the disk.")
        return
    except JournalUnreadable as trouble:
        yield bad("journal", f"{path} cannot be read: {trouble.cause}",
                  "Keep a copy for analysis; the next start quarantines it and begins a new one.")
        return
    yield good("journal", f"{path} can be read")
    if pending and is_ours_alone:
        yield bad("journal", f"recovery is pending for {', '.join(pending)} and no agent runs",
                  "tideover recover runs it now, and so does the agent when it starts.")


def _pending(path: Path) -> list[str]:
    """A reader of a journal in WAL mode makes files beside it, unless it takes the file for one that never changes:
    that is right as long as nothing waits in the log beside it (sqlite.org/wal.html, read-only databases)."""
    log = path.with_name(path.name + "-wal")
    waits = os.path.lexists(log) and log.stat().st_size > 0
    journal = Journal.reading(path) if waits else Journal(path, _connect_to_look)
    try:
        return recover_pending(journal.load())
    finally:
        journal.close()


def _connect_to_look(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(path.as_posix())}?mode=ro&immutable=1", uri=True, isolation_level=None)


# --- Rights: could this user do what the agent does

RIGHTS_TOPIC = "rights"


def check_rights(settings: Settings, machine: Machine) -> list[Finding]:
    """Given the settings and who looks, say whether that user could run the agent."""
    is_root = machine.user_id == 0
    user = (good(RIGHTS_TOPIC, f"running as {ADMIN_NAME}, as the service does") if is_root else
            remark(RIGHTS_TOPIC, f"this is user id {machine.user_id}: an agent run by it runs hooks as this user "
                                 f"only, and a "
                        f"service run by {ADMIN_NAME} may see more, and refuse hooks that are this user's",
                 f"Run it again {HOW_TO_ELEVATE} to see what the service will see."))
    folders = [("state", settings.paths.state)]
    if settings.paths.socket != settings.paths.runtime:         # a pipe lies in no directory
        folders.append(("runtime", settings.paths.runtime))
    return [user, *(_folder(key, Path(path), is_root) for key, path in folders)]


def _folder(key: str, folder: Path, is_root: bool) -> Finding:
    what = f"[paths] {key}, {folder}, "
    trouble = _why_not_usable(folder)
    if trouble is None:
        return good(RIGHTS_TOPIC, f"{what}{'can be used' if folder.is_dir() else 'can be created'}")
    if is_root:
        return bad(RIGHTS_TOPIC, f"{what}{trouble}", f"Fix that, or set another directory with [paths] {key}.")
    return remark(RIGHTS_TOPIC, f"{what}{trouble}; this is expected if {ADMIN_NAME} runs the agent")


def _why_not_usable(folder: Path) -> str | None:
    """The nearest thing that is there has to be a directory that we may write into and pass through."""
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not nearest.is_dir():
            return f"cannot be used: {nearest} is not a directory"
    except OSError as trouble:
        return f"cannot be read: {system_reason(trouble)}"
    if not os.access(nearest, os.W_OK | os.X_OK):
        verb = "used" if nearest == folder else "made"
        return f"cannot be {verb} by this user, who may not write into {nearest}"
    return None


# --- Hooks: which run, which not and why, and whether they fit into the platform's notice

HOOKS_TOPIC = "hooks"


def check_hooks(loaded: Loaded, catalogue: Catalogue) -> list[Finding]:
    """Given the configuration and what lies in the hooks directory, say what would be run."""
    settings = loaded.settings
    missing = missing_settings(settings, catalogue)
    lacking = [bad(HOOKS_TOPIC, f"{spec.path} cannot work: {lack.what}", f"{lack.hint[:1].upper()}{lack.hint[1:]}.")
               for spec, lack in missing]
    return [_count(settings, catalogue, {spec for spec, _ in missing}), *_not_run(settings, catalogue), *lacking,
            *_tables(loaded, catalogue),
            *_time(settings, [spec for spec in catalogue.hooks if spec.refused is None])]


APPLICATIONS_TOPIC = "applications"


def check_applications(settings: Settings, status: AgentStatusDocument | str | None) -> list[Finding]:
    """Given the settings and the agent's status (text: why there is none; None: no answer in time), say which
    applications of the configuration can take part, and which are connected."""
    unusable = dict(unusable_tables(settings))
    findings = [bad(APPLICATIONS_TOPIC, f"[application.{name}]: its user {user} does not exist here, so none can be it",
                    "Create the user, or correct `user`.") for name, user in unusable.items()]
    if not isinstance(status, dict):
        return findings
    never = status["applications_never_connected"] or ()
    if settings.application:
        findings.append(good(APPLICATIONS_TOPIC, f"they connect at {address_of(settings.paths)}"))
    for name, options in settings.application.items():
        if name in status["applications"]:
            findings.append(good(APPLICATIONS_TOPIC, f"{name} is connected"))
        elif name not in unusable:
            meaning = ("which counts as a preparation that failed" if options.absent == "fail" else
                       "so nothing of it is prepared for an event")
            since = "has not connected since the agent's start" if name in never else "is not connected"
            findings.append(remark(APPLICATIONS_TOPIC, f"{name} {since}, {meaning}",
                                   "Start it; its log says why it cannot connect, and so does the agent's."))
    return findings


def check_notify(settings: Settings) -> list[Finding]:
    """Given the settings, say whether the notification program could be run; nothing where there is none."""
    if not settings.notify.command:
        return []
    program = settings.notify.command[0]
    refusal = why_not_run(program)
    if refusal is None:
        try:
            account = notify_account(settings.notify.user)
        except UnusableAccountError as fault:
            refusal = Refusal(str(fault))
    if refusal is not None:
        return [bad("notify", f"{program} cannot be run, so no event is reported: {refusal.what}",
                    refusal.hint or "Correct it, or remove [notify] command.")]
    return [good("notify", f"{program} reports each change of an event, as user {account.name}")]


def _count(settings: Settings, catalogue: Catalogue, missing: Set[HookSpec]) -> Finding:
    place = settings.paths.hooks
    if not catalogue.hooks and settings.application:
        return good(HOOKS_TOPIC, f"no hook in {place}; applications take part over the socket")
    if not catalogue.hooks:
        seen = f"{place} does not exist, or this user cannot read it" if catalogue.warnings else f"no hook in {place}"
        return remark(HOOKS_TOPIC, f"{seen}: without hooks nothing is prepared or acknowledged",
                    "Enable a library hook with tideover hooks enable NAME, or put your own hook there as NN-name.")
    refused = {spec for spec, _ in catalogue.refusals} | missing
    ready = [spec.name for spec in catalogue.hooks if spec not in refused]
    text = f"{len(ready)} of {len(catalogue.hooks)} in {place} can run{': ' if ready else ''}{', '.join(ready)}"
    return good(HOOKS_TOPIC, text) if ready else remark(HOOKS_TOPIC, text)


def _not_run(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    for spec, refusal in catalogue.refusals:
        yield bad(HOOKS_TOPIC, f"{spec.path} is refused, which counts as a preparation that failed: "
                               f"{refusal.what}",
                  refusal.hint or "Fix it, then run tideover hooks check.")
    for file in catalogue.disabled:
        yield remark(HOOKS_TOPIC, f"{file} is disabled: it has no run bit",
                   f"chmod +x {settings.paths.hooks}/{file} enables it.")
    for file, why in catalogue.ignored:
        yield bad(HOOKS_TOPIC, f"{file} is ignored: {why}", "Rename or remove it.")


def _tables(loaded: Loaded, catalogue: Catalogue) -> Iterator[Finding]:
    names = [spec.name for spec in catalogue.hooks] + [file.partition("-")[2] for file in catalogue.disabled]
    for line in unused_hook_tables(loaded.settings, names, loaded.origin):
        yield remark(HOOKS_TOPIC, line, "Add the hook, or remove the table.")


def _time(settings: Settings, hooks: list[HookSpec]) -> Iterator[Finding]:
    """Those of one NN run side by side, so each NN counts with its longest."""
    for kind in Kind:
        notice_s = kind.info.notice_s
        wanted = [spec for spec in hooks if kind in spec.kinds]
        if notice_s is None or not wanted or kind not in settings.policy.act_on:
            continue
        longest_s = sum(longest_by_order(wanted).values())
        if longest_s + settings.hooks.reserve_s > notice_s:
            spot = " (Spot VMs only)" if kind is Kind.PREEMPT else ""
            yield remark(HOOKS_TOPIC, f"before a {kind.value}{spot} they may take {length_text(longest_s)} by their "
                                      f"timeouts "
                              f"and {length_text(settings.hooks.reserve_s)} are kept in reserve, but the notice can be "
                              f"{length_text(notice_s)}: each gets its share of that",
                       f"Shorten the timeouts of [hook.NAME], or remove {kind.value} from its kinds.")
