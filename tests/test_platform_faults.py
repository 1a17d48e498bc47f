"""What goes wrong with the service of each platform: one sentence that says what it means, and no event is lost."""
from __future__ import annotations

import os
import random
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from asked_sources import failed, polled
from running_agent import World
from sampling import thinned
from tideover.model import Event, Kind
from tideover.observations import PollTrouble
from tideover.platforms import platform_named
from tideover.simulator import InjectedFault, TimeServer, load_simulator
from tideover.simulator.ec2_metadata import ROOT as AWS_ROOT, SCHEDULED, SPOT, TOKEN
from tideover.simulator.gce_metadata import MAINTENANCE, ROOT as GCP_ROOT
from tideover.simulator.service import SimulatedService
from tideover.sources import Source, SourceContext
from tideover.sources.aws import Ec2Source
from tideover.sources.azure import AzureSource
from tideover.sources.gcp import ComputeEngineSource
from tideover.sources.vsphere import VsphereSource

POLL_S = 0.2
GOOGLE = (("Metadata-Flavor", "Google"),)
OPENED: dict[str, Callable[[str], Source]] = {
    "azure": lambda endpoint: AzureSource(endpoint, "vm-1", first_call_s=POLL_S, later_call_s=POLL_S),
    "gcp": lambda endpoint: ComputeEngineSource(endpoint, poll_s=POLL_S),
    "aws": lambda endpoint: Ec2Source(endpoint, poll_s=POLL_S),
}
KEY = {"azure": "/metadata/scheduledevents", "gcp": (GCP_ROOT + MAINTENANCE).lower(), "aws": (AWS_ROOT + SCHEDULED).lower()}


@dataclass
class Asked:
    """A source of one platform that knows an event, and the service that it asks."""

    kind: str
    service: SimulatedService
    source: Source
    event: Event

    def goes_wrong(self, fault: InjectedFault, path: str = "", method: str = "GET", times: int | None = None) -> None:
        self.service.inject_fault(fault, path=path or KEY[self.kind], method=method, times=times)

    def still_lists_it(self) -> None:
        self.service.clear_faults()
        assert polled(self.source).document.events == (self.event,)


@pytest.fixture(params=sorted(OPENED))
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    simulator = load_simulator(platform_named(request.param))
    with simulator.open_service("vm-1") as service:
        source = OPENED[request.param](service.endpoint)
        polled(source)
        service.add_event(simulator.EVENT_WORDS.get("reboot", simulator.EVENT_WORDS["freeze"]), not_before_in_s=900.0)
        [event] = polled(source).document.events
        yield Asked(request.param, service, source, event)
        source.close()


STATUSES = {
    400: (PollTrouble.REFUSED, {}),
    401: (PollTrouble.REFUSED, {"aws": "token"}),
    403: (PollTrouble.REFUSED, {"gcp": "Metadata-Flavor", "aws": "HttpEndpoint"}),
    404: (PollTrouble.REFUSED, {"gcp": "no such key"}),
    429: (PollTrouble.THROTTLED, {name: "too many requests" for name in OPENED}),
    500: (PollTrouble.SERVER_ERROR, {name: "fault of the platform" for name in OPENED}),
    503: (PollTrouble.SERVER_ERROR, {"gcp": "live migration", "aws": "temporary"}),
    302: (PollTrouble.REDIRECTED, {name: "never followed" for name in OPENED}),
}


@pytest.mark.parametrize("status", thinned(list(STATUSES), 2))
def test_a_status_without_a_document_is_one_sentence_and_takes_no_event_away(asked, status):
    if status == 404 and asked.kind == "aws":
        pytest.skip("no list: see below")
    trouble, words = STATUSES[status]
    asked.goes_wrong(InjectedFault(status=status, headers=GOOGLE))
    news = failed(asked.source)
    assert news.trouble is trouble and f"answered {status}" in news.reason and words.get(asked.kind, "") in news.reason
    assert asked.service.endpoint in news.reason and "\n" not in news.reason and news.reason[-1] not in ":;"
    asked.still_lists_it()


BODIES = {
    "HTML": b"<html><body>Sign in</body></html>", "half a document": b'{"DocumentIncarnation": 1, "Ev', "no text": b"\xff\xfe\x00",
    "another document": b'{"a": {"b": 1}}', "a number": b"7", "deep": b"[" * 60_000, "empty": b"", "blank": b" \n",
}


@pytest.mark.parametrize("body", thinned(list(BODIES.values()), 2), ids=BODIES)
def test_a_200_that_is_no_document_is_one_sentence_and_takes_no_event_away(asked, body):
    asked.goes_wrong(InjectedFault(status=200, body=body, headers=GOOGLE), times=1)
    news = asked.source.poll()
    if hasattr(news, "document"):
        assert asked.kind == "aws" and news.document.left_out, "a list of which an entry cannot be used is known as that"
    else:
        assert news.trouble is PollTrouble.NO_DOCUMENT and "gave no document" in news.reason and "\n" not in news.reason
    asked.still_lists_it()


@pytest.mark.parametrize("fault", [
    pytest.param(InjectedFault(reset=True), id="reset"),
    pytest.param(InjectedFault(drop=True), id="dropped"),
    pytest.param(InjectedFault(raw=b"\r\n\r\n"), id="no HTTP"),
    pytest.param(InjectedFault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), id="cut off"),
    pytest.param(InjectedFault(delay_s=2.0), id="late", marks=pytest.mark.slow),
    pytest.param(InjectedFault(drip_s=0.05), id="byte by byte", marks=pytest.mark.slow),
])
def test_an_answer_that_does_not_arrive_is_one_sentence_within_the_time_of_a_poll(asked, fault):
    asked.goes_wrong(fault)
    began_s = time.monotonic()
    news = failed(asked.source)
    assert time.monotonic() - began_s < 1.8
    assert news.trouble is PollTrouble.NO_ANSWER and "\n" not in news.reason and "(" not in news.reason.partition("http")[0]
    asked.still_lists_it()


@pytest.mark.parametrize("body", [b"NONE", b"MIGRATE_ON_HOST_MAINTENANCE"])
def test_an_answer_without_googles_header_is_of_another_server(body):
    with load_simulator(platform_named("gcp")).open_service() as service:
        source = ComputeEngineSource(service.endpoint)
        service.inject_fault(InjectedFault(status=200, body=body))
        news = failed(source)
        assert news.trouble is PollTrouble.NO_DOCUMENT and "another server than Google's" in news.reason
        source.close()


# --- AWS: what a missing key means

@pytest.fixture
def amazon() -> Iterator[Any]:
    with load_simulator(platform_named("aws")).open_service() as service:
        yield service


@pytest.mark.parametrize("fault", [InjectedFault(status=404), InjectedFault(status=200, body=b"")], ids=["404", "empty"])
def test_a_list_that_is_missing_for_a_moment_takes_no_scheduled_event_away_and_one_that_stays_so_does(amazon, fault):
    now_s = [1000.0]
    source = Ec2Source(amazon.endpoint, read_raw_s=lambda: now_s[0])
    amazon.add_event("system-reboot")
    [event] = polled(source).document.events
    amazon.inject_fault(fault, path=AWS_ROOT + SCHEDULED, times=2)
    assert "though an event was listed" in failed(source).reason
    now_s[0] += 3.0
    assert "though an event was listed" in failed(source).reason
    assert polled(source).document.events == (event,)
    amazon.inject_fault(fault, path=AWS_ROOT + SCHEDULED, times=None)
    failed(source)
    now_s[0] += 4.0
    assert polled(source).document.events == ()
    source.close()


def test_a_spot_interruption_that_is_missing_once_goes_on(amazon):
    now_s = [1000.0]
    source = Ec2Source(amazon.endpoint, read_raw_s=lambda: now_s[0])
    amazon.add_event("spot-terminate", not_before_in_s=120.0)
    [event] = polled(source).document.events
    amazon.inject_fault(InjectedFault(status=404), path=AWS_ROOT + SPOT)
    for _ in range(2):
        now_s[0] += 5.0
        assert polled(source).document.events == (event,)
    amazon.inject_fault(InjectedFault(status=404), path=AWS_ROOT + SPOT, times=None)
    now_s[0] += 5.0
    assert polled(source).document.events == (event,)
    now_s[0] += 5.0
    assert polled(source).document.events == ()
    source.close()


@pytest.mark.parametrize("fault", [InjectedFault(status=403), InjectedFault(status=503), InjectedFault(reset=True),
                                   InjectedFault(status=200, body=b"\xff"), InjectedFault(status=200, body=b"a\r\nb"),
                                   InjectedFault(status=200, body=b"")],
                         ids=["403", "503", "reset", "no text", "two lines", "empty"])
def test_a_token_that_cannot_be_had_or_sent_back_is_one_sentence(amazon, fault):
    source = Ec2Source(amazon.endpoint)
    amazon.inject_fault(fault, method="PUT", path=TOKEN)
    assert "\n" not in failed(source).reason
    polled(source)
    source.close()


def test_a_planned_maintenance_of_google_that_is_missing_once_goes_on():
    now_s = [1000.0]
    with load_simulator(platform_named("gcp")).open_service() as service:
        source = ComputeEngineSource(service.endpoint, read_raw_s=lambda: now_s[0])
        service.add_event("PLANNED_MAINTENANCE", not_before_in_s=86400.0)
        [event] = polled(source).document.events
        missing = f"{GCP_ROOT}instance/upcoming-maintenance".lower()
        service.inject_fault(InjectedFault(status=404), path=missing)
        now_s[0] += 60.0
        document = polled(source).document
        assert document.events == (event,) and "404" in document.left_out
        now_s[0] += 4.0
        assert polled(source).document.left_out == ""
        service.inject_fault(InjectedFault(status=404), path=missing, times=None)
        now_s[0] += 60.0
        assert polled(source).document.events == (event,)
        now_s[0] += 4.0
        assert polled(source).document.events == ()
        source.close()


# --- VMware: a program that goes wrong

PROGRAMS = {
    "silent": ("exit 1", "no VM of VMware"), "NULL": ("echo NULL >&2; exit 1", "no VM of VMware"),
    "text": ("echo Permission denied; exit 1", "gave no document"), "cut": ("""printf '{"result": tr'""", "not JSON"),
    "killed": ("kill -9 $$", "no VM of VMware"), "hangs": ("exec sleep 30", "did not end within"),
    "hangs and was forked": ("sleep 30 & sleep 30", "did not end within"),
    "leaves a child that holds its output": ("sleep 3 & exit 1", ""),
    "prints without an end": ("exec yes abcdefghijklmnop", "printed more than"),
    "huge number": ("""echo '{"result": true, "eventType": "start", "operationId": 1e400}'""", "without an operation id"),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="shell scripts")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fault_of_vmware_tools_is_one_sentence_and_takes_no_event_away(tmp_path, name):
    script, words = PROGRAMS[name]
    host_module = load_simulator(platform_named("vsphere"))
    with host_module.open_service() as host:
        source = VsphereSource(str(host.program), "tideover", "this VM", SourceContext(tmp_path, lambda kind: True), call_s=0.5)
        polled(source)
        host.add_event("host-migration")
        [event] = polled(source).document.events
        broken = tmp_path / "vmtoolsd"
        broken.write_text(f"#!/bin/sh\n{script}\n")
        broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
        source._program = str(broken)
        began_s = time.monotonic()
        news = failed(source)
        assert time.monotonic() - began_s < 2.0
        assert words in news.reason and "\n" not in news.reason and len(news.reason) < 400
        source._program = str(host.program)
        assert polled(source).document.events == (event,)
        source.close()


# --- A real agent in the middle of them

@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("kind", ["gcp", "aws"])
def test_an_agent_amid_faults_carries_its_event_through_without_a_trace(tmp_path, kind):
    """A third of all answers go wrong."""
    simulator, dice = load_simulator(platform_named(kind)), random.Random(7)
    faults = [InjectedFault(status=status) for status in (401, 403, 404, 429, 500, 503)] + [
        InjectedFault(reset=True), InjectedFault(drop=True), InjectedFault(status=200, body=b"{"), InjectedFault(delay_s=0.3)]
    with simulator.open_service("vm-1") as service, TimeServer() as clock:
        world = World(tmp_path, service, clock, kind)
        world.hook("10-web")
        world.configure('[policy]\nprepare = "at-once"')
        answer = service._answer

        def go_wrong(request):
            if dice.random() < 0.33:
                service.inject_fault(dice.choice(faults), method=request.method, path=request.target.lower())
            return answer(request)

        try:
            world.start()
            time.sleep(1.0)         # what is there at the first look has been there for an unknown time
            service._server.answer = go_wrong
            event = service.add_event(simulator.EVENT_WORDS["freeze"], not_before_in_s=60.0)
            world.until(lambda: world.begun() == ["web prepare"], 60.0)
            time.sleep(2.0)
            service.platform_ahead_s = 61.0
            service.start_event(event)
            world.until(lambda: world.record().get("started_at"), 60.0)
            service.remove_event(event)
            world.until(lambda: world.record()["status"] == "closed", 60.0)
        finally:
            world.close()
        assert world.begun() == ["web prepare", "web recover"] and world.record()["outcome"] == "resumed"
        assert "Traceback" not in world.said() and "thread.failed" not in world.said()
        assert [record["kind"] for record in world.records() if record["kind"] != "unannounced"] == [Kind.FREEZE.value]
