"""Starts agents for the proofs: a process that has loaded the agent's code once and forks for each one wanted.

What it forks is the agent as `tideover run` is: its own process, its own configuration, its own signals. A line of JSON
on standard input asks for one; a line for its pid, and one for each change of it, come back.
"""
from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# Loaded here, so that no fork has to.
import tideover.api.protocol
import tideover.clock.worker  # noqa: F401
from faults import points
from faults.played_time import PlayedTime, play
from tideover.cli import main
from tideover.daemon import agent, startup
from tideover.hooks import orphans, runner
from tideover.sources.poller import Poller
from tideover.system import clocks


def serve() -> None:
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        if "socket" in asked:
            if os.fork() == 0:
                take_over_from(asked["socket"])
                serve()
                os._exit(0)
            continue
        pid = os.fork()
        if pid == 0:
            become_agent(asked)
        print(json.dumps({"pid": pid}), flush=True)
        tell_of(pid)


def take_over_from(path: str) -> None:
    """A second process like this one, with what is loaded: it is asked by a socket instead of standard input."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        os.dup2(connection.fileno(), 0)
        os.dup2(connection.fileno(), 1)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)


def tell_of(pid: int) -> None:
    """Until it has ended: when it stops, when it goes on, how it ended."""
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)
        if os.WIFSTOPPED(status):
            print(json.dumps({"now": "stopped"}), flush=True)
        elif os.WIFCONTINUED(status):
            print(json.dumps({"now": "goes on"}), flush=True)
        else:
            print(json.dumps({"now": "ended", "status": os.waitstatus_to_exitcode(status)}), flush=True)
            return


def become_agent(asked: dict[str, Any]) -> None:
    status = 70
    try:
        home = Path(asked["home"])
        log = os.open(home / "agent.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number, target in ((0, nothing), (1, log), (2, log)):
            os.dup2(target, number)
        os.closerange(3, 64)
        os.environ.clear()
        os.environ.update(PATH="/usr/bin:/bin", LANG="C.UTF-8", TIDEOVER_CONFIG=str(home / "tideover.toml"))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        faulthandler.register(signal.SIGUSR1)       # where all threads are, for the story of a life that hangs
        played = PlayedTime(home / "time")
        play(played)
        for module in (agent, startup, runner, orphans):        # wherever the product asks which boot this is
            assert module.read_boot_id is clocks.read_boot_id
            module.read_boot_id = lambda: str(asked["boot_id"])     # type: ignore[attr-defined]
        factor = float(asked["poll_factor"])
        agent.Poller = lambda heard, source, poll_s: Poller(heard, source, poll_s * factor)     # type: ignore[misc, assignment]
        if asked["pointed"]:
            points.wire(points.Points(home / "points", asked["boot"], asked["at"], asked["befall"], played))
        status = main(["run", "--config", str(home / "tideover.toml")])
    finally:
        if (trouble := sys.exc_info()[1]) is not None:      # what the interpreter would do with it
            sys.excepthook(type(trouble), trouble, trouble.__traceback__)
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
