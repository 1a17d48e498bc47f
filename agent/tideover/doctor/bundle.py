"""The support bundle: its members and their bounds, which secrets are left out, and how `replay` reads it.

The layout is fixed: the same names in the same order, no times, users or rights of this machine. Secrets are left out
where they are known to stand (values of environments, arguments of programs), and whatever holds the value of one all
the same has it hidden.
"""
from __future__ import annotations

import io
import json
import os
import platform as python_platform
import stat
import subprocess
import sys
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tideover import __version__
from tideover.api.protocol import ask
from tideover.config_file import Loaded, platform_paths
from tideover.documents import SCHEMA
from tideover.errors import ConfigurationError, TideoverError, UnreachableError, WrongUseError, system_reason
from tideover.hooks.environment_file import owner_variables
from tideover.hooks.notifier import hidden_arguments
from tideover.hooks.output import HIDDEN_FROM
from tideover.journal import Journal
from tideover.journal.recording import recordings_of
from tideover.journal.store import read_through
from tideover.lifecycle.replay import Recording
from tideover.model import ClockCheck, utc_text
from tideover.observations import Polled
from tideover.record import Row, pauses_of, records_of
from tideover.settings import Settings
from tideover.settings.render import effective_values, show_hidden
from tideover.system.clocks import read_boot_id
from tideover.system.private_files import create_private_file
from tideover.text_safety import safe_json

ROOT = "tideover-bundle"
RECORDING = "recording.jsonl"
EVENTS_AT_MOST, PAUSES_AT_MOST, SAMPLES_AT_MOST = 50, 1000, 2000
LOG_LINES, LOG_TIMEOUT_S = 2000, 10.0
LARGEST_RECORDING = 64 * 1024 * 1024        # bytes that are read; the journal keeps 8 MiB of characters
LIBRARIES = ("requests", "psutil", "ntplib", "click", "prometheus-client", "pywin32")
HIDDEN = b"(hidden)"
MADE_BY = "Name a file of tideover doctor --bundle."
README = """\
A bundle of tideover, made by "tideover doctor --bundle" for the analysis of what happened on this machine.

about.json           versions, system, when it was made, and what could not be read
configuration.json   the effective settings and their files; secrets are hidden
doctor.json          the findings of doctor
status.json          the status of the agent
records.json         the newest events (as tideover history --json)
pauses.json          the newest pauses (as tideover pauses --json)
clock.json           the newest samples of time servers
documents/           the platform's answers that changed something, as they came
recording.jsonl      the observations of each decision and its results, for "tideover replay BUNDLE"
log.txt              the end of the agent's log
"""


# --- What goes in

def bundle_members(loaded: Loaded, status: Mapping[str, Any], examination: Mapping[str, Any]) -> dict[str, bytes]:
    """Given the configuration, the status and what doctor found, return the files of a bundle by their names. What
    cannot be had is named in about.json. Reads the journal and the log."""
    missing: dict[str, str] = {}

    def had(name: str, read: Callable[[Journal], Any], nothing: Any) -> Any:
        try:
            found = read_through(loaded.settings, read)
        except TideoverError as trouble:
            missing[name] = f"{trouble.operation}: {trouble.cause}"
            return nothing
        return nothing if found is None else found

    rows: list[Row] = had("records.json", lambda journal: journal.rows_of_newest_events(EVENTS_AT_MOST), [])
    pauses: list[Row] = had("pauses.json", lambda journal: list(deque(journal.rows_of_pauses(), PAUSES_AT_MOST)), [])
    recorded: list[tuple[int, int, str]] = had(RECORDING, lambda journal: journal.recording(), [])
    log, missing["log.txt"] = log_tail(loaded)
    members = {
        "README.txt": README.encode(),
        "configuration.json": _json(_configuration(loaded)),
        "doctor.json": _json(examination), "status.json": _json(status),
        "records.json": _json({"events": [record.as_json() for record in records_of(rows)]}),
        "pauses.json": _json({"pauses": [pause.as_json() for pause in pauses_of(pauses)]}),
        "clock.json": _json({"samples": list(deque(_samples(rows), SAMPLES_AT_MOST))}),
        RECORDING: "".join(_recorded_line(*row) for row in recorded).encode("utf-8", "backslashreplace"),
        "log.txt": "".join(f"{line}\n" for line in log).encode("utf-8", "backslashreplace"),
        **_documents(recorded, missing),
        "about.json": b"",
    }
    members["about.json"] = _json(_about({name: why for name, why in missing.items() if why}))
    hide = secrets_of(loaded.settings)
    return {name: without_secrets(content, hide) for name, content in members.items()}


def _json(document: Mapping[str, Any]) -> bytes:
    return (safe_json({"schema": SCHEMA, **document}, indent=1) + "\n").encode()


def _about(missing: Mapping[str, str]) -> dict[str, Any]:
    return {"tideover": __version__, "made_at": utc_text(datetime.now(UTC)), "python": sys.version,
            "system": python_platform.platform(), "boot_id": read_boot_id(),
            "libraries": {name: _version(name) for name in LIBRARIES}, "missing": dict(missing)}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _configuration(loaded: Loaded) -> dict[str, Any]:
    trouble = loaded.trouble
    faults = trouble.faults if isinstance(trouble, ConfigurationError) else (str(trouble),) if trouble else ()
    return {"file": str(loaded.file) if loaded.file else None, "drop_ins": [str(file) for file in loaded.drop_ins],
            "faults": list(faults),
            "settings": [{"key": one.key, "value": one.native, "from": one.origin}
                         for one in map(show_hidden, effective_values(loaded.settings, loaded.origin))]}


def _samples(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if isinstance(row.subject, ClockCheck):
            for sample in row.subject.samples:
                yield {"at": utc_text(sample.at), "server": sample.server, "offset_s": sample.offset_s,
                       "delay_s": sample.delay_s, "error_bound_s": sample.error_bound_s}


def _recorded_line(stretch: int, segment: int, text: str) -> str:
    return f'{{"stretch":{stretch},"segment":{segment},"row":{text}}}\n'


def _documents(recorded: Iterable[tuple[int, int, str]], missing: dict[str, str]) -> dict[str, bytes]:
    try:
        seen = [(decision.now, decision.seen.document) for segments in recordings_of(recorded) for segment in segments
                for decision in segment.decisions if isinstance(decision.seen, Polled)]
    except (ValueError, KeyError, TypeError, AttributeError) as trouble:
        missing["documents"] = f"the recording cannot be read: {trouble}"
        return {}
    return {f"documents/{number:05d}-{now.utc:%Y%m%dT%H%M%S}.{now.utc.microsecond // 1000:03d}Z.txt":
            document.raw.encode("utf-8", "backslashreplace")
            for number, (now, document) in enumerate(seen, start=1) if document.raw}


def log_tail(loaded: Loaded) -> tuple[list[str], str]:
    """Given the configuration, return the end of the agent's log, or why there is none: what a running agent still
    knows, and where none runs what systemd's journal has of the service."""
    paths = loaded.settings.paths
    try:
        answer = ask(Path(paths.socket), Path(paths.state), {"ask": "log"})
        if answer["ok"]:
            return [str(line) for line in answer["lines"]], ""
        why = str(answer.get("why"))
    except UnreachableError as trouble:
        why = trouble.cause
    if sys.platform == "win32" or paths.state != platform_paths().state:
        return [], why
    try:
        found = subprocess.run(["journalctl", "-u", "tideover.service", "-n", str(LOG_LINES), "--no-pager", "-q", "-o",
                                "short-iso-precise"], capture_output=True, timeout=LOG_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as trouble:
        return [], f"{why}; journalctl: {trouble}"
    lines = found.stdout.decode("utf-8", "replace").splitlines()
    return lines, "" if lines else f"{why}; journalctl has nothing of tideover.service"


# --- Secrets

def secrets_of(settings: Settings) -> frozenset[str]:
    """Given the settings, return the values that must not be in a bundle: of the hooks' environments and of their
    files, as far as this user can read those, and addresses that the notification program is given. A value of less
    than 6 characters ("1", "eth0") is no secret."""
    values = [value for options in settings.hook.values() for value in owner_variables(options).variables.values()]
    values += hidden_arguments(settings.notify.command).values()
    return frozenset(value for value in values if len(value) >= HIDDEN_FROM)


def without_secrets(content: bytes, secrets: Iterable[str]) -> bytes:
    """Given a member's content, return it with each secret hidden, as it stands and as JSON would write it."""
    for secret in sorted(secrets, key=len, reverse=True):
        for spelt in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1],
                      safe_json(secret)[1:-1]}:
            content = content.replace(spelt.encode("utf-8", "surrogateescape"), HIDDEN)
    return content


# --- The file

def write_bundle(path: Path, members: Mapping[str, bytes]) -> None:
    """Given where to, and the files by their names, write the bundle. It is a new file that no other user can read.
    Raise WrongUseError if it cannot be written; nothing of it is left then."""
    try:
        file = create_private_file(path)
    except OSError as trouble:
        raise _unwritable(path, trouble) from trouble
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(_tar(members))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as trouble:
        path.unlink(missing_ok=True)
        raise _unwritable(path, trouble) from trouble


def _unwritable(path: Path, trouble: OSError) -> WrongUseError:
    return WrongUseError(f"cannot write the bundle {path}", system_reason(trouble),
                         "Name a new file in a directory that has free space and that you can write to.")


def _tar(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(members):
            about = tarfile.TarInfo(f"{ROOT}/{name}")
            about.size, about.mode = len(members[name]), 0o600
            tar.addfile(about, io.BytesIO(members[name]))
    return packed.getvalue()


def read_recordings(path: Path) -> list[list[Recording]]:
    """Given a bundle, return what it recorded: segments without a gap, by stretches. Raise WrongUseError if it is none,
    or a newer version's."""
    operation = f"cannot replay {path}"
    try:
        with open(path, "rb", opener=_open_file) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            found = tar.getmember(f"{ROOT}/{RECORDING}")
            member = tar.extractfile(found) if found.isreg() else None
            content = None if member is None else member.read(LARGEST_RECORDING + 1)
    except KeyError:
        content = None
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as trouble:
        raise WrongUseError(operation, f"it is no bundle: {trouble}", MADE_BY) from trouble
    except PermissionError as trouble:
        raise WrongUseError(operation, system_reason(trouble), "Run as the user who wrote it, or as root.") from trouble
    except OSError as trouble:
        raise WrongUseError(operation, system_reason(trouble), "Check the name.") from trouble
    if content is None:         # a link or a device of that name is none
        raise WrongUseError(operation, f"it has no {RECORDING}", MADE_BY)
    try:
        return recordings_of(_recorded_rows(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as trouble:
        raise WrongUseError(operation, f"its recording cannot be read: {trouble}",
                            "It may be damaged, or of another version: use the version that made it.") from trouble


def _open_file(name: str, flags: int) -> int:
    """Without waiting: a pipe would wait for a writer, and a device may have no end. Raise ReadError."""
    descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise tarfile.ReadError("not a regular file")
    return descriptor


def _recorded_rows(content: bytes) -> Iterator[tuple[int, int, str]]:
    if len(content) > LARGEST_RECORDING:
        raise ValueError("it is too large")
    for line in content.decode("utf-8").splitlines():
        plain = json.loads(line)
        yield plain["stretch"], plain["segment"], json.dumps(plain["row"])
