"""What the service control manager of Windows says and hears, as far as it needs no Windows. The rest is shown under Wine
(tests/windows_install)."""
import re
import threading
from pathlib import Path

import pytest

from running_agent import world
from tideover.config_file import load_settings
from tideover.daemon.main import STOP_LIMIT_S, run_agent
from tideover.service.windows.control import (
    EVENTS,
    LOOK_EVERY_S,
    LOOKS,
    PRESHUTDOWN_LIMIT_S,
    RESTART_AFTER_S,
    STOP_HINT_S,
    AcceptedControls,
    ServiceControl,
    ServiceControlCode,
    ServiceState,
    Watchdog,
    event_of,
)
from tideover.service_manager import StopReason

PACKAGING = Path(__file__).parents[1] / "packaging" / "windows"


class Agent:
    """Remembers what was reported to it."""

    def __init__(self):
        self.told = []

    def request_stop(self):
        self.told.append("end")

    def request_reload(self):
        self.told.append("read")

    def check_clocks(self):
        self.told.append("look")


class Windows:
    """Remembers what the service reported, and where its lines went."""

    def __init__(self):
        self.reports, self.lines, self.agent = [], [], Agent()
        self.ended = []
        self.watchdog = Watchdog(lambda: self.ended.append("ended"))
        self.control = ServiceControl(self.reports.append, lambda level, line: self.lines.append((level, line)), self.watchdog)

    def running(self):
        self.control.starting()
        self.control.listen(self.agent)
        self.control.ready()
        return self

    @property
    def standing(self):
        return self.reports[-1].standing


def test_a_stop_a_shutdown_and_an_upgrade_are_distinguished():
    """on_stop = "recover" is for a stop only: the machine's end and an upgrade are followed by a start."""
    for control, why in ((ServiceControlCode.STOP, StopReason.STOP), (ServiceControlCode.PRESHUTDOWN, StopReason.SHUTDOWN),
                         (ServiceControlCode.SHUTDOWN, StopReason.SHUTDOWN), (ServiceControlCode.MAKE_WAY, StopReason.RESTART)):
        windows = Windows().running()
        windows.control.on_control(control)
        assert (windows.agent.told, windows.control.stop_reason()) == (["end"], why)
        assert windows.standing is ServiceState.STOP_PENDING


def test_the_manager_hears_of_the_start_only_when_the_agent_is_ready():
    windows = Windows()
    windows.control.starting()
    windows.control.listen(windows.agent)
    assert windows.standing is ServiceState.START_PENDING and windows.reports[-1].accepted is AcceptedControls.NOTHING
    windows.control.ready()
    assert windows.standing is ServiceState.RUNNING


def test_a_stop_before_the_agent_is_there_reaches_it_and_is_not_taken_back_by_its_readiness():
    windows = Windows()
    windows.control.starting()
    windows.control.on_control(ServiceControlCode.PRESHUTDOWN)
    windows.control.listen(windows.agent)
    windows.control.ready()
    assert windows.agent.told == ["end"] and windows.standing is ServiceState.STOP_PENDING


def test_who_asks_how_it_is_hears_what_is_true_and_nothing_else_happens():
    """pywin32's own answer is always "running", also in the middle of a stop."""
    windows = Windows().running()
    windows.control.on_control(ServiceControlCode.STOP)
    before = windows.reports[-1]
    windows.control.on_control(ServiceControlCode.INTERROGATE)
    assert windows.reports[-1] == before and windows.agent.told == ["end"]


def test_a_change_of_parameters_has_the_configuration_read_again():
    windows = Windows().running()
    windows.control.on_control(ServiceControlCode.PARAMCHANGE)
    assert windows.agent.told == ["read"] and windows.standing is ServiceState.RUNNING


def test_the_end_of_a_sleep_and_a_clock_that_was_set_are_reasons_to_look():
    windows = Windows().running()
    looks = []
    for kind in range(0x20):
        windows.control.on_control(ServiceControlCode.POWEREVENT, kind)
        if windows.agent.told:
            looks.append(kind)
            windows.agent.told.clear()
    assert looks == [0x07, 0x12], "resumed by somebody, resumed by itself (winuser.h)"
    windows.control.on_control(ServiceControlCode.TIMECHANGE)
    assert windows.agent.told == ["look"]


def test_an_unknown_control_changes_nothing():
    windows = Windows().running()
    for control in (2, 3, 14, 17, 127, 129, 255):
        windows.control.on_control(control)
    assert windows.agent.told == [] and len(windows.reports) == 2


def test_what_takes_long_counts_up_and_says_how_long_it_may_take():
    """A service whose checkpoint does not change for longer than its hint is given up by its caller."""
    windows = Windows().running()
    windows.control.on_control(ServiceControlCode.STOP)
    windows.control.stopping()
    windows.control.on_control(ServiceControlCode.MAKE_WAY)
    windows.control.stopped(0)
    pending = [report.checkpoint for report in windows.reports if report.standing is ServiceState.STOP_PENDING]
    assert pending == sorted(set(pending)) and 0 not in pending
    assert [report.checkpoint for report in windows.reports if report.standing is ServiceState.STOPPED] == [0]
    assert STOP_HINT_S > STOP_LIMIT_S + 10


def test_a_running_service_accepts_one_kind_of_shutdown_and_a_pending_one_accepts_nothing():
    windows = Windows().running()
    accepted = windows.reports[-1].accepted
    assert AcceptedControls.PRESHUTDOWN in accepted and AcceptedControls.SHUTDOWN not in accepted
    windows.control.on_control(ServiceControlCode.STOP)
    assert windows.reports[-1].accepted is AcceptedControls.NOTHING


def test_a_start_that_failed_is_reported_with_its_exit_status():
    windows = Windows()
    windows.control.starting()
    windows.control.stopped(2)
    assert windows.reports[-1].exit_status == 2


def test_an_end_by_the_agents_own_will_is_still_a_stop():
    windows = Windows().running()
    windows.control.stopping()
    windows.control.stopped(0)
    assert [report.standing for report in windows.reports[-2:]] == [ServiceState.STOP_PENDING, ServiceState.STOPPED]
    assert windows.control.stop_reason() is StopReason.STOP


@pytest.mark.parametrize(("level", "line", "number"), [
    ("info", "2026-11-21T12:00:00.000Z info agent.started version=0.1.0", 100),
    ("warning", '{"at": "2026-11-21T12:00:00.000Z", "level": "warning", "name": "pause.detected", "event": "x"}', 210),
    ("info", "2026-11-21T12:00:00.000Z info hook.output hook=x line=agent.started", 221),
    ("error", "2026-11-21T12:00:00.000Z error something.new", 3),
    ("error", "tideover: cannot use the configuration C:\\x.toml: one fault found", 3),
])
def test_each_kind_of_line_has_its_own_number_in_the_event_log(level, line, number):
    assert event_of(level, line) == number


def test_every_number_has_a_text_in_the_programs_own_table_and_in_windows():
    """EventCreate.exe, which a pip installation relies on, has texts for 1 to 1000."""
    ours = {int(number) for number in re.findall(r"^MessageId=(\d+)$", (PACKAGING / "host" / "messages.mc").read_text(), re.M)}
    assert set(EVENTS.values()) == ours and len(ours) == len(EVENTS)
    assert all(1 <= number <= 1000 for number in ours)


def test_an_agent_whose_loop_hangs_is_ended_and_one_whose_loop_turns_is_not():
    """What counts is looks: a machine that was paused for an hour has not looked."""
    windows = Windows().running()
    assert windows.control.longest_silence_s * 2 <= LOOKS * LOOK_EVERY_S
    for _ in range(5):
        windows.control.watchdog_ping()
        for _ in range(LOOKS):
            windows.watchdog.look()
    assert windows.ended == []
    windows.watchdog.look()
    assert windows.ended == ["ended"]
    windows.control.stopping()
    windows.watchdog.look()
    assert windows.ended == ["ended"], "an agent that ends feeds nobody"


def test_failures_are_followed_by_restarts_that_get_slower():
    assert list(RESTART_AFTER_S) == sorted(RESTART_AFTER_S) and RESTART_AFTER_S[0] <= 1
    assert PRESHUTDOWN_LIMIT_S >= 10


@pytest.mark.slow
@pytest.mark.parametrize(("control", "hooks"), [
    (ServiceControlCode.STOP, ["first prepare", "first recover"]),
    (ServiceControlCode.PRESHUTDOWN, ["first prepare"]),
    (ServiceControlCode.MAKE_WAY, ["first prepare"]),
])
def test_the_whole_agent_recovers_at_a_stop_and_keeps_at_the_machines_end_and_at_an_upgrade(tmp_path, control, hooks):
    """The agent's own wiring, with nothing of Windows but its manager: no Wine delivers a PRESHUTDOWN."""
    windows, usual = Windows(), threading.excepthook
    with world(tmp_path) as here:
        here.hook("10-first")
        here.configure('[policy]\non_stop = "recover"')
        loaded = load_settings(tmp_path / "tideover.toml", {})
        windows.control.starting()
        agent = threading.Thread(target=lambda: run_agent(loaded, manager=windows.control))
        agent.start()
        try:
            here.freeze(not_before_in_s=600)
            here.until(lambda: here.metadata.acknowledgements and here.record()["status"] == "acknowledged")
            assert windows.standing is ServiceState.RUNNING
        finally:
            windows.control.on_control(control)
            agent.join(20)
            threading.excepthook = usual
        assert not agent.is_alive() and windows.standing is ServiceState.STOP_PENDING
        assert here.begun() == hooks
        assert any(level == "info" and "agent.stopped" in line for level, line in windows.lines)
