"""Disks that can be filled, made read-only and repaired, in a mount namespace that no other process sees."""
from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

CLONE_NEWNS = 0x00020000
OWN = Path("/proc/thread-self/ns/mnt")


def namespace_or_skip() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")


@contextmanager
def own_mounts() -> Iterator[None]:
    """What is mounted inside is seen by this thread and what it starts, and is gone with them."""
    namespace_or_skip()
    libc, here = ctypes.CDLL(None, use_errno=True), Path.cwd()
    before = os.open(OWN, os.O_RDONLY)
    if libc.unshare(CLONE_NEWNS) != 0:
        os.close(before)
        pytest.skip(f"no mount namespace of our own here: {os.strerror(ctypes.get_errno())}")
    try:
        mount("--make-rprivate", "/")
        yield
    finally:
        _go_back(libc, before)
        os.close(before)
        os.chdir(here)


def _go_back(libc: ctypes.CDLL, before: int) -> None:
    """Not possible while a thread that was started inside still ends; a thread that stays does no harm."""
    for _ in range(100):
        if libc.setns(before, CLONE_NEWNS) == 0:
            return
        time.sleep(0.05)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


class Disk:
    """A file system of its own in memory, `kib` large."""

    def __init__(self, place: Path, kib: int = 1024) -> None:
        self.place = place
        place.mkdir(mode=0o711, exist_ok=True)
        mount("-t", "tmpfs", "-o", f"size={kib}k,mode=711", "tideover-proof", str(place))

    def fill(self) -> None:
        """Until not one byte more goes in."""
        with suppress(OSError), (self.place / "ballast").open("ab", buffering=0) as ballast:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while True:
                        ballast.write(b"x" * size)

    def make_room(self) -> None:
        (self.place / "ballast").unlink()

    def read_only(self) -> None:
        mount("-o", "remount,ro", str(self.place))

    def writable(self) -> None:
        mount("-o", "remount,rw", str(self.place))

    def remove(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)


class BreakingDisk:
    """An ext4 file system on a loop device, which the kernel can be made to give up: read-only from one moment to the
    next for files that are open as well (mount option `abort`, ext4(5)), until it is mounted again."""

    def __init__(self, place: Path) -> None:
        self.place, self._image = place, place.with_name("image")
        place.mkdir(mode=0o711, exist_ok=True)
        with self._image.open("wb") as image:
            image.truncate(8 << 20)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True, capture_output=True)
            self._mount()
        except (OSError, subprocess.CalledProcessError) as trouble:
            pytest.skip(f"no loop device with ext4 here: {trouble}")

    def _mount(self) -> None:
        """The kernel gives a loop device back some time after its unmounting: until then a new one may be refused."""
        for tries_left in range(20, -1, -1):
            try:
                mount("-o", "loop", str(self._image), str(self.place))
                break
            except subprocess.CalledProcessError:
                if not tries_left:
                    raise
                time.sleep(0.1)
        self.place.chmod(0o711)

    def give_up(self) -> None:
        mount("-o", "remount,abort", str(self.place))

    def repair(self) -> None:
        """As an administrator would, once it is not used any more."""
        self.remove()
        subprocess.run(["e2fsck", "-p", "-f", str(self._image)], check=False, capture_output=True)
        self._mount()

    def remove(self) -> None:
        subprocess.run(["umount", str(self.place)], check=False, capture_output=True)
