"""Push signals of the Linux kernel: the wall clock was set, network interfaces as at a migration."""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tideover.pause.types import CarrierChanged, ClockSet, NetworkAnnounced, PushSignal
from tideover.system import ROOT

# --- The wall clock was set: a timer far in the future that the kernel cancels when that happens
# timerfd_create(2), TFD_TIMER_CANCEL_ON_SET: fires on settimeofday, clock_settime, ADJ_SETOFFSET, a leap second, the
# hypervisor's time sync and a resume from suspend; silent on slewing and on pauses in which the clocks stopped.
# It does not say by how much: the next reading of the clocks does.

FAR_S = 2**33           # an absolute second that no clock of ours reaches
ABSOLUTE_CANCELLED_ON_SET = 1 | 2


class ClockSetReader:
    """Readable when the wall clock was set."""

    unfinished = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _arm(descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> tuple[PushSignal, ...]:
        """Return that the clock was set, and listen again: a cancelled timer stays silent until armed again."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return ()
        except OSError:                     # ECANCELED, what it is for
            pass
        _arm(self._descriptor)
        return (ClockSet(),)

    def close(self) -> None:
        os.close(self._descriptor)


def open_clock_set_reader() -> ClockSetReader | None:
    """Return a reader, or None where the system has no such timer."""
    if sys.platform != "linux":
        return None
    try:
        return ClockSetReader(_create())
    except (OSError, AttributeError):       # AttributeError: a C library without the call
        return None


if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(time.CLOCK_REALTIME, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _arm(descriptor: int) -> None:
        os.timerfd_settime(descriptor, flags=os.TFD_TIMER_ABSTIME | os.TFD_TIMER_CANCEL_ON_SET, initial=float(FAR_S))

else:
    class _Time(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    class _Timer(ctypes.Structure):
        _fields_ = (("interval", _Time), ("value", _Time))

    def _create() -> int:
        descriptor: int = _library().timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        return _checked(descriptor)

    def _arm(descriptor: int) -> None:
        far = _Timer(_Time(0, 0), _Time(FAR_S, 0))
        _checked(_library().timerfd_settime(descriptor, ABSOLUTE_CANCELLED_ON_SET, ctypes.byref(far), None))

    def _library() -> ctypes.CDLL:
        return ctypes.CDLL(None, use_errno=True)

    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


# --- Network interfaces (rtnetlink(7)). Needs no rights
# A NIC that has to announce itself again (NOTIFY_PEERS: virtio-net and Hyper-V's netvsc after a migration), a link
# that flaps, a virtual function that goes and comes (accelerated networking). All of it happens for other reasons too.
# Interfaces without hardware behind them (containers' and bridges') are left out: they come and go all day.

# linux/rtnetlink.h, linux/if_link.h
NEW_LINK, DEL_LINK = 16, 17
GROUP_LINK = 1
IFLA_IFNAME, IFLA_CARRIER_CHANGES, IFLA_EVENT = 3, 35, 44
EVENT_NOTIFY_PEERS = 4
TYPE_MASK = 0x3FFF           # the two highest bits of an attribute's type are flags

HEADER = struct.Struct("=IHHII")
IFINFO = struct.Struct("=BxHiII")
ATTRIBUTE = struct.Struct("=HH")
NUMBER = struct.Struct("=I")

DATAGRAM_BYTES = 1 << 16
DATAGRAMS_A_TURN = 32        # a storm of messages is read over several beats


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """One message about one interface."""

    is_gone: bool
    index: int
    name: str
    event: int = 0
    carrier_changes: int | None = None


def links_in(datagram: bytes) -> Iterator[NetworkLink]:
    """Given a datagram of rtnetlink, yield what it says of interfaces; what is cut off or malformed ends it."""
    at = 0
    while at + HEADER.size <= len(datagram):
        length, kind, *_ = HEADER.unpack_from(datagram, at)
        if length < HEADER.size or at + length > len(datagram):
            return
        if kind in (NEW_LINK, DEL_LINK) and length >= HEADER.size + IFINFO.size:
            yield _link(kind, datagram[at + HEADER.size:at + length])
        at += (length + 3) & ~3


def _link(kind: int, body: bytes) -> NetworkLink:
    found = dict(_attributes(body[IFINFO.size:]))
    numbers = {key: NUMBER.unpack_from(value)[0] for key, value in found.items()
               if key in (IFLA_EVENT, IFLA_CARRIER_CHANGES) and len(value) >= NUMBER.size}
    name = found.get(IFLA_IFNAME, b"").partition(b"\0")[0].decode(errors="replace")
    return NetworkLink(kind == DEL_LINK, IFINFO.unpack_from(body)[2], name, numbers.get(IFLA_EVENT, 0),
                numbers.get(IFLA_CARRIER_CHANGES))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size or at + length > len(data):
            return
        yield kind & TYPE_MASK, data[at + ATTRIBUTE.size:at + length]
        at += (length + 3) & ~3


class LinksReader:
    """Readable when something happened to an interface; says only what may go with a move."""

    def __init__(self, listening: socket.socket, interfaces: Path) -> None:
        self._socket, self._interfaces = listening, interfaces
        self._carrier_changes = {index: changes for index, changes in map(_known, _hardware(interfaces))
                                 if index is not None}
        self.unfinished = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> tuple[PushSignal, ...]:
        """Return what happened to interfaces since the last time."""
        signals: list[PushSignal] = []
        for _ in range(DATAGRAMS_A_TURN):
            try:
                datagram = self._socket.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                self.unfinished = False
                return tuple(signals)
            except OSError as error:
                if error.errno != errno.ENOBUFS:        # some were lost; the rest are still worth reading
                    raise
                continue
            signals.extend(signal for link in links_in(datagram) for signal in self._changes(link))
        self.unfinished = True
        return tuple(signals)

    def close(self) -> None:
        self._socket.close()

    def _changes(self, link: NetworkLink) -> Iterator[PushSignal]:
        if link.index not in self._carrier_changes:
            if link.is_gone or not (self._interfaces / link.name / "device").exists():
                return
            yield CarrierChanged(link.name, "it appeared")
        elif link.is_gone:
            del self._carrier_changes[link.index]
            yield CarrierChanged(link.name, "it was taken away")
            return
        elif (link.carrier_changes or 0) > self._carrier_changes[link.index]:
            yield CarrierChanged(link.name, "its link changed")
        self._carrier_changes[link.index] = max(link.carrier_changes or 0, self._carrier_changes.get(link.index, 0))
        if link.event == EVENT_NOTIFY_PEERS:
            yield NetworkAnnounced(link.name)


def open_links_reader(root: Path = ROOT) -> LinksReader | None:
    """Return a reader, or None where the system has no such messages."""
    if sys.platform != "linux":
        return None
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        listening = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        listening.bind((0, GROUP_LINK))
    except OSError:                         # a sandbox that forbids the family (systemd RestrictAddressFamilies=)
        return None
    return LinksReader(listening, root / "sys/class/net")


def _hardware(interfaces: Path) -> list[Path]:
    try:
        return [entry for entry in interfaces.iterdir() if (entry / "device").exists()]
    except OSError:
        return []


def _known(interface: Path) -> tuple[int | None, int]:
    return _number(interface / "ifindex"), _number(interface / "carrier_changes") or 0


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
