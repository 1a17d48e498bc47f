"""Ansible on this machine, which reaches the container as it would any server: by ssh, as root, with a key."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from deb_build import TOP
from nspawn_machine import Machine

ROLES = TOP / "packaging/ansible/roles"


class Controller:
    """`home`: an empty directory for keys and playbooks."""

    def __init__(self, home: Path) -> None:
        self.home, self._key = home, home / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)

    def admit(self, root: Path) -> None:
        """Given the files of a machine, let this controller log in there."""
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        (root / "root/.ssh/authorized_keys").write_text(self._key.with_suffix(".pub").read_text())

    def apply(self, here: Machine, variables: dict[str, object], *, succeeds: bool = True) -> tuple[int, str]:
        """Run the role on the machine; return how many tasks changed something there, and what was printed."""
        play = [{"hosts": "all", "gather_facts": False, "roles": [{"role": "tideover", "vars": variables}]}]
        playbook = self.home / "playbook.yml"
        playbook.write_text(json.dumps(play))       # which is YAML
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        done = subprocess.run(
            ["nsenter", "-t", str(here.network), "-n", "ansible-playbook", "-i", "vm-1,", "-e", "ansible_host=127.0.0.1", "-u", "root",
             "-e", "ansible_python_interpreter=/usr/bin/python3", f"--ssh-common-args={options}", f"--private-key={self._key}", playbook],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "ANSIBLE_ROLES_PATH": str(ROLES),
                 "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is succeeds, said[-5000:]
        return int(said.rpartition("changed=")[2].split()[0]), said
