"""A hostile or broken time server, row by row: refused with its reason, or inside the stated bound."""
from __future__ import annotations

import contextlib
import time

import pytest

import time_faults as faults
from clock_played import NOWHERE
from tideover.clock.on_demand import check_now
from tideover.clock.types import ClockCheckSettings, ServerReport
from tideover.model import Verdict
from time_faults import Answer, TimeServer

YEAR_S = 365.25 * 86_400

# what the server does · how · why it is refused
REFUSED: list[tuple[str, Answer, str]] = [
    ("originate not ours", faults.changed(origin=b"notyours"), "not to this query"),
    ("originate zero", faults.changed(origin=bytes(8)), "not to this query"),
    ("kiss-o'-death RATE", faults.kiss(b"RATE"), "kiss-o'-death (RATE)"),
    ("kiss-o'-death DENY", faults.kiss(b"DENY"), "kiss-o'-death (DENY)"),
    ("kiss-o'-death RSTR", faults.kiss(b"RSTR"), "kiss-o'-death (RSTR)"),
    ("kiss-o'-death of a new kind", faults.kiss(b"XYZ\0"), "kiss-o'-death (XYZ)"),
    ("stratum 16 and leap 3", faults.changed(stratum=16, leap=3), "not synchronised"),
    ("stratum 16", faults.changed(stratum=16), "not synchronised"),
    ("leap 3", faults.changed(leap=3), "not synchronised"),
    ("mode 5", faults.changed(mode=5), "(broadcast)"),
    ("mode 3", faults.changed(mode=3), "(client)"),
    ("version 2", faults.changed(version=2), "version 2"),
    ("T2 = T3 = 0", faults.without_times, "zero timestamp"),
    ("root dispersion 30 s", faults.changed(root_dispersion_s=30.0), "root distance too large"),
    ("root delay 10 s", faults.changed(root_delay_s=10.0), "root distance too large"),
    ("T2 after T3", faults.times_apart(-5.0), "backwards"),
    ("T3 - T2 of 2 s in an instant", faults.times_apart(2.0), "negative delay"),
    ("T3 - T2 of 6 s", faults.times_apart(6.0), "server processing time too long"),
    ("reference in the future", faults.changed(reference_age_s=-60.0), "reference timestamp"),
    ("reference a week old", faults.changed(reference_age_s=7 * 86_400.0), "reference timestamp"),
    ("takes its time from us", faults.changed(reference_id=b"\x7f\0\0\1"), "synchronised to this machine"),
    ("right address, wrong port", faults.from_wrong_port, "no answer"),
    ("a flood from another address", faults.flood_from_another_address, "no answer"),
    ("a flood of wrong cookies", faults.flood_of_strangers, "not to this query"),
    ("40 bytes", faults.changed(length=40), "not to this query"),
    ("silence", faults.silent, "no answer"),
]

# what the server does · how · how far this machine is ahead, as far as that server is right
BOUNDED: list[tuple[str, Answer, float]] = [
    ("honest", faults.honest, 0.0),
    ("version 3", faults.changed(version=3), 0.0),
    ("forged answers before its own", faults.strangers_then_honest, 0.0),
    ("two answers with our cookie", faults.twice_differently, 0.0),
    ("0.1 s late on the way there", faults.late_to_hear(0.1), 0.0),
    ("0.1 s late on the way back", faults.late_to_answer(0.1), 0.0),
    ("root dispersion 0.9 s", faults.changed(root_dispersion_s=0.9), 0.0),
    ("5 s ahead", faults.off_by(5.0), -5.0),
    ("5 s behind", faults.off_by(-5.0), 5.0),
    ("in the year 2040, era 1", faults.off_by(14 * YEAR_S), -14 * YEAR_S),
]


UNANSWERED = {"originate not ours", "originate zero", "right address, wrong port", "a flood from another address",
              "a flood of wrong cookies", "40 bytes", "silence"}


def asked_at_once(rows: list[tuple[str, Answer]], limit_s: float) -> dict[str, ServerReport]:
    with contextlib.ExitStack() as stack:
        servers = {what: stack.enter_context(TimeServer(answer)).name for what, answer in rows}
        report = check_now(ClockCheckSettings(tuple(servers.values())), limit_s=limit_s, surroundings=NOWHERE)
    told = {one.server: one for one in report.servers}
    return {what: told[name] for what, name in servers.items()}


@pytest.fixture(scope="module")
def table() -> dict[str, ServerReport]:
    """Every row: those that answer us in one round, which ends with the last of them, the others until a deadline."""
    rows = [(what, answer) for what, answer, _ in (*REFUSED, *BOUNDED)]
    found = {**asked_at_once([row for row in rows if row[0] not in UNANSWERED], 10.0),
             **asked_at_once([row for row in rows if row[0] in UNANSWERED], 0.4)}
    print()
    for what, one in found.items():
        said = one.dropped if one.offset_s is None or what in dict.fromkeys(row[0] for row in REFUSED) else (
            f"{-one.offset_s:+.6f} s ± {one.bound_s or 0:.6f} s")
        print(f"  {what:32} {said}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("what", "reason"), [(row[0], row[2]) for row in REFUSED])
def test_a_bad_answer_is_refused_with_its_reason(table: dict[str, ServerReport], what: str, reason: str) -> None:
    assert table[what].offset_s is None
    assert reason in table[what].dropped


@pytest.mark.slow
@pytest.mark.parametrize(("what", "ahead_s"), [(row[0], row[2]) for row in BOUNDED])
def test_the_truth_lies_inside_the_bound(table: dict[str, ServerReport], what: str, ahead_s: float) -> None:
    one = table[what]
    assert one.offset_s is not None and one.bound_s is not None
    assert abs(one.offset_s - ahead_s) <= one.bound_s
    assert one.bound_s < 1.5


@pytest.mark.parametrize(("answer", "verdict"), [
    (faults.honest, Verdict.GOOD), (faults.off_by(5.0), Verdict.BAD), (faults.kiss(b"DENY"), Verdict.UNKNOWN),
])
def test_one_server_alone_suffices_for_a_verdict(answer: Answer, verdict: Verdict) -> None:
    with TimeServer(answer) as server:
        assert check_now(ClockCheckSettings((server.name,)), surroundings=NOWHERE).check.verdict is verdict


def test_a_flood_is_no_reason_to_listen_longer() -> None:
    with TimeServer(faults.flood_of_strangers) as server:
        began = time.monotonic()
        check_now(ClockCheckSettings((server.name,)), limit_s=4.0, surroundings=NOWHERE)
        assert time.monotonic() - began < 2.0
