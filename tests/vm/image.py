"""The guest's image: Debian 12 with the agent's libraries, chrony and QEMU's guest agent. Built once, then cached.

Nothing is mounted and no boot loader is needed: the file system is written from a directory, and the hypervisor is
given kernel and initrd. The agent itself is not in it: it changes too often.
"""
from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .ground import LabError, cache

SUITE = "bookworm"
SIZE = "1400M"                       # sparse: about 350 MB of it are written
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "initramfs-tools", "linux-image-cloud-amd64", "iproute2",
    "procps", "qemu-guest-agent", "chrony", "python3", "python3-requests", "python3-psutil", "python3-click",
    "python3-ntplib",
)
# What finds the root disk, and no more: a small initrd boots faster.
MODULES = ("virtio_pci", "virtio_blk", "ext4")
LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")
# What a guest without people or a calendar does not need; under emulation each unit costs a tenth of a second or more.
UNWANTED = ("apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer", "e2scrub_all.timer", "e2scrub_reap.service",
            "dpkg-db-backup.timer", "getty@.service", "serial-getty@.service", "systemd-logind.service",
            "systemd-timesyncd.service", "systemd-pstore.service", "dev-hugepages.mount", "dev-mqueue.mount",
            "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-binfmt.service", "systemd-networkd.service",
            "modprobe@.service")
MACHINE_ID = "7e1de0000000000000000000000000ab"      # a fixed one: no first boot's work
OVERLAY = Path(__file__).parent / "guest"
LONGEST_S = 600


@dataclass(frozen=True, slots=True)
class Image:
    """A directory of the cache that holds kernel, initrd and root disk."""

    directory: Path

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    @property
    def root(self) -> Path:
        return self.directory / "root.ext4"


def image() -> Image:
    """Return the image, built now if the cache has none of these ingredients. Raise LabError if that fails."""
    with locked(cache() / "lock"):
        made = cache() / f"image-{_ingredients()}"
        if not made.exists():
            for old in (*cache().glob("image-*"), *cache().glob("building-*")):
                shutil.rmtree(old)
            building = Path(tempfile.mkdtemp(prefix="building-", dir=cache()))
            _build(building)
            building.rename(made)
        return Image(made)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one lab at a time through: what it makes is there for the next."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ingredients() -> str:
    told = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(path for path in OVERLAY.rglob("*") if path.is_file()):
        told.update(str(file.relative_to(OVERLAY)).encode() + b"\0" + file.read_bytes())
    return told.hexdigest()[:12]


def _build(directory: Path) -> None:
    root = directory / "root"
    _run("mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", f"--include={','.join(PACKAGES)}",
         "--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\"",
         *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
         '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"',
         '--essential-hook=printf "MODULES=list\\nCOMPRESS=zstd\\n" >"$1/etc/initramfs-tools/conf.d/lab.conf"',
         f'--essential-hook=printf "%s\\n" {" ".join(MODULES)} >"$1/etc/initramfs-tools/modules"',
         SUITE, str(root))
    _furnish(root)
    shutil.copy(next(root.glob("boot/vmlinuz-*")), directory / "vmlinuz")
    shutil.copy(next(root.glob("boot/initrd.img-*")), directory / "initrd")
    _run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), "-E", "lazy_itable_init=1,root_owner=0:0",
         str(directory / "root.ext4"), SIZE)
    shutil.rmtree(root)


def _furnish(root: Path) -> None:
    """Make a bare Debian the lab's guest: name, network, no password, nothing that runs by the calendar."""
    shutil.copytree(OVERLAY, root, dirs_exist_ok=True)
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    (root / "etc/fstab").unlink(missing_ok=True)      # the kernel has mounted all there is
    (root / "etc/machine-id").write_text(f"{MACHINE_ID}\n")
    _run("chroot", str(root), "passwd", "-d", "root")
    _run("chroot", str(root), "systemctl", "-q", "enable", "lab-network", "qemu-guest-agent", "tideover")
    _run("chroot", str(root), "systemctl", "-q", "disable", "chrony")
    _run("chroot", str(root), "systemctl", "-q", "mask", *UNWANTED)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    if done.returncode:
        raise LabError(f"cannot build the guest's image: {command[0]}: {done.stderr[-2000:]}")
