"""The recipe of docs/hooks.md that holds recovery until the latency to a peer is good again, in a real event."""
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from running_agent import world
from test_docs_commands import HOOKS, INSTALLED_SDK, TOP

pytestmark = pytest.mark.slow
RAISED_S, TIMEOUT_S = 0.1, 4


class Peer(ThreadingHTTPServer):
    """Another machine on the network. `delay_s`: how long its answers take."""

    delay_s = 0.0
    daemon_threads = True


@contextmanager
def peer() -> Iterator[Peer]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(self.server.delay_s)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass
    with Peer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def machine(tmp_path, server):
    """An agent with the hook of the page, and a lower one that it must hold."""
    [recipe] = [block for block in HOOKS if block.hook == "99-peer-latency"]
    with world(tmp_path) as here:
        here.hook("20-traffic")
        file = here.home / "hooks.d" / recipe.hook
        file.write_text(recipe.text.replace(INSTALLED_SDK, str(TOP / "hooks")))
        file.chmod(0o755)
        here.configure(f'''
            [hook.peer-latency]
            kinds = ["freeze"]
            timeout = "{TIMEOUT_S}s"
            required = false
            environment = {{ PEER_URL = "http://127.0.0.1:{server.server_port}/" }}''')
        here.start()
        yield here


def recovers(here, name):
    return [run for run in here.record().get("hooks", []) if run["name"] == name and run["phase"] == "recover"]


def test_recovery_waits_for_the_owners_own_measure_and_goes_on_when_it_is_good(tmp_path):
    """The machine has resumed and the clock is good, and still the requests take long: 75 holds the hooks below."""
    with peer() as server, machine(tmp_path, server) as here:
        event = here.freeze()
        here.until(lambda: here.record().get("started_at"))
        server.delay_s = RAISED_S
        with here.stopped():
            time.sleep(1.5)
        here.until(lambda: recovers(here, "peer-latency"))
        assert here.record()["clock"]["verdict"] == "good"
        held = recovers(here, "peer-latency")[0]
        assert (held["outcome"], held["exit_status"]) == ("not-yet", 75)
        assert "usually" in held["output"]
        assert recovers(here, "traffic") == [] and "traffic recover" not in here.begun()
        assert "recover of peer-latency" in here.command("status").stdout
        server.delay_s = 0.0
        here.until(lambda: recovers(here, "traffic"))
        assert recovers(here, "peer-latency")[-1]["outcome"] == "done"
        assert recovers(here, "traffic")[-1]["outcome"] == "done"
        here.metadata.remove_event(event)
        here.until(lambda: here.record()["status"] == "closed")
        assert here.record()["outcome"] == "resumed"


def test_the_hold_has_an_end(tmp_path):
    """After 10 times the timeout it counts as failed, and the hooks below recover without it."""
    with peer() as server, machine(tmp_path, server) as here:
        here.freeze()
        here.until(lambda: here.record().get("started_at"))
        server.delay_s = RAISED_S
        with here.stopped():
            time.sleep(1.5)
        began = time.monotonic()
        here.until(lambda: recovers(here, "traffic"), patience_s=TIMEOUT_S * 10 + 30)
        assert time.monotonic() - began >= TIMEOUT_S * 10 - 2
        assert all(run["outcome"] == "not-yet" for run in recovers(here, "peer-latency"))
