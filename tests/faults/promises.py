"""What must hold when a life is over, whatever befell the agent in it. Reads what the hooks, the platform and the
journal have kept; raises AssertionError with the whole story."""
from __future__ import annotations

from collections import Counter
from typing import Any

from faults.life_courses import Life
from faults.points import BEGUN, CLOCK_STEP
from faults.trials import AWAY_S, Stage
from tideover.journal import Journal
from tideover.record import pauses_of, records_of

EARLY_S, LATE_S = 0.05, 0.5     # how well we know a stop: whoever goes on may have to wait for a busy machine
WRITE_S = 0.005         # a hook's stamp is taken before its line is written


def check(life: Life, here: Stage, *, rebooted: bool = False) -> None:
    """Given a life and the stage on which it has been played, whose agent has ended, raise if a promise was broken."""
    broken = [*of_machine(life, here, rebooted=rebooted), *_acknowledgements(life, here), *_stops(here), *_wrong_clock(here)]
    if broken:
        raise AssertionError("; ".join(broken) + "\n" + here.story())


def of_machine(life: Life, here: Stage, *, rebooted: bool = False) -> list[str]:
    """Given the same, return what was broken of its hooks and its record."""
    return [*_agent(here), *_hooks(here), *_record(life, here, rebooted)]


def _agent(here: Stage) -> list[str]:
    said = (here.home / "agent.log").read_text()
    return [*here.faults, *(["a traceback"] if "Traceback" in said else [])]


def _hooks(here: Stage) -> list[str]:
    """Recovered is who was prepared, and no other; one copy at a time."""
    lines = here.lines()
    broken = [f"two copies of {line[1]}" for line in lines if line[2] == "TWO-COPIES"]
    owed = {name for name, phase in _begun(here) if phase == "prepare"}
    ran = {line[1] for line in lines}
    broken += [f"{name} ran though nobody had written that it would" for name in ran - owed]
    for name in owed:
        own = [line for line in lines if line[1] == name]
        begun = [place for place, line in enumerate(own) if line[2] in ("prepare", "recover")]
        if not begun or own[begun[-1]][2] != "recover":
            broken.append(f"{name} was not recovered")
        elif own[-1][2] != "recover-ended" or own[-1][4] != "0":
            broken.append(f"the recover of {name} came to no end")
    return broken


def _acknowledgements(life: Life, here: Stage) -> list[str]:
    broken = []
    posts = [request for request in here.metadata.requests if request.method == "POST"]
    for event_id, wanted in life.posts.items():
        own = [post for post in posts if event_id.encode() in post.body]
        if not wanted:                      # what was sent for one that had gone meanwhile, the platform has refused
            own = [one for one in own if any(done.event_id == event_id for done in here.metadata.acknowledgements)]
        if not wanted <= len(own) <= wanted + (wanted and lost(here, event_id)):
            broken.append(f"{event_id} was acknowledged {len(own)} times")
        broken += [f"{event_id} was acknowledged while {name} was not prepared" for post in own
                   for name in life.recovers if not is_prepared(here, name, post.at)]
    return broken


def lost(here: Stage, event_id: str) -> int:
    """How often the agent died before it had written down the platform's answer."""
    points = here.points()
    known = next((place for place, line in enumerate(points) if f"{event_id} acknowledged" in line
                  and line.endswith(": committed")), len(points))
    return sum(line.startswith("-- death") for line in points[:known])


def is_prepared(here: Stage, name: str, at: float) -> bool:
    before = [line for line in here.lines() if line[1] == name and float(line[0]) <= at + WRITE_S]
    return bool(before) and before[-1][2] == "prepare-ended" and before[-1][4] == "0"


def _record(life: Life, here: Stage, rebooted: bool) -> list[str]:
    journal = Journal.reading(here.home / "state" / "journal.db")
    try:
        state, records = journal.load(), {record.event_id: record.as_json() for record in records_of(journal.rows())}
    finally:
        journal.close()
    broken = [f"the journal still holds {name}" for name in (*state.cases, *state.hooks)]
    for event_id, outcome in life.outcomes.items():
        allowed = {outcome} | ({"restarted"} if rebooted else set()) | ({"resumed"} if here.stops else set())
        if here.deaths and outcome == "cancelled":
            allowed.add("missed")           # withdrawn while no agent ran: nobody can say whether it had started
        faults = _one_record(records[event_id], allowed) if event_id in records else ["there is no record"]
        broken += [f"the record of {event_id}: {fault}" for fault in faults]
    return broken + _runs(here, list(records.values()))


def _one_record(record: dict[str, Any], outcomes: set[str]) -> list[str]:
    broken = []
    if record["status"] != "closed" or record["outcome"] not in outcomes:
        broken.append(f"{record['status']} {record['outcome']}, not {outcomes}")
    needed = ("noticed_at", "not_before", "ended_at", "closed_at",
              *(["started_at"] if record["outcome"] == "resumed" and not record["pauses"] else []))
    return broken + [f"no {moment}" for moment in needed if record[moment] is None]


def _runs(here: Stage, records: list[dict[str, Any]]) -> list[str]:
    """Every run that the journal says has begun stands in a record: how it ended, or that its end was not seen."""
    told = {(run["name"], run["phase"], run["started_at"]) for record in records for run in record["hooks"]}
    known = Counter((name, phase) for name, phase, _ in told)
    begun = Counter(_begun(here))
    return [f"{' '.join(run)} began {times} times, the records know of {known[run]}"
            for run, times in begun.items() if known[run] != times]


def _begun(here: Stage) -> list[tuple[str, str]]:
    """The hook and phase of each run, as it was written down before it began."""
    words = [line.removeprefix(BEGUN).split() for line in here.points() if line.startswith(BEGUN)]
    return [(name, phase) for name, phase in words]


def _stops(here: Stage) -> list[str]:
    """What stopped the agent for a second is noticed, and its length lies within what is claimed."""
    points = here.points()
    stopped = next((place for place, line in enumerate(points) if line.startswith("-- stop")), 0)
    boot = points[stopped - 1].partition("/")[0]
    if not here.stops or f"{boot}/alone: delete" not in points[:stopped - 1]:
        return []                           # it begins to watch just before it first prunes its journal
    journal = Journal.reading(here.home / "state" / "journal.db")
    try:
        told = [known.as_json() for known in pauses_of(journal.rows())]
    finally:
        journal.close()
    truth_s = here.stops[0] - float(points[stopped].rpartition(" ")[2])
    fitting = [pause for pause in told for away_s in (0.0, AWAY_S, 2 * AWAY_S)     # the machine's own stops may touch it
               if pause["length_s"] is not None
               and pause["length_s"] + pause["uncertainty_s"] - truth_s - away_s >= -EARLY_S
               and pause["length_s"] - pause["uncertainty_s"] - truth_s - away_s <= LATE_S]
    seen = [(pause["cause"], pause["length_s"], pause["uncertainty_s"]) for pause in told]
    return [] if fitting else [f"a stop of {truth_s:.3f} s is not among the pauses noticed: {seen}"]


def _wrong_clock(here: Stage) -> list[str]:
    """From when the agent has written that the clock was set wrong, no hook gets a good verdict or recovers
    before it is right."""
    points = here.points()
    wrong = next((place for place, line in enumerate(points) if line.startswith("-- a day")), None)
    if wrong is None:
        return []
    right = next((place for place, line in enumerate(points) if line.startswith("-- right")), len(points))
    known = next((place for place, line in enumerate(points[:right]) if place > wrong and CLOCK_STEP in line
                  and line.endswith(": committed")), right)
    recovers = [place for place, line in enumerate(points) if line.startswith(BEGUN) and line.endswith(" recover")]
    if "for good" in points[wrong]:
        ran = [line for line in here.lines() if line[2] == "recover"]
        late = ran[sum(place < known for place in recovers):]
        return [f"{line[1]} was told that the clock is {line[6]}" for line in late if line[6] == "good"]
    return [f"{points[place]}: told to carry on before the clock was right" for place in recovers
            if known < place < right]
