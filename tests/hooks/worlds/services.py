"""A real systemd, as a user's service manager in namespaces of its own."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ..bench import Bench, Machine
from ..running import Hook
from ..stage import Stage
from .basics import PROGRAMS, need, until


class UserManager:
    """A real systemd as a user's service manager on one machine: own process and mount namespace, own cgroup."""

    def __init__(self, machine: Machine, home: Path, units: dict[str, str]) -> None:
        need("systemctl", "unshare")
        self.groups = [root / f"tideover-{machine.namespace}" for root in
                       (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup"))
                       if (root / "cgroup.procs").exists()]
        (home / "units").mkdir(parents=True)
        for name, text in units.items():
            (home / "units" / name).write_text(f"[Unit]\nDefaultDependencies=no\n{text}")
        enter = " && ".join(f"mkdir -p {group} && echo $$ > {group}/cgroup.procs" for group in self.groups)
        inner = ("mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user/0 && "
                 "export XDG_RUNTIME_DIR=/run/user/0 && (/lib/systemd/systemd --user --unit=base.service & wait)")
        (home / "units/base.service").write_text("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep infinity\n")
        outer = machine.start("sh", "-c", f"{enter} && exec unshare -mpf --cgroup --kill-child sh -c '{inner}'",
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
        """Remove the cgroups; the processes have gone with the machine."""
        for group in self.groups:
            for directory in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
                directory.rmdir()
            group.rmdir()


def service_stop(lab: Bench, home: Path) -> Stage:
    """Three units, one of them not running."""
    slow = "[Service]\nExecStart=/bin/sh -c 'trap \"sleep 0.4; exit 0\" TERM; sleep infinity & wait'\n"
    manager = UserManager(lab.machines[0], home / "systemd", {"one.service": slow, "two.service": slow, "three.service": slow})
    manager.ask("start", "one.service", "two.service")
    settings = {"UNITS": "one.service two.service three.service", "SCOPE": "user", "XDG_RUNTIME_DIR": "/run/user/0"}
    return Stage(lambda state: Hook("service-stop", state, settings, kind="reboot", inside=manager.inside),
                 lambda: [manager.ask("is-active", f"{n}.service") for n in ("one", "two", "three")],
                 (lab.machines[0].namespace,), 1.2)

