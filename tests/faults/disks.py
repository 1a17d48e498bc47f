"""Disks that can be filled, made read-only and mended, in a mount namespace that nobody else sees."""
from __future__ import annotations

import ctypes
import os
import subprocess
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
        assert libc.setns(before, CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
        os.close(before)
        os.chdir(here)


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
