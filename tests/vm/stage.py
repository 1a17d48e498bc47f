"""The stage of one play: a network, a directory for its files, the machines on it. All of it is gone with `close`."""
from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .channels import Ear
from .image import Image
from .machine import Machine, Plan
from .network import TAPS, Network


class Stage:
    """Given an image, starts machines with its disk and other processes beside them, on one network."""

    def __init__(self, image: Image, disk: Path) -> None:
        self.image = image
        self.directory = Path(tempfile.mkdtemp(prefix="lab-"))       # sockets: their paths must be short
        self.network = Network()
        self.ear = Ear()
        self.disk = self.directory / "disk.qcow2"
        self._machines: list[Machine] = []
        self._beside: list[subprocess.Popen[bytes]] = []
        self._started = 0
        layer(self.disk, disk)

    def start(self, incoming: str = "") -> Machine:
        """Start a machine: from the disk, or from memory that comes in."""
        plan = Plan(f"guest{self._started}", self.image, self.disk, TAPS[self._started % 2], self.directory, incoming)
        self._started += 1
        with self.network.inside():
            machine = Machine(plan, self.ear)
        self._machines.append(machine)
        return machine

    def end(self, machine: Machine) -> None:
        machine.end()
        self._machines.remove(machine)

    def run_beside(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        """Start a process on the machines' network; it ends with the stage."""
        with self.network.inside(), (self.directory / log).open("w") as output:
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output)
        self._beside.append(process)
        return process

    def close(self) -> None:
        """End what is left, by its id, and remove the files."""
        for machine in list(self._machines):
            self.end(machine)
        for process in self._beside:
            process.kill()
            process.wait()
        self.network.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def layer(disk: Path, below: Path) -> None:
    """Make a disk that keeps its changes to itself and has `below` under it."""
    kind = "qcow2" if below.suffix == ".qcow2" else "raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below), "-F", kind, str(disk)], check=True)
