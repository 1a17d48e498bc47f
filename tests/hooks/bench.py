"""Pseudo-machines: one network namespace each, on a bridge in a namespace of its own; what a pause looks like to peers.

`stop_for` cuts the machine's port silently (bridge port state "disabled": no carrier event, no ARP answer, no ACK, no
RST) and stops every process in the namespace. That is what peers of a paused VM see; SIGSTOP on loopback is not, because
there the stopped side's kernel goes on acknowledging. There are always two machines or more: with the only forwarding port
disabled the bridge loses its carrier and the peers' retransmissions fail locally instead of backing off.
"""
from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.99.0"
CLIENTS = f"{NETWORK}.254"               # the bridge's own address: load clients live there
BENCHES = itertools.count(1)
NAMESPACES = Path("/run/netns")


def missing() -> str:
    """Return why namespaces cannot be made here, or the empty string."""
    if os.geteuid() != 0:
        return "the bench needs root (network namespaces)"
    for program in ("ip", "bridge", "nsenter"):
        if shutil.which(program) is None:
            return f"the bench needs {program} (iproute2, util-linux)"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    return "" if probe.returncode == 0 else "this machine allows no network namespaces"


def command(*argv: str) -> str:
    """Given an argument list, run it and return its output. Raise AssertionError if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout


def inhabitants(namespace: str) -> list[int]:
    """Given a namespace's name, return the processes that live in it."""
    inode = (NAMESPACES / namespace).stat().st_ino
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns/net").stat().st_ino == inode:
                    found.append(int(entry.name))
    return found


def signal_all(namespace: str, number: signal.Signals) -> None:
    """Given a namespace, signal all in it, until a look finds no new process (a fork may escape the first)."""
    done: set[int] = set()
    while new := set(inhabitants(namespace)) - done:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        done |= new


@dataclass(slots=True)
class Machine:
    """One pseudo-VM: its namespace, its address, and the port of the bridge it hangs on."""

    number: int
    namespace: str
    switch: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The address on the bridge."""
        return f"{NETWORK}.{self.number}"

    @property
    def inside(self) -> tuple[str, ...]:
        """A command prefix that enters this machine's network."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}")

    def start(self, *argv: str, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Given a server's command, start it on this machine with its output in `log`."""
        with log.open("ab") as out:
            process = subprocess.Popen([*self.inside, *argv], stdout=out, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        self.started.append(process)
        return process

    def run(self, *argv: str) -> str:
        """Given a command, run it on this machine and return its output. Raise AssertionError if it fails."""
        return command(*self.inside, *argv)

    def stop(self) -> None:
        """Stop the machine as a host does: first nothing gets in or out, then nothing runs."""
        command("bridge", "-n", self.switch, "link", "set", "dev", f"p{self.number}", "state", "0")
        signal_all(self.namespace, signal.SIGSTOP)
        carrier = command("ip", "netns", "exec", self.switch, "cat", "/sys/class/net/br0/carrier").strip()
        assert carrier == "1", "the bridge lost its carrier: a bench with one machine measures nothing"

    def go_on(self) -> None:
        """Let the machine run again."""
        signal_all(self.namespace, signal.SIGCONT)
        command("bridge", "-n", self.switch, "link", "set", "dev", f"p{self.number}", "state", "3")

    def stop_for(self, length_s: float) -> None:
        """Given a length, stop the machine and let it go on afterwards."""
        self.stop()
        try:
            time.sleep(length_s)
        finally:
            self.go_on()

    def power_off(self) -> None:
        """End every process of the machine at once; the port goes silent first, so that no peer sees a RST."""
        command("bridge", "-n", self.switch, "link", "set", "dev", f"p{self.number}", "state", "0")
        signal_all(self.namespace, signal.SIGKILL)
        for process in self.started:
            process.wait()
        self.started.clear()
        command("bridge", "-n", self.switch, "link", "set", "dev", f"p{self.number}", "state", "3")


@dataclass(slots=True)
class Bench:
    """The switch, its machines and the load clients; everything goes when `close` is called."""

    prefix: str
    machines: list[Machine] = field(default_factory=list)
    clients: list[subprocess.Popen[str]] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)      # what else must go once all have ended

    @property
    def switch(self) -> str:
        """The namespace of the bridge and the clients."""
        return f"{self.prefix}-sw"

    @property
    def inside(self) -> tuple[str, ...]:
        """A command prefix that enters the clients' network."""
        return ("nsenter", f"--net=/run/netns/{self.switch}")

    def build(self, count: int) -> None:
        """Given how many machines, make the bridge and them, all up and reachable."""
        assert count >= 2, "two machines or more, see the module's text"
        command("ip", "netns", "add", self.switch)
        command("ip", "-n", self.switch, "link", "set", "lo", "up")
        command("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        command("ip", "-n", self.switch, "addr", "add", f"{CLIENTS}/24", "dev", "br0")
        command("ip", "-n", self.switch, "link", "set", "br0", "up")
        for number in range(1, count + 1):
            self.machines.append(self._machine(number))

    def _machine(self, number: int) -> Machine:
        machine = Machine(number, f"{self.prefix}-{number}", self.switch)
        command("ip", "netns", "add", machine.namespace)
        command("ip", "link", "add", f"p{number}", "netns", self.switch, "type", "veth",
                "peer", "name", "eth0", "netns", machine.namespace)
        command("ip", "-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            command("ip", "-n", machine.namespace, "link", "set", device, "up")
        command("ip", "-n", self.switch, "link", "set", f"p{number}", "master", "br0")
        command("ip", "-n", self.switch, "link", "set", f"p{number}", "up")
        return machine

    def client(self, *argv: str) -> subprocess.Popen[str]:
        """Given a load client's command, start it in the clients' network; closing its input ends it."""
        process = subprocess.Popen([*self.inside, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.clients.append(process)
        return process

    def close(self) -> None:
        """End every process in the namespaces and remove them."""
        for process in self.clients:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in (*(m.namespace for m in self.machines), self.switch):
            if (NAMESPACES / name).exists():
                signal_all(name, signal.SIGKILL)
                subprocess.run(["ip", "netns", "del", name], capture_output=True)
        for machine in self.machines:
            for server in machine.started:
                server.wait()
        while self.afterwards:
            self.afterwards.pop()()


@contextlib.contextmanager
def bench(count: int) -> Iterator[Bench]:
    """Given how many machines, yield a bench and take it away afterwards."""
    made = Bench(f"tov{os.getpid()}-{next(BENCHES)}")
    try:
        made.build(count)
        yield made
    finally:
        made.close()
