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
            "shared", "live-migration", "metadata-faults", "availability-set"}


def test_all_that_are_promised_come_along():
    assert set(scenario_names()) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_scenario_announces_something_and_leaves_nothing_listed(name):
    scenario = read_scenario(name)
    told: list[str] = []
    service = MetadataService()
    play(scenario, service, vm_names=("vm-1", "vm-2", "vm-3"), show=told.append, pace=30_000.0)
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
    play(read_scenario(name, kind), service, vm_names=("vm-1", "vm-2", "vm-3"), show=told.append, pace=10_000.0)
    assert told and [service.status_of(event_id) for event_id in added] == [None] * len(added)
    service.close()


def test_a_scenario_waits_for_the_acknowledgement_and_no_longer():
    with MetadataService() as service:
        player = threading.Thread(target=play, args=(read_scenario("reboot"), service), kwargs={"pace": 1500.0})
        player.start()
        assert service.wait_until(service.listed)
        (event_id,) = service.listed()
        assert AzureSource(service.endpoint).acknowledge(event_id)[0] is AckOutcome.ACCEPTED
        assert service.wait_until(lambda: service.status_of(event_id) == "Started", 1.0)
        player.join(2)
        assert service.listed() == ()


def test_the_vms_of_an_availability_set_see_the_same_events_and_one_acknowledgement_counts_for_all():
    """Each VM asks a service of its own, which says who the VM is."""
    names = ("vm-1", "vm-2", "vm-3")
    with MetadataService(names[0], start_after_acknowledge_s=0.0) as first, first.beside(names[1]) as second, first.beside(names[2]) as third:
        services = (first, second, third)
        sources = [AzureSource(service.endpoint) for service in services]
        for service, named in zip((*services, second), (("vm-1",), ("vm-2",), ("vm-3",), names), strict=True):
            first.add_event(resources=named)
            polls = [source.poll() for source in sources]
            assert tuple(poll.me for poll in polls) == names
            assert len({poll.vm_id for poll in polls}) == 3
            documents = [poll.document.events for poll in polls]
            assert documents[0] == documents[1] == documents[2]
            [event] = documents[0]
            assert event.resources == named
            assert AzureSource(service.endpoint).acknowledge(event.id)[0] is AckOutcome.ACCEPTED
            assert [one.status_of(event.id) for one in services] == ["Started"] * 3
            first.remove_event(event.id)
        assert [given.vm_name for given in first.acknowledgements] == ["vm-1", "vm-2", "vm-3", "vm-2"]
        assert all(service.listed() == () for service in services)


def test_a_scenario_can_be_stopped():
    stopping = threading.Event()
    stopping.set()
    service = MetadataService()
    play(read_scenario("freeze"), service, stopping=stopping)
    assert service.listed() == ()
    service.close()


@pytest.mark.parametrize(("text", "words"), [
    ("about = ", "not valid TOML"), ("about = 'nothing'", "list of steps"), ("step = 3", "list of steps"),
    ("[[step]]\ndo = 'explode'", "unknown `do`"), ("vms = 0\n[[step]]\ndo = 'wait'", "number of VMs")])
def test_a_file_that_is_no_scenario_is_reported(tmp_path, text, words):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(WrongUseError, match=words):
        read_scenario(str(file))


def test_an_unknown_scenario_is_reported_with_those_that_exist():
    with pytest.raises(WrongUseError, match="freeze-without-notice"):
        read_scenario("frieze")


@pytest.mark.parametrize("step", ["do = 'start'\nevent = 'x'", "do = 'wait'", "do = 'wait'\nfor_s = 'long'",
                                  "do = 'announce'\nevent = 'x'\ncolour = 'red'",
                                  "do = 'announce'\nevent = 'x'\nvms = [1, 2]", "do = 'announce'\nevent = 'x'\nvms = [0]"])
def test_a_step_that_does_not_fit_is_reported_by_its_number(tmp_path, step):
    file = tmp_path / "own.toml"
    file.write_text(f"[[step]]\ndo = 'wait'\nfor_s = 0\n[[step]]\n{step}")
    service = MetadataService()
    with pytest.raises(WrongUseError, match="step 2"):
        play(read_scenario(str(file)), service)
    service.close()
