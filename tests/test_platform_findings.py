"""What doctor says of the service of each platform but Azure's, asked once as doctor asks it."""
from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clock_played import machine
from tideover.doctor.machine import Machine, ProcessInfo
from tideover.doctor.other_agents import check_other_agents
from tideover.doctor.platform import ask_service, check_service
from tideover.findings import Finding, FindingLevel, PollReport
from tideover.platforms import platform_named
from tideover.settings import LINUX, Settings, read
from tideover.simulator import InjectedFault, load_simulator
from tideover.simulator.ec2_metadata import TOKEN, Ec2MetadataService
from tideover.simulator.gce_metadata import ROOT as GCP_ROOT, GceMetadataServer
from tideover.simulator.service import SimulatedService
from tideover.simulator.vmware_tools import SERVICE, VmwareHost
from tideover.sources.aws import Ec2Source, findings as aws_findings

unix = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a program with #!")


def settings_for(service: SimulatedService, kind: str) -> Settings:
    given = load_simulator(platform_named(kind)).source_settings(service)
    source = "\n".join(f'{key} = "{text}"' for key, text in given.items())
    return read(f'[source]\nkind = "{kind}"\n{source}', file="t", defaults=LINUX).settings


def doctor_says(service: SimulatedService, kind: str) -> dict[str, list[Finding]]:
    """The findings by their topic."""
    settings, platform = settings_for(service, kind), platform_named(kind)
    return by_topic(check_service(settings, platform, ask_service(settings, platform), "web-1"))


def by_topic(findings: list[Finding]) -> dict[str, list[Finding]]:
    topics: dict[str, list[Finding]] = {}
    for one in findings:
        assert "\n" not in one.what + one.do and (one.do or one.state is not FindingLevel.BAD)
        topics.setdefault(one.topic, []).append(one)
    return topics


# --- Google Compute Engine

@pytest.fixture
def google() -> Iterator[GceMetadataServer]:
    with GceMetadataServer("web-1") as server:
        yield server


def test_doctor_tells_what_google_announces_to_this_vm_by_its_maintenance_policy(google):
    [policy] = doctor_says(google, "gcp")["policy"]
    assert policy.state is FindingLevel.GOOD and "60 s before" in policy.what
    google.migrates, google.restarts = False, False
    stops, stays = doctor_says(google, "gcp")["policy"]
    assert stops.state is FindingLevel.NOTE and "only where it has a GPU" in stops.what and "MIGRATE" in stops.do
    assert "automaticRestart is false" in stays.what
    google.inject_fault(InjectedFault(status=404), path=f"{GCP_ROOT}instance/scheduling/".lower(), times=None)
    [unknown] = doctor_says(google, "gcp")["policy"]
    assert "does not tell" in unknown.what


def test_doctor_tells_that_a_sole_tenant_node_announces_nothing_and_that_google_takes_no_acknowledgement(google):
    found = doctor_says(google, "gcp")
    assert "nothing is announced" in found["sole-tenant"][0].what and "takes no acknowledgement" in found["acknowledgement"][0].what
    assert found["name"][0].what == "this VM is web-1 (1234567890123456789)"


def test_doctor_shows_what_is_announced(google):
    google.add_event()
    assert "freeze maintenance-" in doctor_says(google, "gcp")["events"][0].what


@pytest.mark.parametrize("where", ["process", "unit"])
def test_googles_own_agent_is_named_as_a_second_setter_of_the_clock(tmp_path, where):
    processes = [ProcessInfo(7, "google_guest_ag", ("/usr/bin/google_guest_agent",))] if where == "process" else []
    files = {} if where == "process" else {"/lib/systemd/system/google-guest-agent.service":
                                           "[Service]\nExecStart=/usr/bin/google_guest_agent\n"}
    acts, sets = check_other_agents(Machine(machine(tmp_path, files), list_processes=lambda: processes))
    assert acts.state is FindingLevel.GOOD, "it acknowledges nothing and acts on nothing"
    assert sets.state is FindingLevel.NOTE and "Google's guest agent" in sets.what and "clock_skew_daemon" in sets.do


def test_a_node_termination_handler_is_named_as_another_agent(tmp_path):
    processes = [ProcessInfo(7, "node-terminatio", ("/node-termination-handler",))]
    [found] = check_other_agents(Machine(machine(tmp_path, {}), list_processes=lambda: processes))
    assert found.state is FindingLevel.NOTE and "aws-node-termination-handler" in found.what


# --- AWS EC2

@pytest.fixture
def amazon() -> Iterator[Ec2MetadataService]:
    with Ec2MetadataService() as service:
        yield service


def test_doctor_names_an_instance_whose_metadata_service_is_off(amazon):
    amazon.enabled = False
    [found] = doctor_says(amazon, "aws")["metadata"]
    assert found.state is FindingLevel.BAD and "HttpEndpoint" in found.what and "enabled for this instance" in found.do


@pytest.mark.slow
def test_doctor_names_the_hop_limit_where_the_answer_with_the_token_never_comes(amazon):
    """So it is in a container with the default of one hop: the connection is made, and the answer is dropped."""
    amazon.inject_fault(InjectedFault(delay_s=3.0), method="PUT", path=TOKEN)
    source = Ec2Source(amazon.endpoint, poll_s=0.2)
    polled = PollReport(source.poll(), 0.2, datetime.now(UTC))
    source.close()
    [found] = aws_findings(settings_for(amazon, "aws").source, polled, "web-1")
    assert found.state is FindingLevel.BAD and "HttpPutResponseHopLimit" in found.what and "hop limit" in found.do


def test_doctor_tells_what_aws_announces_and_that_not_before_is_the_earliest_time(amazon):
    amazon.add_event("system-reboot")
    found = doctor_says(amazon, "aws")
    assert found["name"][0].what == f"this instance is {amazon.vm_name}" and "takes no acknowledgement" in found["acknowledgement"][0].what
    assert "a live migration is not announced" in found["notice"][0].what and "earliest" in found["prepare"][0].what
    assert "reboot instance-event-" in found["events"][0].what


# --- VMware vSphere

@pytest.fixture
def host() -> Iterator[VmwareHost]:
    with VmwareHost() as running:
        yield running


@unix
@pytest.mark.parametrize(("registered", "state", "words"), [
    (("backup", "t"), FindingLevel.BAD, "another program is registered for vMotion notifications: backup"),
    (("tideover", "t"), FindingLevel.GOOD, "this agent is registered"),
    pytest.param(None, FindingLevel.GOOD, "no program is registered", marks=pytest.mark.slow),
])
def test_doctor_names_who_is_registered_and_asks_the_host_once(host, registered, state, words):
    host.registered = registered
    [found] = doctor_says(host, "vsphere")["registration"]
    assert found.state is state and words in found.what
    assert [request.body.decode() for request in host.requests] == [f"{SERVICE}.list"] and host.registered == registered


@unix
def test_doctor_tells_that_notifications_are_off_and_who_enables_them(host):
    host.enabled = False
    [found] = doctor_says(host, "vsphere")["vmware-tools"]
    assert found.state is FindingLevel.BAD and "VmOpNotificationToApp.Timeout" in found.what and 'kind = "none"' in found.do


@unix
def test_doctor_tells_that_vmware_tools_are_missing():
    missing: Any = read('[source]\nkind = "vsphere"\nvsphere.vmtoolsd = "/nonexistent/vmtoolsd"', file="t", defaults=LINUX).settings
    [found] = check_service(missing, platform_named("vsphere"), ask_service(missing, platform_named("vsphere")), "web-1")
    assert found.state is FindingLevel.BAD and "not installed" in found.what and "open-vm-tools" in found.do


@unix
@pytest.mark.parametrize(("prints", "named"), [("Enabled", True), *(pytest.param(word, False, marks=pytest.mark.slow) for word in ("Disabled", ""))])
def test_doctor_names_the_time_synchronisation_of_vmware_tools(host, tmp_path, monkeypatch, prints, named):
    tool = Path(tmp_path / "vmware-toolbox-cmd")
    tool.write_text(f"#!/bin/sh\n[ \"$*\" = 'timesync status' ] && echo {prints}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = doctor_says(host, "vsphere").get("time-sync", [])
    assert bool(found) is named
    if named:
        assert "timesync disable" in found[0].do
