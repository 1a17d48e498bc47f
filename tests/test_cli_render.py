"""What people see of an event while it runs and when it is over, to the letter, on narrow and wide terminals."""
from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from lives import BAD, DONE, FAILED, GOOD, NOT_YET, PREPARE, REFUSED, at, event, hook, report, started
from tideover import observations as ob
from tideover.cli.clock import report_lines as clock_lines, watch_line
from tideover.cli.event_lines import event_parts, history_table, pauses_table
from tideover.cli.hooks import hooks_table, kinds_text
from tideover.cli.status_lines import status_parts
from tideover.cli.terminal import Terminal, render_lines, wrapped_line
from tideover.clock.types import ClockReport, DaemonReport, ServerReport
from tideover.daemon.policy_source import policy_of
from tideover.hooks.directory import Catalogue
from tideover.humanize import Times
from tideover.model import ANNOUNCED, HookSpec, Kind, Verdict
from tideover.platforms import AZURE, PLATFORMS
from tideover.policy import Policy, Rules
from tideover.record import pauses_of, records_of
from tideover.settings import default_settings
from tideover.status import sentence, status_of
from told_lives import SOURCE, ToldLife

HOOKS = (hook("health-file", 10), hook("haproxy", 20, timeout_s=20.0), hook("application", 50, required=False))


@pytest.fixture(autouse=True)
def berlin():
    """A machine in Berlin, in winter: CET."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def preparing() -> ToldLife:
    life = ToldLife(Policy(hooks=HOOKS))
    life.polled(replace(event("E-1", notice_s=61.0), description="Host \x1b[31mserver\x1b[0m is undergoing maintenance."))
    life.settle(DONE, "health-file").after(3.2)
    return life


def over() -> ToldLife:
    life = preparing()
    life.settle().settle(FAILED, exit_status=9).acknowledged()
    life.after(3).polled(started(event("E-1"))).paused(7.0).judged().after(6)
    life.settle().settle().settle().after(60).polled()
    return life


NARROW = """\
The agent waits for prepare of haproxy (freeze E-1).

Event      freeze E-1
           Host ·[31mserver·[0m is undergoing maintenance.
NotBefore  2026-11-20 11:01:01 CET, 57.8 s left
Phase      preparing; not acknowledged; expected pause 5 s

HOOK            STATE      RUNNING  BUDGET
10-health-file  prepared   -        1 min
20-haproxy      preparing  3.2 s    14.0 s
50-application  queued     -        1 min

Pending     recovery of haproxy, health-file
Last pause  none detected
Clock       not checked yet (checked after each pause; check
            now with tideover clock)
Hooks       2 ready
Source      azure, last answer 2026-11-20 11:00:00 CET
            (3 s ago)
Agent       process 4711, version 0.1.0, since
            2026-11-20 10:00:00 CET (60 min ago)"""

WIDE_END = """\
Clock       not checked yet (checked after each pause; check now with tideover clock)
Hooks       2 ready
Source      azure, last answer 2026-11-20 11:00:00 CET (3 s ago)
Agent       process 4711, version 0.1.0, since 2026-11-20 10:00:00 CET (60 min ago)"""

STORY = """\
freeze E-1: resumed; pause 7 s ± 100 ms; clock good. 1 of 6 hook runs failed.

Noticed       2026-11-20 11:00:00 CET (1 min ago)
NotBefore     2026-11-20 11:01:01 CET (18 s ago)
Acknowledged  2026-11-20 11:00:03 CET (1 min ago)
Started       2026-11-20 11:00:06 CET (1 min ago)
Closed        2026-11-20 11:01:19 CET (now)
Concerns      vm-1
Announced by  azure, platform
Pause         7 s ± 100 ms, vm-pause, measured; announced: 5 s
Clock         good, 1 ms ahead ± 4 ms, 2026-11-20 11:00:00 CET
Trace         fb28c424c1913c509b66de3cf69f7d32

HOOK         PHASE    TRY  OUTCOME                TOOK
health-file  prepare  1    done                   100 ms
haproxy      prepare  1    done                   100 ms
application  prepare  1    failed, exit status 9  100 ms
application  recover  1    done                   100 ms
haproxy      recover  1    done                   100 ms
health-file  recover  1    done                   100 ms

TIME (CET)    TIMELINE
11:00:00.000  noticed"""


def test_while_an_event_runs_the_whole_of_it_fits_60_columns():
    """What is waited for, the countdown, each hook with its time and budget; no line is longer."""
    lines = preparing().shown(60)
    assert "\n".join(lines) == NARROW
    assert max(map(len, lines)) <= 60


def test_a_wide_terminal_needs_fewer_lines():
    assert "\n".join(preparing().shown(140)).endswith(WIDE_END)


def test_the_story_of_an_event_begins_with_how_it_went():
    shown = over().event_shown(80)
    assert "\n".join(shown).startswith(STORY)
    assert shown[-1] == "11:01:19.200  closed: the platform has removed the event"


def test_exact_times_are_those_of_the_record():
    life = over()
    record = records_of(life.rows)[0]
    lines = render_lines([history_table([record], Times(life.now.utc, utc=True))], Terminal())
    assert lines == ["NOTICED                   KIND    OUTCOME  PAUSE  CLOCK  HOOKS             EVENT",
                     "2026-11-20T10:00:00.000Z  freeze  resumed  7 s    good   6 runs, 1 failed  E-1"]


def test_what_does_not_fit_beside_stands_below_and_nothing_is_lost():
    life = over()
    history = history_table(records_of(life.rows), life.times)
    assert render_lines([history], Terminal(60)) == [
        "NOTICED                             KIND    OUTCOME  PAUSE",
        "2026-11-20 11:00:00 CET  1 min ago  freeze  resumed  7 s",
        "    clock good · hooks 6 runs, 1 failed · event E-1"]
    known = pauses_of(life.rows)[0]
    told = replace(known, pause=replace(known.pause, evidence=("the raw monotonic clock ran 7.052 s over a wait of 0.050 s",)))
    assert render_lines([pauses_table([told], life.times)], Terminal(60)) == [
        "RESUMED                             LENGTH        CAUSE",
        "2026-11-20 11:00:13 CET  1 min ago  7 s ± 100 ms  vm-pause",
        "    quality measured · event E-1",
        "    evidence the raw monotonic clock ran 7.052 s over a wait",
        "    of 0.050 s"]


def test_a_pause_whose_length_or_beginning_is_not_known_is_never_shown_as_shorter_than_it_may_have_been():
    """Half of 7.8 s ± half of 7.8 s is "at most 7.8 s", in the list as in the story; an unknown value is no number."""
    life = over()
    record, pause = records_of(life.rows)[0], pauses_of(life.rows)[0]
    for length_s, doubt_s, listed, story in (
            (3.927, 3.927, "at most 7.854 s", "pause at most 7.854 s"), (7.0, None, "7 s", "pause 7 s"),
            (None, None, "not known", "a pause of unknown length")):
        told = replace(pause.pause, length_s=length_s, uncertainty_s=doubt_s)
        history = render_lines([history_table([replace(record, pauses=(told,))], life.times)], Terminal())
        pauses = render_lines([pauses_table([replace(pause, pause=told)], life.times)], Terminal())
        assert f"  {listed}  " in history[1] and f"  {listed}  " in pauses[1]
        assert f"; {story}; clock good" in render_lines(event_parts(replace(record, pauses=(told,)), life.times), Terminal())[0]


def test_every_stage_of_a_life_says_what_is_waited_for():
    life = ToldLife(Policy(hooks=HOOKS))
    assert life.first() == "The agent waits for the next event."
    life.polled(event("E-1", notice_s=7200.0))
    assert life.first() == "The agent waits for the time to prepare (freeze E-1)."
    assert any("scheduled (prepare begins in 60 min)" in line for line in life.shown())
    life.after(3601)
    assert life.first() == "The agent waits for prepare of health-file (freeze E-1)."
    life.settle(NOT_YET, exit_status=75)
    assert life.first() == 'The agent waits for the retry of health-file, which answered "not yet" (freeze E-1).'
    life.after(1.5).settle().settle().settle()
    assert life.first() == "The agent waits for the platform's answer to the acknowledgement (freeze E-1)."
    life.acknowledged()
    assert life.first() == "The agent waits for the platform to start the event (freeze E-1)."
    life.polled(started(event("E-1")))
    assert life.first() == "The agent waits for the pause, or the end of the event (freeze E-1)."
    life.paused()
    assert life.first() == "The agent waits for a good clock (freeze E-1)."
    life.judged()
    assert life.first() == "The agent waits for the end of the settle time after the pause (freeze E-1)."
    life.after(6)
    assert life.first() == "The agent waits for recover of application (freeze E-1)."
    life.settle(FAILED, exit_status=1).settle().settle()
    assert life.first() == "The agent waits for the retry of recover of application (freeze E-1)."
    for _ in range(3):
        life.after(130).settle(FAILED, exit_status=1)
    assert life.first() == "The agent waits for operator action: recovery of application failed."


def test_after_the_pause_of_an_event_that_is_recovered_at_its_end_only_the_end_is_waited_for():
    life = ToldLife(Policy(hooks=HOOKS, rules={Kind.FREEZE: Rules(recover_after_pause=False)}))
    life.polled(event("E-1")).settle().settle().settle().acknowledged().polled(started(event("E-1")))
    assert life.first() == "The agent waits for the pause, or the end of the event (freeze E-1)."
    life.paused()
    assert life.first() == "The agent waits for the end of the event; its pause was detected (freeze E-1)."


def test_an_acknowledgement_that_was_answered_with_an_error_is_not_called_lost():
    """A 503 came; whether it counted is not known all the same."""
    life = preparing()
    life.settle().settle().settle().acknowledged(ob.AckOutcome.LOST)
    assert life.first() == ("The agent waits for the next poll: the acknowledgement is unconfirmed "
                            "(freeze E-1).")


def test_a_metadata_service_that_gives_no_document_is_waited_for_before_the_next_event():
    life = ToldLife(Policy(hooks=HOOKS))
    assert sentence(life.state, 0) == "the next event"
    assert "cannot be reached" in sentence(life.state, 2)
    assert sentence(life.state, 2, AZURE).startswith("the metadata service, which cannot be reached")
    assert sentence(preparing().state, 2).startswith("prepare of"), "what is open goes on"


@pytest.mark.parametrize("platform", [one for one in PLATFORMS if not one.is_served], ids=lambda one: one.kind)
def test_where_no_events_can_be_received_the_first_line_says_so_and_why(platform):
    life = ToldLife(Policy(hooks=HOOKS))
    source = SOURCE | {"kind": platform.source_kind, "platform": platform.name, "silence": platform.silence}
    status = life.status() | status_of(life.state, [], life.now, 0, platform) | {"source": source}
    shown = render_lines(status_parts(status, life.times), Terminal(None))
    assert shown[0] == f"The agent waits for the next pause of this machine. No events can be received: {platform.silence}."
    assert any(line.startswith("Source") and "no events can be received" in line for line in shown)


def test_a_platform_that_got_no_acknowledgement_is_waited_for_with_the_reason():
    life = ToldLife(Policy(hooks=HOOKS, rules={Kind.FREEZE: Rules(acknowledge=False)}))
    life.polled(event("E-1")).settle().settle().settle()
    assert life.first() == ("The agent waits for the platform to start the event; it is not acknowledged "
                            "(freeze E-1).")
    assert any("held (freeze events are acknowledged by hand ([policy] acknowledge))" in line for line in life.shown())
    life.after(1000)
    assert any("passed" in line and "it may start at any time" in line for line in life.shown(140))


def test_an_event_that_was_cancelled_is_not_shown_to_start_at_any_time():
    life = ToldLife(Policy(hooks=HOOKS))
    life.polled(event("E-1")).settle().settle().settle().acknowledged()
    assert [line for line in life.shown() if line.startswith("Phase")] == ["Phase      acknowledged; expected pause 5 s"]
    life.polled().after(1000)
    assert "E-1" in life.first() and "recover" in life.first()
    assert not any("start at any time" in line for line in life.shown(140))


def test_a_refused_hook_is_shown_as_refused_and_as_what_holds_the_acknowledgement_though_it_need_not_work():
    """Two files of one NAME: the second, which never runs, is shown by its file's name, once."""
    first, second = hook("dup", 50), replace(hook("dup", 60, required=False), refused="50-dup has the name dup already")
    life = ToldLife(policy_of(default_settings(), Catalogue((first, second))))
    life.polled(event("E-1")).settle().settle(REFUSED, exit_status=None)
    rows = [line for line in life.shown(140) if "-dup " in line]
    assert [row.split()[0] for row in rows if row[0].isdigit()] == ["50-dup", "60-dup"]
    assert any("60-dup  refused: withholds the acknowledgement" in row for row in rows)
    assert any("a required preparation failed: 60-dup (refused)" in line for line in life.shown(140))


def test_a_hook_that_failed_and_need_not_work_is_shown_as_such():
    policy = Policy(hooks=(hook("worker", 40, required=False),))
    for exit_status, outcome in ((1, FAILED), (4, REFUSED)):
        life = ToldLife(policy).polled(event("E-1")).settle(outcome, exit_status=exit_status)
        assert any("40-worker  prepare failed (not required)" in line for line in life.shown(140))


def test_an_event_stopped_while_its_hooks_run_and_one_that_waits_for_another_say_so():
    life = preparing()
    life.polled()
    assert life.first() == "The agent waits for prepare of haproxy to end; recover comes after that (freeze E-1)."
    other = preparing()
    other.settle().settle().acknowledged().polled(event("E-2", Kind.REBOOT))
    other.settle().settle().settle().acknowledged().polled(event("E-2", Kind.REBOOT))
    assert other.first() == ("The agent waits for another event that keeps the applications prepared (freeze E-1); "
                             "the platform to start the event (reboot E-2).")


def test_without_an_agent_the_first_line_says_so_and_what_is_pending():
    life = preparing()
    assert life.first(alive=False) == (
        "No agent is running, and recovery of haproxy, health-file is pending: start it with tideover service start, or run "
        "tideover recover. The last agent waited for prepare of haproxy (freeze E-1).")
    assert not any("3.2 s" in line for line in life.shown(alive=False)), "nobody knows whether the hook still runs"
    assert ToldLife().first(alive=False) == "No agent is running: start it with tideover service start. No event is open."
    silent = life.first(why="connection refused")
    assert silent.startswith("The agent (process 4711) does not answer: connection refused. By its journal, it waits")


def test_a_bad_clock_is_reported_with_its_reason():
    life = preparing()
    life.settle().settle().acknowledged().polled(started(event("E-1"))).paused().judged(BAD)
    (clock,) = [line for line in life.shown(140) if line.startswith("Clock")]
    assert clock.startswith("Clock       bad (4 s behind), 4 s behind ± 10 ms, 2026-11-20 11:00:00 CET")
    assert BAD.verdict is Verdict.BAD


def test_the_clock_command_says_in_words_which_way_the_clock_is_off():
    """A sign alone is read both ways; who stands second in a row of lines is found in the same column."""
    report = ClockReport(BAD, (ServerReport("a.example", "192.0.2.1", -4.0, 0.001, 0.01, 2),
                               ServerReport("b.example", "192.0.2.2", dropped="no answer")),
                         "", DaemonReport("chrony", is_synchronised=True, offset_s=0.00012, last_update_age_s=64.0))
    assert clock_lines(report, 0.25) == [
        "The clock is bad: 4 s behind.",
        "This machine's clock: 4 s behind ± 10 ms; the tolerance is 250 ms.",
        "The time daemon chrony reports that it is synchronised, 0.12 ms ahead, last measured 1 min 4 s ago (not "
        "used as evidence).",
        "SERVER     ADDRESS    OFFSET      DELAY  STRATUM  STATUS",
        "a.example  192.0.2.1  4 s behind  1 ms   2        used",
        "b.example  192.0.2.2  -           -      -        no answer"]
    bad = watch_line(report, at(0).utc)
    good = watch_line(replace(report, check=GOOD), at(0).utc)
    assert bad == "11:00:00  bad      4 s behind ± 10 ms        1 of 2 used  4 s behind"
    assert good.startswith("11:00:00  good     1 ms ahead ± 4 ms ") and good.index("1 of 2") == bad.index("1 of 2")


def test_hooks_are_listed_with_the_refused_and_the_reason_below():
    refused = replace(hook("haproxy", 30), refused="20-haproxy has the name haproxy already: rename one of the two")
    loose = replace(hook("loose", 33, required=False), refused="anybody can write it: chmod go-w")
    some = hook("worker", 40, kinds=frozenset({Kind.UNANNOUNCED, Kind.FREEZE}), required=False, timeout_s=90.0)
    lacking = hook("redis", 50)
    lines = render_lines([hooks_table([hook("haproxy", 20), refused, loose, some, lacking], ["35-asleep"],
                                      {lacking.path: "required settings are not set: SERVERS"})], Terminal())
    assert lines == [
        "NN  NAME     TIMEOUT     FAILURE   STATE       KINDS",
        "20  haproxy  1 min       holds     ready       all announced",
        "30  haproxy  1 min       holds     refused     all announced",
        "    20-haproxy has the name haproxy already: rename one of the two",
        "33  loose    1 min       holds     refused     all announced",
        "    anybody can write it: chmod go-w",
        "35  asleep   -           -         disabled    -",
        "    no run bit: chmod +x enables it",
        "40  worker   1 min 30 s  may fail  ready       freeze, unannounced",
        "50  redis    1 min       holds     incomplete  all announced",
        "    required settings are not set: SERVERS"]


def test_the_first_line_of_a_hanging_sentence_uses_the_whole_width():
    assert wrapped_line("missing   aa bb cc dd", 16, 10) == ["missing   aa bb", " " * 10 + "cc dd"]


def test_a_hook_that_is_retried_says_how_often_it_failed_and_when_it_is_tried_next():
    policy = Policy(hooks=(hook("db", 50),))
    life = ToldLife(policy).polled(event("E-1")).settle().acknowledged().polled(started(event("E-1"))).polled()
    life.judged().settle(FAILED, exit_status=1)
    assert any("50-db  recover is retried, failed 1 time, next try in 5 s" in line for line in life.shown(140)), life.shown(140)



def test_kinds_are_shown_in_words():
    assert kinds_text(ANNOUNCED | {Kind.UNANNOUNCED}) == "all announced, unannounced"
    assert HookSpec("x", 1, "/x").kinds == ANNOUNCED


def test_a_settled_run_that_was_not_wanted_changes_nothing_that_is_shown():
    life = preparing()
    before = life.shown()
    life.see(ob.HookSettled("haproxy", PREPARE, 99, report()))
    assert life.shown() == before


def test_the_status_of_a_fleets_member_names_its_store_and_since_when_it_does_not_answer():
    fleet = {"store": "etcd://a:2379", "group": "web", "slots": 1, "last_answer_at": "2026-11-20T10:00:00.000Z",
             "failing_since": None, "reason": ""}
    life = ToldLife()

    def lines(fleet: object) -> list[str]:
        return render_lines(status_parts({**life.status(), "fleet": fleet}, life.times), Terminal())

    assert "Fleet       group web, store etcd://a:2379, last answer 2026-11-20 11:00:00 CET (now)" in lines(fleet)
    failing = lines({**fleet, "failing_since": "2026-11-20T09:59:00.000Z", "reason": "connection refused"})
    assert "Fleet       group web, store etcd://a:2379, cannot be used since 2026-11-20 10:59:00 CET (1 min ago)" in failing
    assert not [line for line in lines(None) if line.startswith("Fleet")]
