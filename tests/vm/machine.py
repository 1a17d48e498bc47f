"""One virtual machine: a QEMU process that emulates its processor, the monitor to it and the shell in its guest.

Emulated on purpose: /dev/kvm may exist on a machine inside a cloud and not boot a stock kernel. All clocks of an
emulated guest follow the hypervisor's one virtual clock: they stop with it, and run on when only the process
is stopped.
"""
from __future__ import annotations

import base64
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .channels import Ear, GuestAgent, Monitor
from .ground import LabError
from .image import Image

# How cloud-init's Azure data source knows Azure, and the agent too: the chassis asset tag of the DMI tables.
AZURE = "type=3,asset=7783-7084-3265-9085-8269-3286-77"
BOOT_S = 150                         # measured 9-13 s; a busy machine takes more
BOOT_WORDS = "console=ttyS0 root=/dev/vda rw quiet mitigations=off random.trust_cpu=1 net.ifnames=0"
HARDWARE = ("-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-accel", "tcg,thread=multi",
            "-cpu", "qemu64", "-smp", "1", "-m", "512", "-rtc", "base=utc,clock=host", "-smbios", AZURE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a machine is made of. `incoming`: where its memory comes from, instead of a boot."""

    name: str
    image: Image
    disk: Path
    tap: str
    directory: Path
    incoming: str = ""

    def place(self, what: str) -> Path:
        """Return where this machine's socket or file of that kind is."""
        return self.directory / f"{self.name}.{what}"

    def command(self) -> list[str]:
        """Return the command line. It must be the same at both ends of a migration but for names."""
        return [
            # Ends with us, however we end; and gives way to whoever shares this machine.
            "setpriv", "--pdeathsig", "KILL", "nice", "-n", "2", "qemu-system-x86_64", "-name", self.name, *HARDWARE,
            "-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", BOOT_WORDS,
            "-drive", f"file={self.disk},format=qcow2,if=none,id=d0,cache=unsafe",
            "-device", "virtio-blk-pci,drive=d0", "-device", "virtio-rng-pci",
            "-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,romfile=",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,path={self.place('agent')},server=on,wait=off,id=agent",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-serial", f"file:{self.place('console')}",
            "-chardev", f"socket,path={self.place('told')},server=on,wait=off,id=told", "-serial", "chardev:told",
            "-qmp", f"unix:{self.place('monitor')},server=on,wait=off",
            *(("-incoming", self.incoming) if self.incoming else ()),
        ]


class Machine:
    """Runs from the moment it is made. Make it inside the lab's network."""

    def __init__(self, plan: Plan, ear: Ear) -> None:
        self.plan = plan
        with plan.place("log").open("w") as log:
            self.process = subprocess.Popen(plan.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.monitor = Monitor(plan.place("monitor"))
            ear.listen(plan.place("told"))
            self._agent = GuestAgent(plan.place("agent"))
        except LabError as error:
            self.end()
            raise LabError(f"{error}: {plan.place('log').read_text()[-1000:]}") from error

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait_for_guest(self, patience_s: float = BOOT_S) -> None:
        """Wait until the guest answers. Raise LabError if it does not in time."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until and self.is_alive:
            with suppress(TimeoutError):
                self._agent.ask("guest-ping", patience_s=1.0)
                return
        log = self.plan.place("log").read_text() + self.plan.place("console").read_text(errors="replace")[-1000:]
        raise LabError(f"the guest {self.plan.name} did not answer in {patience_s:.0f} s: {log}")

    def run(self, script: str, patience_s: float = 120.0) -> str:
        """Given a shell script, run it in the guest and return its output. Raise LabError if it fails."""
        order = {"path": "/bin/sh", "arg": ["-c", f"umask 022\n{script}"], "capture-output": True}   # the agent's own is 0
        pid = self._agent.ask("guest-exec", order)["pid"]
        until = time.monotonic() + patience_s
        while not (ended := self._agent.ask("guest-exec-status", {"pid": pid}))["exited"]:
            if time.monotonic() > until:
                raise LabError(f"still running in the guest after {patience_s:.0f} s: {script}")
            time.sleep(0.1)
        output, errors = (base64.b64decode(ended.get(name, "")).decode(errors="replace")
                          for name in ("out-data", "err-data"))
        if ended.get("exitcode") != 0:
            raise LabError(f"in the guest: {script!r} ended with {ended.get('exitcode')}: {output[-500:]}{errors[-1500:]}")
        return output

    def write(self, path: str, content: bytes | str) -> None:
        """Put a file into the guest; its directory is made if need be."""
        data = content.encode() if isinstance(content, str) else content
        self.run(f"mkdir -p {Path(path).parent}")
        file = self._agent.ask("guest-file-open", {"path": path, "mode": "w"})
        for start in range(0, len(data), 1 << 19):
            piece = base64.b64encode(data[start:start + (1 << 19)]).decode()
            self._agent.ask("guest-file-write", {"handle": file, "buf-b64": piece})
        self._agent.ask("guest-file-close", {"handle": file})

    def set_clock(self) -> None:
        """Set the guest's wall clock to the host's."""
        self._agent.ask("guest-set-time", {"time": time.time_ns()})

    def ahead_s(self) -> float:
        """Return by how much the guest's wall clock is ahead of the host's: the narrowest of five readings."""
        readings: list[tuple[float, float]] = []
        for _ in range(5):
            before = time.time()
            guest = int(self._agent.ask("guest-get-time")) / 1e9
            after = time.time()
            readings.append((after - before, guest - (before + after) / 2))
        return min(readings)[1]

    def end(self) -> None:
        """End the hypervisor and wait for it."""
        self.process.kill()
        self.process.wait()
        for channel in (getattr(self, "monitor", None), getattr(self, "_agent", None)):
            if channel is not None:
                channel.close()
