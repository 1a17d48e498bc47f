"""A Debian 12 machine with a real systemd, in a second: a container of systemd-nspawn with a network of its own, in which
the metadata service answers at its real address.

Needs root. Everything that is started here ends with the test, also when the test is killed: the network's keeper and
nspawn die with their parent.
"""
from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tideover.simulator import MetadataService

TOOLS = ("systemd-nspawn", "mmdebstrap", "nsenter", "unshare", "ip")
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-click", "python3-ntplib", "python3-psutil",
            "python3-requests", "python3-installer", "iproute2", "procps", "sudo")
MANAGED = ("openssh-server", "cloud-init", "python3-apt")     # what a cloud's image has for those who set machines up
SUITE = "bookworm"
PLATFORM = "169.254.169.254"
PATIENCE_S = 30.0
CLONE_NEWNET = 0x40000000       # setns(2)
PR_SET_PDEATHSIG = 1            # prctl(2)
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1)
CGROUPS = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd")]     # a host that has both kinds
SHOWS_ITS_BOOT_ID = """
# A container's own boot id is a mount of nspawn's over /proc/sys, which these two uncover. A real machine's is the kernel's.
[Service]
ProtectKernelTunables=no
ProtectControlGroups=no
"""
LIBC = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Why no such machine can be had here; None: it can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (tests/packaging/packages.txt)"
    if os.geteuid() != 0:
        return "only root can start a container with a network of its own"
    return None


def cache() -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tideover" / "debian-root"
    place.mkdir(parents=True, exist_ok=True)
    return place


def base(extra: tuple[str, ...] = ()) -> Path:
    """A tar of Debian 12 with what the package depends on, and with `extra`; made once, then cached."""
    key = hashlib.sha256(" ".join([SUITE, *PACKAGES, *extra]).encode()).hexdigest()[:12]
    name = f"{SUITE}-with-{extra[0]}" if extra else SUITE
    made = cache() / f"{name}-{key}.tar"
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for old in cache().glob(f"{name}-{'[0-9a-f]' * 12}.tar*"):
                old.unlink()
            part = made.with_suffix(".tar.part")
            subprocess.run([
                "mmdebstrap", "--mode=root", "--format=tar", "--variant=minbase", "--quiet",
                f"--include={','.join([*PACKAGES, *extra])}", "--aptopt=Acquire::Languages none",
                "--aptopt=APT::Install-Recommends false", "--dpkgopt=path-exclude=/usr/share/locale/*",
                SUITE, str(part)], check=True, timeout=600)
            part.rename(made)
    return made


class Machine:
    """One container, booted. `network` is the pid of the process that keeps its network."""

    def __init__(self, root: Path, network: int) -> None:
        self.root = root
        self._name = f"tideover-proof-{os.getpid()}-{time.monotonic_ns()}"
        self._groups = [group / self._name for group in CGROUPS if group.is_dir()] or [Path("/sys/fs/cgroup") / self._name]
        for group in self._groups:
            group.mkdir()
        self._log, self.network = root.parent / "console", network
        self._nspawn = self._boot()

    def _boot(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={self.root}", "--boot",
                 f"--machine={self._name}", "--hostname=vm-1", "--console=pipe", "--kill-signal=SIGRTMIN+4",
                 f"--network-namespace-path=/proc/{self.network}/ns/net"],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "yes"}, preexec_fn=self._enter,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _enter(self) -> None:
        """In nspawn's process: a group of its own, or it would rearrange the root of the hierarchy."""
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        for group in self._groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def await_boot(self) -> None:
        self.until(lambda: self._leader() and self.run("systemctl is-system-running", check=False).strip()
                   in ("running", "degraded"))

    def _leader(self) -> str:
        if self._nspawn.poll() is not None:
            return ""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return children[0] if children else ""

    def run(self, script: str, *, check: bool = True, limit_s: float = 120.0) -> str:
        """Run a script as the machine's root; return what it printed."""
        leader = self._leader()
        done = subprocess.run(
            ["nsenter", "-t", leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "env", "-i", "LANG=C.UTF-8",
             "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", script],
            capture_output=True, text=True, timeout=limit_s, check=False)
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def text(self, path: str) -> str:
        file = self.root / path.lstrip("/")
        return file.read_text() if file.exists() else ""

    def install(self, package: Path) -> None:
        shutil.copy(package, self.root / "root" / package.name)
        self.run(f"DEBIAN_FRONTEND=noninteractive dpkg -i /root/{package.name}")

    def told(self, *keys: str) -> dict[str, str]:
        """What systemd says of the service."""
        said = self.run("systemctl show tideover " + " ".join(f"-p {key}" for key in keys))
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def journal(self) -> str:
        return self.run("journalctl -u tideover --no-pager -o cat", check=False)

    def reboot(self) -> None:
        """Restart the machine, and wait until it runs again.

        nspawn starts it again by itself where /run is a file system in memory, and ends where it is not.
        """
        before = self._leader()
        self.run("systemctl reboot", check=False)
        end = time.monotonic() + PATIENCE_S
        while self._leader() == before:
            assert time.monotonic() < end, "the machine does not go down"
            time.sleep(0.05)
        try:
            self._nspawn.wait(1)
            self._nspawn = self._boot()
        except subprocess.TimeoutExpired:
            pass
        self.await_boot()

    def until(self, question: Callable[[], object], patience_s: float = PATIENCE_S) -> object:
        end = time.monotonic() + patience_s
        while not (answer := question()):
            assert self._nspawn.poll() is None, f"the machine has ended:\n{self._log.read_text(errors='replace')}"
            if time.monotonic() > end:
                said = self.journal() if self._leader() else ""
                pytest.fail(f"it never came\n{said[-6000:]}\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return answer

    def close(self) -> None:
        leader = self._leader()
        if leader:
            os.kill(int(leader), POWER_OFF)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            if leader := self._leader():
                os.kill(int(leader), signal.SIGKILL)       # nspawn killed alone would leave its container running
            self._nspawn.kill()
            self._nspawn.wait(10)
        for group in self._groups:
            for inner in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                inner.rmdir()
            group.rmdir()
        shutil.rmtree(Path("/run/systemd/nspawn/propagate") / self._name, ignore_errors=True)


@contextmanager
def network() -> Iterator[int]:
    """A network of one machine, with the platform's address in it; gives the pid of its keeper."""
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                              preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    try:
        end = time.monotonic() + 5
        while Path(f"/proc/{keeper.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < end
            time.sleep(0.01)
        for words in ("link set lo up", f"address add {PLATFORM}/32 dev lo"):
            subprocess.run(["nsenter", "-t", str(keeper.pid), "-n", "ip", *words.split()], check=True)
        yield keeper.pid
    finally:
        keeper.kill()
        keeper.wait()


@contextmanager
def platform(keeper: int) -> Iterator[MetadataService]:
    """The metadata service inside that network. It is left by knocking at its own door, so that happens there too."""
    made = _inside(keeper, lambda: MetadataService("vm-1", address=PLATFORM, port=80))
    made.start()
    try:
        yield made
    finally:
        _inside(keeper, made.close)


def _inside(keeper: int, act: Callable[[], Any]) -> Any:
    """Do it on a thread of that network: a socket belongs to the network in which it was made."""
    done: list[Any] = []

    def move_and_act() -> None:
        descriptor = os.open(f"/proc/{keeper}/ns/net", os.O_RDONLY)
        assert LIBC.setns(descriptor, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(descriptor)
        done.append(act())

    thread = threading.Thread(target=move_and_act)      # it alone moves there, and ends
    thread.start()
    thread.join(10)
    assert done, "it could not be done in the machine's network"
    return done[0]


@contextmanager
def machine(extra: tuple[str, ...] = (), before_boot: Callable[[Path], object] = lambda _root: None) -> Iterator[tuple[Machine, MetadataService]]:
    """A fresh machine without the package, and its platform. `before_boot` is given the root of its files."""
    with tempfile.TemporaryDirectory(prefix="tideover-") as home, network() as keeper, platform(keeper) as metadata:
        root = Path(home) / "root"
        root.mkdir()
        subprocess.run(["tar", "-C", str(root), "-xpf", str(base(extra)), "--numeric-owner", "--exclude=./dev/*"], check=True)
        (root / "etc/machine-id").write_text("")
        before_boot(root)
        made = Machine(root, keeper)
        try:
            made.await_boot()
            yield made, metadata
        finally:
            made.close()
