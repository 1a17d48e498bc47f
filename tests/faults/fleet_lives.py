"""Lives of three machines of a fleet with one slot and a real etcd: an event that two of them share, and one of the third.
The first machine's agent dies at one of its points; what must have come of it, whichever that is."""
from __future__ import annotations

import contextlib
import json
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from queue import SimpleQueue

from faults.everywhere import REPEATS, Tried
from faults.life_courses import BRIEF, Life
from faults.promises import is_prepared, lost, of_machine
from faults.trials import Stage, Starter
from real_etcd import RealEtcd
from tideover.fleet_documents import EventDocument, SlotsDocument, decode_event, decode_slots, slots_key
from tideover.lifecycle.fleet_rules import not_ready
from tideover.model import NOT_READY

SHARED, OWN = "E1", "E2"
SLOW = "unless_orphaned 0.4"
MACHINES = 3
SIDE_BY_SIDE = 6
NOTICE_S = 150.0        # a machine that waits for a slot looks each 0.75 to 2.25 s, and no last moment comes near
FLEET = """
[fleet]
store = "{store}"
prefix = "{prefix}"
slots = 1
"""
PREFIXES = count(1)


@dataclass(frozen=True)
class Written:
    """One write to the store: a key without the fleet's prefix, and its value; None: it was deleted."""

    key: str
    value: bytes | None


class StoreHistory:
    """All that was written below a prefix, in the store's order."""

    def __init__(self, url: str, prefix: str) -> None:
        self.writes: list[Written] = []
        self._prefix = f"{prefix}/"
        first, end = (b64encode(f"{prefix}{last}".encode()).decode() for last in "/0")
        asked = {"create_request": {"key": first, "range_end": end, "start_revision": "1"}}
        self._connection = HTTPConnection(url.removeprefix("http://"))
        self._connection.request("POST", "/v3/watch", json.dumps(asked))
        self._socket = self._connection.sock        # which the answer takes along
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self._connection.getresponse():
                for event in json.loads(line)["result"].get("events", []):
                    pair = event["kv"]
                    is_gone = event.get("type") == "DELETE"
                    key = b64decode(pair["key"]).decode().removeprefix(self._prefix)
                    self.writes.append(Written(key, None if is_gone else b64decode(pair["value"])))

    def now(self) -> dict[str, bytes]:
        held: dict[str, bytes] = {}
        for one in list(self.writes):
            held.pop(one.key, None)
            if one.value is not None:
                held[one.key] = one.value
        return held

    def events(self) -> list[EventDocument]:
        return [decode_event(one.key, one.value) for one in list(self.writes)
                if one.key.startswith("v1/events/") and one.value is not None]

    def slots(self) -> list[SlotsDocument]:
        key = slots_key("default")
        return [decode_slots(key, one.value) for one in list(self.writes) if one.key == key and one.value is not None]

    def close(self) -> None:
        """The reading thread ends with its connection; a close while it reads would wait for it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class FleetStage:
    """Three stages that share a platform and a store; the first one's agent is the one that dies. `walls`: by how many
    seconds each machine's wall clock is wrong."""

    def __init__(self, etcd: RealEtcd, starters: Sequence[Starter], stack: ExitStack, hooks: Sequence[str], at: str = "", *,
                 walls: Sequence[float] = (0.0, 0.0, 0.0), deadline: str = "20s") -> None:
        prefix = f"fleet-{next(PREFIXES)}"
        more = FLEET.format(store=etcd.setting, prefix=prefix)
        self.history = StoreHistory(etcd.urls[0], prefix)
        stack.callback(self.history.close)
        first = Stage(starters[0], at=at, befall="death" if at else "", more=more, deadline=deadline)
        others = [Stage(starter, more=more, deadline=deadline, metadata=first.metadata.beside(f"vm-{number}"))
                  for number, starter in enumerate(starters[1:], 2)]
        self.first, self.machines = first, [first, *others]
        for machine, hook, wall_s in zip(self.machines, hooks, walls, strict=True):
            machine.time.set_wall(wall_s)
            machine.hook("10-app", hook)
            machine.hook("30-other")
        for machine in self.machines:
            stack.enter_context(machine)

    def ready(self) -> None:
        """Each has shown itself in the store."""
        self.first.until(lambda: sum("/members/" in key for key in self.history.now()) == len(self.machines))

    def announce(self, event_id: str, *names: str) -> None:
        self.first.announce(event_id, resources=names, not_before_in_s=NOTICE_S)

    def has(self, place: int, words: str) -> None:
        """Wait until the agent of that machine has written this."""
        self.machines[place].until(lambda: self.machines[place].has_committed(words))

    def ends(self, event_id: str, *places: int) -> None:
        """It starts, because it is acknowledged; then the platform removes it."""
        for place in places:
            self.has(place, f"{event_id} event started")
        self.first.metadata.remove_event(event_id)
        for place in places:
            self.has(place, f"{event_id} closed")

    def is_clean(self) -> bool:
        held = self.history.now()
        slots = held.get(slots_key("default"))
        return not any("/events/" in key for key in held) and (slots is None or not decode_slots("", slots).holders)


def _shared_first(here: FleetStage) -> None:
    """The third machine's event comes while the shared one has the slot."""
    here.ready()
    here.announce(SHARED, "vm-1", "vm-2")
    here.has(0, f"{SHARED} preparing")
    here.announce(OWN, "vm-3")
    here.ends(SHARED, 0, 1)
    here.ends(OWN, 2)


def _shared_second(here: FleetStage) -> None:
    """The first two wait for the third machine's slot."""
    here.ready()
    here.announce(OWN, "vm-3")
    here.has(2, f"{OWN} preparing")
    here.announce(SHARED, "vm-1", "vm-2")
    here.has(0, f"{SHARED} waiting-for-slot")
    here.ends(OWN, 2)
    here.ends(SHARED, 0, 1)


@dataclass(frozen=True)
class FleetLife:
    """`hooks`: what each machine's hook does."""

    play: Callable[[FleetStage], None]
    hooks: tuple[str, str, str]


FLEET_LIVES: Mapping[str, FleetLife] = {
    "it is ready last": FleetLife(_shared_first, (SLOW, BRIEF, BRIEF)),
    "it is ready first": FleetLife(_shared_first, (BRIEF, SLOW, BRIEF)),
    "it waits for a slot": FleetLife(_shared_second, (SLOW, BRIEF, BRIEF)),
}


# --- What must hold

def check(here: FleetStage) -> None:
    """Given the stage of a life that is over, raise if a promise was broken."""
    broken = [f"{name}: {one}" for name, machine in zip(("vm-1", "vm-2", "vm-3"), here.machines, strict=True)
              for one in of_machine(_life_of(machine), machine)]
    broken += of_fleet(here)
    if broken:
        raise AssertionError("; ".join(broken) + "\n" + "\n".join(machine.story() for machine in here.machines))


def of_fleet(here: FleetStage) -> list[str]:
    """What was broken of that which the machines keep together."""
    return [*_posts(here), *_documents(here), *_away(here)]


def _life_of(machine: Stage) -> Life:
    event_id = OWN if machine.metadata.vm_name == "vm-3" else SHARED
    return Life(lambda _: None, {}, {event_id: "resumed"})


def _posts(here: FleetStage) -> list[str]:
    """One for each claim, and another one only by a claimant that died before it had written down the answer; none before
    every machine named is prepared."""
    posts = {event_id: [(machine, request.at) for machine in here.machines for request in machine.metadata.requests
                        if request.method == "POST" and event_id.encode() in request.body] for event_id in (SHARED, OWN)}
    claims = {claim.n for event in here.history.events() if (claim := event.acknowledgement) is not None}
    broken = []
    if not 1 <= len(posts[SHARED]) <= len(claims) + lost(here.first, SHARED):
        broken.append(f"{len(posts[SHARED])} acknowledgements of the shared event for {len(claims)} claims")
    if len(posts[OWN]) != 1:
        broken.append(f"{len(posts[OWN])} acknowledgements of the third machine's event")
    named = {SHARED: here.machines[:2], OWN: here.machines[2:]}
    return broken + [f"{event_id} was acknowledged while {machine.metadata.vm_name} was not prepared"
                     for event_id, sent in posts.items() for _, at in sent for machine in named[event_id]
                     if not is_prepared(machine, "app", at)]


def _documents(here: FleetStage) -> list[str]:
    broken = []
    claims: set[int] = set()
    for event in here.history.events():
        claim = event.acknowledgement
        if claim is None:
            continue
        if claim.n not in claims and not_ready(event):
            broken.append(f"claimed while not all are ready: {event}")
        if claim.is_open and any(one.state == NOT_READY for one in event.members.values()):
            broken.append(f"a consent that was taken back under an open claim: {event}")
        claims.add(claim.n)
    for slots in here.history.slots():
        if len(slots.holders) > 1 or not all(one.granted for one in slots.holders):
            broken.append(f"more than one slot: {slots}")
    if not here.is_clean():
        broken.append(f"the store is not clean: {here.history.now()}")
    return broken


def _away(here: FleetStage) -> list[str]:
    """From a first prepare to the last recover of an event no machine of the other one is prepared."""
    def span(machines: Sequence[Stage]) -> tuple[float, float]:
        lines = [line for machine in machines for line in machine.lines()]
        return (min(float(line[0]) for line in lines if line[2] == "prepare"),
                max(float(line[0]) for line in lines if line[2] == "recover-ended"))

    first, second = sorted((span(here.machines[:2]), span(here.machines[2:])))
    return [] if first[1] <= second[0] else [f"two events were away at once: {first} {second}"]


# --- Each point

@contextmanager
def played(etcd: RealEtcd, starters: Sequence[Starter], life: FleetLife, at: str = "") -> Iterator[FleetStage]:
    """A life, played and ended."""
    with ExitStack() as stack:
        here = FleetStage(etcd, starters, stack, life.hooks, at)
        life.play(here)
        here.first.until(here.is_clean)
        for machine in here.machines:
            machine.until(machine.is_at_rest, 5.0, must=False)
            machine.end()
        yield here


def points_of(etcd: RealEtcd, starters: Sequence[Starter], name: str) -> list[str]:
    """Given a life, return the first machine's points around each transaction, each write to the store and its
    acknowledgement, of one life in which nothing befalls it."""
    with played(etcd, starters, FLEET_LIVES[name]) as here:
        check(here)
        return [at for at in here.first.passed() if _is_write(at)]


def _is_write(at: str) -> bool:
    name = at.partition("/")[2]
    return name.startswith(("store ", "POST")) or (name.startswith("commit ") and "written, not committed" not in name)


def try_point(etcd: RealEtcd, starters: Sequence[Starter], name: str, at: str) -> Tried:
    for _ in range(REPEATS):
        try:
            with played(etcd, starters, FLEET_LIVES[name], at) as here:
                check(here)
                if any(line.startswith("--") for line in here.first.points()):
                    return Tried(at, True)
        except AssertionError as broken:
            return Tried(at, True, f"{at}: {broken}")
    return Tried(at, False)


def try_points(etcd: RealEtcd, name: str, share: Callable[[list[str]], list[str]]) -> list[Tried]:
    """Given a life and which of its points are tried, try them, a few at a time."""
    starter = Starter()
    sets = [[starter.fork() for _ in range(MACHINES)] for _ in range(SIDE_BY_SIDE)]
    free: SimpleQueue[list[Starter]] = SimpleQueue()
    for one in sets:
        free.put(one)

    def try_one(at: str) -> Tried:
        starters = free.get()
        try:
            return try_point(etcd, starters, name, at)
        finally:
            free.put(starters)

    try:
        points = share(points_of(etcd, sets[0], name))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
            return list(threads.map(try_one, points))
    finally:
        for forked in (forked for one in sets for forked in one):
            forked.close()
        starter.close()
