"""kill -9 of the agent and of each application at every step of one life: three applications (Python blocking, asyncio,
Node) and two hooks, interleaved. A case has every fourth point of the agent's, or all steps of one application; a
sampled run takes one case in four (sampled.toml)."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from running_agent import World, environment
from tideover.journal import Journal
from tideover.simulator import MetadataService, TimeServer
from tideover.status import recover_pending

pytestmark = pytest.mark.slow
if os.name == "nt":
    pytest.skip("Unix sockets", allow_module_level=True)

SHARES = 4
SIDE_BY_SIDE = 3
PATIENCE_S = 30.0
TABLES = "".join(f'[application.{name}]\norder = {order}\nrequired = true\n'
                 for name, order in (("blocking", 5), ("asyncio", 15), ("node", 25)))
ORDER = ["blocking", "web", "asyncio", "disk", "node"]
STEPS = [f"{phase} {step}" for phase in ("prepare", "recover") for step in ("asked", "worked", "answered")]

# Each notes "MOMENT NAME PHASE PID RUN" and the same with PHASE-ended, and kills itself once at the step it is given.
BLOCKING = """
import os, pathlib, signal, sys, time
from tideover.client import Application
name, path, notes, step = sys.argv[1:5]
once = pathlib.Path(notes + "." + name + ".died")
def note(word, run):
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{time.time():.6f} {name} {word} {os.getpid()} {run.number}\\n".encode())
    os.close(file)
def passing(now, run):
    if f"{run.phase} {now}" == step and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
def work(run):
    passing("asked", run)
    note(run.phase, run)
    time.sleep(0.05)
    note(run.phase + "-ended", run)
    passing("worked", run)
    run.done()
"""
PROGRAMS = {
    "blocking": BLOCKING + """
with Application(name, socket_path=path) as app:
    for run in app.runs():
        work(run)
        passing("answered", run)
""",
    "asyncio": BLOCKING + """
import asyncio
from tideover.client import AsyncApplication
async def main():
    async with AsyncApplication(name, socket_path=path) as app:
        async for run in app.runs():
            work(run)
            await asyncio.sleep(0.02)
            passing("answered", run)
asyncio.run(main())
"""}
NODE_WORK = """
const fs = require("fs");
const [name, notes, step] = process.argv.slice(2);
function note(word, run) {
  fs.appendFileSync(notes, `${(Date.now() / 1000).toFixed(6)} ${name} ${word} ${process.pid} ${run.run}\\n`);
}
function passing(now) {
  if (now === step && !fs.existsSync(`${notes}.${name}.died`)) {
    fs.writeFileSync(`${notes}.${name}.died`, "");
    process.kill(process.pid, "SIGKILL");
  }
}
async function work(phase, run) {
  passing(`${phase} asked`);
  note(phase, run);
  await new Promise((resolve) => setTimeout(resolve, 50));
  note(`${phase}-ended`, run);
  passing(`${phase} worked`);
  setTimeout(() => passing(`${phase} answered`), 20);
}
connect(name, (run) => work("prepare", run), (run) => work("recover", run));
"""

# The agent, which notes each point it passes, and kills itself at the one of the number it is given (0: at none).
AGENT = """
import os, signal, sys
from tideover.applications import server
from tideover.cli import main
from tideover.journal import LastingJournal
configuration, points, die_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
passed = 0
def passing(name):
    global passed
    passed += 1
    with open(points, "a") as file:
        file.write(name + "\\n")
    if passed == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
def around(owner, name):
    do = getattr(owner, name)
    def done(self, *given):
        passing("before " + name)
        answer = do(self, *given)
        passing("after " + name)
        return answer
    setattr(owner, name, done)
around(LastingJournal, "commit")
for name in ("_start", "_send_run", "_take_answer", "_settle"):
    around(server.ApplicationServer, name)
sys.exit(main(["run", "--config", configuration]))
"""


class Life(World):
    """A world with three applications, which are started again when they have died, as a supervisor would."""

    def __init__(self, home: Path, metadata: MetadataService, time_server: TimeServer, die_at: int, steps: dict[str, str]) -> None:
        super().__init__(home, metadata, time_server)
        self.steps, self.die_at = steps, die_at
        self.is_over = threading.Event()
        self.hook("10-web")
        self.hook("20-disk")
        self.configure(TABLES)
        (home / "agent.py").write_text(AGENT)
        for name, program in PROGRAMS.items():
            (home / f"app_{name}.py").write_text(program)
        page = (Path(__file__).parents[1] / "docs/applications.md").read_text()
        example = re.findall(r"^```js\n(.*?)^```", page, re.S | re.M)[0]
        (home / "node.js").write_text(example[:example.rindex('connect("node-app"')] + NODE_WORK)
        self.keepers = [threading.Thread(target=self._keep, args=(lambda name=name: self._application(name),))
                        for name in ("blocking", "asyncio", "node")]
        self.keepers.append(threading.Thread(target=self._keep, args=(self._agent,)))

    @property
    def points(self) -> list[str]:
        return (self.home / "points").read_text().splitlines()

    def _application(self, name: str) -> subprocess.Popen[bytes]:
        socket, step = str(self.home / "run/applications/socket"), self.steps.get(name, "")
        words = ["node", str(self.home / "node.js"), name, str(self.log), step] if name == "node" else [
            sys.executable, str(self.home / f"app_{name}.py"), name, socket, str(self.log), step]
        return subprocess.Popen(words, env={**environment(), "TIDEOVER_APPLICATIONS_SOCKET": socket})

    def _agent(self) -> subprocess.Popen[bytes]:
        with (self.home / "agent.log").open("ab") as log:
            die_at, self.die_at = self.die_at, 0
            return subprocess.Popen([sys.executable, str(self.home / "agent.py"), str(self.home / "tideover.toml"),
                                     str(self.home / "points"), str(die_at)], env=environment(), stdout=log, stderr=log)

    def _keep(self, start) -> None:
        while not self.is_over.is_set():
            process = start()
            while process.poll() is None and not self.is_over.is_set():
                time.sleep(0.02)
        process.kill()
        process.wait()

    def play(self) -> None:
        for keeper in self.keepers:
            keeper.start()
        self.until(lambda: set(self.ask("status").get("applications", [])) == {"blocking", "asyncio", "node"}, PATIENCE_S)
        event = self.metadata.add_event("Freeze", not_before_in_s=900.0)
        self.until(lambda: self.metadata.acknowledgements, PATIENCE_S)
        self.metadata.start_event(event)
        time.sleep(0.3)
        self.metadata.remove_event(event)
        self.until(lambda: self.record()["status"] == "closed", PATIENCE_S)

    def end(self) -> None:
        self.is_over.set()
        for keeper in self.keepers:
            keeper.join()


def broken(life: Life, agent_died: bool) -> list[str]:
    """What has not been kept, of what must hold whoever died when."""
    lines, found = life.lines(), []
    acknowledged = [given.at for given in life.metadata.acknowledgements]
    for name in ORDER:
        own = [line for line in lines if line[1] == name]
        begun = [line[2] for line in own if not line[2].endswith("-ended")]
        if begun[:1] != ["prepare"] or begun[-1] != "recover":
            found.append(f"{name}: {begun}")
        if name not in life.steps and name not in ("web", "disk") and begun != ["prepare", "recover"]:
            found.append(f"{name} lived and was asked for {begun}")
        for one, after in pairwise(own):
            if not one[2].endswith("-ended") and not after[2].endswith("-ended") and one[3] == after[3]:
                found.append(f"{name} was asked for {after[2]} while it worked on {one[2]}")
        if not any(line[2] == "prepare-ended" and float(line[0]) <= acknowledged[0] + 0.02 for line in own):
            found.append(f"acknowledged before {name} was prepared")
    if len(acknowledged) > 1 + agent_died:
        found.append(f"acknowledged {len(acknowledged)} times")
    journal = Journal.reading(life.home / "state" / "journal.db")
    try:
        if pending := recover_pending(journal.load()):
            found.append(f"pending: {pending}")
    finally:
        journal.close()
    until = time.monotonic() + 3.0             # they go when the recovery stands in the journal
    while (left := [path.name for path in (life.home / "state/hooks").glob("*") if path.name in ORDER]):
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return found + ([f"private directories of {left}"] if left else [])


def live(home: Path, die_at: int = 0, steps: dict[str, str] | None = None) -> tuple[str, list[str]]:
    """Play one life. Return what was broken, "" for nothing, and the points that the agent has passed."""
    with MetadataService("vm-1") as service, TimeServer() as clock:
        life = Life(home, service, clock, die_at, steps or {})
        try:
            life.play()
            time.sleep(0.1)
            found = broken(life, die_at > 0)
        except AssertionError as trouble:
            found = [str(trouble)]
        finally:
            life.end()
        if die_at:
            found += [] if len(life.points) >= die_at else ["the point was never reached"]
        where = f"agent at {die_at} {life.points[die_at - 1:die_at]}" if die_at else str(steps)
        return (f"{where}: {found}\n" + "\n".join(" ".join(line) for line in life.lines()) if found else ""), life.points


def live_all(home: Path, lives: list[dict]) -> None:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        told = list(threads.map(lambda each: live(home / str(each[0]), **each[1])[0], enumerate(lives)))
    assert not any(told), f"{sum(map(bool, told))} of {len(told)}\n" + "\n\n".join(filter(None, told))


@pytest.mark.parametrize("share", range(SHARES))
def test_an_agent_that_dies_anywhere_loses_and_doubles_no_run_of_an_application(share, tmp_path):
    assert shutil.which("node"), "the packages of these proofs are missing"
    trouble, points = live(tmp_path / "whole")
    assert not trouble
    live_all(tmp_path, [{"die_at": number} for number in range(1 + share, len(points) + 1, SHARES)])


@pytest.mark.parametrize("name", ["blocking", "asyncio", "node"])
def test_an_application_that_dies_at_any_step_is_prepared_and_recovered_as_a_new_instance(name, tmp_path):
    assert shutil.which("node"), "the packages of these proofs are missing"
    live_all(tmp_path, [{"steps": {name: step}} for step in STEPS])
