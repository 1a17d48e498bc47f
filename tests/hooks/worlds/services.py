"""A real systemd, as a user's service manager in namespaces of its own."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .basics import PROGRAMS, need, until

CGROUPS = Path("/sys/fs/cgroup")         # version 2 there; where both versions are mounted, below it by name


class UserManager:
    """A real systemd as a user's service manager on one machine: own process and mount namespace, own cgroup."""

    def __init__(self, lab: Bench, home: Path, units: dict[str, str]) -> None:
        need("systemctl", "unshare")
        machine = lab.machines[0]
        lab.afterwards.append(self.close)
        self.groups = [root / f"tideover-{machine.namespace}" for root in
                       (CGROUPS, *(CGROUPS / name for name in ("unified", "systemd", "pids", "memory")))
                       if (root / "cgroup.procs").exists()]
        (home / "units").mkdir(parents=True)
        for name, text in units.items():
            (home / "units" / name).write_text(f"[Unit]\nDefaultDependencies=no\n{text}")
        enter = " && ".join(f"mkdir -p {group} && echo $$ > {group}/cgroup.procs" for group in self.groups)
        inner = ("mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user/0 && "
                 "export XDG_RUNTIME_DIR=/run/user/0 && (/lib/systemd/systemd --user --unit=base.service & wait)")
        (home / "units/base.service").write_text("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep infinity\n")
        outer = machine.start("sh", "-c", f"{enter} && exec unshare -mpf --kill-child sh -c '{inner}'",
                              log=home / "systemd.log", env={"PATH": PROGRAMS, "SYSTEMD_UNIT_PATH": f"{home}/units"})
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        until(lambda: Path(f"/proc/{outer.pid}/comm").read_text() == "unshare\n" and bool(children.read_text().split()),
              "the namespace's first process")
        self.inside = (*machine.inside, "nsenter", "-t", children.read_text().split()[0], "-m", "-p")
        try:
            until(lambda: self.ask("is-active", "base.service") == "active", "systemd as a user's manager", 10)
        except AssertionError:
            pytest.skip(f"systemd does not run as a user's manager here: {(home / 'systemd.log').read_text()[-300:]}")

    def ask(self, *words: str) -> str:
        """Given systemctl's words, return what it prints."""
        done = subprocess.run([*self.inside, "systemctl", "--user", *words], capture_output=True, text=True,
                              env={"PATH": PROGRAMS, "XDG_RUNTIME_DIR": "/run/user/0"})
        return done.stdout.strip()

    def close(self) -> None:
        """Remove the cgroups once the processes, killed with the machine, have left them."""
        for group in filter(Path.exists, self.groups):
            until(lambda group=group: is_removed(group), f"{group} is empty", 10)


def is_removed(group: Path) -> bool:
    """Given a cgroup, remove it with all below it. Is it gone, or does a process still live there?"""
    try:
        for directory in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            directory.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


def service_stop(lab: Bench, home: Path) -> Stage:
    """Three units, one of them not running."""
    slow = "[Service]\nExecStart=/bin/sh -c 'trap \"sleep 0.4; exit 0\" TERM; sleep infinity & wait'\n"
    manager = UserManager(lab, home / "systemd", {"one.service": slow, "two.service": slow, "three.service": slow})
    manager.ask("start", "one.service", "two.service")
    settings = {"UNITS": "one.service two.service three.service", "SCOPE": "user", "XDG_RUNTIME_DIR": "/run/user/0"}
    return Stage(lambda state: Hook("service-stop", state, settings, kind="reboot", inside=manager.inside),
                 lambda: [manager.ask("is-active", f"{n}.service") for n in ("one", "two", "three")],
                 (lab.machines[0].namespace,), 1.2)

