"""Push signals: what each reader makes of what the kernel, the hypervisor and Hyper-V's daemon really write."""
from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tideover
from tideover.pause.hypervisor_signals import (
    POOL,
    RECORD_BYTES,
    HostNameReader,
    open_host_name_reader,
    open_vmclock_reader,
    records_in,
)
from tideover.pause.kernel_signals import LinksReader, NetworkLink, links_in
from tideover.pause.types import CarrierChanged, DisruptionAnnounced, HostChanged, MarkerMoved, NetworkAnnounced
from tideover.pause.watch import open_readers

ENVIRONMENT = {"PYTHONPATH": str(Path(tideover.__file__).parents[1]), "PATH": os.environ.get("PATH", "")}


def readable(descriptor: int | None, patience_ms: int = 2000) -> bool:
    assert descriptor is not None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(patience_ms))


def test_a_machine_that_has_none_of_it_has_no_readers_of_it_and_no_noise(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))                # noqa: PTH208
    readers = open_readers(tmp_path)
    assert {type(reader).__name__ for reader in readers} <= {"ClockSetReader", "LinksReader"}
    assert all(reader.read() == () for reader in readers)
    for reader in readers:
        reader.close()
    assert len(os.listdir("/proc/self/fd")) == before        # noqa: PTH208


# --- /dev/vmclock0 -------------------------------------------------------------------------------------------------


def page(marker: int = 1, flags: int = 0, sequence: int = 2, magic: int = 0x4B4C4356) -> bytes:
    """A page as QEMU shows it: no counter, no time, only the marker and the flags."""
    head = struct.pack("<IIHBBIQQ", magic, 4096, 1, 255, 0, sequence, marker, flags)
    return head + bytes(4096 - len(head))


@pytest.fixture
def device(tmp_path: Path) -> Path:
    file = tmp_path / "dev/vmclock0"
    file.parent.mkdir()
    file.write_bytes(page())
    return file


def test_the_hypervisors_marker_and_its_warnings_are_reported_once_each(device: Path) -> None:
    reader = open_vmclock_reader(device.parents[1])
    assert reader is not None and reader.fileno() is None and reader.read() == ()
    device.write_bytes(page(marker=2, sequence=4))
    assert reader.read() == (MarkerMoved(1, 2),)
    device.write_bytes(page(marker=2, flags=0b010, sequence=6))
    assert reader.read() == (DisruptionAnnounced(imminent=False),)
    device.write_bytes(page(marker=2, flags=0b110, sequence=8))
    assert reader.read() == (DisruptionAnnounced(imminent=True),)
    assert reader.read() == ()
    device.write_bytes(page(marker=3, flags=0, sequence=10))
    assert reader.read() == (MarkerMoved(2, 3),)
    reader.close()


def test_a_disruption_announced_before_the_agent_started_is_reported_at_its_first_beat(device: Path) -> None:
    device.write_bytes(page(marker=5, flags=0b100))
    reader = open_vmclock_reader(device.parents[1])
    assert reader is not None and reader.unfinished
    assert reader.read() == (DisruptionAnnounced(imminent=True),) and not reader.unfinished
    assert reader.read() == ()
    reader.close()


def test_a_page_that_is_being_written_is_read_again_and_not_believed(device: Path) -> None:
    reader = open_vmclock_reader(device.parents[1])
    assert reader is not None
    device.write_bytes(page(marker=999, sequence=3))
    assert reader.read() == () and reader.unfinished
    device.write_bytes(page(marker=2, sequence=4))
    assert reader.read() == (MarkerMoved(1, 2),) and not reader.unfinished
    reader.close()


def test_a_device_that_is_always_readable_is_not_waited_on(device: Path) -> None:
    """Before Linux 7.0 the promise of notifications may stand in the page, and the device has no way to wait."""
    device.write_bytes(page(flags=1 << 9))
    reader = open_vmclock_reader(device.parents[1])
    assert reader is not None and reader.fileno() is None
    reader.close()


@pytest.mark.parametrize("content", [b"", b"VCLK", page(magic=0x12345678)], ids=["empty", "cut off", "another device"])
def test_what_is_no_such_page_has_no_reader(device: Path, content: bytes) -> None:
    device.write_bytes(content)
    assert open_vmclock_reader(device.parents[1]) is None


# --- rtnetlink -----------------------------------------------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, index: int, *attributes: bytes) -> bytes:
    body = struct.pack("=BxHiII", 0, 1, index, 0x11043, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + bytes(-len(body) % 4)


def test_a_datagram_of_the_kernel_is_read_as_it_is_packed() -> None:
    datagram = (message(16, 2, attribute(3, b"eth0\0"), attribute(44, struct.pack("=I", 4)))
                + message(28, 2) + message(17, 5, attribute(3, b"enP1s1\0"), attribute(35 | 0x8000, b"\7\0\0\0")))
    assert list(links_in(datagram)) == [NetworkLink(False, 2, "eth0", event=4), NetworkLink(True, 5, "enP1s1", carrier_changes=7)]


def test_a_datagram_cut_anywhere_or_full_of_nonsense_is_no_error() -> None:
    whole = message(16, 2, attribute(3, b"eth0\0"), attribute(44, struct.pack("=I", 4)))
    for end in range(len(whole)):
        assert len(list(links_in(whole[:end]))) <= 1
    for nonsense in (b"\0" * 64, b"\xff" * 64, os.urandom(512), struct.pack("=IHHII", 36, 16, 0, 0, 0) + b"\1" * 20):
        list(links_in(nonsense))


@pytest.fixture
def links(tmp_path: Path) -> Iterator[tuple[LinksReader, socket.socket]]:
    """A reader of a machine with one NIC, eth0, whose link has changed three times; and who speaks to it."""
    for name in ("eth0/device", "enP1s1/device", "veth1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "eth0/ifindex").write_text("2\n")
    (tmp_path / "eth0/carrier_changes").write_text("3\n")
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    reader = LinksReader(ours, tmp_path)
    yield reader, kernel
    reader.close()
    kernel.close()


def link(index: int, name: str, changes: int, event: int = 0, kind: int = 16) -> bytes:
    return message(kind, index, attribute(3, name.encode() + b"\0"), attribute(35, struct.pack("=I", changes)),
                   attribute(44, struct.pack("=I", event)))


def test_a_nic_that_announces_itself_again_is_reported_and_a_containers_is_not(
        links: tuple[LinksReader, socket.socket]) -> None:
    reader, kernel = links
    kernel.send(link(2, "eth0", 3, event=4) + link(9, "veth1", 0, event=4) + link(2, "eth0", 3, event=5))
    assert reader.read() == (NetworkAnnounced("eth0"),)
    assert reader.read() == () and not reader.unfinished


def test_a_link_that_flaps_and_a_virtual_function_that_goes_and_comes_are_reported(
        links: tuple[LinksReader, socket.socket]) -> None:
    reader, kernel = links
    kernel.send(link(2, "eth0", 3))
    assert reader.read() == ()
    kernel.send(link(2, "eth0", 5) + link(2, "eth0", 5))
    assert reader.read() == (CarrierChanged("eth0", "its link changed"),)
    kernel.send(link(7, "enP1s1", 1) + link(7, "enP1s1", 1) + link(7, "enP1s1", 1, kind=17))
    assert reader.read() == (CarrierChanged("enP1s1", "it appeared"), CarrierChanged("enP1s1", "it was taken away"))
    kernel.send(link(9, "veth1", 4) + link(9, "veth1", 6, kind=17))
    assert reader.read() == ()


def test_a_storm_of_messages_is_read_over_several_beats(links: tuple[LinksReader, socket.socket]) -> None:
    reader, kernel = links
    kernel.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 100:
            kernel.send(link(2, "eth0", 3, event=4))
            sent += 1
    heard, turns = len(reader.read()), 1
    assert 0 < heard <= sent
    while reader.unfinished:
        heard, turns = heard + len(reader.read()), turns + 1
    assert heard == sent and turns == sent // 32 + 1


IN_A_NAMESPACE = """
import json, pathlib, select, subprocess, sys, time
from tideover.pause.kernel_signals import open_links_reader
root = pathlib.Path(sys.argv[1])
def run(*words): subprocess.run(["ip", *words], check=True)
def heard(seconds):
    found, until = [], time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            found += [[type(one).__name__, one.interface, getattr(one, "what", "")] for one in reader.read()]
            if found: until = min(until, time.monotonic() + 0.05)
    return found
run("link", "add", "eth0", "type", "veth", "peer", "name", "far")
number = json.loads(subprocess.run(["ip", "-j", "link", "show", "eth0"], check=True, capture_output=True).stdout)
nic = root / "sys/class/net/eth0"
(nic / "device").mkdir(parents=True)
(nic / "ifindex").write_text(str(number[0]["ifindex"]))
(nic / "carrier_changes").write_text("1")
reader = open_links_reader(root)
poll = select.poll(); poll.register(reader.fileno(), select.POLLIN)
report = {}
run("link", "add", "docker0", "type", "bridge"); run("link", "set", "docker0", "up"); run("link", "del", "docker0")
report["containers"] = heard(0.05)
run("link", "set", "eth0", "up"); run("link", "set", "far", "up")
report["link"] = heard(2)
run("link", "del", "eth0")
report["gone"] = heard(2)
reader.close()
print(json.dumps(report))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
                    reason="needs root and ip(8) for a network namespace of its own")
def test_the_kernel_tells_of_a_link_that_changes_or_goes_and_containers_are_left_out(tmp_path: Path) -> None:
    ran = subprocess.run(["unshare", "-n", sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path)], env=ENVIRONMENT,
                         capture_output=True, text=True, timeout=20)
    if "Unknown device type" in ran.stderr:
        pytest.skip("this kernel has no veth or bridge")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["containers"] == []
    assert ["CarrierChanged", "eth0", "its link changed"] in report["link"]
    assert ["CarrierChanged", "eth0", "it was taken away"] in report["gone"]


# --- Hyper-V's key-value pool --------------------------------------------------------------------------------------


def record(key: str, value: str, left_over: bytes = b"") -> bytes:
    """One record; `left_over`: what a longer value left behind the NUL when the daemon copied a shorter one over it."""
    field = value.encode() + b"\0"
    return key.encode().ljust(512, b"\0") + (field + left_over[len(field):]).ljust(2048, b"\0")


def pool(host: str, *, more: int = 0, left_over: bytes = b"") -> bytes:
    return b"".join([
        record("HostName", f"{host}.example.test", left_over), record("HostingSystemEditionId", "8"),
        record("PhysicalHostName", host.upper(), left_over),
        record("PhysicalHostNameFullyQualified", f"{host}.example.test", left_over),
        *(record(f"Further{number}", "x") for number in range(more)), record("VirtualMachineName", "vm-1")])


@pytest.fixture
def kvp(tmp_path: Path) -> Path:
    file = tmp_path / POOL
    file.parent.mkdir(parents=True)
    return file


def rewrite(file: Path, content: bytes) -> None:
    """As the daemon does: the same file, truncated and written again."""
    with file.open("wb") as writing:
        writing.write(content)


def opened(file: Path) -> HostNameReader:
    reader = open_host_name_reader(file.parents[3])
    assert reader is not None
    return reader


def test_a_new_host_is_pushed_when_the_daemon_has_written_it(kvp: Path) -> None:
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    assert not readable(reader.fileno(), 0)
    rewrite(kvp, pool("node-7"))
    assert readable(reader.fileno())
    assert reader.read() == (HostChanged("node-3.example.test", "node-7.example.test"),)
    assert reader.read() == () and not readable(reader.fileno(), 0)
    reader.close()


def test_a_rewrite_with_the_same_host_is_silent(kvp: Path) -> None:
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    rewrite(kvp, pool("node-3", more=3))
    assert readable(reader.fileno()) and reader.read() == ()
    reader.close()


def test_what_a_longer_name_left_behind_the_nul_is_not_part_of_the_name(kvp: Path) -> None:
    rewrite(kvp, pool("a-very-long-host-name"))
    reader = opened(kvp)
    rewrite(kvp, pool("b", left_over=b"a-very-long-host-name.example.test"))
    assert reader.read() == (HostChanged("a-very-long-host-name.example.test", "b.example.test"),)
    reader.close()


@pytest.mark.parametrize("part", [0, 1, 511, 512, RECORD_BYTES, 3 * RECORD_BYTES, 3 * RECORD_BYTES + 700])
def test_a_pool_truncated_while_it_is_rewritten_is_not_a_lost_name(kvp: Path, part: int) -> None:
    """Neither is the first half of a new one a change; the rest comes with the next read."""
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    rewrite(kvp, pool("node-7")[:part])
    told = reader.read()
    rewrite(kvp, pool("node-7"))
    told += reader.read()
    assert [type(one) for one in told] == [HostChanged] and not reader.unfinished
    reader.close()


def test_a_pool_that_grows_beyond_one_block_is_read_to_its_end(kvp: Path) -> None:
    rewrite(kvp, record("Other", "1"))
    reader = opened(kvp)
    rewrite(kvp, b"".join(record(f"K{number}", "v") for number in range(120)) + pool("node-3"))
    assert reader.read() == ()                              # a first name is not a change of name
    rewrite(kvp, b"".join(record(f"K{number}", "v") for number in range(300)) + pool("node-7"))
    assert len(reader.read()) == 1
    reader.close()


def test_a_surer_name_that_appears_later_is_not_a_new_host(kvp: Path) -> None:
    rewrite(kvp, record("HostName", "cluster.example.test"))
    reader = opened(kvp)
    rewrite(kvp, pool("cluster"))
    assert reader.read() == ()
    reader.close()


WRITER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
"""


def test_the_daemons_lock_is_respected_and_never_waited_for(kvp: Path) -> None:
    """The daemon ends itself when it cannot lock; and what stands in the file meanwhile is half of something."""
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(kvp)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline() == "locked\n"
        rewrite(kvp, pool("node-7"))
        assert reader.read() == () and reader.unfinished
        daemon.communicate("done\n")
    assert reader.read() == (HostChanged("node-3.example.test", "node-7.example.test"),)
    assert not reader.unfinished
    reader.close()


def test_our_lock_is_given_back_at_once(kvp: Path) -> None:
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    ran = subprocess.run([sys.executable, "-c", WRITER, str(kvp)], input="done\n", capture_output=True, text=True,
                         timeout=10)
    assert ran.stdout == "locked\n"
    reader.close()


def test_a_pool_that_appears_or_is_replaced_later_is_heard_as_well(kvp: Path) -> None:
    reader = opened(kvp)
    rewrite(kvp, pool("node-3"))
    assert readable(reader.fileno()) and reader.read() == ()
    other = kvp.with_name("new")
    other.write_bytes(pool("node-7"))
    other.rename(kvp)
    assert readable(reader.fileno())
    assert len(reader.read()) == 1
    rewrite(kvp, pool("node-8"))
    assert readable(reader.fileno())
    assert len(reader.read()) == 1
    reader.close()


def test_the_other_pools_wake_no_thread(kvp: Path) -> None:
    """Provisioning agents write telemetry to pool 1 all the time."""
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    for _ in range(3):
        rewrite(kvp.with_name(".kvp_pool_1"), pool("node-7"))
    assert not readable(reader.fileno(), 0)
    reader.close()


def test_without_the_kernels_notices_the_pool_is_looked_at_when_its_time_changed(kvp: Path) -> None:
    rewrite(kvp, pool("node-3"))
    reader = HostNameReader(kvp, None)
    assert reader.fileno() is None and reader.read() == ()
    rewrite(kvp, pool("node-7"))
    os.utime(kvp, ns=(0, 5))
    assert len(reader.read()) == 1
    kvp.unlink()
    assert reader.read() == ()
    reader.close()


def test_a_name_in_no_known_alphabet_is_still_a_name() -> None:
    assert records_in(record("HostName", "x").replace(b"x\0", b"\xff\0", 1)) == {"HostName": "�"}
    assert records_in(b"") == {} and records_in(b"x") is None


def test_names_that_the_host_sends_one_by_one_are_one_change(kvp: Path) -> None:
    """The daemon rewrites the whole pool for each key it is sent."""
    rewrite(kvp, pool("node-3"))
    reader = opened(kvp)
    records = [pool("node-3")[at:at + RECORD_BYTES] for at in range(0, 5 * RECORD_BYTES, RECORD_BYTES)]
    renewed = [pool("node-7")[at:at + RECORD_BYTES] for at in range(0, 5 * RECORD_BYTES, RECORD_BYTES)]
    told = []
    for key in range(5):
        rewrite(kvp, b"".join(renewed[:key + 1] + records[key + 1:]))
        told += reader.read()
    assert told == [HostChanged("node-3.example.test", "node-7.example.test")]
    reader.close()
