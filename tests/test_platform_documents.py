"""Every captured document of another platform: its simulator replays it byte for byte, and the source that reads it gives
the event that the document means, or refuses it in a sentence."""
from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampling import thinned
from tideover.http_client import HttpClient
from tideover.model import Kind
from tideover.observations import AckOutcome, Polled, PollFailed
from tideover.simulator import InjectedFault
from tideover.simulator.ec2_metadata import (
    HISTORY,
    LIFECYCLE,
    REBALANCE,
    ROOT as AWS_ROOT,
    SCHEDULED,
    SPOT,
    TOKEN,
    TOKEN_HEADER,
    TTL_HEADER,
    Ec2MetadataService,
)
from tideover.simulator.gce_metadata import MAINTENANCE, ROOT as GCP_ROOT, GceMetadataServer
from tideover.simulator.service import SimulatedService
from tideover.simulator.vmware_tools import VmwareHost
from tideover.sources import Source, SourceContext
from tideover.sources.aws import Ec2Source
from tideover.sources.gcp import ComputeEngineSource
from tideover.sources.vsphere import REGISTERED, VsphereSource

DOCUMENTS = Path(__file__).parent / "platform_documents"
CUT_OFF = ("reset", "broken pipe", "closed without an answer")
NOTHING: list[tuple[Kind, bool, str]] = []
UPCOMING, PREEMPTED = "instance/upcoming-maintenance", "instance/preempted"
MIGRATES, STOPS = [(Kind.FREEZE, False, "soon")], [(Kind.REDEPLOY, False, "soon")]

# Document: the key that it is the answer of, and what is listed then: kind, started, NotBefore; or words of the refusal.
GCP = {
    "gcp_maintenance-event_1-none.txt": (MAINTENANCE, NOTHING),
    "gcp_maintenance-event_2-migrate.txt": (MAINTENANCE, MIGRATES),
    "gcp_maintenance-event_3-terminate.txt": (MAINTENANCE, STOPS),
    "gcp_maintenance-event_old-word.txt": (MAINTENANCE, STOPS),
    "yandex_maintenance-event_migrate.txt": (MAINTENANCE, MIGRATES),
    "yandex_maintenance-event_terminate.txt": (MAINTENANCE, STOPS),
    "gcp_preempted_false.txt": (PREEMPTED, NOTHING),
    "gcp_preempted_true.txt": (PREEMPTED, [(Kind.PREEMPT, True, "")]),
    "gcp_upcoming-maintenance_alt-text.txt": (UPCOMING, [(Kind.FREEZE, False, "2024-07-29T14:19:57")]),
    "gcp_upcoming-maintenance_doc-not-json.txt": (UPCOMING, "upcoming-maintenance is not JSON"),
    "gcp_upcoming-maintenance_none-1-error.json": (UPCOMING, NOTHING),
    "gcp_upcoming-maintenance_none-2-empty.json": (UPCOMING, NOTHING),
    "gcp_upcoming-maintenance_none-3-word.txt": (UPCOMING, NOTHING),
    "gcp_api_upcomingMaintenance.json": (UPCOMING, [(Kind.FREEZE, False, "2024-11-01T19:00:00")]),
    "gcp_api_upcomingMaintenance_peer-fixture.json": (UPCOMING, [(Kind.FREEZE, False, "2023-06-21T15:57:53")]),
    "gcp_drift-token.txt": ("instance/virtual-clock/drift-token", NOTHING),
    "gcp_shutdownDetails_emulator.json": (UPCOMING, "neither a window nor a status"),     # of a key that is not asked for
    "gcp_headers_captured.txt": ("instance/id", NOTHING),
    "gcp_headers_emulator.txt": (MAINTENANCE, NOTHING),
    "gcp_403_missing-header_emulator.txt": (MAINTENANCE, "header did not arrive as sent"),
}
STOP, REBOOT = (Kind.TERMINATE, False), (Kind.REBOOT, False)
AWS = {
    "aws_400.html": (SCHEDULED, "answered 400"),
    "aws_401.html": (SCHEDULED, "answered 401"),
    "aws_404.html": (SCHEDULED, NOTHING),
    "aws_api_describe-instance-status_doc.json": (SCHEDULED, "entry 1 has no EventId"),
    "aws_asg_1-inservice.txt": (LIFECYCLE, NOTHING),
    "aws_asg_2-terminated.txt": (LIFECYCLE, [(Kind.TERMINATE, False, "")]),
    "aws_history_doc.json": (HISTORY, NOTHING),
    "aws_rebalance_aemm.json": (REBALANCE, [(Kind.PREEMPT, False, "")]),
    "aws_rebalance_doc.json": (REBALANCE, [(Kind.PREEMPT, False, "")]),
    "aws_scheduled_0-empty.json": (SCHEDULED, NOTHING),
    "aws_scheduled_2018-08-17_empty-body.txt": (SCHEDULED, NOTHING),
    "aws_scheduled_aemm-array.json": (SCHEDULED, NOTHING),                  # completed
    "aws_scheduled_aemm-readme-object.json": (SCHEDULED, NOTHING),
    "aws_scheduled_canceled_nth-fixture.json": (SCHEDULED, NOTHING),
    "aws_scheduled_instance-stop_captured.json": (SCHEDULED, [(*STOP, "2021-01-01T02:00:00")]),
    "aws_scheduled_system-reboot_doc.json": (SCHEDULED, [(*REBOOT, "2019-01-21T09:00:43")]),
    "aws_spot_instance-action_aemm.json": (SPOT, [(Kind.PREEMPT, True, "2020-04-24T17:11:44")]),
    "aws_spot_instance-action_doc.json": (SPOT, [(Kind.PREEMPT, True, "2017-09-18T08:22:00")]),
    "aemm_http_400_bad-ttl.txt": (TOKEN, "answered 400 to the request for a token"),
    "aemm_http_401_no-token.txt": (SCHEDULED, "answered 401"),
    "aemm_http_404_history.txt": (HISTORY, NOTHING),
    "aemm_http_404_rebalance-before-delay.txt": (REBALANCE, NOTHING),
    "aemm_http_404_scheduled-in-spot-mode.txt": (SCHEDULED, NOTHING),
    "aemm_http_404_spot-in-events-mode.txt": (SPOT, NOTHING),
    "aemm_http_asg.txt": (LIFECYCLE, NOTHING),
    "aemm_http_scheduled.txt": (SCHEDULED, [(*STOP, "2026-12-01T01:03:47")]),
    "aemm_http_spot_instance-action.txt": (SPOT, [(Kind.PREEMPT, True, "2026-11-28T04:15:12")]),      # hibernate
    "aemm_http_spot_termination-time.txt": (SPOT, "spot/instance-action is not JSON"),    # of a key that is not asked for
    "aemm_http_token.txt": (TOKEN, "gave no document"),     # its token was replaced by a shorter one: an answer cut off
}
# Document: the verb that it is the reply to, and what is listed then; or words of the refusal.
VSPHERE = {
    "vsphere_register_ok.json": ("register", NOTHING),
    "vsphere_error_register_1-limit.json": ("register", "another program of this VM is registered"),
    "vsphere_error_register_2-not-enabled.json": ("register", "not enabled for this VM"),
    "vsphere_check_1-nothing.json": ("check-for-event", NOTHING),
    "vsphere_check_2-start.json": ("check-for-event", MIGRATES),
    "vsphere_check_3-end.json": ("check-for-event", NOTHING),
    "vsphere_check_4-timeout-change.json": ("check-for-event", NOTHING),
    "vsphere_error_unregister_unknown-token.json": ("check-for-event", "no longer knows the registration"),
    "vsphere_ack_ok.json": ("ack-event", NOTHING),
    "vsphere_list_ok.json": ("list", NOTHING),
    "vsphere_unregister_ok.json": ("unregister", NOTHING),
    "vsphere_debian12_outside-vmware.txt": ("", "may be no VM of VMware"),
}


def test_no_document_is_left_out():
    """Those of machines (dmi_…) are in test_platforms.py."""
    named = {*GCP, *AWS, *VSPHERE}
    assert named == {path.name for path in DOCUMENTS.iterdir() if not path.name.startswith("dmi_")}
    assert len(named) == len(GCP) + len(AWS) + len(VSPHERE)


def listed(news: Polled | PollFailed) -> Any:
    """What a poll brought, as the tables have it; a sentence if it brought none, or not all."""
    if isinstance(news, PollFailed):
        assert "\n" not in news.reason
        return news.reason
    if news.document.left_out:
        return news.document.left_out
    return [(event.kind, event.started, "" if event.not_before is None else f"{event.not_before:%Y-%m-%dT%H:%M:%S}")
            for event in news.document.events]


def holds(found: Any, expected: Any) -> bool:
    if isinstance(expected, str):
        return isinstance(found, str) and expected in found
    soon = [(kind, started, "soon") for kind, started, at in found] if isinstance(found, list) else found
    return found == expected or soon == expected


# --- Metadata services: a body as it is, an error with its status, a whole answer with its headers

def put(service: SimulatedService, root: str, key: str, name: str) -> None:
    """Let the service give the document for that key, until further notice."""
    content, path = (DOCUMENTS / name).read_bytes(), key if key.startswith("/") else root + key
    method = "PUT" if key == TOKEN else "GET"
    if content.startswith(b"HTTP/"):
        service.inject_fault(InjectedFault(raw=content), method=method, path=path.lower(), times=None)
    elif name in ("aws_400.html", "aws_401.html", "aws_404.html"):
        service.inject_fault(InjectedFault(status=int(name[4:7]), body=content), method=method, path=path.lower(), times=None)
    else:
        service.replayed[key] = content     # type: ignore[attr-defined]


def bytes_of(service: SimulatedService, method: str, target: str, headers: dict[str, str]) -> bytes:
    """All that the service sends, head and body."""
    host, port = service.endpoint.removeprefix("http://").split(":")
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *(f"{name}: {word}" for name, word in headers.items())]
    with socket.create_connection((host, int(port)), timeout=5.0) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def is_replayed(answer: bytes, name: str) -> bool:
    content = (DOCUMENTS / name).read_bytes()
    return answer == content if content.startswith(b"HTTP/") else answer.partition(b"\r\n\r\n")[2] == content


@pytest.fixture
def google() -> Iterator[GceMetadataServer]:
    with GceMetadataServer("web-1") as server:
        yield server


def polled_until(source: Source, expected: object) -> Polled | PollFailed:
    """Poll; again where the connection was cut off: an answer with a captured head ends its connection, also under the
    next request of the poll."""
    news = source.poll()
    for _ in range(5):
        if holds(listed(news), expected) or not any(words in str(listed(news)) for words in CUT_OFF):
            break
        news = source.poll()
    return news


@pytest.mark.parametrize("name", thinned(list(GCP), 2))
def test_a_document_of_google_is_replayed_and_gives_its_event_or_is_refused(google, name):
    key, expected = GCP[name]
    source = ComputeEngineSource(google.endpoint)
    if key != "instance/id":
        source.poll()               # the first look: what is there then has been there for an unknown time
    source._upcoming_due_raw_s = source._drift_due_raw_s = 0.0
    put(google, GCP_ROOT, key, name)
    news = polled_until(source, expected)
    assert holds(listed(news), expected), news
    if key == "instance/id":
        assert isinstance(news, Polled) and news.vm_id == "1234567890123456789"
    assert is_replayed(bytes_of(google, "GET", GCP_ROOT + key, {"Metadata-Flavor": "Google"}), name)
    source.close()


@pytest.fixture
def amazon() -> Iterator[Ec2MetadataService]:
    with Ec2MetadataService() as service:
        yield service


@pytest.mark.parametrize("name", thinned(list(AWS), 2))
def test_a_document_of_aws_is_replayed_and_gives_its_event_or_is_refused(amazon, name):
    key, expected = AWS[name]
    token = HttpClient({}).put(amazon.endpoint + TOKEN, 5.0, {TTL_HEADER: "60"}).body.decode()
    source = Ec2Source(amazon.endpoint, rebalance=True, autoscaling=True, read_uptime_s=lambda: 20 * 365 * 86400.0)
    if key == HISTORY:              # asked for when an event has gone
        event_id = amazon.add_event("instance-stop")
        source.poll()
        amazon.remove_event(event_id)
    put(amazon, AWS_ROOT, key, name)
    news = polled_until(source, expected)
    assert holds(listed(news), expected), news
    method, target = ("PUT", TOKEN) if key == TOKEN else ("GET", AWS_ROOT + key)
    assert is_replayed(bytes_of(amazon, method, target, {TOKEN_HEADER: token}), name)
    source.close()


# --- VMware: through the stand-in, a program each time

@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a program with #!")
@pytest.mark.parametrize("name", VSPHERE)
def test_a_reply_of_a_vmware_host_is_replayed_and_gives_its_event_or_is_refused(tmp_path, name):
    verb, expected = VSPHERE[name]
    with VmwareHost() as host:
        program = host.program
        if not verb:                # what Debian's program did outside VMware: exit status 1, and nothing printed
            program = tmp_path / "vmtoolsd"
            program.write_text("#!/bin/sh\nexit 1\n")
            program.chmod(0o755)
        source = VsphereSource(str(program), "tideover", "this VM", SourceContext(tmp_path, lambda kind: True))
        if verb == "check-for-event":
            source.poll()
        if verb:
            host.replayed[verb].extend([(DOCUMENTS / name).read_bytes()] * 2)
        if name == "vsphere_register_ok.json":
            host.registered = "tideover", "52aaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"       # … and know the token from then on
        if verb == "list":
            looking = VsphereSource(str(program), "tideover", "this VM")
            news = looking.poll()
            assert isinstance(news, Polled) and news.document.about == {REGISTERED: "demo"}
        else:
            news = source.poll()
            if name == "vsphere_check_2-start.json" and isinstance(news, Polled):
                assert [event.id for event in news.document.events] == ["6279072692702276663"]
        assert holds(listed(news), expected), news
        if verb == "ack-event":
            assert source.acknowledge("6279072692702276663") == (AckOutcome.ACCEPTED, "")
        if verb:
            host.replayed[verb].appendleft((DOCUMENTS / name).read_bytes())
            printed = subprocess.run([host.program, "--cmd", f"vm-operation-notification.{verb}"], capture_output=True, check=True)
            assert printed.stdout == (DOCUMENTS / name).read_bytes()
        host.replayed.clear()
        source.close()
