"""The promises, on a real agent process, real hooks, a real stop, against a metadata service and a time server."""
import os
import signal
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from running_agent import World, world
from tideover.config_file import load_settings
from tideover.daemon import main
from tideover.daemon.main import AgentProcess
from tideover.sd_notify import Systemd

slow = pytest.mark.slow


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_a_freeze_is_carried_from_notice_to_record(tmp_path):
    """Order, one acknowledgement, a pause within its stated uncertainty, a good clock, recover in reverse, a closed record."""
    with world(tmp_path) as here:
        for file in ("10-first", "20-second", "30-third"):
            here.hook(file)
        here.start()
        event = here.freeze()
        here.until(lambda: here.metadata.status_of(event) == "Started" and here.record()["status"] == "started")
        with here.stopped():
            begin = time.monotonic()
            time.sleep(1.2)
            truth_s = time.monotonic() - begin
        here.until(lambda: here.record()["status"] == "recovered")
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        record = here.record()
        assert here.begun() == ["first prepare", "second prepare", "third prepare",
                                "third recover", "second recover", "first recover"]
        assert len(here.metadata.acknowledgements) == 1
        [pause] = record["pauses"]
        assert abs(pause["length_s"] - truth_s) <= pause["uncertainty_s"] + 0.05, (pause, truth_s)
        assert (record["outcome"], record["clock"]["verdict"]) == ("resumed", "good")
        assert not [moment for moment in ("noticed_at", "not_before", "acknowledged_at", "started_at", "ended_at", "closed_at")
                    if record[moment] is None]


@slow
def test_a_not_before_that_moves_nearer_ends_the_hook_that_runs_in_time_for_it(tmp_path):
    """The hook would take a minute, and half of the wait up to the new NotBefore is kept for the acknowledgement."""
    with world(tmp_path) as here:
        here.hook("10-long", '[ "$1" = recover ] || sleep 60')
        here.configure('[hooks]\nreserve = "3s"')
        here.start()
        event = here.freeze()
        here.until(here.begun)
        here.metadata.move_event(event, 6.0)
        here.until(lambda: here.record()["status"] == "held")
        [run] = here.record()["hooks"]
        assert (run["outcome"], here.metadata.status_of(event)) == ("timed-out", "Scheduled")
        assert run["limit_s"] < 6.0 and run["duration_s"] < 30.0


@slow
def test_a_required_hook_that_fails_means_no_acknowledgement(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-works")
        here.hook("20-fails", '[ "$1" = recover ] || exit 1')
        here.start()
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "held")
        time.sleep(0.3)
        assert here.metadata.acknowledgements == []
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun()[2:] == ["fails recover", "works recover"], "what failed is recovered as well"


@slow
def test_a_hook_that_anyone_can_write_is_refused_and_reported_and_nothing_is_acknowledged(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-open")
        (here.home / "hooks.d" / "10-open").chmod(0o777)
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] == "held")
        assert here.metadata.acknowledgements == [] and here.begun() == []
        assert "chmod" in here.record()["hooks"][0]["note"] or "chmod" in here.said()
        assert here.command("hooks", "check").returncode == 1


@slow
def test_an_event_withdrawn_while_prepare_runs_leaves_no_process_and_recovers_within_a_second_and_a_half(tmp_path):
    """A tree deaf to SIGTERM, with a child gone into a session of its own."""
    deaf = ("if [ $1 = prepare ]; then trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > HERE/grandchild; sleep 60 & wait' & "
            "sleep 60 & wait; sleep 60; fi")
    with world(tmp_path) as here:
        here.hook("10-deaf", deaf.replace("HERE", str(tmp_path)))
        here.start()
        event = here.freeze()
        here.until(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text().strip())
        prepare = int(here.lines()[0][3])
        withdrawn = time.time()
        here.metadata.remove_event(event)
        recover = here.until(lambda: next((line for line in here.lines() if line[2] == "recover"), None))
        assert float(recover[0]) - withdrawn < 1.5
        assert recover[5] == "cancelled"
        assert not is_alive(prepare) and not is_alive(int((tmp_path / "grandchild").read_text()))
        here.until(lambda: here.record()["status"] == "closed")
        assert here.record()["outcome"] == "cancelled" and here.metadata.acknowledgements == []


@slow
@pytest.mark.parametrize("phase", ["prepare", "recover"])
def test_an_agent_killed_while_a_hook_runs_runs_no_second_copy_and_forgets_nothing(tmp_path, phase):
    """kill -9 in prepare and in recover: one acknowledgement, all recovered, never two copies at once."""
    with world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-slow", f'[ "$1" = {phase} ] && [ ! -e {tmp_path}/killed ] && sleep 30')
        here.start()
        event = here.freeze()
        if phase == "recover":
            here.until(lambda: here.record()["status"] == "started")
            with here.stopped():
                time.sleep(1.2)
        line = here.until(lambda: next((line for line in here.lines() if line[1:3] == ["slow", phase]), None))
        here.kill()
        assert is_alive(int(line[3])), "the hook outlives the agent"
        (tmp_path / "killed").touch()
        here.start()
        here.until(lambda: here.begun().count(f"slow {phase}") == 2)
        assert not is_alive(int(line[3])), "the old copy has ended before the new one begins"
        if phase == "prepare":
            here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert len(here.metadata.acknowledgements) == 1
        assert {"slow recover", "first recover"} <= set(here.begun())
        assert_cut_short(here, line)


def assert_cut_short(here: World, begun: list[str]) -> None:
    """The run that began so stands in the record as the first of two, with what is known of it and no more."""
    told = [run for run in here.record()["hooks"] if (run["name"], run["phase"]) == (begun[1], begun[2])]
    assert [(run["attempt"], run["outcome"]) for run in told] == [(1, "stopped"), (2, "done")]
    assert (told[0]["exit_status"], told[0]["duration_s"], told[0]["note"]) == (None, None, "the agent ended during the run")
    assert abs(datetime.fromisoformat(told[0]["started_at"]).timestamp() - float(begun[0])) < 5.0


@slow
def test_a_service_stopped_while_a_hook_prepares_tells_of_that_run_at_its_next_start(tmp_path):
    """on_stop = "keep": the hook is ended with the agent, and run again for the event that is still listed."""
    with world(tmp_path, start_after_s=60.0) as here:
        here.hook("20-slow", f'[ "$1" = prepare ] && [ ! -e {tmp_path}/stopped ] && sleep 30')
        here.start()
        event = here.freeze()
        line = here.until(lambda: next(iter(here.lines()), None))
        here.agents[-1].terminate()
        assert here.agents[-1].wait(10) == 0
        assert not is_alive(int(line[3]))
        (tmp_path / "stopped").touch()
        here.start()
        here.until(lambda: here.record()["status"] == "acknowledged")
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["slow prepare", "slow prepare", "slow recover"]
        assert_cut_short(here, line)


@slow
def test_recover_waits_for_a_good_clock(tmp_path):
    """4 s off after the stop: no recover starts before outside time agrees."""
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        assert here.time_server is not None
        with here.stopped():
            here.time_server.offset_s = 4.0
            time.sleep(1.2)
        here.until(lambda: here.record()["status"] == "checking-clock")
        here.until(lambda: here.ask("status")["clock"]["verdict"] == "bad")
        told = here.ask("status")
        assert told["clock"]["offset_s"] < -3.9 and told["waiting_for"].startswith("a good clock")
        time.sleep(1.0)
        assert here.begun() == ["first prepare"]
        here.time_server.offset_s = 0.0
        here.until(lambda: "first recover" in here.begun())
        assert here.record()["clock"]["verdict"] == "good"
        offsets = [sample["offset_s"] for sample in here.record()["clock"]["samples"]]
        assert min(offsets) < -3.9, "this machine was behind, so the offset is negative"


@slow
def test_recover_goes_on_at_the_deadline_and_says_so(tmp_path):
    with world(tmp_path, time_offset_s=4.0) as here:
        here.hook("10-first")
        here.configure(deadline="2s")
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        with here.stopped():
            time.sleep(1.2)
        line = here.until(lambda: next((line for line in here.lines() if line[2] == "recover"), None))
        assert line[6] == "bad" and here.record()["clock"]["verdict"] == "bad"


@slow
def test_a_stall_without_an_event_runs_no_hook(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        here.configure('[hook.first]\nkinds = ["freeze", "unannounced"]')
        here.start()
        with here.stopped():
            time.sleep(1.5)
        pauses = here.until(lambda: here.ask("pauses")["pauses"])
        assert pauses[0]["cause"] == "process-stall" and here.begun() == []


@slow
def test_broken_answers_in_the_middle_of_an_event_are_no_cancellation(tmp_path):
    from tideover.simulator import InjectedFault
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        nameless = b'{"DocumentIncarnation":9,"Events":[{"EventId":null,"EventStatus":"Started"}]}'
        here.metadata.inject_fault(InjectedFault(body=nameless), times=3)
        here.until(lambda: "document.failed" in here.said() and "document.recovered" in here.said())
        for body in (b"", b"{}", b'{"DocumentIncarnation":9,"Events":null}', b"[" * 100_000, b"Throttle Result"):
            here.metadata.inject_fault(InjectedFault(body=body), times=3)
            time.sleep(0.5)
        here.metadata.clear_faults()
        time.sleep(0.5)
        assert here.begun() == ["first prepare"] and here.record()["status"] in ("acknowledged", "started")
        assert "Traceback" not in here.said()


@slow
def test_a_second_agent_on_the_same_state_directory_refuses(tmp_path):
    with world(tmp_path) as here:
        first = here.start()
        second = here.command("run")
        assert second.returncode == 3 and str(first.pid) in second.stderr and "Traceback" not in second.stderr
        assert first.poll() is None


@slow
def test_an_agent_whose_socket_another_process_replaced_listens_there_again(tmp_path):
    with world(tmp_path) as here:
        agent = here.start()
        place = here.home / "run" / "tideover.sock"
        place.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(place))
            other.listen()
            here.until(lambda: "api.socket-replaced" in here.said())
        here.until(lambda: here.ask("status")["agent"]["version"] is not None)
        assert here.ask("status")["agent"]["pid"] == agent.pid


@slow
def test_an_agent_whose_runtime_directory_others_can_change_does_its_work_and_does_not_listen(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        (here.home / "open").mkdir()
        (here.home / "open").chmod(0o777)
        here.configure()
        file = here.home / "tideover.toml"
        file.write_text(file.read_text().replace(f'"{here.home}/run"', f'"{here.home}/open/run"'))
        agent = here.start()
        event = here.freeze()
        here.until(lambda: here.metadata.acknowledgements)
        assert "api.listen-failed" in here.said() and "can be written by everybody" in here.said()
        answer = here.command("recover", event)
        assert answer.returncode == 3 and f"Process {agent.pid} uses" in answer.stderr
        assert not (here.home / "open" / "run").exists()


@slow
def test_two_agents_with_one_runtime_directory_are_not_taken_for_each_other(tmp_path):
    """The first keeps its socket; the second says that it cannot be asked, and leaves the socket when it ends."""
    with world(tmp_path / "one") as first, world(tmp_path / "two") as second:
        first.hook("10-first")
        first.start()
        second.configure()
        file = second.home / "tideover.toml"
        file.write_text(file.read_text().replace(f'"{second.home}/run"', f'"{first.home}/run"'))
        first.freeze()
        first.until(lambda: first.metadata.acknowledgements)
        other = second.start()
        second.until(lambda: "api.listen-failed" in second.said())
        assert second.command("recover").returncode == 3
        other.terminate()
        other.wait()
        assert first.command("recover", "--yes").stdout.startswith("Recovered: first")


@slow
def test_a_held_event_is_acknowledged_by_hand_through_the_agent_and_once(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        here.configure('[policy]\nacknowledge = "never"')
        here.start()
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "held")
        assert here.command("acknowledge", event).returncode == 0
        assert len(here.metadata.acknowledgements) == 1
        assert here.command("acknowledge", "no-such-event").returncode == 1


@slow
def test_what_is_pending_is_recovered_by_hand_without_the_agent(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-second")
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] in ("acknowledged", "started"))
        here.kill()
        status = here.ask("status")
        assert status["agent"]["alive"] is False and status["recover_pending"] == ["first", "second"]
        answer = here.command("recover", "--yes")
        assert answer.returncode == 0 and "first" in answer.stdout
        assert here.begun()[2:] == ["second recover", "first recover"]
        assert here.ask("status")["recover_pending"] == []


@slow
def test_a_damaged_journal_is_set_aside_and_the_agent_goes_on(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        (here.home / "state").mkdir()
        (here.home / "state" / "journal.db").write_bytes(os.urandom(8192))
        here.start()
        event = here.freeze()
        here.until(lambda: here.metadata.acknowledgements)
        here.metadata.remove_event(event)
        assert [path for path in (here.home / "state").iterdir() if "unreadable" in path.name]
        assert "journal.quarantined" in here.said()


@slow
def test_what_is_prepared_is_recovered_though_the_journal_is_lost(tmp_path):
    """The event is over, the machine's journal is gone: the private directory still says what was prepared."""
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        event = here.freeze()
        here.until(lambda: here.metadata.acknowledgements)
        here.kill()
        here.metadata.remove_event(event)
        for file in (here.home / "state").glob("journal.db*"):
            file.unlink()
        here.start()
        here.until(lambda: here.begun() == ["first prepare", "first recover"])
        assert "event.found-prepared" in here.said()
        here.until(lambda: here.ask("status")["recover_pending"] == [])
        assert not (here.home / "state" / "hooks" / "first").exists()


@slow
def test_a_freeze_that_comes_before_the_news_of_it_is_recovered_while_the_event_is_still_listed(tmp_path):
    """The machine stops the moment it has acknowledged, before any poll could show Started."""
    with world(tmp_path, start_after_s=0.0) as here:
        here.hook("10-first")
        here.configure()
        configuration = here.home / "tideover.toml"
        configuration.write_text(configuration.read_text().replace('poll = "100ms"', 'poll = "1s"'))
        here.start()
        here.freeze()
        here.until(lambda: here.metadata.acknowledgements)
        with here.stopped():
            time.sleep(1.5)
        here.until(lambda: here.record()["status"] == "recovered", patience_s=8.0)
        assert here.begun() == ["first prepare", "first recover"] and len(here.record()["pauses"]) == 1


@slow
def test_a_lost_answer_is_decided_by_a_fresh_document(tmp_path):
    """The platform never got it: it is sent again. The platform got it, only its answer was lost: it is not."""
    from tideover.simulator import InjectedFault
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        here.metadata.inject_fault(InjectedFault(status=503), method="POST", times=1)
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        posts = [request for request in here.metadata.requests if request.method == "POST"]
        assert len(posts) == 2 and len(here.metadata.acknowledgements) == 1
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        here.metadata.inject_fault(InjectedFault(drop=True), method="POST", times=1)
        here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        time.sleep(2.0)
        assert len([request for request in here.metadata.requests if request.method == "POST"]) == 3


@slow
def test_a_reboot_with_an_event_open_ends_restarted_with_all_recovered(tmp_path):
    """The boot id in the journal is another one, as after a reboot; the event has started meanwhile."""
    import sqlite3
    with world(tmp_path) as here:
        here.hook("10-first")
        here.hook("20-second")
        here.start()
        event = here.metadata.add_event("Reboot")
        here.until(lambda: here.record()["status"] == "started")
        here.kill()
        with sqlite3.connect(here.home / "state" / "journal.db") as journal:
            journal.execute("""UPDATE about SET value = json_set(value, '$.boot_id', 'the boot before') WHERE key = 'state'""")
        here.start()
        here.until(lambda: len(here.begun()) == 4)
        assert [line[5] for line in here.lines() if line[2] == "recover"] == ["restarted", "restarted"]
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.record()["outcome"] == "restarted" and here.record()["pauses"][0]["cause"] == "restart"


@slow
def test_other_vms_and_shared_events_are_never_released(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        here.metadata.add_event("Freeze", resources=["vm-10"])
        here.metadata.add_event("Freeze", resources=["vm-1", "vm-2"])
        here.until(lambda: [record["status"] for record in here.records()] == ["observed", "held"])
        time.sleep(0.5)
        assert here.metadata.acknowledgements == [] and here.begun() == ["first prepare"]


@slow
def test_a_users_own_event_without_a_hook_is_released_and_the_platforms_is_not(tmp_path):
    with world(tmp_path, start_after_s=60.0) as here:
        here.start()
        here.metadata.add_event("Reboot", event_source="Platform")
        theirs = here.metadata.add_event("Reboot", event_source="User")
        here.until(lambda: here.metadata.acknowledgements)
        time.sleep(0.5)
        assert [one.event_id for one in here.metadata.acknowledgements] == [theirs]


@slow
def test_a_metadata_service_that_is_away_for_a_while_ends_nothing(tmp_path):
    """Errors never end the agent, and an event goes on where it was."""
    from tideover.simulator import InjectedFault
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.inject_fault(InjectedFault(status=429, body=b"Throttle Result: Too Many Requests"), times=5)
        time.sleep(1.0)
        here.metadata.inject_fault(InjectedFault(reset=True), times=3)
        time.sleep(1.0)
        assert here.agents[-1].poll() is None and here.record()["status"] == "started"
        here.metadata.clear_faults()
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["first prepare", "first recover"] and "poll.failed" in here.said()
        assert here.ask("status")["waiting_for"] == "the next event"
        here.metadata.inject_fault(InjectedFault(reset=True), times=None)
        here.until(lambda: "cannot be reached" in here.ask("status")["waiting_for"])


@slow
def test_a_stopped_service_keeps_what_is_prepared_and_the_next_start_goes_on(tmp_path):
    with world(tmp_path, start_after_s=60.0) as here:
        here.hook("10-first")
        here.start()
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "acknowledged")
        here.agents[-1].terminate()
        assert here.agents[-1].wait(10) == 0
        assert here.begun() == ["first prepare"]
        here.start()
        here.metadata.start_event(event)
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["first prepare", "first recover"] and len(here.metadata.acknowledgements) == 1


@slow
def test_a_stopped_service_recovers_first_where_the_owner_wants_that(tmp_path):
    with world(tmp_path, start_after_s=60.0) as here:
        here.hook("10-first")
        here.configure('[policy]\non_stop = "recover"')
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] == "acknowledged")
        here.agents[-1].terminate()
        assert here.agents[-1].wait(20) == 0
        assert here.begun() == ["first prepare", "first recover"]
        here.start()
        here.until(lambda: here.begun()[2:] == ["first prepare"])
        time.sleep(0.5)
        assert len(here.metadata.acknowledgements) == 1, "prepared again, but told once"


@pytest.mark.slow
def test_an_agent_that_may_not_write_its_state_says_so_in_a_sentence(tmp_path):
    with world(tmp_path) as here:
        here.configure()
        configuration = here.home / "tideover.toml"
        configuration.write_text(configuration.read_text().replace(f'state = "{here.home}/state"', 'state = "/proc/nowhere"'))
        answer = here.command("run")
        assert answer.returncode == 2 and answer.stderr.count("\n") == 1 and "[paths]" in answer.stderr


@slow
def test_two_files_of_one_name_run_the_first_and_hold_the_acknowledgement_for_the_second(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-twice")
        here.hook("20-twice")
        here.start()
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "held")
        assert here.begun() == ["twice prepare"] and here.metadata.acknowledgements == []
        assert "20-twice  refused: withholds the acknowledgement" in here.command("status").stdout
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["twice prepare", "twice recover"]


@slow
def test_a_hook_renumbered_while_it_is_prepared_is_recovered_and_the_record_says_which_file_that_was(tmp_path):
    with world(tmp_path, start_after_s=60.0) as here:
        here.hook("10-first")
        here.start()
        event = here.freeze()
        here.until(lambda: here.record()["status"] == "acknowledged")
        (here.home / "hooks.d" / "10-first").rename(here.home / "hooks.d" / "15-first")
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["first prepare", "first recover"]
        assert [run["note"] for run in here.record()["hooks"]] == ["", "10-first is now 15-first"]


@pytest.mark.slow
def test_a_hooks_directory_that_can_no_longer_be_read_holds_the_acknowledgement_and_known_hooks_are_prepared(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-first")
        here.start()
        (tmp_path / "hooks.d").rename(tmp_path / "real")
        (tmp_path / "hooks.d").symlink_to(tmp_path / "hooks.d")
        event = here.freeze()
        here.until(lambda: "acknowledgement.withheld" in here.said())
        (tmp_path / "hooks.d").unlink()
        (tmp_path / "real").rename(tmp_path / "hooks.d")
        assert not here.metadata.acknowledgements
        assert "cannot be read (Too many levels of symbolic links)" in here.said()
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        second = here.freeze()
        here.until(lambda: here.begun() == ["first prepare"] and here.metadata.acknowledgements)
        here.metadata.remove_event(second)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_reload_with_hardly_a_descriptor_ends_nothing_and_commands_find_the_agent_again(tmp_path):
    """With each number that lets the configuration be read and the socket not be opened."""
    import resource
    with world(tmp_path) as here:
        here.hook("10-first")
        agent = here.start()
        time.sleep(1.0)
        soft, hard = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
        most = max(int(path.name) for path in Path(f"/proc/{agent.pid}/fd").iterdir())
        for limit in range(most - 4, most + 3):
            said = len(here.said())
            resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (limit, hard))
            agent.send_signal(signal.SIGHUP)
            here.until(lambda said=said: "configuration.re" in here.said()[said:])
            resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (soft, hard))
            here.until(lambda: agent.poll() is not None or here.ask("status")["agent"]["alive"])
            assert agent.poll() is None, here.said()
        here.freeze()
        here.until(lambda: here.metadata.acknowledgements)


class Told(Systemd):
    """Takes the log's lines."""

    def __init__(self, lines):
        super().__init__({})
        self.lines = lines

    @property
    def write_line(self):
        return lambda level, line: self.lines.append(line)


class Stubborn(AgentProcess):
    """Cannot build an agent for a while, as where the system gives no descriptors."""

    fails = 0

    def _build_agent(self, loaded, before=None):
        if self.fails:
            self.fails -= 1
            raise OSError(24, "Too many open files")
        return super()._build_agent(loaded, before)


@pytest.mark.slow     # its log thread stays, as in any agent, and another test counts threads
def test_a_reload_that_can_build_no_agent_goes_on_with_the_old_configuration_as_soon_as_one_can_be_built(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "RESTORE_AGAIN_S", 0.01)
    (tmp_path / "tideover.toml").write_text(f'''[source]\nkind = "none"
[paths]\nhooks = "{tmp_path}/hooks"\nstate = "{tmp_path}/state"\nruntime = "{tmp_path}/run"''')
    loaded, lines = load_settings(tmp_path / "tideover.toml", {}), []
    process = Stubborn(loaded, Told(lines))
    process._begin()
    process._waiting, process.fails = loaded, 3
    process._change()
    process.request_stop()
    process.close()
    said = "\n".join(lines)
    assert process.fails == 0 and said.count("agent.cannot-start") == 2 and "configuration.refused" in said


UNUSED_IN_AN_AGENT = {      # of what `requests` imports by itself: 8 MiB of an idle agent
    "_ssl", "chardet", "charset_normalizer.api", "idna", "zipfile", "importlib.metadata"}


@pytest.mark.slow
def test_an_event_makes_the_agent_import_nothing(tmp_path, monkeypatch):
    """Its files may have been replaced under it by an upgrade, and an import takes time when none is to spare."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")      # the interpreter writes a line for each import
    with world(tmp_path) as here:
        here.hook("10-works")
        here.hook("20-hangs", "[ $1 = recover ] || sleep 60 & wait")
        here.configure("[hook.hangs]\ntimeout = \"1s\"\nrequired = false")
        here.start()
        here.until(lambda: "agent.started" in here.said())
        time.sleep(1.0)
        before = imports_told(here)
        assert "psutil" in before and "ntplib" in before and "requests" in before
        assert not {"click", "rich", "jinja2", "prometheus_client"} & set(before)
        assert not UNUSED_IN_AN_AGENT & set(before)
        event = here.freeze()
        here.until(lambda: here.metadata.acknowledgements)
        with here.stopped():
            time.sleep(3.0)
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert imports_told(here)[len(before):] == []


def imports_told(here: World) -> list[str]:
    return [line.rpartition("|")[2].strip() for line in here.said().splitlines() if line.startswith("import time:")]
