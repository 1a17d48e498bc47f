"""The figures as Prometheus reads them, and the two ways they are handed out."""
from __future__ import annotations

import http.client
import math
import os
import socket
import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from lives import BAD, GOOD, Life, at, event
from tideover.metrics.collector import CONTENT_TYPE, FleetPresent, MetricsCollector, Present
from tideover.metrics.exporters import MetricsPage, Textfile, replace_file
from tideover.observations import PollTrouble

NOTHING = Present(Life().state, None, True, None, ("drain",), ("media",), at(0).utc)


class Watched:
    """Figures of a present that can be changed."""

    def __init__(self, present: Present = NOTHING) -> None:
        self.present = present
        self.figures = MetricsCollector(lambda: self.present, lambda: at(0))

    def read(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """By name and the labels' values, in the order of the labels' names."""
        return {(sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(self.figures.text().decode()) for sample in family.samples}

    def value(self, name: str, *labels: str) -> float:
        return self.read()[name, labels]


def test_what_can_be_counted_is_there_from_the_start_with_0():
    """A counter that is born with 1 has no increase a rule could see."""
    found = Watched().read()
    for name, *labels in (("tideover_events_total", "preempt", "missed"), ("tideover_hook_runs_total", "drain", "hook", "timed-out", "prepare"),
                          ("tideover_hook_runs_total", "media", "application", "done", "recover"),
                          ("tideover_acknowledgements_total", "lost"), ("tideover_pauses_total", "false", "vm-pause"),
                          ("tideover_poll_errors_total", "throttled"), ("tideover_pause_seconds_count",),
                          ("tideover_recoveries_pending", "failed")):
        assert found[name, tuple(labels)] == 0
    assert not [name for name, _ in found if name.endswith("_created")]


def test_what_is_unknown_is_nan_and_never_0():
    watched = Watched()
    for name in ("next_not_before_timestamp_seconds", "clock_offset_seconds", "clock_error_bound_seconds",
                 "clock_checked_timestamp_seconds"):
        assert math.isnan(watched.value(f"tideover_{name}")), name
    assert watched.value("tideover_clock_verdict", "unknown") == 1
    watched.present = replace(NOTHING, clock=replace(BAD, checked_at=at(5).utc))
    assert (watched.value("tideover_clock_offset_seconds"), watched.value("tideover_clock_error_bound_seconds")) == (-4.0, 0.01)
    assert (watched.value("tideover_clock_verdict", "bad"), watched.value("tideover_clock_verdict", "unknown")) == (1, 0)
    assert watched.value("tideover_clock_checked_timestamp_seconds") == at(5).utc.timestamp()


def test_a_machine_without_a_platform_to_ask_has_no_last_poll():
    watched = Watched()
    assert watched.value("tideover_poll_last_success_timestamp_seconds") == 0
    watched.present = replace(NOTHING, last_poll_at=at(7).utc)
    assert watched.value("tideover_poll_last_success_timestamp_seconds") == at(7).utc.timestamp()
    watched.present = replace(NOTHING, asks_platform=False)
    assert "tideover_poll_last_success_timestamp_seconds" not in watched.figures.text().decode()


def test_a_life_is_in_the_figures_and_no_events_id_among_them():
    watched, life = Watched(), Life()

    def live(act):
        before, known = life.state, len(life.entries)
        act()
        watched.figures.on_transition(before, life.state, tuple(life.entries[known:]))
        watched.present = replace(watched.present, state=life.state)

    live(lambda: life.polled(event("A-SECRET-ID")))
    assert watched.value("tideover_state", "preparing") == 1 and watched.value("tideover_state", "idle") == 0
    assert watched.value("tideover_next_not_before_timestamp_seconds") == at(900).utc.timestamp()
    for act in (life.settle, life.acknowledged, life.paused, lambda: life.judged(GOOD), lambda: life.after(5.0),
                life.polled, lambda: life.judged(GOOD), lambda: life.after(5.0), life.settle):
        live(act)
    found = watched.read()
    assert found["tideover_events_total", ("freeze", "resumed")] == 1
    assert found["tideover_hook_runs_total", ("drain", "hook", "done", "recover")] == 1
    assert found["tideover_notice_seconds_bucket", ("900.0",)] == 1 and found["tideover_notice_seconds_bucket", ("600.0",)] == 0
    assert found["tideover_pause_seconds_sum", ()] == 5.0
    assert "SECRET" not in watched.figures.text().decode()


def test_what_is_said_of_a_fleet_is_there_only_where_there_is_one():
    """An agent without [fleet] writes what it wrote before."""
    watched = Watched()
    assert not [name for name, _ in watched.read() if name.startswith("tideover_fleet_")]
    watched.present = replace(NOTHING, fleet=FleetPresent(2, None, None))
    assert (watched.value("tideover_fleet_slots"), watched.value("tideover_fleet_members", "idle")) == (2, 1)
    assert math.isnan(watched.value("tideover_fleet_store_up"))
    watched.present = replace(NOTHING, fleet=FleetPresent(2, False, at(5).utc))
    watched.figures.store_requested("put", "conflict", 0.002)
    found = watched.read()
    assert (found["tideover_fleet_store_up", ()], found["tideover_fleet_slots_in_use", ("true",)]) == (0, 0)
    assert found["tideover_fleet_store_last_success_timestamp_seconds", ()] == at(5).utc.timestamp()
    assert (found["tideover_fleet_store_requests_total", ("put", "conflict")], found["tideover_fleet_store_requests_total", ("get", "ok")]) == (1, 0)
    assert found["tideover_fleet_store_request_duration_seconds_count", ()] == 1
    assert found["tideover_fleet_acknowledgements_total", ("by-peer",)] == 0


def test_polls_are_counted_and_those_that_failed_by_why():
    watched = Watched()
    watched.figures.polled(None)
    watched.figures.polled(PollTrouble.SERVER_ERROR)
    assert watched.value("tideover_polls_total") == 2
    assert watched.value("tideover_poll_errors_total", "server-error") == 1


def test_a_journal_that_cannot_be_written_shows():
    watched = Watched()
    assert watched.value("tideover_journal_writable") == 1
    watched.figures.on_journal_unwritable(OSError())
    assert watched.value("tideover_journal_writable") == 0
    watched.figures.on_journal_writable()
    assert watched.value("tideover_journal_writable") == 1


# --- over HTTP ----------------------------------------------------------------------------------------------------

@pytest.fixture
def page():
    made = MetricsPage("127.0.0.1", 0, lambda: b"figures\n", CONTENT_TYPE)
    yield made
    made.close()


def ask(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


def test_it_shows_the_figures_and_nothing_else(page):
    assert ask(page.port) == ask(page.port, "/metrics?x=1") == (200, CONTENT_TYPE, "figures\n")
    assert ask(page.port, method="HEAD") == (200, CONTENT_TYPE, "")
    assert ask(page.port, "/")[0] == 404 and ask(page.port, method="DELETE")[0] == 405


def test_a_client_that_does_not_read_a_large_answer_delays_no_other():
    big = MetricsPage("127.0.0.1", 0, lambda: b"x" * (16 << 20), CONTENT_TYPE)
    with socket.create_connection(("127.0.0.1", big.port)) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        begun = time.monotonic()
        assert ask(big.port, "/")[0] == 404
        assert time.monotonic() - begun < 0.5
        whole = socket.create_connection(("127.0.0.1", big.port))
        whole.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        with whole.makefile("rb") as file:
            assert len(file.read()) > 16 << 20, "and one that reads gets all of it"
        whole.close()
    big.close()


# --- as a file ----------------------------------------------------------------------------------------------------

def test_a_file_is_replaced_whole_and_readable_by_all_and_leaves_nothing_beside_it(tmp_path):
    place = tmp_path / "tideover.prom"
    place.write_text("old")
    (tmp_path / ".tideover.prom.part").write_text("left by a crash")
    with place.open() as reader:
        before = os.umask(0o077)        # the service's
        replace_file(place, b"new")
        os.umask(before)
        assert reader.read() == "old", "who reads the old file reads it to its end"
    assert place.read_bytes() == b"new" and place.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [place]


def test_a_link_that_was_left_at_the_new_files_name_is_not_followed(tmp_path):
    victim = tmp_path / "shadow"
    victim.write_text("secret")
    victim.chmod(0o600)
    (tmp_path / ".tideover.prom.part").symlink_to(victim)
    replace_file(tmp_path / "tideover.prom", b"new")
    assert victim.read_text() == "secret" and victim.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_reported_and_tried_again(tmp_path):
    told: list[str | None] = []
    place = tmp_path / "not-there" / "tideover.prom"
    writer = Textfile(place, lambda: b"figures", told.append)
    end = time.monotonic() + 10
    while not told and time.monotonic() < end:
        time.sleep(0.005)
    assert told[0] is not None and str(place) in told[0] and "make its directory" in told[0]
    place.parent.mkdir()
    writer.close()
    assert told[-1] is None and place.read_bytes() == b"figures", "closing writes a last time"


def test_what_happened_during_the_last_regular_write_is_written_before_the_end(tmp_path):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def text() -> bytes:
        begun.release()
        go_on.wait(10)
        return b"figures"

    writer = Textfile(tmp_path / "tideover.prom", text, lambda trouble: None)
    assert begun.acquire(timeout=10)
    closing = threading.Thread(target=writer.close)
    closing.start()
    while not writer._closing.is_set():
        time.sleep(0.001)
    go_on.set()
    closing.join(10)
    assert begun.acquire(blocking=False), "once more, after the one that was under way"
