"""Where time comes from on any machine, by its files: hardware clocks, time daemons, cloud platforms, nothing."""
from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from clock_played import NOWHERE, PlayedClocks, SimulatedClocks, machine, owner, pass_time, settings_for, until, workers
from tideover.clock.checker import NEAR_EVENT_SAMPLING_S
from tideover.clock.daemons import find_daemon
from tideover.clock.host import HostAccess
from tideover.clock.on_demand import check_now, watch_clock
from tideover.clock.rate_limits import RateLimiter
from tideover.clock.sources import HypervisorClock, find_hardware, find_sources, origin_text
from tideover.clock.types import Origin, TimeSource
from tideover.clock.worker import ClockWorker
from tideover.model import NO_SOURCE, Verdict
from tideover.system.wakeup import Wakeup
from tideover.timekeeping.intervals import NS, HypervisorReading, TimeSample, is_fresh
from tideover.timekeeping.ntp_packet import Rejected, RejectReason
from time_faults import TimeServer

KVM = {"/sys/class/ptp/ptp0/clock_name": "mlx5_p0\n", "/sys/class/ptp/ptp1/clock_name": "KVM virtual PTP\n"}
HYPERV = {"/sys/class/ptp/ptp0/clock_name": "hyperv\n"}
AMAZON = {"/sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}
CHRONY = {"/run/chrony/chronyd.pid": "77\n", "/proc/77/comm": "chronyd\n"}
NTPD = {"/run/ntpd.pid": "78\n", "/proc/78/comm": "ntpd\n"}
TIMESYNCD = {"/run/systemd/timesync/synchronized": ""}


def sources(surroundings: HostAccess, *servers: str) -> list[tuple[str, str]]:
    daemon = find_daemon(surroundings)
    return [(one.server, one.origin.name) for one in find_sources(settings_for(*servers), surroundings, daemon)]


# --- the order ------------------------------------------------------------------------------------------------------

def test_the_owners_servers_are_the_only_ones_when_there_are_any(tmp_path: Path) -> None:
    assert sources(machine(tmp_path, KVM | CHRONY | AMAZON), "a:1", "b") == [("a:1", "OWNER"), ("b", "OWNER")]


def test_else_the_hypervisors_clock_and_the_daemons_servers_together(tmp_path: Path) -> None:
    here = machine(tmp_path, KVM | CHRONY | AMAZON | {"/etc/chrony/chrony.conf": "server a iburst\n"})
    assert sources(here) == [("ptp_kvm", "HARDWARE"), ("a", "DAEMON")]
    found = find_sources(settings_for(), here, find_daemon(here))
    assert found[0].device == str(tmp_path / "dev/ptp1")
    assert origin_text(found, find_daemon(here)) == "the hypervisor and the time daemon's servers (chrony)"


@pytest.mark.parametrize(("vendor", "product", "server"), [
    ("Amazon EC2", "t4g.large", [("169.254.169.123", "PLATFORM")]),
    ("Google", "Google Compute Engine", [("metadata.google.internal", "PLATFORM")]),
    ("Google", "a Chromebook", []), ("QEMU", "Standard PC", []), ("Microsoft Corporation", "Virtual Machine", []),
])
def test_else_what_the_platform_offers_and_only_where_the_firmware_names_it(
        tmp_path: Path, vendor: str, product: str, server: list[tuple[str, str]]) -> None:
    tables = {"/sys/class/dmi/id/sys_vendor": f"{vendor}\n", "/sys/class/dmi/id/product_name": f"{product}\n"}
    assert sources(machine(tmp_path, tables)) == server


def test_a_machine_with_nothing_has_no_source_and_reports_that_at_once(tmp_path: Path) -> None:
    report = check_now(settings_for(), surroundings=machine(tmp_path, {}))
    assert (report.check.verdict, report.check.reason) == (Verdict.UNKNOWN, NO_SOURCE)
    with owner() as one:
        assert one.check().reason == NO_SOURCE


# --- hardware clocks ------------------------------------------------------------------------------------------------

class Device:
    """A PTP clock: the host's time, or Hyper-V's, which knows the host's time only as of its last message."""

    def __init__(self, clocks: SimulatedClocks) -> None:
        self._clocks, self._told_s, self._told_raw_s = clocks, clocks.truth_s, clocks.raw_s
        self.trouble: OSError | None = None

    def host_speaks(self) -> None:
        self._told_s, self._told_raw_s = self._clocks.truth_s, self._clocks.raw_s

    def live_ns(self, device: str) -> int:
        return int(self._clocks.truth_s * 1e9)

    def hyperv_ns(self, device: str) -> int:
        if self.trouble:
            raise self.trouble
        return int((self._told_s + self._clocks.raw_s - self._told_raw_s) * 1e9)


def freeze(clocks: SimulatedClocks, seconds: float) -> None:
    """Every counter of the guest stops."""
    clocks.truth_s += seconds
    clocks.behind_s += seconds


def test_kvms_clock_is_right_at_every_read() -> None:
    clocks = SimulatedClocks()
    device = Device(clocks)
    hardware = HypervisorClock(clocks, HostAccess(read_device_ns=device.live_ns))
    freeze(clocks, 28.0)
    sample = hardware.ask(TimeSource("ptp_kvm", Origin.HARDWARE, "/dev/ptp1"), clocks.raw_ns())
    assert isinstance(sample, TimeSample)
    assert abs(sample.behind_ns - 28 * NS) <= sample.bound_ns < 2_000_000


def test_hypervs_clock_counts_only_after_a_message_newer_than_the_resume() -> None:
    """Right after the resume it agrees with the wall clock and is as wrong: 28 s of pause, and PHC == REALTIME."""
    clocks = SimulatedClocks()
    device = Device(clocks)
    hardware = HypervisorClock(clocks, HostAccess(read_device_ns=device.hyperv_ns))
    source = TimeSource("ptp_hyperv", Origin.HARDWARE, "/dev/ptp0")
    for _ in range(4):      # it was read often before
        device.host_speaks()
        hardware.ask(source, 0)
        clocks.pass_time(5.0)
    freeze(clocks, 28.0)
    since_ns = clocks.raw_ns()
    assert device.hyperv_ns("") == clocks.wall_ns()
    for _ in range(3):
        refused = hardware.ask(source, since_ns)
        assert isinstance(refused, Rejected) and refused.fault is RejectReason.STALE
        clocks.pass_time(1.0)
    device.host_speaks()
    sample = hardware.ask(source, since_ns)
    assert isinstance(sample, TimeSample)
    assert abs(sample.behind_ns - 28 * NS) <= sample.bound_ns


def test_hypervs_clock_counts_when_it_agrees_with_itself_for_longer_than_the_host_is_silent() -> None:
    clocks = SimulatedClocks()
    device = Device(clocks)
    hardware = HypervisorClock(clocks, HostAccess(read_device_ns=device.hyperv_ns))
    source, since_ns = TimeSource("ptp_hyperv", Origin.HARDWARE, "/dev/ptp0"), clocks.raw_ns()
    heard = []
    for _ in range(8):
        heard.append(hardware.ask(source, since_ns))
        clocks.pass_time(1.0)
    assert [isinstance(one, TimeSample) for one in heard] == [False] * 6 + [True] * 2


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EACCES, errno.ENOENT])
def test_a_hardware_clock_that_cannot_be_read_is_reported(code: int) -> None:
    clocks = SimulatedClocks()
    device = Device(clocks)
    device.trouble = OSError(code, os.strerror(code))
    hardware = HypervisorClock(clocks, HostAccess(read_device_ns=device.hyperv_ns))
    refused = hardware.ask(TimeSource("ptp_hyperv", Origin.HARDWARE, "/dev/ptp0"), 0)
    assert isinstance(refused, Rejected)
    assert os.strerror(code).lower() in refused.text


def test_a_reading_from_before_the_resume_is_no_sign_of_a_message_after_it() -> None:
    old, new = HypervisorReading(10 * NS, 0, 100), HypervisorReading(20 * NS, 5_000_000, 100)
    assert is_fresh([old, new], 10 * NS)
    assert not is_fresh([old, new], 11 * NS)
    assert not is_fresh([new], 0)


def test_the_hypervisors_clock_alone_gives_a_verdict(tmp_path: Path) -> None:
    clocks = SimulatedClocks(behind_s=4.0)
    here = machine(tmp_path, KVM, read_device_ns=Device(clocks).live_ns)
    report = check_now(settings_for(), clocks, surroundings=here)
    assert (report.check.verdict, report.check.offset_s) == (Verdict.BAD, pytest.approx(-4.0))
    assert (report.origin, report.servers[0].server) == ("the hypervisor", "ptp_kvm")


def test_a_look_at_hypervs_clock_waits_for_its_host(tmp_path: Path) -> None:
    clocks = SimulatedClocks()
    here = machine(tmp_path, HYPERV, read_device_ns=Device(clocks).hyperv_ns, sleep=clocks.pass_time)
    began_s = clocks.raw_s
    assert check_now(settings_for(), clocks, surroundings=here).check.verdict is Verdict.GOOD
    assert 6 <= clocks.raw_s - began_s <= 7


def test_what_hypervs_clock_proved_before_a_pause_is_no_proof_after_it(tmp_path: Path) -> None:
    """It shows what the wall clock shows, as it does right after a resume: good once its host must have spoken."""
    clocks = PlayedClocks()
    here = machine(tmp_path, HYPERV, read_device_ns=lambda device: clocks.wall_ns())
    with owner(clocks=clocks, surroundings=here) as one:
        one.start()
        until(lambda: (latest := one.checker.latest()) is not None and "not updated by the host" in latest.reason)
        clocks.skipped_s += 7.0
        one.checker.clock_was_set()
        assert one.answer().check.verdict is Verdict.GOOD
        assert one.check_to_the_deadline("not updated by the host").verdict is Verdict.UNKNOWN


def test_clocks_are_found_by_what_they_are_called(tmp_path: Path) -> None:
    here = machine(tmp_path, KVM | {"/sys/class/ptp/ptp2/clock_name": "hyperv"})
    assert [(one.server, Path(one.device).name) for one in find_hardware(here)] == [
        ("ptp_kvm", "ptp1"), ("ptp_hyperv", "ptp2")]
    assert find_hardware(NOWHERE) == ()


# --- time daemons ---------------------------------------------------------------------------------------------------

def test_chronys_configuration_is_read_with_all_it_includes(tmp_path: Path) -> None:
    here = machine(tmp_path, CHRONY | {
        "/etc/chrony/chrony.conf": "! comment\nconfdir /etc/chrony/conf.d /usr/lib/chrony\n  SERVER one.example iburst\n"
                                   "include /etc/chrony/extra-*.conf\nsourcedir /run/chrony-dhcp /etc/chrony/sources.d\n"
                                   "pool time.example iburst\nserver time.example\nserver 10.0.0.9 minpoll 4 port 1123\nrtcsync\nserver\n",
        "/etc/chrony/conf.d/10.conf": "server first.example\nserver time.example",
        "/usr/lib/chrony/10.conf": "server masked.example",
        "/usr/lib/chrony/20.conf": "server second.example",
        "/etc/chrony/extra-a.conf": "server included.example\ninclude /etc/chrony/extra-a.conf",
        "/run/chrony-dhcp/eth0.sources": "server 10.0.0.1 iburst\n",
        "/etc/chrony/sources.d/not.conf": "server no.example",
        "/etc/chrony/sources.d/own.sources": "server 2.debian.pool.ntp.org\nserver fd00::7 port 9\n",
    })
    assert sources(here) == [
        ("first.example", "DAEMON"), ("time.example", "POOL"), ("second.example", "DAEMON"), ("one.example", "DAEMON"),
        ("included.example", "DAEMON"), ("10.0.0.1", "DAEMON"), ("2.debian.pool.ntp.org", "POOL"),
        ("[fd00::7]:9", "DAEMON"), ("10.0.0.9:1123", "DAEMON")]


def test_timesyncds_drop_ins_add_and_an_empty_value_takes_back(tmp_path: Path) -> None:
    here = machine(tmp_path, TIMESYNCD | {
        "/etc/systemd/timesyncd.conf": "[Time]\nNTP=gone.example\n#FallbackNTP=0.debian.pool.ntp.org\n",
        "/usr/lib/systemd/timesyncd.conf.d/50.conf": "[Time]\nNTP=\nNTP=a.example b.example\n",
        "/etc/systemd/timesyncd.conf.d/60.conf": "[Other]\nNTP=wrong.example\n[Time]\nNTP = c.example\n",
        "/usr/lib/systemd/timesyncd.conf.d/60.conf": "[Time]\nNTP=masked.example\n",
    })
    assert sources(here) == [("a.example", "DAEMON"), ("b.example", "DAEMON"), ("c.example", "DAEMON")]


@pytest.mark.parametrize(("text", "link", "expected"), [
    ("[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org ntp.ubuntu.com\n", "",
     [("0.debian.pool.ntp.org", "POOL"), ("ntp.ubuntu.com", "POOL")]),
    ("[Time]\nFallbackNTP=mine.example\n", "", [("mine.example", "DAEMON")]),
    ("[Time]\nFallbackNTP=mine.example\n", "OPER_STATE=routable\nNTP=10.0.0.2 10.0.0.3\n",
     [("10.0.0.2", "DAEMON"), ("10.0.0.3", "DAEMON")]),
])
def test_timesyncd_without_servers_of_its_own_takes_the_networks_or_its_fallback(
        tmp_path: Path, text: str, link: str, expected: list[tuple[str, str]]) -> None:
    here = machine(tmp_path, TIMESYNCD | {"/etc/systemd/timesyncd.conf": text, "/run/systemd/netif/state": link})
    assert sources(here) == expected


def test_timesyncds_built_in_fallback_is_not_used_while_it_does_not_run(tmp_path: Path) -> None:
    here = machine(tmp_path, {"/etc/systemd/timesyncd.conf": "[Time]\n#FallbackNTP=0.debian.pool.ntp.org\n"})
    assert sources(here) == []


def test_ntp_conf_is_read_without_its_reference_clocks(tmp_path: Path) -> None:
    here = machine(tmp_path, NTPD | {
        "/etc/ntpsec/ntp.conf": "pool 0.debian.pool.ntp.org iburst # four of them\nserver -4 a.example iburst\n"
                                "server 127.127.1.0\nrestrict default kod\nincludefile /etc/ntp/keys.conf\n",
        "/etc/ntp/keys.conf": "server b.example\n", "/etc/ntpsec/ntp.d/more.conf": "server c.example:123 nts\n",
    })
    assert sources(here) == [("0.debian.pool.ntp.org", "POOL"), ("a.example", "DAEMON"), ("b.example", "DAEMON"),
                             ("c.example:123", "DAEMON")]


def test_the_daemon_that_runs_is_asked_and_not_the_one_that_is_only_installed(tmp_path: Path) -> None:
    configured = {"/etc/chrony/chrony.conf": "server c.example", "/etc/ntp.conf": "server n.example"}
    assert sources(machine(tmp_path, configured | NTPD)) == [("n.example", "DAEMON")]
    (tmp_path / "proc/78/comm").write_text("bash\n")      # the number has gone to somebody else
    assert sources(machine(tmp_path, configured)) == [("c.example", "DAEMON")]


# --- manners --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("origin", "waits_s"), [
    (Origin.OWNER, [0, 2.1, 2.1, 2.1, 2.1, 2.1, 5.5, 8, 8]), (Origin.HARDWARE, [0] * 6), (Origin.DAEMON, [0.25, 15, 15]),
    (Origin.PLATFORM, [0.25, 15]), (Origin.POOL, [0.25, 1800, 1800]),
])
def test_each_kind_of_source_is_asked_as_often_as_its_namer_allows(origin: Origin, waits_s: list[float]) -> None:
    """Learnt ones wait by chance up to half a second first: all machines of a host wake from a freeze at once."""
    manners, now_s, waited = RateLimiter(chance=lambda: 0.5), 1000.0, []
    source = TimeSource("server", origin)
    manners.spread(now_s)
    for _ in waits_s:
        wait_s = manners.wait_s(source, now_s)
        waited.append(wait_s)
        now_s += wait_s
        manners.note_asked(source, now_s)
    assert waited == [pytest.approx(one, abs=1e-6) for one in waits_s]


def asked_over(manners: RateLimiter, source: TimeSource, since_s: float, until_s: float) -> list[float]:
    """Ask as often as the rate limits allow; return when."""
    now_s, asked = since_s, []
    while (now_s := now_s + manners.wait_s(source, now_s)) < until_s:
        manners.note_asked(source, now_s)
        asked.append(now_s)
    return asked


def test_the_owners_servers_are_asked_within_the_default_limits_of_ntpd() -> None:
    """ntp_monitor.c: 2 s between two packets, and each packet adds 8 s to a bucket of 64 s that time empties."""
    asked = asked_over(RateLimiter(chance=lambda: 0.0), TimeSource("server"), 0.0, 600.0)
    level = 0.0
    for before_s, at_s in zip([-100.0, *asked], asked, strict=False):
        assert at_s - before_s >= 2.0
        level = max(0.0, level - (at_s - before_s)) + 8.0
        assert level <= 64.0
    assert len(asked) > 70


def test_one_question_beyond_the_credit_is_kept_for_the_measurement_of_a_stop() -> None:
    """Within the limits of ntpd all the same: never twice within 2 s, and the reserve is paid back first."""
    manners, source = RateLimiter(chance=lambda: 0.0), TimeSource("server")
    spent = asked_over(manners, source, 0.0, 30.0)
    assert manners.wait_s(source, spent[-1]) > 7.0
    manners.urge()
    assert manners.wait_s(source, spent[-1] + 1.0) == pytest.approx(1.1)
    at_s = spent[-1] + 2.1
    assert manners.wait_s(source, at_s) == 0.0
    manners.note_asked(source, at_s)
    manners.urge()
    assert manners.wait_s(source, at_s) == pytest.approx(5.9, abs=0.01)
    manners.note_asked(source, at_s + 5.9)
    assert manners.wait_s(source, at_s + 5.9) == pytest.approx(16.0, abs=0.01)
    asked = [*spent, at_s, *asked_over(manners, source, at_s + 5.9, 600.0)]
    level = 0.0
    for before_s, now_s in zip([-100.0, *asked], asked, strict=False):
        level = max(0.0, level - (now_s - before_s)) + 8.0
        assert level <= 64.0


def test_a_server_that_answered_rate_is_not_urged() -> None:
    manners, source = RateLimiter(chance=lambda: 0.0), TimeSource("server")
    manners.note_asked(source, 100.0)
    manners.note_answer(source, Rejected("server", "192.0.2.1", RejectReason.KISS, "RATE"), 100.0)
    manners.urge()
    assert manners.wait_s(source, 103.0) > 10.0


def test_a_rate_from_before_the_stop_does_not_hold_back_the_first_question_after_it() -> None:
    """The second one waits again, and twice as long if the server says RATE again."""
    manners, source = RateLimiter(chance=lambda: 0.0), TimeSource("server")
    manners.note_asked(source, 100.0)
    manners.note_answer(source, Rejected("server", "192.0.2.1", RejectReason.KISS, "RATE"), 100.0)
    assert manners.wait_s(source, 103.0) > 10.0
    manners.resumed()
    assert manners.wait_s(source, 101.0) == pytest.approx(1.1)
    assert manners.wait_s(source, 103.0) == 0.0
    manners.note_asked(source, 103.0)
    assert manners.wait_s(source, 103.1) > 10.0
    manners.note_answer(source, Rejected("server", "192.0.2.1", RejectReason.KISS, "RATE"), 103.1)
    assert manners.wait_s(source, 103.1) == pytest.approx(32.0, abs=0.1)


def test_a_pool_is_not_asked_sooner_after_a_resume() -> None:
    manners, source = RateLimiter(chance=lambda: 0.0), TimeSource("pool", Origin.POOL)
    manners.note_asked(source, 100.0)
    manners.note_answer(source, Rejected("pool", "192.0.2.1", RejectReason.KISS, "RATE"), 100.0)
    manners.resumed()
    assert manners.wait_s(source, 110.0) == pytest.approx(1790.0)


def test_two_names_of_one_server_are_not_asked_within_two_seconds() -> None:
    with TimeServer() as server:
        with owner(server.name, f"localhost:{server.port}") as one:
            assert one.check().verdict is Verdict.GOOD
            until(lambda: len(server.questions) > 0)
        assert len(server.questions) == 1


def test_while_an_event_is_near_the_owners_servers_take_turns() -> None:
    """All of them first, so that each has a sample from before the stop; then one every 2 s, each every 8 s."""
    clocks = PlayedClocks()
    with TimeServer() as a, TimeServer() as b, TimeServer() as c, TimeServer() as d:
        servers = (a, b, c, d)
        worker = ClockWorker(lambda _: None, settings_for(*(one.name for one in servers)), clocks=clocks, surroundings=NOWHERE,
                        wakeup=Wakeup(), run_on_worker=lambda _: None, on_sample=lambda _: None)
        worker.sample_every(NEAR_EVENT_SAMPLING_S)
        counts = []
        for _ in range(6):
            pass_time(clocks, worker.idle_s(), *servers)
            worker.ask(lambda: False)
            until(lambda: sum(len(one.questions) for one in servers) == 4 + len(counts))
            counts.append(tuple(len(one.questions) for one in servers))
        worker.close()
    assert counts[0] == (1, 1, 1, 1) and counts[4] == (2, 2, 2, 2)


def test_a_learnt_server_is_asked_a_moment_later_by_chance_and_the_owners_at_once(tmp_path: Path) -> None:
    with TimeServer() as server:
        here = machine(tmp_path, {"/etc/chrony/chrony.conf": f"server 127.0.0.1 port {server.port}"}, chance=lambda: 0.05)
        for servers, waits_s in (((), 0.02), ((server.name,), 0.0)):
            with owner(*servers, surroundings=here) as one:
                began_s = time.time()
                assert one.check().verdict is Verdict.GOOD
                assert server.questions[-1].at_s - began_s >= waits_s


def test_a_person_who_watches_a_pool_sees_when_its_sample_is_too_old(tmp_path: Path) -> None:
    with TimeServer() as server:
        here, clocks = machine(tmp_path, {"/etc/chrony.conf": f"pool 127.0.0.1 port {server.port}"}), PlayedClocks()
        watching = watch_clock(settings_for(), clocks, 0.0, here)
        assert next(watching).check.verdict is Verdict.GOOD
        clocks.skipped_s += 61.0
        assert "too soon after the last query" in next(watching).check.reason
        watching.close()
        assert len(server.questions) == 1


def test_a_pool_that_was_just_asked_is_left_alone_and_that_is_reported(tmp_path: Path) -> None:
    """One question in half an hour: a second check has none, and nothing is followed."""
    with TimeServer() as server:
        here = machine(tmp_path, {"/etc/chrony/chrony.conf": f"pool 127.0.0.1 port {server.port}"})
        with owner(surroundings=here) as one:
            assert one.check().verdict is Verdict.GOOD
            until(lambda: workers() == [])
            check = one.check()
            assert check.verdict is Verdict.UNKNOWN
            assert "too soon after the last query (for 1" in check.reason
            assert len(server.questions) == 1
