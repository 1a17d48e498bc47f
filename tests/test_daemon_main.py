"""The agent's process under its signals and its service manager."""
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running_agent import environment, world
from tideover import sd_notify
from tideover.service_manager import StopReason

slow = pytest.mark.slow


def test_a_shutdown_and_a_restart_are_no_stop():
    """Which jobs systemd has tells why it ends us."""
    stopping = "12 tideover.service stop running\n"
    assert sd_notify.ending_among(stopping, "tideover.service") is StopReason.STOP
    assert sd_notify.ending_among("", "tideover.service") is StopReason.STOP
    assert sd_notify.ending_among(stopping + "9 shutdown.target start waiting\n", "tideover.service") is StopReason.SHUTDOWN
    assert sd_notify.ending_among("12 tideover.service restart running\n", "tideover.service") is StopReason.RESTART
    assert sd_notify.ending_among("12 other.service restart running\n", "tideover.service") is StopReason.STOP


def test_a_process_without_a_service_is_not_asked_about():
    assert sd_notify.why_we_end({}) is StopReason.STOP


def test_the_watchdog_is_only_ours_to_feed_when_it_waits_for_this_process():
    assert sd_notify.watchdog_period_s({"WATCHDOG_USEC": "2000000"}) == 2.0
    assert sd_notify.watchdog_period_s({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}) == 2.0
    for other in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}):
        assert sd_notify.watchdog_period_s(other) is None


class Manager:
    """Hears what a service says, as systemd does."""

    def __init__(self, place):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(place))
        self.socket.setblocking(False)
        self.heard = []

    def said(self):
        while True:
            try:
                self.heard.append((time.monotonic(), self.socket.recv(4096).decode()))
            except BlockingIOError:
                return [message for _, message in self.heard]


@slow
def test_the_engines_own_loop_feeds_the_watchdog_even_when_no_news_comes(tmp_path):
    """Without a source: nothing but the bound of its wait turns the loop. A loop that hangs feeds nothing."""
    (tmp_path / "tideover.toml").write_text(
        f'[source]\nkind = "none"\n[paths]\nhooks = "{tmp_path}"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"\n')
    manager = Manager(tmp_path / "notify")
    agent = subprocess.Popen([sys.executable, "-m", "tideover", "run", "--config", str(tmp_path / "tideover.toml")],
                             env={**environment(), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"})
    try:
        end = time.monotonic() + 10
        while manager.said().count("WATCHDOG=1") < 5:
            assert time.monotonic() < end, manager.heard
            time.sleep(0.02)
        fed = [at for at, message in manager.heard if message == "WATCHDOG=1"]
        assert max(late - early for early, late in itertools.pairwise(fed)) < 0.9
        assert manager.said()[0] == "READY=1" and "STATUS=No event is open" in manager.said()
    finally:
        agent.terminate()
        agent.wait(10)
    assert manager.said()[-1] == "STOPPING=1"


@slow
def test_a_new_configuration_is_applied_between_events_and_a_faulty_one_refused(tmp_path):
    """SIGHUP: the old one goes on in the middle of an event, and for good when the new one is faulty."""
    with world(tmp_path) as here:
        here.hook("10-first")
        agent = here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        here.configure("[hooks]\ntimeoutt = 3")
        agent.send_signal(signal.SIGHUP)
        here.until(lambda: "configuration.refused" in here.said() and "hooks.timeoutt" in here.said())
        here.configure('[policy]\nacknowledge = "never"')
        agent.send_signal(signal.SIGHUP)
        here.until(lambda: "configuration.reload-deferred" in here.said())
        time.sleep(0.3)
        assert here.said().count("agent.started") == 1 and here.begun() == ["first prepare"]
        here.metadata.remove_event(event)
        here.until(lambda: here.said().count("configuration.read") == 1)
        here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "held")
        assert len(here.metadata.acknowledgements) == 1 and agent.poll() is None


@slow
def test_a_table_of_a_hook_that_is_not_there_is_reported_at_the_start_and_with_each_new_configuration(tmp_path):
    """Its owner believes that the hook runs with these settings; `config check` is not run for a service."""
    with world(tmp_path) as here:
        here.hook("10-first")
        here.configure('[hook.first]\ntimeout = "5s"\n[hook.frist]\ntimeout = "5s"')
        agent = here.start()
        cautions = [line for line in here.said().splitlines() if "configuration.warning" in line and "hook." in line]
        assert len(cautions) == 1 and "hook.frist: the hooks directory has no such hook" in cautions[0]
        here.configure('[hook.second]\nrequired = false')
        agent.send_signal(signal.SIGHUP)
        here.until(lambda: "hook.second: the hooks directory has no such hook" in here.said())


@slow
def test_many_reloads_leave_no_thread_and_no_file_behind(tmp_path):
    with world(tmp_path) as here:
        agent = here.start()

        def reload():
            before = here.said().count("configuration.read")
            agent.send_signal(signal.SIGHUP)
            here.until(lambda: here.said().count("configuration.read") == before + 1)
            time.sleep(0.3)
            threads = re.search(r"Threads:\s+(\d+)", Path(f"/proc/{agent.pid}/status").read_text())
            assert threads
            return int(threads[1]), len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))

        first = reload()
        for _ in range(6):
            last = reload()
        assert last[0] <= first[0] + 1 and last[1] <= first[1] + 2, (first, last)


@slow
def test_a_stop_waits_for_recovery_only_if_the_owner_says_so(tmp_path):
    for on_stop, begun in (("keep", ["first prepare"]), ("recover", ["first prepare", "first recover"])):
        home = tmp_path / on_stop
        home.mkdir()
        with world(home) as here:
            here.hook("10-first", "sleep 0.5")
            here.configure(f'[policy]\non_stop = "{on_stop}"')
            agent = here.start()
            here.freeze(not_before_in_s=600)
            here.until(lambda here=here: here.metadata.acknowledgements)
            agent.terminate()
            assert agent.wait(10) == 0
            assert here.begun() == begun


@slow
def test_a_new_configuration_is_no_restart(tmp_path):
    """What is counted goes on, the process's start stays what it was, and the log speaks of the configuration only."""
    with world(tmp_path) as here:
        here.hook("10-first")
        more = f'[metrics]\ntextfile = "{tmp_path}/figures.prom"\n'
        here.configure(more)
        agent = here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        began = here.ask("status")["agent"]["started_at"]

        def figures():
            found = re.findall(r'^(tideover_start_time_seconds|tideover_acknowledgements_total\{outcome="accepted"\}) (.*)$',
                               (tmp_path / "figures.prom").read_text(), re.MULTILINE)
            return {name.partition("{")[0]: float(value) for name, value in found}

        here.until(lambda: figures()["tideover_acknowledgements_total"] == 1.0, 30.0)
        before = figures()
        here.configure(more + '[hooks]\ntimeout = "9s"\n')
        (tmp_path / "figures.prom").unlink()
        agent.send_signal(signal.SIGHUP)
        here.until(lambda: "configuration.read" in here.said())
        here.until(lambda: (tmp_path / "figures.prom").exists(), 30.0)
        assert figures() == before
        assert here.ask("status")["agent"]["started_at"] == began
        assert here.said().count("agent.started") == 1 and "agent.stopped" not in here.said()
