"""What a person does by hand says and means the same whether an agent works there or not."""
from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from running_agent import World, environment, world

FREEZES = '[policy]\nacknowledge = "never"'


@contextmanager
def held(home: Path, *, agent: bool, body: str = ":", more: str = "") -> Iterator[tuple[World, str]]:
    """A freeze for which the one hook has prepared and that waits for its owner; then with the agent or without one."""
    with world(home) as here:
        here.hook("10-first", body)
        here.configure(f"{FREEZES}\n{more}")
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "held")
        if not agent:
            here.kill()
        yield here, event


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_recover_by_hand_says_what_it_recovered(tmp_path, agent):
    with held(tmp_path, agent=agent) as (here, event):
        unknown, asked = here.command("recover", "no-such-event"), here.ask("recover", event.upper(), "--yes")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr == "tideover: cannot recover no-such-event: no such event is open. See tideover status.\n"
        assert asked == {"ok": True, "were_pending": ["first"], "still_pending": []}
        assert here.begun() == ["first prepare", "first recover"]
        assert here.command("recover").stdout == "No recovery is pending.\n"


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_recover_by_hand_says_its_result_in_one_sentence(tmp_path, agent):
    with held(tmp_path / "good", agent=agent) as (here, _):
        answer = here.command("recover", "--yes")
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "Recovered: first.\n", "")
    with held(tmp_path / "bad", agent=agent, body='[ "$1" = prepare ] || exit 1') as (here, _):
        answer = here.command("recover", "--yes")
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr == "tideover: recovery is still pending: first. See the reason with tideover show last.\n"


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_a_recover_by_hand_gets_the_verdict_on_the_clock(tmp_path, agent):
    """Its owner decides that it carries on; that the clock is wrong it must hear all the same."""
    with held(tmp_path, agent=agent, body=f'echo "$TIDEOVER_CLOCK $TIDEOVER_CLOCK_OFFSET_S" > {tmp_path}/told') as (here, _):
        assert here.time_server is not None
        here.time_server.offset_s = 30.0
        time.sleep(2.2)                 # no server is asked twice within 2 s
        assert here.command("recover", "--yes").returncode == 0
        verdict, offset_s = (tmp_path / "told").read_text().split()
        assert verdict == "bad" and -31 < float(offset_s) < -29
        assert here.record()["clock"]["verdict"] == "bad"


def posts(here: World) -> int:
    return sum(request.method == "POST" for request in here.metadata.requests)


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_what_is_acknowledged_by_hand_is_sent_to_the_platform_once(tmp_path, agent):
    """Also by an agent that is started later, and though the platform lists the event as Scheduled on and on."""
    with world(tmp_path, start_after_s=600.0) as here:
        here.hook("10-first")
        here.configure(FREEZES)
        event = here.freeze(not_before_in_s=600)
        if agent:
            here.start()
            here.until(lambda: here.record()["status"] == "held")
        first, second = (here.command("acknowledge", typed, "--yes") for typed in (event, event.upper()))
        assert (first.returncode, first.stdout) == (0, f"{event}: acknowledgement accepted by the platform\n")
        assert (second.returncode, second.stdout) == (0, f"{event.upper()}: it is acknowledged already\n")
        if agent:
            here.kill()
        here.configure()                                # from now on it would be acknowledged when ready
        here.start()
        here.until(lambda: here.record()["status"] == "acknowledged")
        assert here.ask("acknowledge", event) == {"ok": True, "why": "it is acknowledged already", "event_id": event}
        assert posts(here) == 1 and here.record()["acknowledged_at"] is not None


@pytest.mark.slow
def test_an_agent_that_had_no_answer_hears_of_the_acknowledgement_by_hand_that_followed(tmp_path):
    from tideover.simulator import InjectedFault
    with world(tmp_path, start_after_s=600.0) as here:
        here.metadata.inject_fault(InjectedFault(status=503), method="POST", times=1)
        here.hook("10-first")
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "unconfirmed")
        here.kill()
        asked = posts(here)
        assert here.command("acknowledge", event, "--yes").returncode == 0
        here.start()
        here.until(lambda: here.record()["status"] == "acknowledged" and len(here.metadata.requests) > 12)
        assert posts(here) == asked + 1


@pytest.mark.slow
def test_what_cannot_be_acknowledged_is_reported_for_its_true_reason(tmp_path):
    with held(tmp_path, agent=True) as (here, event):
        unknown = here.command("acknowledge", "no-such-event")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr == ("tideover: cannot acknowledge no-such-event: no such event is open. "
                                  "See tideover status.\n")
        assert here.command("recover", "--yes").returncode == 0
        recovered = here.command("acknowledge", event)
        assert recovered.returncode == 1
        assert recovered.stderr.startswith(f"tideover: cannot acknowledge {event}: its applications were recovered by hand")
        assert here.metadata.acknowledgements == []


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_no_command_acknowledges_for_another_vm(tmp_path, agent):
    with world(tmp_path) as here:
        here.configure()
        event = here.freeze(resources=["vm-of-somebody-else"])
        if agent:
            here.start()
            here.until(lambda: here.ask("status", "--all")["events"])
        answer = here.command("acknowledge", event)
        assert answer.returncode == 1 and ("this VM" in answer.stderr or "it concerns other VMs" in answer.stderr)
        assert posts(here) == 0


@pytest.mark.slow
def test_an_event_acknowledged_by_hand_in_another_spelling_stays_one_event(tmp_path):
    with held(tmp_path, agent=False) as (here, event):
        here.metadata.remove_event(event)
        here.freeze(id=event.lower(), not_before_in_s=600)
        assert here.command("acknowledge", event).returncode == 0
        assert [record["event_id"] for record in here.records()] == [event]
        assert here.record()["acknowledged_at"] is not None
        assert here.metadata.acknowledgements[0].event_id == event.lower(), "the platform is told its own spelling"


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_recover_of_an_event_still_ahead_must_be_confirmed(tmp_path, agent):
    """It would take back what was prepared for a machine that is about to be stopped."""
    with held(tmp_path, agent=agent) as (here, event):
        refused = here.command("recover")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == (f"tideover: cannot recover: {event} has not started yet, and would find first unprepared. "
                                  "Confirm with --yes.\n")
        plan = here.ask("recover", "--dry-run")
        assert plan == {"ok": True, "event_id": None, "pending": ["first"], "ahead": [event]}
        assert here.begun() == ["first prepare"], "nothing was run"
        assert here.ask("recover", "last", "--yes")["were_pending"] == ["first"]
        assert here.begun() == ["first prepare", "first recover"]
        assert here.ask("recover", "--dry-run")["pending"] == []


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["lost", "damaged"])
def test_a_plan_without_an_agent_names_what_only_the_private_directories_say_is_prepared(tmp_path, journal):
    with held(tmp_path, agent=False) as (here, _):
        for file in (tmp_path / "state").glob("journal.db*"):
            file.unlink() if journal == "lost" else file.write_bytes(b"nonsense" * 1000)
        assert here.ask("recover", "--dry-run") == {"ok": True, "event_id": None, "pending": ["first"], "ahead": []}
        assert here.ask("recover", "--yes")["were_pending"] == ["first"]
        assert here.ask("recover", "--dry-run")["pending"] == []


@pytest.mark.slow
def test_at_a_terminal_recover_asks_and_no_means_no(tmp_path):
    with held(tmp_path, agent=True) as (here, _):
        for answer, status, ran in (("n", 1, ["first prepare"]), ("y", 0, ["first prepare", "first recover"])):
            assert at_a_terminal(here, answer, "recover") == status
            assert here.begun() == ran


def at_a_terminal(here: World, answer: str, *words: str) -> int:
    """Run a command whose standard input is a terminal at which `answer` has been typed; return its exit status."""
    ours, its = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        return subprocess.run([sys.executable, "-m", "tideover", *words, "--config", str(here.home / "tideover.toml")],
                              env=environment(), stdin=its, capture_output=True, timeout=60).returncode
    finally:
        os.close(its)
        os.close(ours)


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_an_event_is_named_by_the_beginning_of_its_id_or_as_the_last(tmp_path, agent):
    with held(tmp_path, agent=agent) as (here, event):
        for typed in ("last", event[:6].lower()):
            assert here.ask("recover", typed, "--dry-run")["event_id"] == event
        answer = here.command("acknowledge", "last", "--yes")
        assert (answer.returncode, answer.stdout) == (0, f"{event}: acknowledgement accepted by the platform\n")
        again = here.command("acknowledge", event[:6], "--yes")
        assert (again.returncode, again.stdout) == (0, f"{event}: it is acknowledged already\n")
        assert posts(here) == 1


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_what_speaks_against_an_acknowledgement_is_named_and_must_be_confirmed(tmp_path, agent):
    """And the record says that it was by hand, and what it was against."""
    with world(tmp_path) as here:
        here.hook("10-first", '[ "$1" = recover ] || exit 1')
        here.start()
        event = here.freeze(not_before_in_s=600, resources=["vm-1", "vm-2"])
        here.until(lambda: here.record()["status"] == "held")
        if not agent:
            here.kill()
        refused = here.command("acknowledge", event)
        assert (refused.returncode, posts(here)) == (2, 0)
        assert "a required preparation failed: first; machines that have not agreed: vm-2" in refused.stderr
        assert here.command("acknowledge", event, "--yes").returncode == 0
        here.until(lambda: posts(here) == 1)
        notes = [line["note"] for line in here.record()["timeline"] if line["what"] in ("acknowledging", "manual acknowledgement")]
        assert notes and all(note.startswith("by hand") and "vm-2" in note and "first" in note for note in notes)


FAILS = '[ "$1" = prepare ] || exit 1'


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_a_pending_recovery_is_given_up_by_name_and_the_record_says_so(tmp_path, agent):
    with held(tmp_path, agent=agent, body=FAILS) as (here, event):
        claimed = here.command("recover", "--forget", "first")
        assert claimed.returncode == 1 and f"it is prepared for {event}" in claimed.stderr
        assert here.command("recover", "--yes").returncode == 1
        assert here.ask("recover", "--forget", "first") == {"ok": True, "forgotten": ["first"]}
        assert here.ask("recover", "--dry-run")["pending"] == []
        run = here.record()["hooks"][-1]
        assert (run["name"], run["phase"], run["outcome"], run["note"]) == ("first", "recover", "forgotten", "given up by hand")
        again = here.command("recover", "--forget", "first")
        assert (again.returncode, "no recovery of it is pending" in again.stderr) == (1, True)
        here.until(lambda: not (here.home / "state" / "hooks" / "first").exists())


# ---- beside a faulty configuration ----

FAULTS = {"unknown-key": "[hooks]\ntimeoutt = 3\n", "no-toml": "[log]\nlevel = info\n"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("agent", [True, False], ids=["with-agent", "without"])
def test_a_faulty_configuration_does_not_prevent_status_and_recover(tmp_path, agent, fault):
    with held(tmp_path, agent=agent) as (here, event):
        with (here.home / "tideover.toml").open("a") as file:
            file.write(FAULTS[fault])
        assert here.ask("status")["agent"]["alive"] is agent
        assert here.ask("show", "last")["event_id"] == event
        assert len(here.ask("history")["events"]) == 1
        recovered = here.command("recover", "--yes", "--json")
        assert json.loads(recovered.stdout)["were_pending"] == ["first"]
        assert recovered.stderr.startswith("tideover: cannot use the configuration") and "Traceback" not in recovered.stderr
        assert here.begun() == ["first prepare", "first recover"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_cannot_start_for_its_configuration_recovers_first_and_ends_with_2(tmp_path, fault):
    """By the journal's own data; the environment comes from what can be read of the file, not from the journal."""
    body = f'echo "$1 $WHERE" >> {tmp_path}/seen; [ "$1" = prepare ] || [ ! -e {tmp_path}/fails ] || exit 1'
    with world(tmp_path) as here:
        here.hook("10-first", body)
        more = '[policy]\nacknowledge = "never"\n[hook.first]\nenvironment = { WHERE = "there" }\n'
        here.configure(more)
        here.start()
        here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "held")
        here.kill()
        here.configure(more + FAULTS[fault])
        (tmp_path / "fails").touch()
        failed = here.command("run")
        assert failed.returncode == 2 and "Traceback" not in failed.stderr
        assert "recover.pending hooks=first" in failed.stderr and "one fault found" in failed.stderr
        pending = (here.home / "state" / "PENDING").read_text()
        assert f"first: {here.home}/hooks.d/10-first recover\n" in pending
        (tmp_path / "fails").unlink()
        ended = here.command("run")
        assert ended.returncode == 2 and "recover.pending" not in ended.stderr
        assert not (here.home / "state" / "PENDING").exists()
        assert (tmp_path / "seen").read_text().splitlines() == ["prepare there", "recover there", "recover there"]
        notes = [step["note"] for step in here.record()["timeline"] if step["what"] == "recovering"]
        assert notes == ["no agent could start with its configuration"]
        began = time.monotonic()
        assert here.command("run").returncode == 2 and time.monotonic() - began < 10, "nothing is pending any more"


@pytest.mark.slow
@pytest.mark.parametrize(("good_after_s", "deadline", "verdict"), [(1.5, "60s", "good"), (None, "2s", "bad")])
def test_a_service_that_cannot_start_waits_for_a_good_clock_before_it_recovers(tmp_path, good_after_s, deadline, verdict):
    with held(tmp_path, agent=False, body=f'echo "$TIDEOVER_CLOCK" > {tmp_path}/told') as (here, _):
        assert here.time_server is not None
        here.time_server.offset_s = 30.0
        here.configure(FREEZES + "\nacknowledgee = 1\n", deadline=deadline)
        if good_after_s is not None:
            threading.Timer(good_after_s, lambda: setattr(here.time_server, "offset_s", 0.0)).start()
        assert here.command("run").returncode == 2
        assert (tmp_path / "told").read_text() == f"{verdict}\n"


@pytest.mark.slow
def test_a_recover_whose_environment_cannot_be_read_runs_without_it_and_says_so(tmp_path):
    body = f'echo "$1 $WHERE" >> {tmp_path}/seen'
    with held(tmp_path, agent=False, body=body, more='[hook.first]\nenvironment = { WHERE = "there" }\n') as (here, _):
        here.configure(FREEZES + "\n[hook.first]\nenvironment = { WHERE = there }\n")
        recovered = here.command("recover", "--yes")
        assert recovered.returncode == 0 and "hook.environment-unknown hook=first" in recovered.stderr
        assert (tmp_path / "seen").read_text() == "prepare there\nrecover \n"


@pytest.mark.slow
def test_a_taken_state_directory_is_no_faulty_configuration(tmp_path):
    """The service manager must try again: its holder releases it."""
    with world(tmp_path) as here:
        here.start()
        assert here.command("run").returncode == 3


# ---- secrets ----

SECRET = "correct-horse-battery-staple"


@pytest.mark.slow
@pytest.mark.parametrize("placed", ["table", "file"])
def test_a_value_of_a_hooks_environment_stands_in_no_file_log_or_page(tmp_path, placed):
    """Not even where the hook prints it, and after a recover by the journal's own data."""
    told = 'echo "token=$TOKEN"; printf %s "${TOKEN%staple}"; sleep 0.2; echo staple; env | grep TOKEN >&2'
    with world(tmp_path) as here:
        here.hook("10-first", f'{told}; echo "$1 $TOKEN" >> {tmp_path}/given')
        if placed == "file":
            token = f'environment_file = "{tmp_path}/first.env"'
            (tmp_path / "first.env").write_text(f"TOKEN={SECRET}\n")
            (tmp_path / "first.env").chmod(0o600)
        else:
            token = f'environment = {{ TOKEN = "{SECRET}" }}'
        more = f'[policy]\nacknowledge = "never"\n[log]\nlevel = "debug"\n[hook.first]\n{token}\n'
        here.configure(more)
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "held")
        page = here.command("show", "last", "--html", str(tmp_path / "page.html"))
        while_open = [here.said(), page.stdout, json.dumps(here.ask("status")), json.dumps(here.ask("show", event))]
        found_in(here, "while it is open")
        here.kill()
        here.configure(more + f'[hook.second]\nenvironment = {{ TOKEN = ["{SECRET}"] }}\n[hook.third]\nenvironment = "{SECRET}"\n')
        recovered = here.command("recover", "--yes")
        assert recovered.returncode == 0
        here.command("show", "last", "--html", str(tmp_path / "page.html"))
        started = here.command("run")
        assert started.returncode == 2
        assert (tmp_path / "given").read_text() == f"prepare {SECRET}\nrecover {SECRET}\n", "the hook is given it"
        texts = [*while_open, here.said(), recovered.stdout + recovered.stderr, started.stderr,
                 (tmp_path / "page.html").read_text(), json.dumps(here.records())]
        assert [text for text in texts if SECRET in text] == []
        assert here.record()["hooks"][0]["output"].splitlines() == ["token=${TOKEN}", "${TOKEN}", "TOKEN=${TOKEN}"]
        found_in(here, "at the end")


@pytest.mark.slow
def test_an_event_is_held_while_the_environment_file_of_a_hook_is_missing_and_a_recover_without_it_says_so(tmp_path):
    file = tmp_path / "first.env"
    more = f'[policy]\nacknowledge = "never"\n[hook.first]\nenvironment_file = "{file}"\n'
    with world(tmp_path) as here:
        here.hook("10-first", f'echo "$1 $WHERE" >> {tmp_path}/seen')
        here.configure(more)
        here.start()
        here.until(lambda: f"environment_file {file} cannot be read (no such file or directory)" in here.said())
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "held")
        [refused] = here.record()["hooks"]
        assert refused["outcome"] == "refused" and str(file) in refused["note"] and not (tmp_path / "seen").exists()
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        file.write_text("WHERE=there\n")
        file.chmod(0o600)
        here.freeze(not_before_in_s=600)
        here.until(lambda: (tmp_path / "seen").exists() and here.record()["status"] == "held")
        file.unlink()
        assert here.ask("recover", "--yes")["still_pending"] == []
        assert (tmp_path / "seen").read_text() == "prepare there\nrecover \n"
        assert f"run without its environment file: environment_file {file} cannot be read" in here.said()


def found_in(here: World, when: str) -> None:
    files = [path for place in ("state", "run") for path in (here.home / place).rglob("*") if path.is_file()]
    assert any(path.name == "journal.db" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == [], when


@pytest.mark.slow
def test_recover_inside_a_recover_hook_answers_at_once_with_what_is_pending(tmp_path):
    """It does not wait for the run that waits for it."""
    with world(tmp_path) as here:
        call = f'{sys.executable} -m tideover recover --config {tmp_path}/tideover.toml 2> {tmp_path}/told; echo $? >> {tmp_path}/told'
        here.hook("10-self", f'[ "$1" = prepare ] || {{ PYTHONPATH={environment()["PYTHONPATH"]}; export PYTHONPATH; {call}; }}')
        here.configure('[hook.self]\ntimeout = "15s"')
        here.start()
        event = here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["self prepare", "self recover"]
        told = (tmp_path / "told").read_text()
        assert told.startswith("tideover: recovery is still pending: self. The agent runs it") and told.endswith("\n1\n")
        assert [run["outcome"] for run in here.record()["hooks"]] == ["done", "done"]
