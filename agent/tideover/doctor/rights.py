"""Whether this user could do what the agent does: its directories. Tries nothing out; asks the file system."""
from __future__ import annotations

import os
from pathlib import Path

from tideover.doctor.findings import Finding, bad, good, note
from tideover.doctor.machine import Machine
from tideover.settings import Settings
from tideover.system.rights import BECOME_MIGHTY, MIGHTY

TOPIC = "rights"


def look_at_rights(settings: Settings, machine: Machine) -> list[Finding]:
    """Given the settings and who looks, say whether that user could run the agent."""
    is_root = machine.user_id == 0
    user = (good(TOPIC, f"this is {MIGHTY}, as the service will be") if is_root else
            note(TOPIC, f"this is user id {machine.user_id}: an agent run by it runs hooks as this user only, and a "
                        f"service run by {MIGHTY} may see more, and refuse hooks that are this user's",
                 f"Run it once more {BECOME_MIGHTY} to see what the service will see."))
    folders = [("state", settings.paths.state)]
    if settings.paths.socket != settings.paths.runtime:         # a pipe lies in no directory
        folders.append(("runtime", settings.paths.runtime))
    return [user, *(_folder(key, Path(path), is_root) for key, path in folders)]


def _folder(key: str, folder: Path, is_root: bool) -> Finding:
    what = f"[paths] {key}, {folder}, "
    trouble = _why_not_usable(folder)
    if trouble is None:
        return good(TOPIC, f"{what}{'can be used' if folder.is_dir() else 'is not there yet and can be made'}")
    if is_root:
        return bad(TOPIC, f"{what}{trouble}", f"Mend that, or name another one under [paths] {key}.")
    return note(TOPIC, f"{what}{trouble}; that is as it should be where {MIGHTY} runs the agent")


def _why_not_usable(folder: Path) -> str | None:
    """The nearest thing that is there has to be a directory that we may write into and pass through."""
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not nearest.is_dir():
            return f"cannot be used: {nearest} is no directory"
    except OSError as trouble:
        return f"cannot be looked at: {(trouble.strerror or str(trouble)).lower()}"
    if not os.access(nearest, os.W_OK | os.X_OK):
        verb = "used" if nearest == folder else "made"
        return f"cannot be {verb} by this user, who may not write into {nearest}"
    return None
