"""The poller's rhythm, and that every acknowledgement is answered exactly once."""
from __future__ import annotations

import queue
import threading
import time
from datetime import UTC, datetime

import pytest

from tideover.effects import Acknowledge
from tideover.model import Document, Moment
from tideover.observations import AckOutcome, AckSettled, Polled, PollFailed
from tideover.simulator import InjectedFault, MetadataService
from tideover.sources.azure import AzureSource
from tideover.sources.poller import Acknowledger, Poller, back_off_s

GOOD, BAD = Polled(Document((), 0.0, 0.0), "me"), PollFailed("nobody there")


class Script:
    """A source that answers from a list, then goes on with its last line, and remembers when it was asked."""

    def __init__(self, *news: Polled | PollFailed) -> None:
        self.news = list(news)
        self.asked: list[float] = []
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()
        self.acknowledged: list[str] = []

    def poll(self) -> Polled | PollFailed:
        self.asked.append(time.monotonic())
        self.gate.wait(5)
        return self.news.pop(0) if len(self.news) > 1 else self.news[0]

    def acknowledge(self, event_id: str) -> tuple[AckOutcome, str]:
        self.acknowledged.append(event_id)
        self.gate.wait(5)
        return AckOutcome.REFUSED, "because"

    def identity(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True
        self.gate.set()


@pytest.fixture
def inbox():
    return queue.SimpleQueue()


@pytest.fixture
def polling(inbox):
    """Start a poller of a script; it is closed at the end."""
    pollers: list[Poller] = []

    def begin(source: Script, interval_s: float) -> Poller:
        pollers.append(Poller(inbox.put, source, interval_s, jitter=lambda low, high: high))
        pollers[-1].start()
        return pollers[-1]

    yield begin
    for poller in pollers:
        poller.close()


def test_each_poll_is_posted_and_the_next_starts_an_interval_after_its_start(inbox, polling):
    source = Script(GOOD)
    polling(source, 0.005)
    assert [inbox.get(timeout=2) for _ in range(6)] == [GOOD] * 6
    assert source.asked[5] - source.asked[0] >= 0.022


def test_failures_are_reported_each_and_make_the_polls_rarer_until_one_succeeds(inbox, polling):
    source = Script(GOOD, BAD, BAD, BAD, GOOD)
    polling(source, 0.003)
    assert [inbox.get(timeout=2) for _ in range(7)] == [GOOD, BAD, BAD, BAD, GOOD, GOOD, GOOD]
    waited = [later - sooner for sooner, later in zip(source.asked, source.asked[1:], strict=False)]
    assert waited[1] >= 0.006
    assert waited[2] >= 0.012
    assert waited[3] >= 0.024
    assert min(waited[4:6]) < 0.024


def test_the_back_off_grows_with_jitter_to_five_seconds_at_most():
    lowest = [back_off_s(n, 1.0, lambda low, high: low) for n in range(1, 6)]
    highest = [back_off_s(n, 1.0, lambda low, high: high) for n in (1, 2, 3, 4, 10_000)]
    assert (lowest, highest) == ([1.0, 2.0, 2.5, 2.5, 2.5], [2.0, 4.0, 5.0, 5.0, 5.0])
    assert back_off_s(9, 10.0, lambda low, high: low) == 10.0


def clock_in_strides(stride_s: int):
    """A clock that each reading finds `stride_s` later than the one before."""
    readings = iter(range(0, 10**9, stride_s))
    return lambda: Moment(datetime.now(UTC), float(next(readings)))


def test_a_poll_that_took_longer_than_the_interval_is_followed_by_the_next_at_once(inbox):
    poller = Poller(inbox.put, Script(GOOD), 60.0, now=clock_in_strides(100))
    poller.start()
    assert [inbox.get(timeout=2) for _ in range(3)] == [GOOD] * 3
    poller.close()


def test_a_failure_that_took_long_is_followed_by_a_rest(inbox):
    """With time-outs as long as the back-off there would be no pause between two polls at all."""
    source = Script(BAD)
    poller = Poller(inbox.put, source, 0.1, now=clock_in_strides(100))
    poller.start()
    inbox.get(timeout=2)
    inbox.get(timeout=2)
    poller.close()
    assert source.asked[1] - source.asked[0] >= 0.03       # without a rest it would be 0; a clock may tick every 16 ms


def test_poll_now_does_not_wait_for_the_interval(inbox, polling):
    poller = polling(Script(GOOD), 60.0)
    inbox.get(timeout=2)
    poller.poll_now()
    assert inbox.get(timeout=2) == GOOD
    with pytest.raises(queue.Empty):
        inbox.get(timeout=0.02)


def test_poll_now_during_a_poll_brings_another_one_asked_for_afterwards(inbox, polling):
    """A document asked for before the resume does not say what is so after it."""
    source = Script(GOOD)
    source.gate.clear()
    poller = polling(source, 60.0)
    while not source.asked:
        time.sleep(0.001)
    poller.poll_now()
    called = time.monotonic()
    source.gate.set()
    assert [inbox.get(timeout=2), inbox.get(timeout=2)] == [GOOD, GOOD]
    assert source.asked[1] > called


def test_the_status_tells_the_last_document_and_the_failures_since(inbox, polling):
    poller = polling(Script(BAD, BAD, GOOD, BAD), 60.0)
    assert (poller.status().last_good, poller.status().failures in {0, 1}) == (None, True)
    inbox.get(timeout=2)
    poller.poll_now()
    inbox.get(timeout=2)
    assert (poller.status().failures, poller.status().reason) == (2, "nobody there")
    poller.poll_now()
    inbox.get(timeout=2)
    good = poller.status()
    assert (good.failures, good.reason, good.last_good.utc.tzinfo is not None) == (0, "", True)
    poller.poll_now()
    inbox.get(timeout=2)
    assert (poller.status().failures, poller.status().last_good) == (1, good.last_good)


def test_a_closed_poller_tells_nothing_more_and_ends_the_poll_it_is_in(inbox):
    source = Script(GOOD)
    source.gate.clear()
    poller = Poller(inbox.put, source, 0.01)
    poller.start()
    while not source.asked:
        time.sleep(0.001)
    poller.close()
    assert source.closed
    assert len(source.asked) == 1
    assert inbox.empty()


def test_a_poller_that_was_never_started_can_be_closed(inbox):
    Poller(inbox.put, Script(GOOD)).close()


def test_polling_goes_on_through_every_fault_of_the_service(inbox):
    """Errors never end the agent; an event in the middle of them is still there afterwards."""
    with MetadataService("vm-1") as service:
        event_id = service.add_event()
        for fault in (InjectedFault(status=429), InjectedFault(body=b""), InjectedFault(reset=True), InjectedFault(raw=b"\0" * 50), InjectedFault(drop=True)):
            service.inject_fault(fault)
        poller = Poller(inbox.put, AzureSource(service.endpoint, "vm-1"), 60.0)
        poller.start()
        news = [inbox.get(timeout=2)]
        for _ in range(5):
            poller.poll_now()
            news.append(inbox.get(timeout=2))
        poller.close()
    assert [type(item) for item in news] == [PollFailed] * 5 + [Polled]
    assert [event.id for event in news[-1].document.events] == [event_id]


def test_an_acknowledgement_is_sent_and_reported_once(inbox):
    with MetadataService("vm-1") as service:
        event_id = service.add_event()
        acknowledger = Acknowledger(inbox.put, AzureSource(service.endpoint))
        acknowledger.start(Acknowledge(event_id, 2))
        assert inbox.get(timeout=2) == AckSettled(event_id, 2, AckOutcome.ACCEPTED, "")
        acknowledger.cancel(Acknowledge(event_id, 2).key)
        acknowledger.close()
        assert len(service.acknowledgements) == 1
    assert inbox.empty()


def test_starting_an_acknowledgement_never_blocks_and_what_left_is_reported_as_it_ends(inbox):
    """It cannot be called back."""
    source = Script(GOOD)
    source.gate.clear()
    acknowledger = Acknowledger(inbox.put, source)
    acknowledger.start(Acknowledge("e", 1))
    acknowledger.start(Acknowledge("f", 1))
    while len(source.acknowledged) < 2:
        time.sleep(0.001)
    acknowledger.cancel(Acknowledge("e", 1).key)
    assert inbox.empty()
    source.gate.set()
    told = {inbox.get(timeout=2), inbox.get(timeout=2)}
    assert told == {AckSettled(name, 1, AckOutcome.REFUSED, "because") for name in "ef"}
    acknowledger.close()
    assert inbox.empty()


def test_the_platform_is_asked_about_an_event_in_its_newest_spelling(inbox):
    source = Script(GOOD)
    acknowledger = Acknowledger(inbox.put, source)
    acknowledger.start(Acknowledge("AB-1", 1, "ab-1"))
    assert inbox.get(timeout=2).event_id == "AB-1" and source.acknowledged == ["ab-1"]
    acknowledger.close()


@pytest.mark.parametrize("attempts", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_one_called_off_before_it_left_is_not_sent_and_reported_as_lost(inbox, attempts):
    """In either order: one answer, and a sent one is never reported as unsent."""
    source = Script(GOOD)
    acknowledger = Acknowledger(inbox.put, source)
    for attempt in range(attempts):
        effect = Acknowledge(f"event-{attempt}", attempt)
        acknowledger.start(effect)
        acknowledger.cancel(effect.key)
        told = inbox.get(timeout=2)
        unsent = told.outcome is AckOutcome.LOST and "before it was sent" in told.reason
        assert unsent is (effect.event_id not in source.acknowledged)
    acknowledger.close()
    assert inbox.empty()


def test_closing_waits_for_the_answer_of_what_has_left(inbox):
    """The answer settles the event for good; without it the next start would have to ask again."""
    source = Script(GOOD)
    source.gate.clear()
    acknowledger = Acknowledger(inbox.put, source)
    acknowledger.start(Acknowledge("e", 1))
    while not source.acknowledged:
        time.sleep(0.001)
    threading.Timer(0.01, source.gate.set).start()
    acknowledger.close()
    assert inbox.get_nowait().outcome is AckOutcome.REFUSED
