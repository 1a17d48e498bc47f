"""A large fleet on one real etcd: what it costs when idle, and how its slots are handed round when all have an event at once.

    python -m benchmarks.fleet idle [--members 1000] [--hours 24]                  (in tests/, with the package importable)
    python -m benchmarks.fleet slots [--members 200] [--slots 10] [--turn 5] [--notice 900] [--arrive 60] [--processes 4]
    python -m benchmarks.fleet shared [--members 3] [--rounds 20]

`idle`: each member writes its entry as often as in so many hours, with nothing between; prints how the database grows a day.
`slots`: each member takes a slot for its event, keeps it for `turn` seconds, and gives it back; events come within `arrive`
seconds and are `notice` seconds ahead. Prints the time against the ideal one, the most that had a slot at once, the tries that
came second, and etcd's share of a core. A member is the agent's own (`tideover.fleet.member`) with its own store. `shared`: that many agents as processes, and events that name all of them; prints
from the write that shows the last one ready to the acknowledgement at the platform. Needs etcd.
"""
from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from base64 import b64decode, b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleet_agents import fleet
from real_etcd import RealEtcd
from tideover import __version__
from tideover.effects import Coordinate, SlotWish
from tideover.fleet.etcd import EtcdStore
from tideover.fleet.member import IDLE_BEAT_S, Member, MemberSettings
from tideover.fleet_documents import MemberDocument, encode, member_key, stamped
from tideover.lifecycle import Phase
from tideover.model import Kind, Moment, utc_text
from tideover.observations import FleetLeft, FleetSeen, Observation, SlotState
from tideover.system.clocks import read_raw_s

TAKEOVER_S = 1800.0
STEADY_BEFORE = 3       # hours that are not counted: a new database grows by pages


def now() -> Moment:
    return Moment(datetime.now(UTC), read_raw_s())


# --- idle

def measure_idle(members: int, hours: int) -> None:
    """One store for each of four threads: which connection a write comes by does not change its size."""
    with tempfile.TemporaryDirectory() as home, RealEtcd(Path(home)) as etcd:
        stores = [etcd.store() for _ in range(4)]
        revisions: dict[int, str | None] = {}

        def beat(number: int, hour: int) -> None:
            name, vm_id = f"web-{number:04}", f"{number:08}-0000-4000-8000-000000000000"
            entry = MemberDocument(name, vm_id, vm_id[::-1], "default", 10, __version__, "", (), hour + 1, utc_text(now().utc))
            value = encode(stamped(entry, f"{random.getrandbits(64):016x}"))
            revisions[number] = stores[number % 4].put(member_key(name, vm_id), value, revisions.get(number))

        sizes, cpu_s, began = [], etcd.members[0].cpu_s(), time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            for hour in range(hours + STEADY_BEFORE):
                groups = [range(first, members, 4) for first in range(4)]
                list(pool.map(lambda group, hour=hour: [beat(number, hour) for number in group], groups))
                sizes.append(int(str(etcd.ask("/v3/maintenance/status")["dbSizeInUse"])))
        cpu_s, lasted_s = etcd.members[0].cpu_s() - cpu_s, time.monotonic() - began
        began_list = time.monotonic()
        listed = stores[0].list("v1/members/")
        list_ms = (time.monotonic() - began_list) * 1000
        assert len(listed) == members
        grown = sizes[-1] - sizes[STEADY_BEFORE - 1]
        writes = members * hours
        entry_bytes = len(listed[0].value)
        print(f"{members} idle members, an entry of {entry_bytes} bytes each {IDLE_BEAT_S:.0f} s, {hours} hours: "
              f"{grown / writes:.0f} bytes a write, {grown * 24 / hours / 1e6:.2f} MB a day")
        print(f"etcd: {cpu_s / (members * (hours + STEADY_BEFORE)) * 1000:.2f} ms CPU a write; {lasted_s:.0f} s in all; "
              f"a list of all: {list_ms:.0f} ms")


# --- slots

class SlotUser:
    """One member with one event: takes a slot, keeps it for its turn, gives it back."""

    def __init__(self, number: int, urls: list[str], slots: int, turn_s: float, starts_s: float, notice_s: float) -> None:
        self.name = f"web-{number:04}"
        self.requests: Counter[tuple[str, str]] = Counter()
        self.taken_s = self.left_s = 0.0
        self._turn_s, self._starts_s, self._notice_s = turn_s, starts_s, notice_s
        self._has, self._left = threading.Event(), threading.Event()
        self.member = Member(MemberSettings("default", slots, TAKEOVER_S), lambda: EtcdStore(urls, "tideover"), f"boot-{number}", __version__,
                             self._post, now, lambda _: None, requested=self._count)

    def live(self, began_s: float) -> None:
        time.sleep(max(0.0, began_s + self._starts_s - time.time()))
        self.member.open(frozenset())
        self.member.identify(self.name, f"{self.name}-id")
        due = now()
        wish = Coordinate(f"event-of-{self.name}", "azure", Kind.FREEZE, (self.name,), (due.utc + timedelta(seconds=self._notice_s)).isoformat(),
                          Phase.WAITING_FOR_SLOT.value, SlotWish.TAKE, due_raw_s=due.raw_s + self._notice_s)
        self.member.start(wish)
        self._has.wait()
        time.sleep(self._turn_s)
        self.left_s = time.time()
        self.member.adjust(replace(wish, slot=SlotWish.LEAVE, phase=Phase.CLOSED.value, leaves=True))
        self._left.wait()
        self.member.close()

    def _post(self, observation: Observation) -> None:
        if isinstance(observation, FleetSeen) and observation.view.slot is SlotState.GRANTED and not self._has.is_set():
            self.taken_s = time.time()
            self._has.set()
        elif isinstance(observation, FleetLeft):
            self._left.set()

    def _count(self, operation: str, outcome: str, _: float) -> None:
        if not self._left.is_set():             # closing ends a request
            self.requests[operation, outcome] += 1


def run_some(asked: dict[str, Any]) -> None:
    """In a process of its own: some of the members. Prints when each had its slot, and how often each request ended how."""
    threading.stack_size(1 << 18)
    users = [SlotUser(number, asked["urls"], asked["slots"], asked["turn_s"], starts_s, asked["notice_s"])
             for number, starts_s in asked["starts_s"]]
    threads = [threading.Thread(target=user.live, args=(asked["began_s"],)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests = sum((user.requests for user in users), Counter[tuple[str, str]]())
    print(json.dumps({"turns": [(user.taken_s, user.left_s) for user in users],
                      "requests": [(*key, count) for key, count in requests.items()]}))


def measure_slots(members: int, slots: int, turn_s: float, notice_s: float, arrive_s: float, processes: int) -> None:
    with tempfile.TemporaryDirectory() as home, RealEtcd(Path(home)) as etcd, ExitStack() as stack:
        starts = sorted(random.uniform(0.0, arrive_s) for _ in range(members))
        began_s = time.time() + 1.0 + members / 500
        running = []
        for process in range(processes):
            asked = {"urls": etcd.urls, "slots": slots, "turn_s": turn_s, "notice_s": notice_s, "began_s": began_s,
                     "starts_s": [(number, starts[number]) for number in range(process, members, processes)]}
            running.append(stack.enter_context(subprocess.Popen([sys.executable, "-m", "benchmarks.fleet", "some", json.dumps(asked)],
                                                                stdout=subprocess.PIPE)))
        time.sleep(max(0.0, began_s - time.time()))
        cpu_s = etcd.members[0].cpu_s()
        found = [json.loads(one.communicate()[0]) for one in running]
        cpu_s = etcd.members[0].cpu_s() - cpu_s
    turns = [tuple(turn) for one in found for turn in one["turns"]]
    requests: Counter[tuple[str, str]] = Counter()
    for one in found:
        for operation, outcome, count in one["requests"]:
            requests[operation, outcome] += count
    changes = sorted([(taken_s, 1) for taken_s, _ in turns] + [(left_s, -1) for _, left_s in turns])
    most = at_once = 0
    for _, change in changes:
        at_once += change
        most = max(most, at_once)
    lasted_s = max(left_s for _, left_s in turns) - began_s
    ideal_s = _ideal_s(starts, slots, turn_s)
    writes = requests["put", "ok"] + requests["put", "conflict"] + requests["delete", "ok"]
    print(f"{members} members, {slots} slots, turns of {turn_s:g} s, events within {arrive_s:g} s and {notice_s:g} s ahead: "
          f"{lasted_s:.1f} s (ideal {ideal_s:.1f}, {lasted_s / ideal_s:.2f} times), at most {most} away at once")
    print(f"etcd {cpu_s / lasted_s * 100:.0f} % of a core; a member: {sum(requests.values()) / members:.1f} requests, "
          f"{writes / members:.1f} writes, {requests['put', 'conflict'] / members:.2f} came second; "
          f"failures: {({key: count for key, count in requests.items() if key[1] not in ('ok', 'conflict')}) or 'none'}")
    assert most <= slots


def _ideal_s(starts: list[float], slots: int, turn_s: float) -> float:
    """Given when the events come, return when the last turn would end if slots changed hands at once."""
    free = [0.0] * slots
    for start_s in starts:
        free.sort()
        free[0] = max(free[0], start_s) + turn_s
    return max(free)


# --- shared events

class ClaimWatch:
    """Sees each write below the fleet's events in etcd as it is made. `claimed`: event id -> when its first claim was written."""

    def __init__(self, url: str) -> None:
        self.claimed: dict[str, float] = {}
        asked = {"create_request": {"key": b64encode(b"tideover/v1/events/").decode(), "range_end": b64encode(b"tideover/v1/events0").decode()}}
        self._answer = urllib.request.urlopen(urllib.request.Request(f"{url}/v3/watch", json.dumps(asked).encode()), timeout=600.0)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._answer:
            seen = time.time()
            for event in json.loads(line)["result"].get("events", []):
                document = json.loads(b64decode(event["kv"].get("value", "e30=")))
                if document.get("acknowledgement"):
                    self.claimed.setdefault(document["event_id"], seen)


def measure_shared(members: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as home, fleet(Path(home), members) as agents:
        agents.configure()
        agents.start()
        watch, took_ms, sent = ClaimWatch(agents.cluster.urls[0]), [], 0
        names = [machine.metadata.vm_name for machine in agents.machines]
        for _ in range(rounds):
            event = agents.freeze(*names)
            agents.machines[0].until(lambda event=event: agents.metadata.status_of(event) == "Started")
            posts = [one for one in agents.metadata.acknowledgements if one.event_id == event]
            sent += len(posts)
            took_ms.append((posts[0].at - watch.claimed[event]) * 1000)
            agents.metadata.remove_event(event)
            for machine in agents.machines:
                machine.until(lambda machine=machine: machine.record()["status"] == "closed")
    took_ms.sort()
    print(f"{members} agents, {rounds} shared events, {sent} acknowledgements: last one ready -> acknowledgement: "
          f"median {took_ms[len(took_ms) // 2]:.1f} ms, worst {took_ms[-1]:.1f} ms")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(dest="command", required=True)
    idle = commands.add_parser("idle")
    idle.add_argument("--members", type=int, default=1000)
    idle.add_argument("--hours", type=int, default=24)
    slots = commands.add_parser("slots")
    slots.add_argument("--members", type=int, default=200)
    slots.add_argument("--slots", type=int, default=10)
    slots.add_argument("--turn", type=float, default=5.0)
    slots.add_argument("--notice", type=float, default=900.0)
    slots.add_argument("--arrive", type=float, default=60.0)
    slots.add_argument("--processes", type=int, default=4)
    shared = commands.add_parser("shared")
    shared.add_argument("--members", type=int, default=3)
    shared.add_argument("--rounds", type=int, default=20)
    some = commands.add_parser("some")
    some.add_argument("asked", type=json.loads)
    chosen = options.parse_args()
    if chosen.command == "idle":
        measure_idle(chosen.members, chosen.hours)
    elif chosen.command == "slots":
        measure_slots(chosen.members, chosen.slots, chosen.turn, chosen.notice, chosen.arrive, chosen.processes)
    elif chosen.command == "shared":
        measure_shared(chosen.members, chosen.rounds)
    else:
        run_some(chosen.asked)


if __name__ == "__main__":
    main()
