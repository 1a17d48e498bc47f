"""Hooks that do everything wrong, under a real agent: each prepare that was begun is recovered, nothing of theirs is left."""
from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from faults.table import tell, trial
from hooks_tried import Bench
from lives import DONE, Life, event, hook, report
from running_agent import World, world
from tideover import observations as ob
from tideover.hooks.posix_trust import own_account
from tideover.hooks.state_directory import StateDirectories
from tideover.model import HookOutcome, HookPhase, HookRun
from tideover.policy import Policy

slow = pytest.mark.slow
SHORT = '[hooks]\ntimeout = "2s"'
PREPARING = '[ "$1" = prepare ] && '


def left_alive(home: Path) -> list[int]:
    """Processes that have an environment from this home's hooks."""
    found, mark = [], f"TIDEOVER_STATE_DIR={home}/".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark in (entry / "environ").read_bytes() and b"\nState:\tZ" not in (entry / "status").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def memory_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def carry_through(here: World, outcome: str, may_proceed: bool) -> None:
    """One event over a good hook and the hostile one: acknowledged only if that worked, recovered in any case."""
    event_id = here.freeze(not_before_in_s=600)
    here.until(lambda: here.record()["status"] in ("held", "started"), 40)
    prepared = {run["name"]: run["outcome"] for run in here.record()["hooks"]}
    assert prepared == {"good": "done", "hostile": outcome}, prepared
    time.sleep(0.5)
    assert len(here.metadata.acknowledgements) == int(may_proceed)
    here.metadata.remove_event(event_id)
    here.until(lambda: here.record()["status"] == "closed", 60)
    assert {"good recover", "hostile recover"} <= set(here.begun()), here.begun()
    assert here.agents[-1].poll() is None and "Traceback" not in here.said()
    here.until(lambda: not left_alive(here.home))


HOSTILE = {
    "ignores SIGTERM": (PREPARING + "{ trap '' TERM; sleep 600; sleep 600; }; true", "timed-out"),
    "leaves into a new session": (PREPARING + "{ setsid -f sh -c 'trap \"\" TERM HUP; exec >/dev/null 2>&1 </dev/null; sleep 600'; sleep 600; }; true",
                                  "timed-out"),
    "closes its outputs and lives on": (PREPARING + "exec <&- >&- 2>&- && sleep 600; true", "timed-out"),
    "forks without end": (PREPARING + "while :; do (sleep 600 &) ; sleep 0.01; done; true", "timed-out"),
    "loops on 75": (PREPARING + "exit 75; true", "not-yet"),
    "dies by SIGKILL": (PREPARING + "kill -KILL $$; true", "failed"),
    "dies by SIGSEGV": (PREPARING + "kill -SEGV $$; true", "failed"),
    "stops itself": (PREPARING + "kill -STOP $$; true", "timed-out"),
}


@slow
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hook_that_does_not_end_as_it_should_holds_the_acknowledgement_and_is_recovered(tmp_path, what):
    body, outcome = HOSTILE[what]
    with trial(f"hook {what}", "sh, timeout 2 s, under a real agent", "not acknowledged, recovered, no process left"), \
            world(tmp_path) as here:
        here.configure(SHORT)
        here.hook("10-good")
        here.hook("20-hostile", body)
        here.start()
        event_id = here.freeze(not_before_in_s=12)      # "not yet" is taken for as long as the time lasts
        here.until(lambda: here.record()["status"] == "held", 40)
        assert here.metadata.acknowledgements == []
        runs = [run for run in here.record()["hooks"] if run["name"] == "hostile"]
        assert runs[-1]["outcome"] == outcome, runs
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed", 40)
        assert here.begun()[-2:] == ["hostile recover", "good recover"]
        assert here.agents[-1].poll() is None and "Traceback" not in here.said()
        here.until(lambda: not left_alive(tmp_path))


@slow
def test_a_hook_that_prints_a_gibibyte_costs_neither_memory_nor_log_nor_time(tmp_path):
    with trial("hook prints 1 GiB", "yes | head -c 1G", "64 KiB kept, memory and log flat, acknowledged"), world(tmp_path) as here:
        here.hook("10-good")
        here.hook("20-hostile", PREPARING + "yes 'a line of some length, again and again' | head -c 1073741824; true")
        agent = here.start()
        before = memory_kib(agent.pid)
        carry_through(here, "done", True)
        grown, logged = memory_kib(agent.pid) - before, len(here.said())
        tell(f"a hook that printed 1 GiB: agent {grown / 1024:+.1f} MiB, {logged // 1024} KiB of log")
        assert grown < 24 * 1024 and logged < 512 * 1024
        [run] = [run for run in here.record()["hooks"] if run["name"] == "hostile" and run["phase"] == "prepare"]
        assert len(run["output"]) == 65536


@slow
def test_a_hook_that_never_reads_its_mebibyte_of_input_is_no_trouble(tmp_path):
    """The record grows by what earlier hooks printed; one hook reads it whole, the other not at all."""
    with trial("hook never reads 1 MiB of input", "17 hooks print 64 KiB each before it", "done, and read whole by who wants it"), \
            world(tmp_path) as here:
        for number in range(17):
            here.hook(f"05-talk{number}", PREPARING + "head -c 65536 /dev/zero | tr '\\0' x; true")
        here.hook("20-never")
        here.hook("20-reads", PREPARING + f"wc -c > {tmp_path}/size; true")
        here.start()
        here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
        assert int((tmp_path / "size").read_text()) > 1 << 20


@slow
@pytest.mark.parametrize("how", ["rewrites itself", "renames a new file over itself"])
def test_a_hook_that_changes_its_own_file_is_recovered_by_what_lies_there(tmp_path, how):
    with trial(f"hook {how}", "in prepare", "recover runs what lies there then"), world(tmp_path) as here:
        new = f"#!/bin/sh\\necho \"0 hostile $1 $$ new\" >> {here.log}\\n"
        write = f'printf \'{new}\' > "$0"' if how == "rewrites itself" else \
            f'printf \'{new}\' > "$0.tmp" && chmod 755 "$0.tmp" && mv "$0.tmp" "$0"'
        here.hook("10-good")
        here.hook("20-hostile", PREPARING + f"{{ {write}; exit 0; }}")
        here.start()
        carry_through(here, "done", True)
        [recover] = [line for line in here.lines() if line[1:3] == ["hostile", "recover"]]
        assert recover[4] == "new"


@slow
@pytest.mark.parametrize("how", ["removed", "replaced by a stranger's", "disabled"])
def test_a_hook_that_cannot_be_run_at_recover_stays_pending_is_reported_and_run_once_it_is_corrected(tmp_path, how):
    if how != "removed" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with trial(f"hook {how} before recover", "while prepared; mended later", "told, tried again, recovered"), world(tmp_path) as here:
        here.hook("10-good")
        here.hook("20-hostile")
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "started")
        path = here.home / "hooks.d" / "20-hostile"
        content = path.read_bytes()
        if how == "removed":
            path.unlink()
        elif how == "disabled":
            path.chmod(0o644)
        else:
            os.chown(path, 65534, 65534)
        here.metadata.remove_event(event_id)
        here.until(lambda: [run for run in here.record()["hooks"] if run["phase"] == "recover" and run["name"] == "hostile"])
        here.until(lambda: "good recover" in here.begun())
        assert here.ask("status")["recover_pending"] == ["hostile"] and "hostile recover" not in here.begun()
        path.write_bytes(content)
        path.chmod(0o755)
        os.chown(path, os.geteuid(), os.getegid())
        here.until(lambda: here.record()["status"] == "closed", 40)
        assert here.begun()[-1] == "hostile recover" and here.ask("status")["recover_pending"] == []


@slow
def test_a_hook_that_was_removed_before_it_could_begin_needs_no_recover(tmp_path):
    """It holds the acknowledgement: it was wanted. But what never ran is not recovered, and it is not waited for."""
    with trial("hook removed before prepare", "after the catalogue was read", "holds, and is not recovered"), world(tmp_path) as here:
        here.hook("10-first", f'[ "$1" = recover ] || rm -f {tmp_path}/hooks.d/20-second')
        here.hook("20-second")
        here.start()
        event_id = here.freeze(not_before_in_s=600)
        here.until(lambda: here.record()["status"] == "held")
        assert here.metadata.acknowledgements == []
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.begun() == ["first prepare", "first recover"]


@slow
def test_a_recover_that_says_not_yet_for_a_while_is_run_until_it_has_worked(tmp_path):
    with trial("recover loops on 75", "three times", "tried again each second, then closed"), world(tmp_path) as here:
        here.hook("10-good")
        here.hook("20-hostile", f'[ "$1" = prepare ] || {{ echo x >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) -gt 3 ] || exit 75; }}')
        here.start()
        carry_through(here, "done", True)
        assert here.begun().count("hostile recover") == 4


# ---- fast: what these proofs found ----

def test_a_hook_that_says_not_yet_all_day_and_prints_fills_no_record():
    """It may be asked 3 600 times, and all that was printed is read for each of them: only the end of it is kept."""
    life = Life().polled(event())
    [run] = life.runs()
    told = replace(report(HookOutcome.NOT_YET, 75), output="x" * 65536 + "the end")
    life.see(ob.HookSettled("drain", HookPhase.PREPARE, run.run, told))
    kept = next(entry.subject for entry in life.entries if isinstance(entry.subject, HookRun)).report.output
    assert len(kept) <= 4096 and kept.endswith("the end")


@pytest.mark.parametrize("outcome", [HookOutcome.FAILED, HookOutcome.TIMED_OUT, HookOutcome.STOPPED])
def test_a_prepare_that_was_never_begun_needs_no_recover(outcome):
    """No file, no time, no room: no process was started, so there is nothing to undo (contract: and for no other)."""
    life = Life(policy=Policy(hooks=(hook("must", 10), hook("other", 20)))).polled(event())
    [run] = life.runs()
    life.see(ob.HookSettled("must", HookPhase.PREPARE, run.run, replace(report(outcome, None), begun=False)))
    life.settle(DONE)
    assert life.phase() == "held", "it was required"
    life.polled().settle()
    assert life.begun_runs()[2:] == ["other recover"] and life.phase() == "closed"


def test_a_run_that_could_not_be_started_says_so():
    bench = Bench()
    spec = bench.write("10-gone", "exit 0")
    Path(spec.path).unlink()
    assert bench.run(spec).begun is False
    assert bench.run(bench.write("20-there", "exit 1")).begun is True
    bench.close()


def test_a_hooks_state_goes_to_the_spare_place_while_there_is_no_room_and_is_found_there_again(tmp_path):
    """A file stands where the directory belongs: as good as a disk on which none can be made."""
    states, account = StateDirectories(tmp_path / "state", tmp_path / "spare"), own_account()
    assert states.open("usual", account) == str(tmp_path / "state" / "usual")
    full = StateDirectories(Path("/dev/full/state"), tmp_path / "spare")
    with pytest.raises(OSError, match="Not a directory"):
        full.open("a", account)         # not for want of room: somebody must look at it


def test_a_state_directory_on_a_full_disk_is_made_in_the_spare_place(tmp_path):
    from faults.disks import Disk, own_mounts
    with own_mounts():
        disk = Disk(tmp_path / "state")
        states, account = StateDirectories(tmp_path / "state" / "hooks", tmp_path / "spare"), own_account()
        disk.fill()
        place = Path(states.open("a", account))
        assert place == tmp_path / "spare" / "a" and place.stat().st_mode & 0o777 == 0o700
        (place / "kept").write_text("x")
        disk.make_room()
        again = StateDirectories(tmp_path / "state" / "hooks", tmp_path / "spare")
        assert again.open("a", account) == str(place) == again.path("a"), "what recover must restore lies there"
        again.discard("a")
        again.purge()
        assert not place.exists() and again.open("a", account) == str(tmp_path / "state" / "hooks" / "a")
        disk.remove()
