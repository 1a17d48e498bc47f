"""The unit is one file for every kind of installation."""
import json
import re
from pathlib import Path

import pytest

from tideover.cli import main
from tideover.daemon.main import STOP_LIMIT_S
from tideover.service.systemd_unit import FILE, PACKAGED_COMMAND, quoted, unit_text


def directive(name):
    return re.findall(rf"^{name}=(.*)$", FILE.read_text(), re.M)


def seconds(text):
    return float(re.fullmatch(r"(\d+)s", text)[1])


def test_only_the_command_differs():
    text = unit_text(["/opt/tideover/bin/tideover"], None)
    assert text.split("\n", 1)[1] == FILE.read_text().replace(PACKAGED_COMMAND, "/opt/tideover/bin/tideover")


def test_a_second_instances_configuration_is_named_wherever_the_command_is():
    text = unit_text(["/srv/a b/python", "-m", "tideover"], "/etc/100%.toml")
    assert 'ExecStart="/srv/a b/python" -m tideover run --config /etc/100%%.toml\n' in text
    assert 'ExecReload="/srv/a b/python" -m tideover config check --config /etc/100%%.toml\n' in text


def test_words_survive_the_units_own_grammar():
    assert [quoted(word) for word in ("plain", "a b", 'q"', "$HOME", "5%")] == ["plain", '"a b"', '"q\\""', "$$HOME", "5%%"]


def test_the_watchdog_outlasts_the_longest_pause_and_a_stop_that_recovers_is_not_cut_off():
    """30 s is the longest pause the platform speaks of; a third of the period may have passed when it begins."""
    [watchdog], [stop] = directive("WatchdogSec"), directive("TimeoutStopSec")
    assert seconds(watchdog) * 2 / 3 > 30 + 5
    assert seconds(stop) >= STOP_LIMIT_S + 10


def test_a_configuration_that_cannot_be_used_is_tried_once():
    """Each further start would end the same way, and the service would be shown as starting all the while."""
    from tideover.errors import EXIT_WRONG_USE, BusyError
    assert directive("RestartPreventExitStatus") == [str(EXIT_WRONG_USE)]
    assert BusyError.exit_status != EXIT_WRONG_USE, "who has taken the state directory lets it go again"


def test_the_agent_is_ended_last_for_memory_has_a_control_group_for_each_run_and_mounts_of_its_own():
    """What protects the agent is taken from what hooks start (tests/test_hooks_world.py)."""
    [score], [delegates], [mounts] = directive("OOMScoreAdjust"), directive("Delegate"), directive("PrivateMounts")
    assert (int(score) <= -900, delegates, mounts) == (True, "yes", "yes")
    assert not directive("ProtectControlGroups")


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="this machine is run by systemd (sd_booted(3))")
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("start",), ("stop",)])
def test_where_no_systemd_runs_that_is_reported_as_unreachable(tmp_path, monkeypatch, capsys, words):
    """systemctl may be there all the same, as in a container. With --json there is one document, on standard output."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'System has not been booted with systemd as init system.' >&2\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["service", *words]) == 3
    told = capsys.readouterr()
    assert "this machine does not run systemd" in told.err and told.err.count("\n") == 1
    assert not told.out if "--json" not in words else json.loads(told.out)["why"] == "this machine does not run systemd"
