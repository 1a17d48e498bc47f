"""The simulated time server answers as RFC 5905 says, with a time that is as wrong as ordered."""
from __future__ import annotations

import socket
import struct
import time

import ntplib
import pytest

from tideover.simulator import TimeServer


@pytest.fixture
def server():
    with TimeServer() as running:
        yield running


def ask(server: TimeServer):
    return ntplib.NTPClient().request(server.host, port=server.port, version=4, timeout=2)


@pytest.mark.parametrize("offset_s", [0.0, 4.0, -120.5])
def test_another_client_measures_the_offset_that_was_ordered(server, offset_s):
    """Positive: the server is ahead of this machine."""
    server.offset_s = offset_s
    found = ask(server)
    assert found.offset == pytest.approx(offset_s, abs=0.5)
    assert (found.mode, found.version, found.stratum, found.leap) == (4, 4, 2, 0)
    assert found.root_delay < 0.1


def test_what_the_packet_says_of_its_server_can_be_ordered(server):
    server.stratum, server.leap, server.reference_id = 0, 3, b"RATE"
    found = ask(server)
    assert (found.stratum, found.leap, struct.pack("!I", found.ref_id)) == (0, 3, b"RATE")


def test_the_question_comes_back_as_origin(server):
    question = bytes([0b00_011_011]) + bytes(39) + b"12345678"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(question, (server.host, server.port))
        answer = client.recv(100)
    assert (len(answer), answer[24:32], answer[0] >> 3 & 7) == (48, b"12345678", 3)
    assert server.address == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("noise", [b"", b"x", bytes(47), bytes([0b00_100_100]) + bytes(47)])
def test_what_is_no_question_gets_no_answer_and_does_no_harm(server, noise):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.sendto(noise, (server.host, server.port))
        assert ask(server).stratum == 2             # it answers in turn: by now it has read the noise
        with pytest.raises(BlockingIOError):
            client.recv(100)


def test_a_silent_server_hears_and_does_not_answer(server):
    server.silent = True
    with pytest.raises(ntplib.NTPException):
        ntplib.NTPClient().request(server.host, port=server.port, timeout=0.02)
    assert server.asked == 1


def test_a_slow_answer_shows_as_delay(server):
    server.delay_s = 0.01
    found = ask(server)
    assert time.time() > found.tx_time - 1
    assert found.tx_time - found.recv_time >= 0.01
