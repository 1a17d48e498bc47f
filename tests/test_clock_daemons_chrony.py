"""The clock check and its remedy against a real chrony (Debian's package), which measures and sets nothing (-x)."""
from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clock_played import NOWHERE, PlayedClocks, owner, settings_for
from debian_chrony import Chrony as RealChrony, find_chrony, short_directory, wait_for
from tideover.clock.daemons.chrony import Chrony
from tideover.clock.host import HostAccess
from tideover.clock.on_demand import check_now
from tideover.clock.types import CommandResult, Origin, TimeSource
from tideover.model import Verdict

pytestmark = pytest.mark.slow

CHECKS = 200


@pytest.fixture(scope="module")
def real() -> RealChrony:
    return find_chrony()


@pytest.fixture(scope="module")
def server_port(real: RealChrony) -> Iterator[int]:
    with short_directory() as directory, real.serving(directory) as port:
        settings = settings_for(f"127.0.0.1:{port}")
        wait_for(lambda: check_now(settings, surroundings=NOWHERE).check.verdict is Verdict.GOOD)
        yield port


@pytest.fixture(scope="module")
def client(real: RealChrony, server_port: int) -> Iterator[HostAccess]:
    with short_directory() as directory, real.following(directory, server_port) as (commands, monitor):
        here = HostAccess(root=Path("/nonexistent"), chrony_monitor=monitor, chrony_socket=commands, run=real.run)
        took_s = wait_for(lambda: Chrony(here).report().is_synchronised)
        print(f"\nreal chronyd as a client synchronised after {took_s:.1f} s")
        yield here


def test_against_a_real_chrony_the_median_error_is_under_a_fifth_of_a_millisecond(server_port: int) -> None:
    """Its clock is ours, so every offset is error. And the truth lies inside each bound."""
    settings, errors, bounds = settings_for(f"127.0.0.1:{server_port}"), [], []
    for _ in range(CHECKS):
        check = check_now(settings, surroundings=NOWHERE).check
        assert check.offset_s is not None and check.error_bound_s is not None
        assert abs(check.offset_s) <= check.error_bound_s
        errors.append(abs(check.offset_s))
        bounds.append(check.error_bound_s)
    print(f"\n{CHECKS} checks of a real chronyd: median error {statistics.median(errors) * 1e3:.4f} ms, "
          f"worst {max(errors) * 1e3:.3f} ms, median bound {statistics.median(bounds) * 1e3:.3f} ms")
    assert statistics.median(errors) < 0.2e-3


def test_a_real_chrony_tells_its_sources_and_what_it_believes(client: HostAccess) -> None:
    chrony = Chrony(client)
    assert chrony.is_running()
    assert chrony.servers() == (TimeSource("127.0.0.1", Origin.DAEMON), TimeSource("127.0.0.77", Origin.DAEMON))
    report = chrony.report()
    assert report.offset_s is not None and abs(report.offset_s) < 0.05
    assert report.bound_s is not None and 0 < report.bound_s < 1.0
    assert report.updated_at is not None and abs(report.updated_at.timestamp() - time.time()) < 30


def test_monitoring_port_and_chronyc_say_the_same_of_a_real_chrony(client: HostAccess) -> None:
    def both() -> bool:
        asked, told = Chrony(client).report(), Chrony(replace(client, chrony_monitor=("127.0.0.1", 1))).report()
        assert asked.offset_s is not None and told.offset_s is not None
        assert asked.offset_s == pytest.approx(told.offset_s, abs=1e-4)
        return asked.updated_at is not None and told.updated_at is not None and (
            abs((asked.updated_at - told.updated_at).total_seconds()) < 1e-5)
    wait_for(both)


def test_a_real_chrony_forgets_and_measures_again_on_request(client: HostAccess) -> None:
    """reset sources, burst, a new selection, makestep: the last cannot be carried out with -x, and that is reported."""
    asked: list[str] = []

    def noted(arguments: Sequence[str]) -> CommandResult:
        asked.append(" ".join(word for word in arguments[1:] if word not in ("-h", client.chrony_socket)))
        return client.run(arguments)

    chrony = Chrony(replace(client, run=noted))
    before, began = chrony.report(), time.monotonic()
    ended = chrony.measure_again(lambda offset_s: abs(offset_s) < 1.0)
    after = chrony.report()
    print(f"\na real chronyd was made to measure again and had a source again after {time.monotonic() - began:.1f} s: "
          f"{ended.output}")
    assert asked == ["reset sources", "burst 4/4", "makestep"]
    assert ended.trouble == ""
    assert before.updated_at is not None and after.updated_at is not None and after.updated_at > before.updated_at


def test_a_bad_clock_makes_the_real_chrony_measure_and_the_record_says_so(client: HostAccess, server_port: int) -> None:
    """Only our clock is played to be off; chrony's is right, so it may not step by what it does not see."""
    with owner(f"127.0.0.1:{server_port}", clocks=PlayedClocks(4.0), surroundings=client, remedy="daemon") as one:
        one.start()
        told = one.followed.get(timeout=30)
    assert (told.state, told.check.verdict) == ("remedied", Verdict.BAD)
    assert "chrony was made to measure again (reset sources, burst 4/4)" in told.check.reason
    assert "makestep" not in told.check.reason
