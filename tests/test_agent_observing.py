"""[policy] mode = "observe" on a real agent: beside another agent that acts, and the way back."""
from __future__ import annotations

import signal
import socket
import time
import urllib.request

import pytest

from running_agent import World, world

OBSERVE = '[policy]\nmode = "observe"\n'
pytestmark = pytest.mark.slow


def closed(it: World) -> None:
    it.until(lambda: it.record()["status"] == "closed")


def whats(it: World) -> list[str]:
    return [row["what"] for row in it.record()["timeline"]]


def test_an_agent_that_observes_runs_nothing_and_records_what_it_would_have_done(tmp_path):
    """The other agent is played by the metadata service's own acknowledgement."""
    with world(tmp_path) as it:
        it.hook("10-first")
        it.hook("20-second")
        it.configure(OBSERVE + '[health]\nlisten = "127.0.0.1:0"\n'.replace(":0", f":{free_port()}"))
        it.start()
        assert (it.command("status", "--check").returncode, "only observes" in it.command("status", "--check").stdout) == (0, True)
        assert "only observes" in it.command("status").stdout.splitlines()[0]
        assert it.ask("status")["mode"] == "observe"
        event_id = it.freeze()
        it.until(lambda: it.record().get("status") == "held")
        page = next(line for line in (it.home / "tideover.toml").read_text().splitlines() if "listen" in line).split('"')[1]
        assert urllib.request.urlopen(f"http://{page}/healthz", timeout=5).status == 200, "the load balancer is told nothing"
        refused = it.command("acknowledge", "last", "--yes")
        assert (refused.returncode, "[policy] mode is observe" in refused.stderr) == (1, True)
        it.metadata.start_event(event_id)
        it.until(lambda: it.record()["status"] == "started")
        with it.stopped():
            time.sleep(1.3)
        it.until(lambda: it.record()["status"] == "recovered")
        it.metadata.remove_event(event_id)
        closed(it)
        record = it.record()
    assert it.begun() == []
    assert len(it.metadata.acknowledgements) == 0
    assert (record["outcome"], record["hooks"], record["acknowledged_at"]) == ("resumed", [], None)
    assert record["pauses"][0]["length_s"] >= 1
    assert record["clock"]["verdict"] == "good"
    assert [one for one in whats(it) if one.startswith("would")] == ["would prepare", "would acknowledge", "would recover"]
    would = {row["what"]: row["note"] for row in record["timeline"]}
    assert would["would prepare"].startswith("first, second; at most")
    assert would["would recover"] == "second, first"


def test_what_is_prepared_when_observing_begins_is_recovered_when_the_event_is_over(tmp_path):
    with world(tmp_path, start_after_s=3600.0) as it:
        it.hook("10-first")
        it.start()
        event_id = it.freeze()
        it.until(lambda: it.record().get("status") == "acknowledged")
        it.agents[-1].send_signal(signal.SIGTERM)
        it.agents[-1].wait(10)
        it.configure(OBSERVE)
        it.start()
        it.metadata.start_event(event_id)
        it.until(lambda: it.record()["status"] == "started")
        with it.stopped():
            time.sleep(1.3)
        it.until(lambda: it.begun() == ["first prepare", "first recover"])
        it.until(lambda: it.record()["status"] == "recovered")
        it.metadata.remove_event(event_id)
        closed(it)
        assert it.command("recover", "--dry-run").returncode == 0
    assert len(it.metadata.acknowledgements) == 1


def test_an_agent_killed_in_its_prepare_that_only_observes_afterwards_recovers_and_prepares_nothing(tmp_path):
    with world(tmp_path, start_after_s=3600.0) as it:
        it.hook("10-first", "[ $1 = recover ] || sleep 30")
        it.hook("20-second")
        it.start()
        event_id = it.freeze()
        it.until(lambda: "first prepare" in it.begun())
        it.kill()
        it.configure(OBSERVE)
        it.start()
        it.until(lambda: it.record()["status"] == "held")
        it.metadata.remove_event(event_id)
        closed(it)
    assert it.begun() == ["first prepare", "first recover"]
    assert len(it.metadata.acknowledgements) == 0


def test_an_agent_that_acts_again_prepares_the_event_that_is_still_ahead(tmp_path):
    with world(tmp_path, start_after_s=3600.0) as it:
        it.hook("10-first")
        it.configure(OBSERVE)
        it.start()
        event_id = it.freeze()
        it.until(lambda: it.record().get("status") == "held")
        it.configure()
        it.agents[-1].send_signal(signal.SIGHUP)
        it.until(lambda: "configuration.reload-deferred" in it.said())
        it.agents[-1].send_signal(signal.SIGTERM)
        it.agents[-1].wait(10)
        it.start()
        it.until(lambda: it.record()["status"] == "acknowledged")
        assert it.begun() == ["first prepare"]
        it.metadata.remove_event(event_id)
        closed(it)
    assert it.begun() == ["first prepare", "first recover"]
    assert len(it.metadata.acknowledgements) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
