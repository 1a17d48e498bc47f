"""What others have written against the platform's API works against `tideover simulate` as it is."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tideover.simulator.scenarios import scenario_names

from .place import Place, simulated

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
EVENTS = "http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01"
PACEMAKER = Path("/usr/lib/ocf/resource.d/heartbeat/azure-events-az")
WITH_REQUESTS = """
import json, sys, time
import requests
URL, HEADERS, QUERY = "http://169.254.169.254/metadata/scheduledevents", {"Metadata": "true"}, {"api-version": "2020-07-01"}
session, seen, confirmed, troubles = requests.Session(), [], set(), []
until = time.monotonic() + 50

def look():
    answer = session.get(URL, headers=HEADERS, params=QUERY, timeout=5)
    answer.raise_for_status()
    events = list(answer.json()["Events"])
    for event in events:
        told = event["EventType"], event["EventStatus"]
        if told not in seen:
            seen.append(told)
        if event["EventStatus"] == "Scheduled" and event["EventId"] not in confirmed and "vm-1" in event["Resources"]:
            body = json.dumps({"StartRequests": [{"EventId": event["EventId"]}]})
            session.post(URL, headers=HEADERS, params=QUERY, data=body, timeout=5).raise_for_status()
            confirmed.add(event["EventId"])
    return events

while time.monotonic() < until:
    try:
        if not look() and seen:
            break
    except (requests.RequestException, ValueError, TypeError) as trouble:
        troubles.append(type(trouble).__name__)
    time.sleep(0.01)
print(json.dumps([seen, troubles]))
"""


def curl(place: Place, *words: str) -> str:
    done = place.run("curl", "-sS", "--noproxy", "*", "-H", "Metadata:true", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_as_the_platforms_documents_show_it(tmp_path):
    with simulated(tmp_path, "reboot", "--vm-name", "web-7") as place:
        place.until("wait-for-acknowledgement")
        name = curl(place, "http://169.254.169.254/metadata/instance/compute/name?api-version=2021-02-01&format=text")
        (event,) = json.loads(curl(place, EVENTS))["Events"]
        assert name == "web-7" and event["Resources"] == ["web-7"] and event["EventStatus"] == "Scheduled"
        assert "Required metadata header" in place.run("curl", "-sS", EVENTS).stdout
        confirmed = curl(place, "-d", json.dumps({"StartRequests": [{"EventId": event["EventId"]}]}), EVENTS, "-w", "%{http_code}")
        assert confirmed == "200"
        place.until("platform  start")
        assert json.loads(curl(place, EVENTS))["Events"][0]["EventStatus"] == "Started"
        assert f"ACKNOWLEDGES {event['EventId']}" in place.said and "(curl/" in place.said


SHOWN = {
    "freeze": ["Freeze"], "freeze-without-notice": ["Freeze"], "cancelled": ["Freeze"], "reboot": ["Reboot"],
    "redeploy": ["Redeploy"], "preempt": ["Preempt"], "terminate": ["Terminate"], "overlapping": ["Freeze", "Reboot"],
    "shared": ["Freeze"], "live-migration": ["Freeze"],
}
PACES = {"cancelled": 2, "freeze-without-notice": 8}        # a client needs a moment to come up


def test_requests_sees_every_scenario_through_with_a_pooled_connection(tmp_path):
    """Each begins, is let go ahead, starts and ends, but for those that say otherwise. The availability set has three
    services and is read in tests/test_cli_simulate.py."""
    pytest.importorskip("requests")
    assert set(SHOWN) | {"metadata-faults", "availability-set"} == set(scenario_names())
    for scenario, kinds in SHOWN.items():
        with simulated(tmp_path, scenario, "--pace", str(PACES.get(scenario, 20))) as place:
            done = place.run(sys.executable, "-c", WITH_REQUESTS)
            assert done.returncode == 0, (scenario, done.stderr, place.said)
            seen, troubles = json.loads(done.stdout)
            assert troubles == [], (scenario, troubles)
            assert {kind for kind, _ in seen} == set(kinds), (scenario, seen)
            for kind in kinds:
                wanted = {"freeze-without-notice": ["Started"], "cancelled": ["Scheduled"]}.get(scenario, ["Scheduled", "Started"])
                assert [status for told, status in seen if told == kind] == wanted, (scenario, seen)


def test_requests_meets_every_fault_and_a_client_that_goes_on_sees_the_event_through(tmp_path):
    """429 and 500, an empty body, half a document, no list of events, a reset, a POST that is taken without an answer."""
    pytest.importorskip("requests")
    with simulated(tmp_path, "metadata-faults", "--pace", "2.5") as place:
        done = place.run(sys.executable, "-c", WITH_REQUESTS)
        assert done.returncode == 0, (done.stderr, place.said)
    seen, troubles = json.loads(done.stdout)
    assert seen == [["Freeze", "Scheduled"], ["Freeze", "Started"]]
    assert set(troubles) == {"HTTPError", "JSONDecodeError", "TypeError", "ConnectionError"}, troubles


def test_the_pacemaker_agent_of_debian_stops_its_node_acknowledges_and_comes_back(tmp_path):
    """azure-events-az (package resource-agents, urllib, api-version 2019-08-01), called as Pacemaker calls it, with a
    cluster whose resources stop at once."""
    if not PACEMAKER.exists():
        pytest.skip("needs the package resource-agents")
    commands, kept = tmp_path / "bin", tmp_path / "cluster"
    for folder in (commands, kept):
        folder.mkdir()
    for name in ("crm_attribute", "crm_node", "crm_resource", "crm_simulate"):
        (commands / name).write_text(f"#!{sys.executable}\n" + (HERE / "cluster.py").read_text())
        (commands / name).chmod(0o755)
    node = os.uname().nodename
    surroundings = {**os.environ, "PATH": f"{commands}:/usr/bin:/bin:/usr/sbin:/sbin", "CLUSTER": str(kept), "OCF_ROOT": "/usr/lib/ocf",
                    "OCF_RESOURCE_INSTANCE": "events", "HA_LOGFILE": str(tmp_path / "log"), "HA_logfacility": "none"}

    def monitored(place: Place) -> str:
        done = place.run(str(PACEMAKER), "monitor", env=surroundings)
        assert done.returncode == 0, done.stderr
        state = kept / f"{node}.azure-events-az_curNodeState"
        return state.read_text() if state.exists() else "AVAILABLE"

    with simulated(tmp_path, "reboot", "--pace", "3") as place:
        place.until("wait-for-acknowledgement")
        assert monitored(place) == "STOPPING"
        assert monitored(place) == "IN_EVENT" and "ACKNOWLEDGES" in place.said and "Pacemaker-ResourceAgent" in place.said
        place.until("platform  start")
        assert monitored(place) == "IN_EVENT"
        place.until("the scenario has ended")
        assert monitored(place) == "AVAILABLE" and (kept / f"{node}.#health-azure").read_text() == "0"
