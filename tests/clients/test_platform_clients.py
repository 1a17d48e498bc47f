"""Clients of Google and of Amazon, unchanged, ask our simulators for the keys of maintenance, with their own headers,
tokens and checks."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tideover.simulator.ec2_metadata import TOKEN_HEADER, Ec2MetadataService
from tideover.simulator.gce_metadata import PLANNED, GceMetadataServer

pytestmark = pytest.mark.slow
PYTHONS = (os.environ.get("CLIENTS_PYTHON", ""), "/usr/bin/python3", sys.executable)
"""The first that has the client: one that a person names, the system's with Debian's packages, the tests' own."""

GOOGLE = """
import json
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request
request = Request()
assert _metadata.ping(request)
keys = "maintenance-event", "preempted", "upcoming-maintenance?alt=json", "virtual-clock/drift-token"
print(json.dumps([_metadata.get(request, "instance/" + key) for key in keys]))
"""
BOTO = """
import json, sys
from botocore.utils import IMDSFetcher
fetcher = IMDSFetcher(base_url=sys.argv[1], num_attempts=1)
token = fetcher._fetch_metadata_token()
assert token
keys = "events/maintenance/scheduled", "events/maintenance/history", "spot/instance-action"
answers = [fetcher._get_request("latest/meta-data/" + key, None if key[0] == "s" else fetcher._default_retry, token) for key in keys]
print(json.dumps([json.loads(answer.text) for answer in answers]))
"""
EC2_METADATA = """
import json, sys
import ec2_metadata
asked = ec2_metadata.EC2Metadata()
asked.service_url = sys.argv[1] + "/latest/"
asked.metadata_url = asked.service_url + "meta-data/"
spot = asked.spot_instance_action
print(json.dumps([asked.instance_id, spot.action, spot.time.isoformat(), asked.autoscaling_target_lifecycle_state]))
"""


def ask(modules: str, program: str, *words: str, **variables: str) -> Any:
    for python in filter(None, PYTHONS):
        if subprocess.run([python, "-c", f"import {modules}"], capture_output=True, check=False).returncode == 0:
            done = subprocess.run([python, "-c", program, *words], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, **variables}, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)
    pytest.skip(f"no Python here has {modules} (tests/clients/packages.txt, README.md)")


def google_asks(server: GceMetadataServer) -> Any:
    place = server.endpoint.removeprefix("http://")
    return ask("google.auth.transport.requests", GOOGLE, GCE_METADATA_HOST=place, GCE_METADATA_ROOT=place, GCE_METADATA_IP=place)


def test_google_auth_reads_the_keys_of_maintenance_with_its_own_check_of_the_server():
    with GceMetadataServer() as server:
        assert google_asks(server) == ["NONE", "FALSE", {"error": "no notifications have been received yet, try again later"}, "0"]
        server.add_event()
        server.add_event("PREEMPTED")
        server.add_event(PLANNED, not_before_in_s=600.0)
        action, preempted, upcoming, _ = google_asks(server)
        assert (action, preempted, upcoming["maintenance_status"]) == ("MIGRATE_ON_HOST_MAINTENANCE", "TRUE", "PENDING")
        assert server.is_armed and all(one.header("Metadata-Flavor") == "Google" for one in server.requests)


def test_botocores_fetcher_reads_the_scheduled_events_with_a_token_of_its_own():
    with Ec2MetadataService() as service:
        over = service.add_event("system-reboot")
        service.remove_event(over)
        event = service.add_event("instance-stop", not_before_in_s=3600.0)
        service.add_event("spot-stop", not_before_in_s=120.0)
        scheduled, history, spot = ask("botocore.utils", BOTO, service.endpoint + "/")
        assert [(one["EventId"], one["Code"], one["State"]) for one in scheduled] == [(event, "instance-stop", "active")]
        assert [one["Description"] for one in history] == ["[Canceled] scheduled reboot"] and spot["action"] == "stop"
        assert [one.method for one in service.requests] == ["PUT", "GET", "GET", "GET"]
        assert all(one.header(TOKEN_HEADER) for one in service.requests[1:])


@pytest.mark.extra      # Debian has no such package: by hand (README.md)
def test_ec2_metadata_reads_the_spot_interruption_and_the_target_state():
    with Ec2MetadataService() as service:
        service.lifecycle_state = "Terminated"
        service.add_event("spot-terminate", not_before_in_s=120.0)
        instance, action, at, state = ask("ec2_metadata", EC2_METADATA, service.endpoint)
        assert (instance, action, state) == (service.vm_name, "terminate", "Terminated") and at
