"""The source of VMware vSphere against a simulated host, asked through a stand-in vmtoolsd: a real program each time."""
from __future__ import annotations

import json
import os
import signal
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from running_agent import World
from tideover.model import Event, Kind, VmIdentity
from tideover.observations import AckOutcome, Polled, PollFailed, PollTrouble
from tideover.simulator import TimeServer
from tideover.simulator.vmware_tools import VmwareHost
from tideover.sources import NotADocument, SourceContext
from tideover.sources.vm_operation import command, event_of, read_operation, read_reply
from tideover.sources.vsphere import TOKEN_FILE, VsphereSource

if os.name == "nt":
    pytest.skip("the stand-in is a program with #!", allow_module_level=True)

DOCUMENTS = Path(__file__).parent / "platform_documents"
SEEN = datetime.fromtimestamp(1666730193, UTC)


# --- Replies, as captured

def reply(name: str):
    return read_reply((DOCUMENTS / name).read_text())


@pytest.mark.parametrize("name", ["vsphere_ack_ok.json", "vsphere_check_1-nothing.json", "vsphere_list_ok.json",
                                  "vsphere_register_ok.json", "vsphere_unregister_ok.json"])
def test_a_reply_that_worked_has_no_error_and_no_event(name):
    assert reply(name).error == "" and read_operation(reply(name)) is None


@pytest.mark.parametrize(("name", "words"), [
    ("vsphere_error_register_1-limit.json", "Max allowed limit of 1"),
    ("vsphere_error_register_2-not-enabled.json", "not enabled on this VM"),
    ("vsphere_error_unregister_unknown-token.json", "Could not find application with the token"),
])
def test_a_reply_that_failed_says_why_in_the_hosts_words(name, words):
    assert words in reply(name).error


def test_the_start_of_a_vmotion_gives_a_freeze_with_all_digits_of_its_id_and_the_hosts_deadline():
    operation = read_operation(reply("vsphere_check_2-start.json"))
    assert operation is not None and (operation.what, operation.id) == ("start", "6279072692702276663")
    event = event_of(operation, "this VM", SEEN, 2.0)
    assert (event.id, event.kind, event.takes_acknowledgement) == ("6279072692702276663", Kind.FREEZE, True)
    assert event.not_before == SEEN + timedelta(seconds=120 - 2)        # the host's clock is 8 s off: not believed


def test_where_both_clocks_agree_the_deadline_is_counted_from_the_hosts_time():
    operation = read_operation(reply("vsphere_check_2-start.json"))
    assert operation is not None and operation.generated_at_s == 1666730185.0
    seen = datetime.fromtimestamp(1666730186, UTC)
    assert event_of(operation, "this VM", seen, 2.0).not_before == seen + timedelta(seconds=119)


def test_the_end_and_a_changed_timeout_are_read():
    end = read_operation(reply("vsphere_check_3-end.json"))
    changed = read_operation(reply("vsphere_check_4-timeout-change.json"))
    assert end is not None and changed is not None
    assert (end.what, end.facts["opStatus"]) == ("end", "success")
    assert (changed.what, changed.id, changed.timeout_s) == ("timeout-change", "1666736715415723", 60.0)


@pytest.mark.parametrize("output", ["", "NULL", "no JSON at all", "{", "[]", '{"version": "1.0.0"}', '{"result": 1}'])
def test_what_is_no_reply_is_refused_with_a_sentence(output):
    with pytest.raises(NotADocument):
        read_reply(output)


def test_an_event_of_a_sort_that_is_not_known_is_refused():
    with pytest.raises(NotADocument, match="not known"):
        read_operation(read_reply('{"result": true, "eventType": "shrink", "operationId": 7}'))


@pytest.mark.parametrize("number", [10**400, 1 << 63, -(1 << 62), (1 << 64) - 1], ids=["googol", "2^63", "negative", "2^64-1"])
@pytest.mark.parametrize("name", ["notificationTimeoutInSec", "eventGenTimeInSec"])
def test_numbers_that_no_clock_holds_make_an_event_all_the_same(name, number):
    """float() and timedelta refuse them, and the poller must not end on that."""
    told = {"result": True, "eventType": "start", "operationId": 7, name: number}
    operation = read_operation(read_reply(json.dumps(told)))
    assert operation is not None
    event = event_of(operation, "vm-1", SEEN, 2.0)
    assert event.id == "7" and event.not_before is not None


def test_what_a_journal_cannot_hold_is_replaced_in_the_facts_of_an_event():
    told = {"result": True, "eventType": "start", "operationId": 7, "host\udc00": "\ud800\0"}
    operation = read_operation(read_reply(json.dumps(told)))
    assert operation is not None and operation.facts == {"host?": "?\N{REPLACEMENT CHARACTER}"}


def test_an_operation_id_leaves_as_the_number_that_it_is():
    assert command("ack-event", uniqueToken="t", operationId=6279072692702276663) == (
        'vm-operation-notification.ack-event {"uniqueToken": "t", "operationId": 6279072692702276663}')


# --- Through the program

class Wishes:
    """Whether some hook wants freeze, as a test sets it."""

    def __init__(self) -> None:
        self.wanted = True

    def __call__(self, kind: Kind) -> bool:
        return self.wanted and kind is Kind.FREEZE


@pytest.fixture
def wishes():
    return Wishes()


@pytest.fixture
def host():
    with VmwareHost() as running:
        yield running


@pytest.fixture
def opened(host, wishes, tmp_path):
    sources = []

    def open_one() -> VsphereSource:
        sources.append(VsphereSource(str(host.program), "tideover", "this VM", SourceContext(tmp_path, wishes)))
        return sources[-1]

    yield open_one
    for source in sources:
        source.close()


@pytest.fixture
def source(opened):
    return opened()


def listed(source: VsphereSource) -> tuple[Event, ...]:
    news = source.poll()
    assert isinstance(news, Polled), news
    return news.document.events


def failed(source: VsphereSource) -> PollFailed:
    news = source.poll()
    assert isinstance(news, PollFailed), news
    return news


def test_a_vm_without_a_hook_for_a_freeze_does_not_register(host, source, wishes):
    """Each vMotion would wait for it."""
    wishes.wanted = False
    assert listed(source) == () and host.registered is None and host.requests == []


@pytest.mark.slow
def test_registration_follows_the_hooks_and_ends_with_the_source(host, opened, wishes):
    source = opened()
    listed(source)
    assert host.registered is not None and host.registered[0] == "tideover"
    wishes.wanted = False
    listed(source)
    assert host.registered is None
    wishes.wanted = True
    listed(source)
    source.close()
    assert host.registered is None


def test_a_vmotion_is_announced_acknowledged_once_and_ended(host, source):
    listed(source)
    event_id = host.add_event()
    [event] = listed(source)
    assert event.id == event_id and not event.started
    assert source.acknowledge(event_id) == (AckOutcome.ACCEPTED, "")
    assert [given.event_id for given in host.acknowledgements] == [event_id]
    assert [event.started for event in listed(source)] == [True]
    host.remove_event(event_id)
    assert listed(source) == ()


@pytest.mark.slow
@pytest.mark.parametrize("moves", [True, False])
def test_a_vmotion_that_is_over_within_one_poll_is_shown_as_started_and_one_that_failed_is_not(host, source, moves):
    listed(source)
    event_id = host.add_event()
    assert len(listed(source)) == 1
    if moves:
        host.start_event(event_id)
    host.remove_event(event_id)
    assert [event.started for event in listed(source)] == ([True] if moves else [])
    assert listed(source) == ()


@pytest.mark.slow
def test_a_vmotion_that_begins_when_the_last_hook_has_just_gone_is_acknowledged_at_once(host, source, wishes):
    listed(source)
    event_id = host.add_event()
    wishes.wanted = False
    source._listed["other"] = Event("other", Kind.FREEZE, ("this VM",), source="vsphere")     # keeps it registered
    listed(source)
    assert [given.event_id for given in host.acknowledgements] == [event_id]


@pytest.mark.slow
def test_a_changed_timeout_is_acknowledged_and_is_no_event(host, source):
    listed(source)
    changed = host.change_timeout(60)
    assert listed(source) == ()
    assert [given.event_id for given in host.acknowledgements] == [changed]


@pytest.mark.slow
def test_a_start_that_waited_in_the_queue_until_the_host_went_ahead_is_no_event(host, source):
    listed(source)
    source._now = lambda: SEEN + timedelta(days=1)
    late = json.loads((DOCUMENTS / "vsphere_check_2-start.json").read_text())
    host.replayed["check-for-event"].append(json.dumps({**late, "notificationTimeoutInSec": 1}).encode())
    assert listed(source) == ()


@pytest.mark.slow
def test_the_token_is_kept_for_root_alone_and_an_agent_that_was_killed_goes_on_with_it(host, opened, tmp_path):
    first = opened()
    listed(first)
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    event_id = host.add_event()
    [event] = listed(first)
    second = opened()                # the first was killed: it has not unregistered
    second.remember([event])
    assert [one.id for one in listed(second)] == [event_id]
    registrations = [request for request in host.requests if b".register" in request.body]
    assert len(registrations) == 1
    host.remove_event(event_id)
    assert listed(second) == ()


@pytest.mark.slow
def test_after_a_restart_of_the_vm_the_token_is_void_and_what_was_listed_is_over(host, opened, tmp_path):
    first = opened()
    listed(first)
    host.add_event()
    [event] = listed(first)
    kept = json.loads((tmp_path / TOKEN_FILE).read_text())
    (tmp_path / TOKEN_FILE).write_text(json.dumps({**kept, "boot_id": "another boot"}))
    host.restart_vm()
    second = opened()
    second.remember([event])
    assert listed(second) == () and host.registered is not None


@pytest.mark.slow
def test_a_registration_that_the_host_has_lost_is_made_again(host, source):
    listed(source)
    host.restart_vm()
    assert "registers again" in failed(source).reason
    assert listed(source) == () and host.registered is not None


@pytest.mark.slow
def test_a_source_that_closes_with_an_event_under_way_leaves_its_registration_to_the_next(host, opened):
    source = opened()
    listed(source)
    host.add_event()
    listed(source)
    source.close()
    assert host.registered is not None


def test_another_registered_program_is_named_as_the_reason(host, source):
    host.registered = ("another", "token")
    news = failed(source)
    assert news.trouble is PollTrouble.REFUSED and "another program of this VM is registered" in news.reason


def test_notifications_that_are_not_enabled_are_reported_as_that_and_who_enables_them(host, source):
    host.enabled = False
    assert "vmOpNotificationToAppEnabled" in failed(source).reason


def test_doctor_only_looks_and_registers_nothing(host):
    source = VsphereSource(str(host.program), "tideover", "this VM")
    assert listed(source) == () and host.registered is None
    source.close()


def test_vmware_tools_that_are_not_installed_are_named(tmp_path, wishes):
    source = VsphereSource("/nonexistent/vmtoolsd", "tideover", "this VM", SourceContext(tmp_path, wishes))
    assert "not installed" in failed(source).reason
    assert source.identity() == VmIdentity("this VM", source.identity().vm_id)


def test_an_acknowledgement_that_the_host_refuses_is_refused_and_one_without_an_answer_is_lost(host, source):
    listed(source)
    host.restart_vm()
    assert source.acknowledge("7")[0] is AckOutcome.REFUSED
    source._program = "/nonexistent/vmtoolsd"
    assert source.acknowledge("7")[0] is AckOutcome.LOST


# --- The whole way, with a real agent

SOURCE = '[source]\nkind = "vsphere"\n[source.vsphere]\nvmtoolsd = "{program}"\n'


@pytest.fixture
def here(tmp_path):
    with VmwareHost() as host, TimeServer() as clock:
        world = World(tmp_path, host, clock)
        world.hook("10-web")
        world.configure(source=SOURCE.format(program=host.program))
        yield world
        world.close()


def registered(world: World) -> bool:
    return world.metadata.registered is not None


@pytest.mark.slow
def test_a_vmotion_is_carried_from_notice_to_record_with_one_acknowledgement(here):
    here.start()
    here.until(lambda: registered(here))
    event = here.metadata.add_event()
    here.until(lambda: here.metadata.acknowledgements)
    assert here.begun() == ["web prepare"]
    here.metadata.start_event(event)
    with here.stopped():
        time.sleep(1.5)
    here.until(lambda: here.record()["status"] == "recovered")
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    record = here.record()
    assert here.begun() == ["web prepare", "web recover"] and len(here.metadata.acknowledgements) == 1
    assert (record["source"], record["kind"], record["outcome"], record["event_id"]) == (
        "vsphere", "freeze", "resumed", event)


@pytest.mark.slow
def test_a_vmotion_is_acknowledged_once_and_not_before_the_preparation_has_ended(here):
    here.hook("10-web", "sleep 1")
    here.start()
    here.until(lambda: registered(here))
    event = here.metadata.add_event()
    here.until(lambda: here.metadata.acknowledgements)
    time.sleep(2.5)
    [given] = here.metadata.acknowledgements
    [ended] = [float(line[0]) for line in here.lines() if line[2] == "prepare-ended"]
    assert given.event_id == event and given.at >= ended - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("more", ['[hook.web]\nkinds = ["reboot"]', '[policy]\nmode = "observe"',
                                  '[policy]\nact_on = ["reboot"]'], ids=["other kinds", "observe", "not acted on"])
def test_no_vmotion_waits_for_an_agent_that_prepares_nothing_for_it(here, more):
    """It does not register, so the host asks nobody."""
    file = here.home / "tideover.toml"
    file.write_text(file.read_text() + more + "\n")
    here.start(asks=False)
    here.until(lambda: "agent.ready" in here.said() or "agent.started" in here.said())
    here.metadata.add_event()
    time.sleep(2.5)
    assert not registered(here) and here.metadata.requests == [] and here.begun() == []


@pytest.mark.slow
def test_an_agent_whose_last_hook_for_a_freeze_is_taken_away_unregisters(here):
    here.start()
    here.until(lambda: registered(here))
    (here.home / "hooks.d" / "10-web").unlink()
    here.agents[-1].send_signal(signal.SIGHUP)
    here.until(lambda: not registered(here))
    assert here.metadata.acknowledgements == []


@pytest.mark.slow
def test_an_agent_that_is_killed_while_prepared_goes_on_with_the_same_vmotion(here):
    here.start()
    here.until(lambda: registered(here))
    event = here.metadata.add_event()
    here.until(lambda: here.metadata.acknowledgements and here.record()["status"] in ("acknowledged", "started"))
    here.kill()
    here.start()
    here.metadata.start_event(event)
    here.metadata.remove_event(event)
    here.until(lambda: here.record()["status"] == "closed")
    assert here.begun()[-1] == "web recover" and here.begun().count("web recover") == 1
    assert len(here.records()) == 1 and len(here.metadata.acknowledgements) == 1
