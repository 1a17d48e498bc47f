"""A network of the lab's own: a bridge with the metadata service's real address, and two sockets for guests.

It lives in an anonymous network namespace that this process alone holds open: no other process can see it, no address of the
machine is touched, and it is gone with the process, however that ends.
"""
from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .ground import LabError

METADATA = "169.254.169.254"
TAPS = ("tap0", "tap1")              # a live migration has two guests on the bridge for a moment
NEW_NETWORK = 0x40000000             # CLONE_NEWNET, unshare(2) and setns(2)
SET_UP = f"""
ip link set lo up
ip link add br0 type bridge
ip address add 10.254.0.1/24 dev br0
ip address add {METADATA}/32 dev br0
ip link set br0 up
for tap in {' '.join(TAPS)}; do ip tuntap add $tap mode tap; ip link set $tap master br0 up; done
"""


class Network:
    """Sockets made and processes started `inside` it belong to it for good."""

    def __init__(self) -> None:
        self._mine = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _checked(_library().unshare(NEW_NETWORK), "unshare")
        self._other = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            done = subprocess.run(["sh", "-ec", SET_UP], capture_output=True, text=True, check=False)
        finally:
            self._enter(self._mine)
        if done.returncode:
            raise LabError(f"cannot set up the lab's network: {done.stderr}")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread be in the network for a while."""
        self._enter(self._other)
        try:
            yield
        finally:
            self._enter(self._mine)

    def close(self) -> None:
        """Let go of it; it lives until the last process inside has ended."""
        os.close(self._other)
        os.close(self._mine)

    def _enter(self, descriptor: int) -> None:
        _checked(_library().setns(descriptor, NEW_NETWORK), "setns")


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise LabError(f"{call} in thread {threading.current_thread().name}: {os.strerror(number)}")
