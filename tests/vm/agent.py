"""The agent under test inside the guest: put there, configured, started, and asked for its records.

From the source tree, under a unit of the image's; or from the package that TIDEOVER_LAB_DEB names, under the package's.
"""
from __future__ import annotations

import compileall
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .channels import Ear, Told
from .machine import Machine

SOURCES = Path(__file__).parents[2] / "agent" / "tideover"
PACKAGE = "TIDEOVER_LAB_DEB"
CONFIGURATION = "/etc/tideover/tideover.toml"
SETTINGS = """\
[clock]
servers = ["169.254.169.254"]
deadline = "{deadline}"
remedy = "{remedy}"
[pause]
settle = "1s"
"""
HOOK = re.compile(r"lab-hook \d\d-(?P<name>\S+) phase=(?P<phase>\S*) now=(?P<now>\S*) kind=(?P<kind>\S*) "
                  r"reason=(?P<reason>\S*) clock=(?P<clock>\S*) pause=(?P<pause>\S*)")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the owner of the guest chose about its clock."""

    deadline: str = "15s"
    remedy: str = "none"

    def written(self) -> str:
        """Return the agent's configuration."""
        return SETTINGS.format(deadline=self.deadline, remedy=self.remedy)


@dataclass(frozen=True, slots=True)
class HookRan:
    """One run of one of the lab's hooks, as it printed itself. `ahead_s`: the guest's clock then, by the host's."""

    name: str
    phase: str
    kind: str
    reason: str
    clock: str
    pause: str
    at: float
    ahead_s: float


def install(machine: Machine, choices: Choices) -> None:
    """Put the agent into the guest and start it; return when it reports that it is ready."""
    _write_configuration(machine, choices)
    package = os.environ.get(PACKAGE)
    if package:
        machine.write("/tmp/tideover.deb", Path(package).read_bytes())
        machine.run("DEBIAN_FRONTEND=noninteractive dpkg -i --force-confold /tmp/tideover.deb && "
                    "systemctl start tideover && sync")
        return
    machine.write("/tmp/tideover.tar.gz", _packed(SOURCES))
    machine.run("tar -C /usr/lib/python3/dist-packages -xzf /tmp/tideover.tar.gz && systemctl start tideover && sync")


def configure(machine: Machine, choices: Choices) -> None:
    """Start the agent again with these choices; return when it reports that it is ready."""
    _write_configuration(machine, choices)
    machine.run("systemctl restart tideover")


def _write_configuration(machine: Machine, choices: Choices) -> None:
    """The guest's own agent writes files that everybody may change, which ours refuses."""
    machine.write(CONFIGURATION, choices.written())
    machine.run(f"chmod 644 {CONFIGURATION}")


def pauses(machine: Machine) -> list[dict[str, Any]]:
    """Return every pause the agent has noticed, oldest first."""
    return list(json.loads(machine.run("python3 -m tideover pauses --json"))["pauses"])


def record(machine: Machine, event: str) -> dict[str, Any]:
    """Given an event's id, return the agent's record of it."""
    events = json.loads(machine.run("python3 -m tideover history --json"))["events"]
    return dict(next(one for one in events if one["event_id"] == event))


def hooks_run(ear: Ear, since: float) -> list[HookRan]:
    """Return what the hooks have printed since then, in order."""
    return [_hook(line, found) for line in ear.told(since) if (found := HOOK.search(line.text))]


def _hook(line: Told, found: re.Match[str]) -> HookRan:
    said = found.groupdict()
    return HookRan(said["name"], said["phase"], said["kind"], said["reason"], said["clock"], said["pause"], line.at,
                   float(said["now"]) - line.at)


def _packed(sources: Path) -> bytes:
    """Sources with what this Python makes of them: compiling takes seconds in the guest, if its Python is another."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as made, tarfile.open(fileobj=packed, mode="w:gz") as archive:
        copy = shutil.copytree(sources, Path(made) / sources.name, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(copy, quiet=2)
        archive.add(copy, sources.name)
    return packed.getvalue()
