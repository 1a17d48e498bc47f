"""The network lies, drips, floods and goes away: an event goes on where it was, and no clock is called good that is not."""
from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import time_faults
from faults.table import tell, trial
from faults.wire import Gate
from running_agent import World, world
from tideover.simulator import InjectedFault, TimeServer

slow = pytest.mark.slow
DOWN_S = 12.0           # minutes, scaled: the agent polls ten times as often here, until it backs off to 5 s


@contextmanager
def gated(home: Path, more: str = ""):
    """A world whose metadata service is behind a gate."""
    with world(home) as here:
        gate = Gate(here.metadata.endpoint)
        here.configure(more)
        file = home / "tideover.toml"
        file.write_text(file.read_text().replace(here.metadata.endpoint, gate.endpoint))
        try:
            yield here, gate
        finally:
            gate.shut()


def posts(here: World) -> int:
    return sum(request.method == "POST" for request in here.metadata.requests)


def expect_a_usual_end(here: World, event_id: str) -> None:
    here.until(lambda: here.record()["status"] == "started", 40)
    here.metadata.remove_event(event_id)
    here.until(lambda: here.record()["status"] == "closed", 40)
    assert here.begun() == ["first prepare", "first recover"] and len(here.metadata.acknowledgements) == 1
    assert here.agents[-1].poll() is None and "Traceback" not in here.said()


@slow
@pytest.mark.parametrize("how", ["refused", "swallowed"])
@pytest.mark.parametrize("when", ["prepared", "started"])
def test_a_service_that_is_away_for_long_ends_nothing(tmp_path, how, when):
    with trial(f"metadata service {how}", f"{DOWN_S:.0f} s (minutes, scaled), while {when}", "nothing recovered, nothing told twice, goes on"), \
            gated(tmp_path) as (here, gate):
        here.hook("10-first", f'[ {when} = started ] || [ "$1" = recover ] || while [ ! -e {tmp_path}/go ]; do sleep 0.05; done')
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.begun() == ["first prepare"] if when == "prepared" else here.record()["status"] == "started")
        if how == "refused":
            gate.shut()
        else:
            gate.swallow = True
        (tmp_path / "go").touch()
        time.sleep(DOWN_S)
        assert here.begun() == ["first prepare"] and here.agents[-1].poll() is None
        assert here.ask("status")["source"]["failures"] >= 1 and here.said().count("poll.failed") <= 3
        if how == "refused":
            gate.open()
        else:
            gate.swallow = False
            gate.cut()
        expect_a_usual_end(here, event_id)


@slow
def test_the_first_answer_may_take_110_seconds(tmp_path):
    """The first call turns the feature on, which may take two minutes (Azure's documentation). A client that asks meanwhile is
    held back too."""
    with trial("first answer after 110 s", "the simulator holds all back", "waited for, then all as ever"), world(tmp_path) as here:
        here.hook("10-first")
        event_id = here.freeze(not_before_in_s=600)
        here.metadata.inject_fault(InjectedFault(delay_s=110.0), times=None)
        here.start()
        time.sleep(100)
        assert here.begun() == [] and here.agents[-1].poll() is None and here.ask("status")["source"]["failures"] == 0
        time.sleep(9)
        here.metadata.clear_faults()
        here.until(lambda: here.metadata.acknowledgements, 60)
        expect_a_usual_end(here, event_id)


@slow
@pytest.mark.parametrize(("what", "fault"), [
    ("drip-fed body", InjectedFault(drip_s=0.05)), ("cut body", InjectedFault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"Events\":[")),
    ("empty body", InjectedFault(body=b"")), ("Events null", InjectedFault(body=b'{"Events":null}')), ("a page of HTML", InjectedFault(body=b"<html>login</html>")),
    ("500", InjectedFault(status=500, body=b"")), ("410", InjectedFault(status=410, body=b"")), ("reset", InjectedFault(reset=True)),
    ("header without end", InjectedFault(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000)), ("no HTTP", InjectedFault(raw=bytes(range(256)) * 100))])
def test_an_answer_that_is_none_ends_no_event(tmp_path, what, fault):
    with trial(f"answers: {what}", "for every poll of an open event", "no event vanishes, then goes on"), world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.inject_fault(fault, times=None)
        here.until(lambda: "poll.failed" in here.said(), 30)
        time.sleep(3.0)
        assert here.begun() == ["first prepare"] and here.record()["status"] == "started"
        here.metadata.clear_faults()
        here.until(lambda: "poll.recovered" in here.said(), 30)
        expect_a_usual_end(here, event_id)


@slow
@pytest.mark.parametrize("carried_out", [True, False])
def test_a_reset_in_the_answer_to_the_acknowledgement_is_decided_by_a_fresh_document(tmp_path, carried_out):
    """Carried out: the document says Started, and it is not sent again. Not carried out: it is."""
    made = "after it was carried out" if carried_out else "before it was carried out"
    with trial("reset in the answer to the POST", made, "told again only if still Scheduled"), gated(tmp_path) as (here, gate):
        here.hook("10-first")
        if carried_out:
            gate.reset_posts = 1
        else:
            here.metadata.inject_fault(InjectedFault(reset=True), method="POST", times=1)
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        expect_a_usual_end(here, event_id)
        assert posts(here) == (1 if carried_out else 2)
        assert "acknowledgement-lost" in here.said()


@contextmanager
def another_program(here: World):
    """Another program in this VM that asks in bursts of six: for most of each second, five a second are used up."""
    stop, place = threading.Event(), urlsplit(here.metadata.endpoint)

    def ask() -> None:
        while not stop.wait(1.4):
            for _ in range(6):
                with suppress(OSError), socket.create_connection((place.hostname, place.port)) as line:
                    line.sendall(b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\nMetadata: true\r\nConnection: close\r\n\r\n")
                    line.recv(100)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join()


@slow
def test_a_storm_of_429_delays_and_loses_nothing(tmp_path):
    """Other programs of the VM use up the five requests a second; every kind of request is hit, the POST too."""
    with trial("429 storm", "the platform's 5 a second, used up in bursts by another program; 3 POSTs refused",
               "acknowledged once, recovered once"), world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        here.metadata.requests_per_s = 5
        here.metadata.inject_fault(InjectedFault(status=429, body=b"Throttle Result: Too Many Requests"), method="POST", times=3)
        with another_program(here):
            event_id = here.freeze(not_before_in_s=600)
            here.until(lambda: here.metadata.acknowledgements, 120)
            here.until(lambda: here.record()["status"] == "started", 60)
        here.metadata.requests_per_s = None
        expect_a_usual_end(here, event_id)
        assert posts(here) >= 4 and "answered 429" in here.said()


@slow
def test_an_old_document_that_is_replayed_acknowledges_nothing_twice(tmp_path):
    """A cache answers with yesterday's list: what was acknowledged is not acknowledged again, what is prepared is recovered."""
    with trial("old documents replayed", "the list of a closed event, ten polls long", "no second acknowledgement; prepared = recovered"), \
            world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        old = json.dumps({"DocumentIncarnation": 2, "Events": [{
            "EventId": event_id, "EventStatus": "Scheduled", "EventType": "Freeze", "ResourceType": "VirtualMachine", "Resources": ["vm-1"],
            "NotBefore": "", "Description": "", "EventSource": "Platform", "DurationInSeconds": 5}]}).encode()
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.inject_fault(InjectedFault(body=old), times=10)          # Started, then Scheduled again
        time.sleep(1.5)
        assert here.record()["status"] == "started"
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed")
        here.metadata.inject_fault(InjectedFault(body=old), times=10)          # gone, then there again
        time.sleep(2.0)
        here.until(lambda: all(record["status"] == "closed" for record in here.records()))
        here.until(lambda: here.ask("status")["recover_pending"] == [])
        assert posts(here) == 1 and here.begun().count("first prepare") == here.begun().count("first recover")


# ---- outside time ----

def clock_told(tmp_path: Path, servers: list[str], deadline: str = "4s") -> tuple[str, float, World]:
    """Play a freeze against these servers; return the verdict that recover got, and how long it had waited."""
    with world(tmp_path, time_offset_s=None) as here:
        here.hook("10-first")
        here.configure("", deadline=deadline)
        file = tmp_path / "tideover.toml"
        file.write_text(file.read_text().replace("servers = []", f"servers = {json.dumps(servers)}"))
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(event_id)
        begin = time.monotonic()
        here.until(lambda: "first recover" in here.begun(), 40)
        waited_s = time.monotonic() - begin
        here.until(lambda: here.record()["status"] == "closed")
        told = next(line[6] for line in here.lines() if line[2] == "recover")
        assert here.agents[-1].poll() is None and "Traceback" not in here.said()
        assert told == here.record()["clock"]["verdict"]
        return told, waited_s, here


@slow
@pytest.mark.parametrize(("what", "offsets", "verdict"), [
    ("one of three lies", (0.0, 0.0, 4.0), "good"), ("two lie together", (4.0, 4.0, 0.0), "bad"),
    ("one confirms our wrong clock", (4.0, 4.001, 0.0), "bad"), ("all differ", (4.0, -4.0, 0.0), "unknown"),
    ("two of two differ", (0.0, 4.0), "unknown"), ("one is silent, two are right", (0.0, 0.0, None), "good"),
    ("two are silent", (0.0, None, None), "good"), ("all are silent", (None, None, None), "unknown")])
def test_time_servers_that_lie_or_are_silent_never_make_a_wrong_clock_good(tmp_path, what, offsets, verdict):
    """Only where more than half agree with this machine is it good; else recover waits for the owner's deadline."""
    with trial(f"time servers: {what}", "simulated servers, 4 s off", f"told {verdict}; waits for the deadline unless good"), ExitStack() as stack:
        servers = [stack.enter_context(TimeServer(offset_s or 0.0)) for offset_s in offsets]
        for server, offset_s in zip(servers, offsets, strict=True):
            server.silent = offset_s is None
        told, waited_s, _ = clock_told(tmp_path, [server.address for server in servers])
        assert told == verdict and (verdict == "good" or waited_s > 3.0), (told, waited_s)


def replaying() -> time_faults.Answer:
    """The first answer of a good server, sent again to every later question: its cookie is the first question's."""
    first: list[time_faults.Reply] = []

    def answer(question):
        if not first:
            first.append(time_faults.Reply(question.packet(-4.0).data()))
        return list(first)
    return answer


@slow
@pytest.mark.parametrize(("what", "answer", "verdict"), [
    ("old answers replayed", None, "unknown"), ("a flood of wrong packets", time_faults.flood_of_strangers, "unknown"),
    ("a flood from elsewhere", time_faults.flood_from_another_address, "unknown"), ("forged answers first", time_faults.strangers_then_honest, "good"),
    ("two answers to one question", time_faults.twice_differently, "good"), ("kiss of death", time_faults.kiss(b"DENY"), "unknown"),
    ("no times", time_faults.without_times, "unknown")])
def test_packets_that_answer_no_question_of_ours_prove_nothing(tmp_path, what, answer, verdict):
    with trial(f"time: {what}", "a hostile server on loopback", f"told {verdict}"), \
            time_faults.TimeServer(answer or replaying()) as server:
        if answer is None:
            spend_the_first_answer(server)
        told, _, here = clock_told(tmp_path, [server.name])
        assert told == verdict, here.said()


def spend_the_first_answer(server: time_faults.TimeServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        asker.sendto(b"\x23" + bytes(39) + b"original", (server.host, server.port))
        assert asker.recv(512)[24:32] == b"original"


@slow
def test_a_flood_at_every_port_of_the_agent_does_not_keep_it_from_its_work(tmp_path):
    """A host on the network sends anything as fast as he can, while an honest server answers too."""
    with trial("a flood of packets", "10 000 to each question, beside an honest server", "good, at once, memory flat"), \
            TimeServer(0.0) as honest, time_faults.TimeServer(time_faults.flood_of_strangers) as flood:
        told, waited_s, _ = clock_told(tmp_path, [honest.address, flood.name])
        tell(f"beside a flood of packets the clock was judged and recover begun after {waited_s:.2f} s")
        assert told == "good" and waited_s < 10.0


def test_the_gate_of_these_proofs_lets_through_what_it_should(tmp_path):
    """A proof that cannot fail is none: through an open gate all is well, through a shut one there is no answer."""
    from tideover.observations import Polled, PollFailed
    from tideover.platforms import AZURE
    from tideover.settings.values import SourceSettings
    from tideover.simulator import MetadataService
    from tideover.sources import open_source
    with MetadataService("vm-1") as service:
        gate = Gate(service.endpoint)
        source = open_source(AZURE, SourceSettings("azure", gate.endpoint, 1.0, "vm-1"))
        assert source is not None and isinstance(source.poll(), Polled)
        gate.shut()
        assert isinstance(source.poll(), PollFailed)
        source.close()


@slow
def test_a_first_connection_that_is_swallowed_after_a_restart_does_not_keep_a_prepared_application_waiting(tmp_path):
    """The agent was killed, and the event ended, while no agent ran: only a document can tell, and the first question is
    never answered."""
    with trial("metadata service", "the first connection after a restart is swallowed", "recovered within 10 s"), \
            gated(tmp_path) as (here, gate):
        here.hook("10-first")
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "started")
        here.kill()
        here.metadata.remove_event(event_id)
        gate.swallow_next = 1
        began = time.monotonic()
        here.start()
        here.until(lambda: "first recover" in here.begun(), 60)
        tell(f"recovered after {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < 10.0 and gate.swallow_next == 0


@slow
def test_a_pending_recover_needs_no_document(tmp_path):
    """The agent was killed while it recovered, and the platform answers no more."""
    with trial("metadata service", "swallows all, from a restart within recover on", "recovered as ever"), \
            gated(tmp_path) as (here, gate):
        here.hook("10-first", f'[ "$1" = prepare ] || [ -e {tmp_path}/go ] || sleep 60')
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(event_id)
        here.until(lambda: "first recover" in here.begun())
        here.kill()
        (tmp_path / "go").touch()
        gate.swallow = True
        asked, began = gate.taken, time.monotonic()
        here.start(asks=False)
        here.until(lambda: here.record()["status"] == "closed")
        assert time.monotonic() - began < 10.0
        here.until(lambda: gate.taken > asked)      # it may have been that quick


@slow
@pytest.mark.parametrize("date", ["Mon, 01 Jan 0001 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_date_that_is_years_off_keeps_no_event_from_being_prepared_and_is_reported(tmp_path, date):
    with trial("metadata service", f"Date: {date}", "prepared, told"), world(tmp_path) as here:
        here.hook("10-first")
        body = json.dumps({"DocumentIncarnation": 2, "Events": [{
            "EventId": "E1", "EventStatus": "Scheduled", "EventType": "Freeze", "ResourceType": "VirtualMachine",
            "Resources": [here.metadata.vm_name], "NotBefore": formatdate(time.time() + 900, usegmt=True),
            "EventSource": "Platform", "DurationInSeconds": 5}]}).encode()
        wrong = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        here.metadata.inject_fault(InjectedFault(raw=wrong), path="/metadata/scheduledevents", times=None)
        here.start()
        here.until(lambda: here.begun() == ["first prepare"])
        here.until(lambda: "date.failed" in here.said())
        assert "Traceback" not in here.said()
