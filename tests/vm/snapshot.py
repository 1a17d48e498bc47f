"""A guest that has booted once, kept in memory and on disk: each case starts from it in two seconds instead of twelve."""
from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .blackouts import restore, save
from .image import Image, locked
from .machine import Machine, Plan
from .stage import Stage


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A booted machine, put away."""

    image: Image
    memory: Path
    disk: Path

    def stage(self) -> Stage:
        """Return a stage for one more life of this machine."""
        return Stage(self.image, self.disk)

    def wake(self, stage: Stage) -> Machine:
        """Let it run on, with the right time."""
        machine, _ = restore(stage, self.memory)
        machine.wait_for_guest()
        machine.set_clock()
        return machine


def snapshot(image: Image) -> Snapshot:
    """Given an image, return its booted snapshot, made now if need be."""
    directory = image.directory / f"booted-{_hardware(image)}"
    with locked(image.directory / "lock"):
        if not directory.exists():
            for old in image.directory.glob("booted-*"):
                shutil.rmtree(old)
            _boot_and_save(image, directory)
    return Snapshot(image, directory / "memory", directory / "disk.qcow2")


def _hardware(image: Image) -> str:
    """Memory can be restored only into the same machine, by the same hypervisor."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    command = Plan("", image, Path(), "", Path()).command()
    del command[command.index("-kernel"):command.index("-append")]
    told = repr((version, command))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _boot_and_save(image: Image, directory: Path) -> None:
    making = image.directory / "booting"
    making.mkdir(exist_ok=True)
    stage = Stage(image, image.root)
    try:
        machine = stage.start()
        machine.wait_for_guest()
        machine.run("systemctl is-system-running --wait || true; sync")
        save(machine, making / "memory")
        stage.end(machine)
        shutil.copy(stage.disk, making)
    finally:
        stage.close()
    # By its relative name: the cache may be moved.
    subprocess.run(["qemu-img", "rebase", "-u", "-b", f"../{image.root.name}", "-F", "raw",
                    str(making / stage.disk.name)], check=True)
    making.rename(directory)
