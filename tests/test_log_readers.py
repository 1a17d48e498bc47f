"""The reader of the agent's lines may stop: no thread waits for that, and what is lost is counted and reported."""
from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from running_agent import World, environment, world
from tideover import sd_notify
from tideover.logs import QUEUED_CHARACTERS, Descriptor, LineWriter, Log, LogLine, open_sink, to_stream


class Reader:
    """A sink whose reader stops, or fails, on request."""

    def __init__(self) -> None:
        self.reads = threading.Event()
        self.reads.set()
        self.trouble: OSError | None = None
        self.lines: list[LogLine] = []

    def __call__(self, line: LogLine) -> None:
        self.reads.wait()
        if self.trouble is not None:
            raise self.trouble
        self.lines.append(line)

    def names(self) -> list[str]:
        return [line.name for line in self.lines]


def test_a_line_is_handed_over_at_once_while_its_reader_has_stopped():
    reader, writer = Reader(), LineWriter()
    reader.reads.clear()
    log, began = Log(sink=writer.through(reader)), time.monotonic()
    for number in range(1000):
        log.info("a.b", number=number)
    writer.close(limit_s=0.02)
    assert time.monotonic() - began < 5.0 and reader.lines == []
    reader.reads.set()
    writer.close(limit_s=10.0)
    assert [line.fields["number"] for line in reader.lines] == list(range(1000))


def test_what_does_not_fit_is_dropped_counted_and_reported_where_it_is_missing():
    """Memory is bounded; warnings still find room when lines of less weight have filled their part."""
    reader, writer = Reader(), LineWriter()
    reader.reads.clear()
    log = Log(sink=writer.through(reader))
    for _ in range(400):
        log.info("hook.output", line="x" * 10_000)
    log.warning("a.warning")
    for _ in range(400):
        log.warning("hook.output", line="x" * 10_000)
    held = writer._queued
    reader.reads.set()
    writer.close(limit_s=10.0)
    lost = [line for line in reader.lines if line.name == "log.lines-lost"]
    assert held <= QUEUED_CHARACTERS
    assert "a.warning" in reader.names() and len(lost) >= 2
    assert reader.names()[reader.names().index("a.warning") - 1] == "log.lines-lost"
    kept = reader.names().count("hook.output")
    assert kept + sum(int(str(line.fields["lines"])) for line in lost) == 800
    assert {line.level for line in lost} == {"warning"}


def test_lines_that_could_not_be_written_are_reported_when_one_can():
    reader, writer = Reader(), LineWriter()
    log = Log(sink=writer.through(reader))
    reader.trouble = OSError(errno.ENOSPC, "No space left on device")
    for _ in range(3):
        log.info("a.b")
    writer.close(limit_s=10.0)
    reader.trouble = None
    log.info("c.d")
    writer.close(limit_s=10.0)
    assert [(line.name, dict(line.fields)) for line in reader.lines] == [("log.lines-lost", {"lines": 3}), ("c.d", {})]


def test_a_descriptor_that_was_made_non_blocking_gets_whole_lines():
    """Ssh and some supervisors set O_NONBLOCK on a shared standard error."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LineWriter()
    log = Log(sink=writer.through(to_stream("text", Descriptor(writing))))
    for number in range(100):
        log.info("a.b", number=number, text="y" * 5000)
    writer.close(limit_s=0.02)
    read = bytearray()
    while read.count(b"\n") < 100:
        read += os.read(reading, 65536)
    os.close(reading)
    os.close(writing)
    assert [line.split("number=")[1].split()[0] for line in read.decode().splitlines()] == [str(n) for n in range(100)]


def test_a_log_without_a_writer_survives_a_reader_that_has_gone():
    reading, writing = os.pipe()
    os.close(reading)
    Log(sink=open_sink("text", Descriptor(writing), {})).info("a.b")
    os.close(writing)
    closed = io.StringIO()
    closed.close()
    Log(sink=to_stream("text", closed)).info("a.b")         # type: ignore[arg-type]


def test_systemd_is_not_waited_for(tmp_path, monkeypatch):
    """Its socket's queue is full as long as it does not read: a message about the watchdog or the status is dropped."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        telling = threading.Thread(target=lambda: [sd_notify.notify(f"STATUS={n}") for n in range(2000)], daemon=True)
        telling.start()
        telling.join(10.0)
        assert not telling.is_alive(), "it waits for systemd"


# --- a whole agent ------------------------------------------------------------------------------------------------

@contextmanager
def unread(here: World) -> Iterator[int]:
    """Start an agent whose standard output and error are a pipe that is full; yield the end it could be read from."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    here.configure()
    here.agents.append(subprocess.Popen([sys.executable, "-m", "tideover", "run", "--config", str(here.home / "tideover.toml")],
                                        env=environment(), stdout=writing, stderr=writing))
    os.close(writing)
    try:
        yield reading
    finally:
        here.close()
        os.close(reading)


@pytest.mark.slow
def test_a_whole_event_is_lived_through_while_the_log_is_not_read(tmp_path):
    """From the start on, with a hook that prints much; the lines are there when one reads again."""
    with world(tmp_path) as here:
        here.hook("10-chatty", "seq 1 40000")
        with unread(here) as log:
            here.until(lambda: len(here.metadata.requests) > 1)
            event = here.freeze(not_before_in_s=600)
            here.until(lambda: here.metadata.acknowledgements)
            here.metadata.remove_event(event)
            here.until(lambda: here.record()["status"] == "closed")
            assert here.begun() == ["chatty prepare", "chatty recover"]
            text = bytearray()
            end = time.monotonic() + 20
            os.set_blocking(log, False)
            while b"to=closed" not in text and time.monotonic() < end:
                with contextlib.suppress(BlockingIOError):
                    text += os.read(log, 65536)
            assert b"to=closed" in text, "what fits into the queue is kept for the reader"


@pytest.mark.slow
def test_an_agent_whose_log_is_not_read_ends_on_request(tmp_path):
    with world(tmp_path) as here, unread(here):
        here.until(lambda: len(here.metadata.requests) > 1)
        here.agents[0].terminate()
        assert here.agents[0].wait(10) == 0


@pytest.mark.slow
def test_an_agent_started_without_standard_streams_works(tmp_path):
    with world(tmp_path) as here:
        here.hook("10-only")
        here.configure()
        here.agents.append(subprocess.Popen(
            ["bash", "-c", f"exec {sys.executable} -m tideover run --config {here.home}/tideover.toml <&- >&- 2>&-"],
            env=environment()))
        here.until(lambda: len(here.metadata.requests) > 1)
        links = [str(Path(f"/proc/{here.agents[0].pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
        assert links == ["/dev/null"] * 3, "a file of the agent's own must not be its standard error"
        here.freeze(not_before_in_s=600)
        here.until(lambda: here.metadata.acknowledgements)
