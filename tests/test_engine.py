"""The loop and its memory: written before acting, asked again after a death at any point."""
from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from lives import BEGIN, ME, at, document_at, event, hook, pause, report, started
from tideover import effects as fx, observations as ob
from tideover.engine import Engine, is_same_vm
from tideover.journal import Journal, JournalUnwritable, LastingJournal
from tideover.lifecycle import Phase, State
from tideover.model import ClockCheck, Document, EntryKind, HookPhase, Moment, Verdict
from tideover.policy import Policy
from tideover.record import record_of
from tideover.status import recover_pending

FREEZE = event()
POLICY = Policy(hooks=(hook("first", 10), hook("second", 20)), settle_s=0.0)


class Died(Exception):
    pass


@dataclass
class World:
    """Remembers everything that was done to it, answers, and dies on request."""

    die_at: int | None = None
    points: int = 0
    done: list[str] = field(default_factory=list)
    answers: list[ob.Observation] = field(default_factory=list)
    released: int = 0
    troubles: list[str] = field(default_factory=list)

    def point(self) -> None:
        self.points += 1
        if self.points == self.die_at:
            raise Died

    def start(self, effect: fx.Effect) -> None:
        self.point()
        self.done.append(effect.key)
        self.point()
        match effect:
            case fx.RunHook(spec, phase, run):
                self.answers.append(ob.HookSettled(spec.name, phase, run, report()))
            case fx.Acknowledge(event_id, attempt):
                self.answers.append(ob.AckSettled(event_id, attempt, ob.AckOutcome.ACCEPTED))
            case fx.CheckClock(event_id, round_):
                self.answers.append(ob.ClockJudged(event_id, round_, ClockCheck(Verdict.GOOD, 0.0, 0.01, BEGIN)))

    def cancel(self, effect: fx.Effect) -> None:
        self.done.append(f"off {effect.key}")

    def on_transition(self, before: State, after: State, entries: object) -> None:
        self.point()

    def on_journal_unwritable(self, trouble: JournalUnwritable) -> None:
        self.troubles.append("unwritable")

    def on_journal_writable(self) -> None:
        self.troubles.append("writable")


def engine_on(path, world: World, journal: Journal | None = None, moment=lambda: at(0)) -> Engine:
    hands = {kind: world for kind in (fx.RunHook, fx.Acknowledge, fx.CheckClock, fx.WatchClosely)}
    return Engine(journal or Journal(path), hands, lambda seen: POLICY, moment, world, lambda old: old)


def documents():
    now = at(0)
    return [ob.Polled(document_at(events, now), ME)
            for events in ((FREEZE,), (started(FREEZE),), ())]


def live(path, world: World) -> Engine:
    """One life, over as many deaths as come: polls repeat themselves, a pause does not."""
    script = [*documents()[:2], ob.Resumed(pause("p1")), *documents()[1:]]
    for _ in range(3):
        try:
            engine = engine_on(path, world)
            world.answers.clear()
            engine.handle(ob.Restarted("boot-1"))
            while True:
                while world.answers:
                    world.point()
                    engine.handle(world.answers.pop(0))
                if not script:
                    return engine
                news = script[0] if isinstance(script[0], ob.Polled) else script.pop(0)
                world.point()
                engine.handle(news)
                if script and script[0] is news and not world.answers:
                    script.pop(0)
        except Died:
            world.die_at = None
    raise AssertionError("it died more than once")


def points_of_a_life(tmp_path) -> int:
    world = World()
    live(tmp_path / "whole.db", world)
    return world.points


@pytest.mark.parametrize("first", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_dying_at_any_point_skips_no_effect_and_forgets_no_hook(tmp_path, first):
    """At every point where something has just been written or done (a third of them in the fast suite): all is prepared,
    acknowledged once, checked and recovered."""
    points = points_of_a_life(tmp_path)
    assert points > 30
    for die_at in range(first, points + 1, 3):
        world = World(die_at=die_at)
        engine = live(tmp_path / f"{die_at}.db", world)
        assert not engine.state.cases and not engine.state.hooks, die_at
        done = [key for key in world.done if not key.startswith(("off", "watch"))]
        kinds = [":".join(key.split(":")[:3]) if key.startswith("hook") else key.split(":")[0] for key in done]
        in_order = list(dict.fromkeys(kinds))
        assert in_order == ["hook:first:prepare", "hook:second:prepare", "acknowledge", "clock",
                            "hook:second:recover", "hook:first:recover"], (die_at, done)
        assert len(done) <= 7, "one death repeats one effect at most"
        record = record_of(engine._journal.rows("e1")).as_json()
        assert (record["status"], record["outcome"]) == ("closed", "resumed")


def test_what_is_wanted_is_started_once_and_called_off_when_it_no_longer_is(tmp_path):
    world = World()
    engine = engine_on(tmp_path / "j.db", world)
    engine.handle(ob.Restarted("boot-1"))
    engine.handle(documents()[0])
    engine.handle(documents()[0])
    assert world.done == ["hook:first:prepare:1"]
    engine.handle(documents()[2])
    assert world.done[1:] == ["off hook:first:prepare:1"]


def test_what_is_wanted_differently_while_it_is_done_is_handed_on_and_not_begun_again(tmp_path):
    """NotBefore has come nearer: the hook under way must end earlier."""
    limits = []

    class Listening(World):
        def adjust(self, effect):
            limits.append((effect.key, effect.limit_s))

    world, now = Listening(), at(0)
    engine = engine_on(tmp_path / "j.db", world)
    engine.handle(ob.Restarted("boot-1"))
    for notice_s in (900.0, 900.0, 25.0, 25.0):
        listed = (event(notice_s=notice_s),)
        engine.handle(ob.Polled(document_at(listed, now), ME))
    assert [key for key in world.done if "hook" in key] == ["hook:first:prepare:1"]
    assert [limit_s for key, limit_s in limits if key == "hook:first:prepare:1"] == [10.0]


def test_a_step_is_written_before_it_acts_and_recorded_for_replay_after_it(tmp_path):
    class WatchedJournal(Journal):
        def commit(self, *step) -> None:
            world.done.append("commit")
            super().commit(*step)

        def record_step(self, *step) -> None:
            world.done.append("recorded")
            super().record_step(*step)

    world = World()
    engine = engine_on(tmp_path / "journal", world, WatchedJournal(tmp_path / "journal"))
    engine.handle(documents()[0])
    assert world.done == ["commit", "hook:first:prepare:1"]
    engine.stop()
    engine.run()
    assert world.done == ["commit", "hook:first:prepare:1", "recorded"]


def test_an_observation_that_changes_nothing_is_not_written(tmp_path):
    """Polls are 86 400 a day."""
    engine = engine_on(tmp_path / "j.db", World())
    engine.handle(ob.Restarted("boot-1"))
    engine.handle(documents()[2])
    size = (tmp_path / "j.db-wal").stat().st_size
    for _ in range(50):
        engine.handle(documents()[2])
        engine.handle(ob.PollFailed("no answer"))
    assert (tmp_path / "j.db-wal").stat().st_size == size


class FullDisk(Journal):
    """A journal that takes nothing while `full`."""

    full = False

    def commit(self, now: Moment, before: State, after: State, entries: object) -> None:
        if self.full:
            raise JournalUnwritable("cannot write the journal", "no space left on device", "Make room.")
        super().commit(now, before, after, entries)  # type: ignore[arg-type]


def test_a_journal_that_cannot_be_written_stops_the_acknowledgement_and_nothing_else(tmp_path):
    """The applications are prepared all the same; what happened meanwhile is written as soon as it can be."""
    world, journal = World(), FullDisk(tmp_path / "j.db")
    engine = engine_on(None, world, journal)
    engine.handle(ob.Restarted("boot-1"))
    journal.full = True
    engine.handle(documents()[0])
    while world.answers:
        engine.handle(world.answers.pop(0))
    assert [key.split(":")[1] for key in world.done if key.startswith("hook")] == ["first", "second"]
    assert not [key for key in world.done if key.startswith("acknowledge")] and world.troubles == ["unwritable"]
    journal.full = False
    engine.handle(documents()[0])
    assert world.done[-1].startswith("acknowledge") and world.troubles == ["unwritable", "writable"]
    assert [run["name"] for run in record_of(journal.rows("e1")).as_json()["hooks"]] == ["first", "second"]


def test_the_journal_of_another_vm_is_set_aside_with_its_history_and_what_is_prepared_is_recovered(tmp_path):
    told = []
    world, journal = World(), LastingJournal(tmp_path / "j.db", lambda why, kept_as: told.append(kept_as))
    engine = Engine(journal, {kind: world for kind in (fx.RunHook, fx.Acknowledge, fx.CheckClock, fx.WatchClosely)},
                    lambda seen: POLICY, lambda: at(0), world, lambda: journal.start_new_for("other-vm", "a copy"))
    engine.handle(ob.Restarted("boot-1"))
    polled = documents()[0]
    engine.handle(ob.Polled(polled.document, ME, "vm-id-1"))
    engine.handle(ob.Polled(polled.document, ME, "vm-id-1"))
    assert told == [] and journal.vm_id() == "vm-id-1"
    engine.handle(ob.Polled(Document((), 0.0, 0.0, "2", None), ME, "vm-id-2"))
    [kept_as] = told
    assert next(row.what for row in Journal.reading(kept_as).rows("e1")) is EntryKind.NOTICED
    assert [row.what for row in journal.rows()][:2] == [EntryKind.VM_CHANGED, Phase.CHECKING_CLOCK], "the history stays behind"
    assert (journal.vm_id(), journal.load()) == ("vm-id-2", engine.state) and recover_pending(engine.state) == ["first"]
    while world.answers:
        engine.handle(world.answers.pop(0))
    assert [key for key in world.done if key.startswith("hook") and ":recover:" in key] == ["hook:first:recover:2"]
    assert not engine.state.hooks and not engine.state.cases
    assert record_of(journal.rows("e1")).as_json()["outcome"] == "restarted"


@pytest.mark.parametrize(("one", "other", "same"), [
    ("00112233-4455-6677-8899-aabbccddeeff", "33221100-5544-7766-8899-aabbccddeeff", True),
    ("00112233-4455-6677-8899-AABBCCDDEEFF", "33221100-5544-7766-8899-aabbccddeeff", True),
    ("00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-9988-aabbccddeeff", False),
    ("00112233-4455-6677-8899-aabbccddeeff", "33221100-4455-6677-8899-aabbccddeeff", False),
    ("vm-1", "vm-2", False)])
def test_an_id_in_the_other_byte_order_is_the_same_vms(one, other, same):
    assert is_same_vm(one, other) is is_same_vm(other, one) is same


def test_a_journal_whose_write_ahead_log_is_lost_after_the_acknowledgement_still_knows_what_is_prepared(tmp_path):
    engine, world = engine_on(tmp_path / "j.db", world := World()), world
    engine.handle(ob.Restarted("boot-1"))
    engine.handle(documents()[0])
    while world.answers:
        engine.handle(world.answers.pop(0))
    assert engine.state.cases["e1"].acknowledged
    assert known_without_log(tmp_path) == engine.state


def test_an_idle_agent_keeps_nothing_in_the_write_ahead_log_alone(tmp_path):
    now = [0.0]
    engine = engine_on(tmp_path / "j.db", World(), moment=lambda: at(now[0]))
    engine.handle(ob.Restarted("boot-1"))
    engine.handle(documents()[0])
    assert known_without_log(tmp_path) != engine.state
    for now[0] in (5.0, 11.0):
        engine.handle(ob.PollFailed("no answer"))
    assert known_without_log(tmp_path) == engine.state


def known_without_log(directory) -> State:
    """What the journal's file alone says."""
    copy = directory / f"copy-{time.monotonic_ns()}.db"
    copy.write_bytes((directory / "j.db").read_bytes())
    return Journal(copy).load()


def test_who_tells_and_waits_finds_in_the_state_what_came_of_it(tmp_path):
    engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()

    def slow_moment() -> Moment:
        time.sleep(0.003)        # so that the engine is still at it when whoever does not wait looks
        return at(0)

    def live_on_its_own_thread() -> None:
        engine = engine_on(tmp_path / "journal.db", World(), moment=slow_moment)
        engines.put(engine)
        engine.run()

    thread = threading.Thread(target=live_on_its_own_thread, daemon=True)
    thread.start()
    engine = engines.get()
    assert engine.post_and_wait(documents()[0], 5.0)
    assert FREEZE.id in engine.state.cases
    engine.stop()
    thread.join()
    assert not engine.post_and_wait(documents()[1], 0.01), "nobody takes it in any more"


def test_whoever_waits_for_the_observation_that_ends_the_loop_does_not_wait_for_the_next_loop(tmp_path):
    """A recovery given up by hand ends the event, and with it the agent whose new configuration waited for that."""
    engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()

    def live_until_an_event_is_known() -> None:
        engine = engine_on(tmp_path / "journal.db", World())
        engines.put(engine)
        engine.run_until(lambda state: FREEZE.id in state.cases)

    thread = threading.Thread(target=live_until_an_event_is_known, daemon=True)
    thread.start()
    assert engines.get().post_and_wait(documents()[0], 5.0)
    thread.join()


@pytest.mark.slow
def test_the_engine_wakes_itself_for_a_timer(tmp_path):
    moments = iter([at(0)] * 4 + [at(0.98)] * 2 + [at(1.0)] * 50)
    world = World()
    engine = engine_on(tmp_path / "j.db", world, moment=lambda: next(moments))
    engine.handle(ob.Restarted("boot-1"))
    now = at(0)
    engine.handle(ob.Polled(document_at((event(notice_s=3601.0),), now), ME))
    assert world.done == []
    engine.run_until(lambda state: bool(state.hooks))
    assert world.done == ["hook:first:prepare:1"]


@pytest.mark.parametrize("year", [2400, 9999])
def test_an_event_centuries_ahead_is_waited_for_like_any_other(tmp_path, year):
    """No system's wait holds that long; the agent lives on, also where the event was known before its start."""
    now, far = at(0), replace(FREEZE, not_before=datetime(year, 12, 31, 23, 59, tzinfo=UTC))
    for boot in ("boot-1", "boot-1", "boot-2"):
        engine = engine_on(tmp_path / "j.db", World())
        engine.handle(ob.Restarted(boot))
        engine.post(ob.Polled(document_at((far,), now), ME))
        threading.Timer(0.005, engine.stop).start()     # after the engine has begun to wait
        engine.run()
        assert engine.state.cases[FREEZE.id].phase.value == "scheduled"
    engine.handle(documents()[2])
    assert not engine.state.cases


@pytest.mark.parametrize("phase", list(HookPhase))
def test_a_late_answer_to_a_run_of_before_changes_nothing(tmp_path, phase):
    world = World()
    engine = engine_on(tmp_path / "j.db", world)
    engine.handle(ob.Restarted("boot-1"))
    engine.handle(documents()[0])
    before = engine.state
    engine.handle(ob.HookSettled("first", phase, 99, report()))
    assert engine.state == before
