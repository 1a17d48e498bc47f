"""The scenarios that come along can be read and played to their end, and a bad one is reported in one sentence."""
from __future__ import annotations

import threading

import pytest

from tideover.errors import WrongUseError
from tideover.observations import AckOutcome
from tideover.platforms import SIMULATED_KINDS, platform_named
from tideover.simulator import MetadataService, load_simulator
from tideover.simulator.scenarios import play, read_scenario, scenario_names
from tideover.sources.azure import AzureSource

PROMISED = {"freeze", "freeze-without-notice", "cancelled", "reboot", "redeploy", "preempt", "terminate", "overlapping",
            "shared", "live-migration", "metadata-faults"}


def test_all_that_are_promised_come_along():
    assert set(scenario_names()) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_scenario_announces_something_and_leaves_nothing_listed(name):
    scenario = read_scenario(name)
    told: list[str] = []
    service = MetadataService()
    play(scenario, service, show=told.append, pace=10_000.0)
    assert scenario.about
    assert len(told) == len(scenario.steps)
    assert service.incarnation >= 3
    assert service.listed() == ()
    service.close()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in SIMULATED_KINDS for name in scenario_names(kind)])
def test_each_platforms_scenarios_fit_its_own_service(kind, name):
    simulator = load_simulator(platform_named(kind))
    assert simulator.FIRST_SCENARIO in scenario_names(kind)
    service = simulator.open_service()
    told: list[str] = []
    added: list[str] = []
    add_event = service.add_event

    def remember(*words, **more) -> str:
        added.append(add_event(*words, **more))
        return added[-1]

    service.add_event = remember
    play(read_scenario(name, kind), service, show=told.append, pace=10_000.0)
    assert told and [service.status_of(event_id) for event_id in added] == [None] * len(added)
    service.close()


def test_a_scenario_waits_for_the_acknowledgement_and_no_longer():
    with MetadataService() as service:
        player = threading.Thread(target=play, args=(read_scenario("reboot"), service), kwargs={"pace": 500.0})
        player.start()
        assert service.wait_until(service.listed)
        (event_id,) = service.listed()
        assert AzureSource(service.endpoint).acknowledge(event_id)[0] is AckOutcome.ACCEPTED
        assert service.wait_until(lambda: service.status_of(event_id) == "Started", 1.0)
        player.join(2)
        assert service.listed() == ()


def test_a_scenario_can_be_stopped():
    stopping = threading.Event()
    stopping.set()
    service = MetadataService()
    play(read_scenario("freeze"), service, stopping=stopping)
    assert service.listed() == ()
    service.close()


@pytest.mark.parametrize(("text", "words"), [
    ("about = ", "not valid TOML"), ("about = 'nothing'", "list of steps"), ("step = 3", "list of steps"),
    ("[[step]]\ndo = 'explode'", "unknown `do`")])
def test_a_file_that_is_no_scenario_is_reported(tmp_path, text, words):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(WrongUseError, match=words):
        read_scenario(str(file))


def test_an_unknown_scenario_is_reported_with_those_that_exist():
    with pytest.raises(WrongUseError, match="freeze-without-notice"):
        read_scenario("frieze")


@pytest.mark.parametrize("step", ["do = 'start'\nevent = 'x'", "do = 'wait'", "do = 'wait'\nfor_s = 'long'",
                                  "do = 'announce'\nevent = 'x'\ncolour = 'red'"])
def test_a_step_that_does_not_fit_is_reported_by_its_number(tmp_path, step):
    file = tmp_path / "own.toml"
    file.write_text(f"[[step]]\ndo = 'wait'\nfor_s = 0\n[[step]]\n{step}")
    service = MetadataService()
    with pytest.raises(WrongUseError, match="step 2"):
        play(read_scenario(str(file)), service)
    service.close()
