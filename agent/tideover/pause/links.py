"""Push signal: what happens to the network interfaces when a machine is moved (rtnetlink(7)). Needs no rights.

A NIC that is told to announce itself anew (NOTIFY_PEERS: virtio-net and Hyper-V's netvsc after a migration), a link
that flaps, a virtual function that goes and comes (accelerated networking). All of it happens for other reasons too.
Interfaces without hardware behind them (containers' and bridges') are left out: they come and go all day.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tideover.pause.types import CarrierChanged, NetworkAnnounced, PushSignal
from tideover.system.platform import ROOT

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
