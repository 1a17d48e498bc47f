"""Whatever can be observed is observed: random lives obey the laws, random bytes are read or refused, never a traceback.

Among the slow proofs only: to load the library and to draw a few examples took a tenth of the fast suite's time. What was
found stands as cases here, and where it could as a test of its own.
"""
from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from ntplib import NTP

import test_laws
from faults.table import trial
from lives import BAD, GOOD, ME, Life, at, document_at, event, hook, pause, report
from test_engine import FullDisk, World as EngineWorld, documents as engine_documents, engine_on
from tideover import effects as fx, observations as ob
from tideover.clock.daemons import chrony, ntpd, timesyncd
from tideover.clock.host import HostAccess
from tideover.errors import TideoverError
from tideover.hooks.orphans import _read
from tideover.journal.codec import from_json, to_json
from tideover.lifecycle import Stage, State, desired_effects, step
from tideover.lifecycle.state import PrepareResult
from tideover.logs import LogLine
from tideover.model import (
    ANNOUNCED,
    Cause,
    ClockCheck,
    ClockSample,
    Event,
    HookOutcome,
    HookPhase,
    HookReport,
    HookRun,
    Kind,
    Pause,
    Quality,
    Verdict,
)
from tideover.pause import hypervisor_signals, kernel_signals
from tideover.policy import Policy, Rules
from tideover.record import Row, record_of
from tideover.settings import LINUX, read, read_duration, write_duration
from tideover.settings.render import effective_values
from tideover.sources.scheduled_events import (
    NotADocument,
    read_document,
    read_identity,
    read_time,
    write_acknowledgement,
)
from tideover.status import status_of
from tideover.timekeeping import ntp_packet
from tideover.timekeeping.intervals import NS, TimeSample, combine
from walk import SCOPE, Seen, World, is_asked

pytestmark = pytest.mark.slow

MANY = 1000
# Letters, what steers a terminal or a parser, what has no place in UTF-8: the whole of Unicode takes seconds to load.
SIGNS = st.sampled_from([*"aZ09-_.:/ '\"=[]{}<>&,", "\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "é",
                         "€", "\N{GRINNING FACE}", "\ud800", "\N{ARABIC-INDIC DIGIT FIVE}"])
SETTINGS = settings(database=None, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))


def fuzz(name: str, *strategies, many: int = MANY, cases=()):
    """A property: `cases`, and `many` random examples, counted in the table."""
    def make(check):
        property_ = given(*strategies)(check)
        for case in cases:
            property_ = example(*case)(property_)
        tries = settings(SETTINGS, max_examples=many)(property_)

        def test():
            with trial(f"fuzz: {name}", "hypothesis", "laws hold, what is read can be written, never a traceback") as tried:
                tried.times = many
                tries()

        test.__doc__, test.__name__ = check.__doc__, check.__name__
        return test
    return make


# ---- lives ----

KINDS = sorted(ANNOUNCED, key=lambda kind: kind.value)
ids = st.sampled_from(["e1", "e2", "e3"])
events = st.builds(
    lambda event_id, kind, started, notice_s, resources, source, expected_s: event(
        event_id, kind, started=started, notice_s=notice_s, resources=resources, source=source, expected_s=expected_s),
    ids, st.sampled_from(KINDS), st.booleans(), st.sampled_from([None, -60.0, 1.0, 30.0, 900.0, 7200.0]),
    st.sampled_from([(ME,), (ME.upper(),), ("vm-2",), (ME, "vm-2"), ()]), st.sampled_from(["platform", "user"]),
    st.sampled_from([None, 0.0, 5.0, 30.0]))
documents = st.lists(events, max_size=3, unique_by=lambda one: one.id).map(tuple)
hooks = st.lists(
    st.builds(lambda name, order, kinds, required, timeout_s: hook(name, order, kinds=kinds, required=required,
                                                                   timeout_s=timeout_s),
              st.sampled_from(["a", "b", "c"]), st.sampled_from([10, 20]),
              st.sampled_from([ANNOUNCED, frozenset({Kind.FREEZE}), frozenset({Kind.UNANNOUNCED, Kind.FREEZE})]),
              st.booleans(), st.sampled_from([1.0, 60.0])), max_size=3, unique_by=lambda one: one.name).map(tuple)
rules = st.builds(Rules, acknowledge=st.booleans(), acknowledge_shared=st.just(False), just_in_time=st.booleans(),
                  lead_s=st.sampled_from([0.0, 3600.0]), recover_after_pause=st.booleans())
policies = st.builds(
    lambda ours, hooks, settle_s, recover, hold: Policy(
        rules={kind: replace(ours, recover_after_pause=ours.recover_after_pause and kind is Kind.FREEZE)
               for kind in ANNOUNCED}, hooks=hooks, settle_s=settle_s, recover_unannounced=recover, hold_for_clock=hold),
    rules, hooks, st.sampled_from([0.0, 5.0]), st.booleans(), st.booleans())
# Most of what is drawn is what a hand would answer to the state: a number picks one of what is wanted now.
def news(said):
    return st.one_of(
        st.tuples(st.just("document"), said), st.tuples(st.just("answer"), st.integers(0, 30)),
        st.tuples(st.just("answer"), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 1.0, 10.0, 700.0])),
        st.tuples(st.just("pause"), st.tuples(st.sampled_from(list(Cause)), st.sampled_from([None, 0.6, 5.0, 29.0]))),
        st.tuples(st.just("restart"), st.booleans()), st.tuples(st.just("hand"), st.integers(0, 2)),
        st.tuples(st.just("stray"), st.integers(0, 3)))


# Three events, and documents that say which of them are listed, begun, and when they are due.
bases = st.tuples(events, events, events).map(
    lambda drawn: [replace(one, id=f"e{number}") for number, one in enumerate(drawn, 1)])
told = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from([None, -60.0, 30.0, 7200.0])), max_size=3,
                unique_by=lambda one: one[0])


def told_of_in(drawn, known):
    return tuple(replace(known[number], started=begun, not_before=None if begun or notice_s is None else
                         at(notice_s).utc) for number, begun, notice_s in drawn)


def observation(kind, drawn, state, now, number):
    match kind:
        case "document":
            return ob.Polled(document_at(drawn, now, str(number)), ME)
        case "answer":
            asked = [effect for effect in desired_effects(state, now)] + [known for known in state.hooks.values()
                                                                if known.stage is Stage.STOPPING]
            return answer(asked[drawn % len(asked)], drawn) if asked else ob.PollFailed("no answer")
        case "pause":
            cause, length_s = drawn
            return ob.Resumed(replace(pause(f"p{number}", 1.0, cause, now), length_s=length_s))
        case "restart":
            return ob.Restarted(f"boot-{number}" if drawn or not state.boot_id else state.boot_id, 2.0)
        case "hand":
            held = [case.id for case in state.cases.values() if case.phase.value == "held"]
            return (ob.AcknowledgeRequested(held[0]) if held and drawn == 0 else
                    ob.StopRequested() if drawn == 1 else ob.RecoverRequested())
        case "stray":
            return (ob.HookSettled("a", HookPhase.RECOVER, 999, report()), ob.AckSettled("e1", 999, ob.AckOutcome.LOST),
                    ob.ClockJudged("e1", 999, GOOD), ob.Due("case:e1"))[drawn]
    raise AssertionError(kind)


def answer(asked, drawn):
    outcomes = list(HookOutcome)
    match asked:
        case _ if hasattr(asked, "stage"):
            return ob.HookSettled(asked.spec.name, HookPhase.PREPARE, asked.run, report(outcomes[drawn % len(outcomes)]))
        case _ if hasattr(asked, "spec"):
            never_begun = drawn == 29
            return ob.HookSettled(asked.spec.name, asked.phase, asked.run,
                                  replace(report(outcomes[drawn % len(outcomes)]), begun=not never_begun))
        case _ if hasattr(asked, "since_raw_s"):
            return ob.ClockJudged(asked.event_id, asked.round, (GOOD, BAD)[drawn % 2])
        case _ if hasattr(asked, "attempt"):
            return ob.AckSettled(asked.event_id, asked.attempt, list(ob.AckOutcome)[drawn % 3])
        case _ if hasattr(asked, "at_raw_s"):
            return ob.Due(asked.key)
    return ob.PollFailed("no answer")


def play(policy, script):
    """Return the steps of a life: (world, state before, what was seen, step)."""
    world, state, now_s, steps = World("a random one", policy, ()), State(), 0.0, []
    for number, (kind, drawn) in enumerate([("restart", False), *script]):
        if kind == "pass":
            now_s += drawn
            due = [effect.key for effect in desired_effects(state, at(now_s)) if hasattr(effect, "at_raw_s")]
            seen = Seen(ob.Due(due[0] if due else "nobody"), at(now_s))
        else:
            now_s += 0.01
            seen = Seen(observation(kind, drawn, state, at(now_s), number), at(now_s))
        move = step(state, seen.observation, policy, seen.now)
        steps.append((world, state, seen, move))
        state = move.state
    return steps


TOLD_ELSEWHERE = {
    "test_from_anywhere_the_answers_lead_home",                                         # `come_home`
    # These two speak of the walk's pauses (all of a known length) and policy (a freeze is recovered after its pause).
    "test_every_pause_of_the_machine_after_the_start_is_followed_by_a_clock_check",
    "test_a_pause_before_the_start_is_kept_and_moves_nothing",
    "test_the_platform_gets_an_acknowledgement_only_after_a_preparation_that_worked_or_by_hand",        # `told_rightly`, for all names
}
LAWS = [law for name, law in vars(test_laws).items() if name.startswith("test_") and name not in TOLD_ELSEWHERE]


def told_rightly(steps):
    """Only this VM is named (in any case of letters), nothing has begun, it was not observed before; and what is
    required has worked, or by hand or on_stop, or it is a user's own event that no hook wants."""
    by_hand: set[str] = set()
    for _, state, seen, move in steps:
        if isinstance(seen.observation, ob.AcknowledgeRequested):
            by_hand.add(seen.observation.event_id)
        for effect in test_laws.new_effects(state, move.state, seen.now):
            if not isinstance(effect, fx.Acknowledge):
                continue
            case = move.state.cases[effect.event_id]
            assert not case.event.started and not case.acknowledged and move.state.fresh and case.listed
            if case.id in by_hand:
                continue
            assert case.event.resources and all(name.casefold() == ME for name in case.event.resources), (state, seen)
            wanted = [known for known in move.state.hooks.values() if case.id in known.wanted_by]
            assert case.ack_attempts > 1 or wanted or case.event.event_source == "user"
            for known in wanted:
                worked = known.stage is Stage.PREPARED and (known.prepare_result is PrepareResult.WORKED or not known.spec.required)
                assert worked or case.ack_attempts > 1, (state, seen)


def obey(steps):
    """Each law of tests/test_laws.py, asked of these steps instead of the walk's."""
    before = test_laws.every_step, test_laws.every_change
    test_laws.every_step = lambda: steps
    test_laws.every_change = lambda: tuple(taken for taken in steps if taken[3].state != taken[1])
    try:
        for law in (*LAWS, lambda: told_rightly(steps)):
            law()
    finally:
        test_laws.every_step, test_laws.every_change = before


@fuzz("lives", policies, bases, st.lists(news(told), max_size=40), many=1500)
def test_a_random_life_obeys_the_laws(policy, told_of, script):
    """What can be seen, in any order; every state can be written, read, shown and left again."""
    steps = play(policy, [(kind, told_of_in(drawn, told_of) if kind == "document" else drawn) for kind, drawn in script])
    obey(steps)
    last, rows = steps[-1][3].state, []
    for _, _, seen, move in steps:
        rows += [Row(seen.now.utc, entry.event_id, entry.what, entry.note, entry.subject) for entry in move.entries]
    assert from_json(State, to_json(last)) == State(**{name: getattr(last, name) for name in State.__dataclass_fields__})
    json.dumps(status_of(last, rows, at(0)))
    for event_id in {row.event_id for row in rows if row.event_id}:
        json.dumps(record_of([row for row in rows if row.event_id == event_id]).as_json())
    come_home(policy, last, steps[-1][2].now)


def come_home(policy, state, now):
    """Once nothing is announced and everybody answers well, nothing is pending and no event is open."""
    def see(seen, state):
        return step(state, seen, policy, now).state

    for round_ in range(30):
        now = at(1e6 + 1000.0 * round_)
        state = see(ob.Polled(document_at((), now, "9"), ME), state)
        for effect in desired_effects(state, now):
            state = see(test_laws._reply(effect, state), state)
        for name, known in list(state.hooks.items()):
            if known.stage is Stage.STOPPING:
                state = see(ob.HookSettled(name, HookPhase.PREPARE, known.run, report()), state)
        state = see(ob.RecoverRequested(), state)
    assert not state.cases and not state.hooks, state


@fuzz("events that change under way", policies, st.lists(news(documents), max_size=30), many=1500)
def test_an_event_that_turns_into_another_one_is_never_reported_wrongly(policy, script):
    """One id, but another kind, other VMs, another source from document to document: no platform should do that."""
    steps = play(policy, script)
    told_rightly(steps)
    come_home(policy, steps[-1][3].state, steps[-1][2].now)


@pytest.mark.parametrize("named", [(ME, "vm-2"), ("vm-2",)])
def test_an_acknowledgement_that_was_lost_is_not_sent_again_for_a_vm_that_was_not_named_then(named):
    """Found by the property above, thought on: only our own agreement stood behind the first one."""
    life = Life().polled(event()).settle().acknowledged(ob.AckOutcome.LOST)
    assert life.after(2.0).polled(event(resources=named)).phase() == "held" and life.acknowledgements() == 1
    same = Life().polled(event()).settle().acknowledged(ob.AckOutcome.LOST).after(2.0).polled(event(resources=(ME.upper(),)))
    assert same.acknowledgements() == 2


@fuzz("answers nobody asked for", policies, st.lists(news(documents), max_size=20), many=1000)
def test_a_stale_answer_changes_nothing_at_any_point_of_a_random_life(policy, script):
    for _, state, seen, _ in play(policy, script):
        for stale in (ob.HookSettled("a", HookPhase.PREPARE, 10**6, report()), ob.AckSettled("e1", 10**6, ob.AckOutcome.ACCEPTED),
                      ob.ClockJudged("e1", 10**6, GOOD)):
            idle = step(state, ob.PollFailed("no answer"), policy, seen.now).state
            assert is_asked(state, stale, seen.now) or step(state, stale, policy, seen.now).state == idle


# ---- a disk that comes and goes ----

class Watched(EngineWorld):
    """Remembers whether the disk could be written when each effect was begun, and answers when it is asked to."""

    def __init__(self):
        super().__init__()
        self.disk, self.begun = None, []

    def start(self, effect):
        self.begun.append((effect.key, self.disk.full))
        super().start(effect)


@fuzz("a disk that comes and goes", st.lists(st.sampled_from(
    ["full", "room", "answer", "answer", "answer", "scheduled", "started", "gone", "pause", "restart"]), max_size=40), many=500,
      cases=[(["scheduled", "full", "answer", "answer"],), (["scheduled", "answer", "full", "answer", "room", "scheduled", "answer", "full"],)])
def test_whatever_the_disk_does_nothing_is_acknowledged_that_could_be_forgotten(script):
    """Restarts come while it can be written (what is not remembered at a kill is lost, as documented); all is recovered."""
    with tempfile.TemporaryDirectory() as home:
        engine_world = Watched()

        def new_engine():
            engine_world.disk = FullDisk(Path(home) / "j.db")
            engine_world.answers.clear()
            engine = engine_on(None, engine_world, engine_world.disk)
            engine.handle(ob.Restarted("boot-1"))
            return engine

        engine, known = new_engine(), dict(zip(("scheduled", "started", "gone"), engine_documents(), strict=True))
        for number, word in enumerate([*script, "room", "gone", *["answer"] * 20, "gone"]):
            if word in ("full", "room"):
                engine_world.disk.full = word == "full"
            elif word in known:
                engine.handle(known[word])
            elif word == "answer" and engine_world.answers:
                engine.handle(engine_world.answers.pop(0))
            elif word == "pause":
                engine.handle(ob.Resumed(pause(f"p{number}")))
            elif word == "restart" and not engine_world.disk.full:
                engine.handle(ob.PollFailed("no answer"))         # whatever comes next brings what is unwritten down
                engine = new_engine()
        assert not engine.state.cases and not engine.state.hooks and not engine.trouble
        told = [key for key, full in engine_world.begun if key.startswith("acknowledge") and full]
        assert not told, engine_world.begun
        keys = [key for key, _ in engine_world.begun]
        for name in ("first", "second"):
            runs = [key.split(":")[2] for key in keys if key.startswith(f"hook:{name}:")]
            assert not runs or runs[-1] == "recover", runs


# ---- what the journal holds ----

texts = st.text(SIGNS.filter(lambda sign: sign not in "\0\ud800"), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))
nouns = st.one_of(
    st.builds(Event, id=texts, kind=st.sampled_from(Kind), resources=st.lists(texts, max_size=3).map(tuple),
              started=st.booleans(), not_before=st.none() | moments, expected_pause_s=st.none() | finite,
              description=texts, event_source=texts, extra=st.dictionaries(texts, texts, max_size=2)),
    st.builds(HookRun, name=texts, phase=st.sampled_from(HookPhase), attempt=st.integers(0, 9),
              report=st.builds(HookReport, outcome=st.sampled_from(HookOutcome), exit_status=st.none() | st.integers(0, 255),
                               started_at=moments, duration_s=finite, output=texts, note=texts)),
    st.builds(Pause, id=texts, resumed_at=moments, resumed_raw_s=finite, length_s=st.none() | finite,
              uncertainty_s=st.none() | finite, cause=st.sampled_from(Cause), evidence=st.lists(texts, max_size=2).map(tuple),
              quality=st.sampled_from(Quality), clocksource=st.none() | st.tuples(texts, texts),
              host=st.none() | st.tuples(texts, texts)),
    st.builds(ClockCheck, verdict=st.sampled_from(Verdict), offset_s=st.none() | finite, error_bound_s=st.none() | finite,
              checked_at=st.none() | moments, good_after_s=st.none() | finite, reason=texts,
              samples=st.lists(st.builds(ClockSample, moments, texts, finite, finite), max_size=2).map(tuple)))


@fuzz("the journal's nouns", nouns)
def test_a_noun_survives_its_text(noun):
    assert from_json(type(noun), to_json(noun)) == noun


@fuzz("the journal's text, spoiled", nouns, st.integers(0, 10_000), SIGNS)
def test_a_spoiled_text_is_a_noun_or_a_value_error(noun, place, sign):
    text = to_json(noun)
    place %= len(text)
    with suppress(ValueError, KeyError, TypeError, AttributeError):      # what the journal takes for damage
        found = from_json(type(noun), text[:place] + sign + text[place + 1:])
        to_json(found)


# ---- the wire ----

json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(SIGNS, max_size=20),
                           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(SIGNS, max_size=8), inner, max_size=3),
                           max_leaves=6)
FIELDS = ["EventId", "EventStatus", "EventType", "ResourceType", "Resources", "NotBefore", "Description", "EventSource",
          "DurationInSeconds", "Whatever"]
entries = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=10).map(
    lambda drawn: {"EventId": "e", **drawn})
bodies = st.one_of(
    st.binary(max_size=200), json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({"Events": st.lists(entries | json_values, max_size=3), "DocumentIncarnation": json_values}).map(
        lambda value: json.dumps(value).encode()))


@fuzz("documents", bodies)
def test_any_body_is_a_document_or_none(body):
    """What comes through can be remembered, logged, shown and decided upon."""
    try:
        document = read_document(body, date=None, asked_raw_s=1.0, received_raw_s=1.0)
    except NotADocument as trouble:
        assert str(trouble).isprintable()
        return
    state = State()
    for _ in range(2):
        move = step(state, ob.Polled(document, ME), Policy(hooks=(hook(),)), at(0))
        for entry in move.entries:
            if entry.subject is not None and not isinstance(entry.subject, str):
                assert from_json(type(entry.subject), to_json(entry.subject).encode().decode()) == entry.subject
        state = move.state
    for found in document.events:
        assert json.loads(write_acknowledgement(found.id))["StartRequests"] == [{"EventId": found.id}]
    json.dumps(status_of(state, [], at(0)))


@fuzz("identities and times", st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()), st.text(SIGNS, max_size=40))
def test_any_identity_is_one_or_none_and_any_time_a_moment_or_none(body, text):
    with suppress(NotADocument):
        assert read_identity(body).name
    moment = read_time(text)
    assert moment is None or moment.tzinfo is not None


# ---- time ----

@fuzz("NTP packets", st.binary(min_size=48, max_size=80), st.integers(-10**18, 4 * 10**18), st.integers(0, 10**10), many=3000,
      cases=[(bytes([0x24, 0]) + b"\x04\x7f" + bytes(8) + b"\x1b[2J" + bytes(32), 0, 10**6),
             (bytes([0x24, 1]) + b"\x04\x7f" + bytes(44), 0, 10**6), (bytes([0x24, 1]) + b"\x04\x80" + bytes(44), 0, 10**6)])
def test_any_packet_is_a_sample_or_refused_with_a_reason(data, near_ns, elapsed_ns):
    """And what is taken is never surer than its own round trip."""
    reply = ntp_packet.read_reply(data, near_ns)
    trip = ntp_packet.RoundTrip("server", "address", 0, elapsed_ns, near_ns, near_ns, frozenset())
    outcome = ntp_packet.validate(reply, trip)
    if isinstance(outcome, TimeSample):
        assert outcome.bound_ns * 2 >= outcome.delay_ns and outcome.delay_ns <= ntp_packet.MAX_DELAY_NS
        assert reply.mode == 4 and 0 < reply.stratum < 16 and reply.leap != 3
        combine([outcome], elapsed_ns)
    else:
        assert outcome.text.isprintable(), repr(outcome.text)


@fuzz("NTP timestamps", st.integers(ntp_packet.BUILT_NS - 60 * 365 * 86400 * NS, ntp_packet.BUILT_NS + 60 * 365 * 86400 * NS))
def test_a_timestamp_unfolds_to_what_was_folded(ns):
    stamp_s = (ns / NS + NTP.NTP_DELTA) % 2**32
    assert abs(ntp_packet.to_unix_ns(stamp_s, ns) - ns) <= 1000


@fuzz("time servers' names", st.text(SIGNS, max_size=30) | st.lists(
    st.sampled_from(["[", "]", ":", "::1", "host", "10.0.0.1", "123", "65536", "0", "-1", " "]), max_size=5).map("".join))
def test_a_server_is_a_host_and_a_port_or_a_value_error(text):
    with suppress(ValueError):
        host, port = ntp_packet.split_server(text)
        assert host and 0 < port < 65536


# ---- what others on this machine say ----

def is_told(document) -> None:
    """It can be written as JSON, which has no NaN."""
    json.dumps(document, allow_nan=False, default=str)


@fuzz("time daemons' answers", st.binary(max_size=200), st.lists(st.one_of(
    st.sampled_from(["0", "1", "-1", "nan", "inf", "1e999", "x", "", "9" * 30, "leap=0", "stratum=1", "rootdisp=nan", "rootdelay=1",
                     "offset=inf", "reftime=0xffffffffff.ffffffffff", "reftime=0xz", "(uuuuittayttttbtt)", "Normal"]),
    st.text(SIGNS, max_size=6)), max_size=20), many=2000,
      cases=[(b"\x00" * 12 + b"\x7f\x00" + b"\x7f\xff\xff\xfe" * 20, ["leap=0", "stratum=1", "rootdisp=1", "rootdelay=1", "offset=nan"]),
             (b"", ["leap=0", "stratum=1", "rootdisp=1", "rootdelay=1", "offset=1", "reftime=0xffffffffff.ffffffffff"]),
             (b"", ["1", "2", "3", "9" * 30, "nan", *["1"] * 8, "Normal"])])
def test_any_word_of_a_time_daemon_is_a_report_or_none(data, words):
    """Its numbers may be anything: what comes out can be shown, and nothing ends the agent."""
    sequence = data[:4].ljust(4, b"x")
    for command in (chrony.TRACKING, chrony.SOURCE_DATA, chrony.N_SOURCES):
        chrony.reply_body(command, sequence, data)
    chrony.read_source_count(data), chrony.read_source(data), chrony.read_name(data)
    for tracking in (chrony.read_tracking(data), chrony._tracking_of(",".join(words))):
        if tracking is not None:
            is_told(asdict(chrony.daemon_report(tracking)))
    variables = dict(word.partition("=")[::2] for word in words)
    is_told(asdict(ntpd._report_of(variables)))
    ntpd._read_variables(data, 7)
    for text in (" ".join(words), " ".join([timesyncd._SIGNATURE, *words])):
        said = timesyncd._read_message(text)
        if said is not None:
            is_told(asdict(said))


@fuzz("time daemons' configurations", st.lists(st.lists(
    st.sampled_from(["server", "pool", "include", "confdir", "sourcedir", "port", "9" * 30, "[Time]", "NTP=a b", "NTP=", "#", "!", "a\0b",
                     "/", "..", "iburst"]) | st.text(SIGNS, max_size=6), max_size=5).map(" ".join), max_size=6).map("\n".join), many=1000,
      cases=[("include a\0b\nconfdir a\0b\nserver a port " + "9" * 30,)])
def test_any_configuration_of_a_time_daemon_names_servers_or_none(text):
    with tempfile.TemporaryDirectory() as root:
        for path in ("etc/chrony/chrony.conf", "etc/ntpsec/ntp.conf", "etc/systemd/timesyncd.conf"):
            (Path(root) / path).parent.mkdir(parents=True)
            (Path(root) / path).write_text(text.encode("utf-8", "replace").decode())
        around = HostAccess(root=Path(root), chrony_monitor=("127.0.0.1", 9), ntpd_control=("127.0.0.1", 9), timeout_s=0.01)
        for daemon in (chrony.Chrony(around), ntpd.Ntpd(around), timesyncd.Timesyncd(around)):
            for source in daemon.servers():
                with suppress(ValueError):
                    ntp_packet.split_server(source.server)


@fuzz("kernel and hypervisor", st.binary(max_size=300), many=2000)
def test_anything_the_kernel_and_the_hypervisor_say_is_read_or_passed_over(data):
    for link in kernel_signals.links_in(data):
        assert isinstance(link.name, str)
    hypervisor_signals.page_in(data)
    hypervisor_signals.records_in(data.ljust(hypervisor_signals.RECORD_BYTES, b"\0"))
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        assert _read(Path(file.name)) is None


# ---- configuration ----

TABLES = ["source", "policy", "policy.freeze", "hooks", "hook.web", "pause", "clock", "log", "metrics", "health", "journal", "paths"]
KEYS = ["kind", "endpoint", "poll", "vm_name", "act_on", "acknowledge", "lead", "timeout", "reserve", "kinds", "user",
        "environment", "tick", "servers", "tolerance", "listen", "textfile", "keep", "hooks", "state", "runtime"]
words = st.sampled_from(['"5s"', '"1h"', "true", "7", "-1.5e308", "inf", '"azure"', '["freeze"]', '{ A = "b" }', '"/a/b"',
                         '"127.0.0.1:9"', "2026-11-20", '"""', "[", '"\\u0000"', '"\\ud800"', "9" * 5000, '""', '"[::1]:1"'])
lines = st.one_of(st.sampled_from(TABLES).map(lambda name: f"[{name}]"),
                  st.builds("{} = {}".format, st.sampled_from(KEYS), words),
                  st.builds("{} = {}".format, st.sampled_from(KEYS), st.text(SIGNS, max_size=12)), st.text(SIGNS, max_size=30))


@fuzz("configuration", st.lists(lines, max_size=8).map("\n".join) | st.binary(max_size=100), many=2000)
def test_any_file_is_settings_or_faults_each_on_one_line(text):
    try:
        reading = read(text, file="tideover.toml", defaults=LINUX)
    except TideoverError as trouble:
        faults = getattr(trouble, "faults", ())
        assert faults and all(fault.isprintable() for fault in faults), faults
        return
    shown = effective_values(reading.settings, reading.origin)
    for key, value, _ in shown:
        assert (key + value).isprintable(), (key, value)


@fuzz("durations", st.integers(0, 10**6).map(lambda drawn: drawn / 1000) | st.integers(0, 10**8).map(float))
def test_a_duration_is_read_as_it_was_written(seconds):
    assert read_duration(write_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


# ---- the log ----

@fuzz("log lines", st.text(SIGNS, max_size=60), st.text(SIGNS, max_size=60))
def test_any_text_in_the_log_is_one_line_that_steers_nothing(one, other):
    line = LogLine("now", "info", "name", {"a": one, "b": other})
    for text in (line.as_text(), line.as_text(dated=False), line.as_json()):
        assert text.isprintable(), repr(text)
        text.encode()
    assert json.loads(line.as_json())["a"] == one


assert SCOPE and KINDS
