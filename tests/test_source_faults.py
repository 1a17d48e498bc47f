"""A hostile or broken metadata service, row by row, on raw sockets: one sentence, bounded, and the next poll is as ever."""
from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import http_faults as faults
from http_faults import service
from sampling import thinned
from tideover.observations import AckOutcome, Polled, PollFailed
from tideover.platforms import AZURE
from tideover.settings.values import SourceSettings
from tideover.sources import Source, open_source

AGENT = Path(__file__).parents[1] / "agent"
OURS = faults.EVENT["EventId"]


def open_at(endpoint: str, **limits: float) -> Source:
    from tideover.sources.azure import AzureSource
    return AzureSource(endpoint, "vm-1", **limits)


def poll(source: Source) -> str:
    """What came of a poll: "" for the document with our event, else the sentence."""
    news = source.poll()
    if isinstance(news, Polled):
        assert [event.id for event in news.document.events] == [OURS]
        return ""
    assert isinstance(news, PollFailed)
    assert "\n" not in news.reason and "0x" not in news.reason and "Error(" not in news.reason, news.reason
    return news.reason


@pytest.mark.parametrize(("fault", "words"), thinned([row[1:] for row in faults.MALFORMED], 2), ids=[row[0] for row in faults.MALFORMED])
def test_a_malformed_answer_is_reported_in_a_sentence_and_the_next_good_one_is_taken(fault, words):
    with service() as there:
        source = open_at(there.endpoint)
        assert poll(source) == ""
        there.inject_fault(fault, times=1)
        told = poll(source)
        there.rest()
        assert words in told and told.startswith(f"the metadata service at {there.endpoint} "), told
        assert poll(source) == "" and there.asked == 3


@pytest.mark.parametrize("fault", [row[1] for row in faults.ODD_BUT_GOOD], ids=[row[0] for row in faults.ODD_BUT_GOOD])
def test_an_odd_answer_is_taken(fault):
    with service() as there:
        source = open_at(there.endpoint)
        assert poll(source) == ""
        there.inject_fault(fault, times=1)
        assert poll(source) == ""
        there.rest()
        assert poll(source) == ""


@pytest.mark.parametrize("fault", thinned([row[1] for row in faults.ENDLESS], 3), ids=[row[0] for row in faults.ENDLESS])
def test_an_answer_without_an_end_costs_little_memory_and_little_processor_time(fault):
    """One budget of bytes for the whole exchange: the poll is over long before its deadline."""
    with service() as there:
        source = open_at(there.endpoint, later_call_s=5.0)
        assert poll(source) == ""
        there.inject_fault(fault, times=1)
        before_kib, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
        assert poll(source)
        assert time.thread_time() - began_s < 1.0
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 24 << 10
        assert poll(source) == ""


IN_THE_FAST_SUITE = ("nothing", "a chunk at a time")


@pytest.mark.parametrize("fault", [pytest.param(fault, id=name, marks=() if name in IN_THE_FAST_SUITE else pytest.mark.slow)
                                   for name, fault in faults.SLOW])
def test_a_slow_answer_is_over_at_the_deadline_of_the_whole(fault):
    with service() as there:
        source = open_at(there.endpoint, later_call_s=0.02)
        assert poll(source) == ""
        there.inject_fault(fault, times=1)
        began_s = time.monotonic()
        assert "no complete answer in time" in poll(source)
        assert 0.015 < time.monotonic() - began_s < 3.0


@pytest.mark.parametrize(("fault", "outcome"), [
    (faults.says(faults.answer(b"")), AckOutcome.ACCEPTED),
    (faults.says(b"HTTP/1.1 100 Continue\r\n\r\n" + faults.answer(b"")), AckOutcome.ACCEPTED),
    (faults.floods(faults.HEAD + b"\r\n", b" " * 60_000), AckOutcome.ACCEPTED),      # its body says nothing
    (faults.floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500), AckOutcome.LOST),
    (faults.floods(faults.HEAD, b"a: b\r\n" * 1000), AckOutcome.LOST),
    (faults.says(faults.answer(b"", status=b"403 Forbidden")), AckOutcome.REFUSED),
    (faults.says(faults.answer(b"", b"Location: /x\r\n", b"307 Temporary Redirect")), AckOutcome.LOST),
    (faults.says(b""), AckOutcome.LOST), (faults.resets, AckOutcome.LOST),
    pytest.param(faults.swallows, AckOutcome.LOST, marks=pytest.mark.slow),
    (faults.drips(faults.HEAD, b"a", 0.02), AckOutcome.LOST)])
def test_what_came_of_an_acknowledgement_whatever_is_sent_back(fault, outcome):
    """It is sent once: nothing here sends it again by itself."""
    with service(fault) as there:
        found, reason = open_at(there.endpoint, later_call_s=0.05).acknowledge(str(OURS))
        assert found is outcome, reason
        assert there.asked == 1


def test_a_connection_that_was_closed_while_it_was_idle_is_made_again_and_nothing_is_reported():
    with service(faults.says(faults.answer(faults.DOCUMENT))) as there:      # says nothing of closing, and closes
        source = open_at(there.endpoint)
        for _ in range(3):
            assert poll(source) == ""
            there.rest()


def test_nothing_is_sent_that_the_library_would_add_or_the_service_would_like_to_see_again():
    """No cookies, no proxy's headers, no Accept-Encoding but none at all."""
    with service() as there:
        source = open_at(there.endpoint)
        there.inject_fault(lambda client: client.sendall(faults.answer(faults.DOCUMENT, b"Set-Cookie: a=b\r\n")), times=1)
        assert poll(source) == ""
        there.rest()
        assert poll(source) == ""
        source.acknowledge(str(OURS))
        names = [{line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]} for head in there.heads]
        usual = {b"host", b"metadata", b"accept", b"accept-encoding", b"user-agent"}
        assert names[0] - {b"connection"} == names[1] - {b"connection"} == usual
        assert names[2] - {b"connection"} == usual | {b"content-type", b"content-length"}
        for head in there.heads:
            assert b"\r\naccept-encoding: identity" in head.lower() and b"\r\nuser-agent: tideover/" in head.lower()


def test_a_url_of_https_is_not_asked_at_all():
    """No certificates, no second transport: the platform has plain HTTP alone."""
    with service() as there:
        assert "not an http:// address" in poll(open_at(there.endpoint.replace("http:", "https:"))) and there.connections == 0


@pytest.mark.slow
def test_commands_that_ask_no_service_do_not_load_the_library(tmp_path):
    """It would be half of the time that `tideover status` takes, which is typed in haste, and by scripts: that loads
    none of the agent's libraries."""
    file = tmp_path / "t.toml"
    file.write_text(f'[paths]\nstate = "{tmp_path}/s"\nruntime = "{tmp_path}/r"\nhooks = "{tmp_path}/h"\n')
    ask = ("import sys\nfrom tideover.cli import main\n"
           "unwanted = {'requests', 'urllib3', 'ssl'}\n"
           "try: main(['status'])\nexcept SystemExit: pass\n"
           "assert not {*unwanted, 'psutil', 'ntplib'} & set(sys.modules)\n"
           "for words in ('status', 'history', 'config check', 'hooks list', 'recover', 'report', 'pauses'):\n"
           "    try: main([*words.split(), '--config', sys.argv[1]])\n"
           "    except SystemExit: pass\n"
           "    assert not unwanted & set(sys.modules), words\n")
    done = subprocess.run([sys.executable, "-c", ask, file], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PYTHONPATH": str(AGENT)})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_answer_makes_the_agent_import_anything():
    """Its files may have been replaced under it by an upgrade: what a poll needs is there before the first one."""
    ask = ("import sys, encodings.utf_16\nimport http_faults as faults\nfrom tideover.sources.azure import AzureSource\n"
           "before = set(sys.modules)\n"
           "for _, fault, *_ in (*faults.MALFORMED, *faults.ODD_BUT_GOOD, *faults.ENDLESS, *faults.SLOW):\n"
           "    with faults.service() as there:\n"
           "        source = AzureSource(there.endpoint, 'vm-1', later_call_s=0.1)\n"
           "        source.poll(); there.inject_fault(fault); source.poll(); source.acknowledge('x'); source.close()\n"
           "for endpoint in ('http://127.0.0.1:1', 'http://[::1]:1', 'http://no.such.host.invalid', 'http://['):\n"
           "    AzureSource(endpoint, 'vm-1', first_call_s=1.0).poll()\n"
           "assert set(sys.modules) == before, set(sys.modules) - before\n")
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, "PYTHONPATH": f"{AGENT}:{Path(__file__).parent}"})
    assert done.returncode == 0, done.stderr


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
def test_every_connection_is_closed_when_its_work_is_over():
    """Not when the garbage collector comes by: an agent with few descriptors must not lose one for each event."""
    with service() as there:
        source = open_at(there.endpoint)
        poll(source)
        gc.disable()
        try:
            before = descriptors()
            for fault in (None, faults.resets, faults.says(faults.CHUNKED + b"zz\r\n"), faults.drips(faults.HEAD, b"a", 0.01)):
                there.inject_fault(fault)
                for _ in range(2):
                    client = open_at(there.endpoint, first_call_s=0.03, later_call_s=0.03)
                    client.acknowledge(str(OURS))
                    client.poll()
                    client.close()
                    client.identity()
            end_s = time.monotonic() + 5.0
            while descriptors() > before:
                assert time.monotonic() < end_s, "also the server's ends, which it closes when it sees ours closed"
                time.sleep(0.01)
        finally:
            gc.enable()


@pytest.mark.slow
def test_closing_at_any_moment_ends_the_poll_and_every_connection():
    """Also while a connection is being made, of the first call or of the one beside it."""
    with service() as there:
        gc.disable()
        try:
            before = descriptors()
            for step in range(40):
                there.inject_fault(faults.swallows if step % 3 else None)
                source = open_at(there.endpoint, first_call_s=30.0, later_call_s=30.0, hedge_after_s=0.001 * (step % 7))
                thread = threading.Thread(target=source.poll)
                thread.start()
                time.sleep(0.0007 * (step % 11))
                source.close()
                thread.join(5.0)
                assert not thread.is_alive()
            end_s = time.monotonic() + 5.0
            while descriptors() > before:
                assert time.monotonic() < end_s, descriptors()
                time.sleep(0.01)
        finally:
            gc.enable()


# --- the first call, which the platform may hold back for two minutes ---------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_a_first_connection_that_is_swallowed_costs_two_seconds_not_two_minutes(named):
    """The second request is answered, and that is the document."""
    with service(faults.swallows, times=1) as there:
        source = open_source(AZURE, SourceSettings("azure", there.endpoint, 1.0, "vm-1" if named else None))
        began_s = time.monotonic()
        assert poll(source) == ""
        assert time.monotonic() - began_s < 8.0
        assert poll(source) == ""


def late(after_s: float):
    """A service that holds the first call back, as the platform does, and all that are asked until then."""
    ready_s: list[float] = []

    def fault(client) -> None:
        ready_s.append(time.monotonic() + after_s)
        time.sleep(max(0.0, ready_s[0] - time.monotonic()))
        client.sendall(faults.answer(faults.DOCUMENT))

    return fault


def test_a_first_call_that_is_held_back_is_waited_for():
    with service(late(0.03)) as there:
        assert poll(open_at(there.endpoint, first_call_s=5.0, later_call_s=0.015, hedge_after_s=0.01)) == ""


@pytest.mark.slow
def test_probes_beside_a_first_call_are_few():
    """One at a time, each as long as a later call: the platform allows five requests a second for the whole VM."""
    with service(faults.swallows) as there:
        assert "no complete answer in time" in poll(open_at(there.endpoint, first_call_s=0.1, later_call_s=0.03, hedge_after_s=0.015))
        assert there.asked <= 5


def test_the_outcome_of_a_probe_is_its_answer():
    """A service that answers, be it with an error, is awake: there is nothing left to wait for."""
    answers = [faults.swallows, faults.says(faults.answer(b"", status=b"503 Busy"))]
    with service(lambda client: answers.pop(0)(client)) as there:
        began_s = time.monotonic()
        assert "503" in poll(open_at(there.endpoint, first_call_s=60.0, later_call_s=0.5, hedge_after_s=0.01))
        assert time.monotonic() - began_s < 5.0


def test_closing_ends_a_first_call_and_its_probes():
    with service(faults.swallows) as there:
        source, told = open_at(there.endpoint, first_call_s=60.0, later_call_s=30.0, hedge_after_s=0.005), []
        thread = threading.Thread(target=lambda: told.append(poll(source)))
        thread.start()
        end_s = time.monotonic() + 5.0
        while there.asked < 2 and time.monotonic() < end_s:
            time.sleep(0.001)
        source.close()
        thread.join(5.0)
        assert "ended by this agent" in told[0]
        assert not [one.name for one in threading.enumerate() if one.name == "http-hedge" and not _ends(one)]


def _ends(thread: threading.Thread) -> bool:
    thread.join(2.0)
    return not thread.is_alive()
