"""A time server that can do everything wrong, for the tests of the clock check. Shares no code with the agent.

`TimeServer(answer)` runs on loopback; `answer` is given each question and returns what to send back. The faults
are the rows at the end; each is a function from a question to replies.
"""
from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

NTP_1970_S = 2_208_988_800


def stamp(seconds: float) -> int:
    """Seconds since 1970 as NTP writes them."""
    whole = int(seconds // 1)
    return ((whole + NTP_1970_S) % 2**32 << 32) + int((seconds - whole) * 2**32)


@dataclass(frozen=True)
class Packet:
    """An honest answer of a good server; faults change a field."""

    origin: bytes
    received_s: float
    sent_s: float
    leap: int = 0
    version: int = 4
    mode: int = 4
    stratum: int = 2
    precision: int = -20
    root_delay_s: float = 0.0005
    root_dispersion_s: float = 0.0005
    reference_id: bytes = b"\x0a\x00\x00\x01"
    reference_age_s: float = 5.0
    length: int = 48

    def data(self) -> bytes:
        return struct.pack("!BBbbII4sQ8sQQ", self.leap << 6 | self.version << 3 | self.mode, self.stratum, 4,
                           self.precision, round(self.root_delay_s * 65536), round(self.root_dispersion_s * 65536),
                           self.reference_id, stamp(self.sent_s - self.reference_age_s), self.origin,
                           stamp(self.received_s) if self.received_s else 0,
                           stamp(self.sent_s) if self.sent_s else 0)[:self.length]


@dataclass(frozen=True)
class Reply:
    """One datagram to send: after a while, from the server's own port or from somewhere else."""

    data: bytes
    after_s: float = 0.0
    from_elsewhere: str = ""      # an address: sent from there, from another port


@dataclass(frozen=True)
class Question:
    data: bytes
    at_s: float
    number: int

    def packet(self, ahead_s: float = 0.0) -> Packet:
        now_s = self.at_s + ahead_s
        return Packet(self.data[40:48], now_s, now_s)


Answer = Callable[[Question], Iterable[Reply]]


@dataclass
class TimeServer:
    """A server on loopback; `ahead_s` may be changed while it runs, and `questions` counts what was asked."""

    answer: Answer | None = None
    ahead_s: float = 0.0
    host: str = "127.0.0.1"
    questions: list[Question] = field(default_factory=list)

    def __enter__(self) -> TimeServer:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((self.host, 0))
        self.port = self._socket.getsockname()[1]
        self.name = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self._elsewhere: dict[str, socket.socket] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", (self.host, self.port))
        self._thread.join(5)
        self._socket.close()
        for one in self._elsewhere.values():
            one.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(1024)
            now_s = time.time()
            if data == b"end":
                return
            question = Question(data, now_s + self.ahead_s, len(self.questions))
            self.questions.append(question)
            for reply in (self.answer or honest)(question):
                if reply.after_s:
                    time.sleep(reply.after_s)
                self._send(reply, peer)

    def _send(self, reply: Reply, peer: tuple[str, int]) -> None:
        if not reply.from_elsewhere:
            self._socket.sendto(reply.data, peer)
            return
        if reply.from_elsewhere not in self._elsewhere:
            self._elsewhere[reply.from_elsewhere] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._elsewhere[reply.from_elsewhere].bind((reply.from_elsewhere, 0))
        self._elsewhere[reply.from_elsewhere].sendto(reply.data, peer)


def honest(question: Question) -> list[Reply]:
    return [Reply(question.packet().data())]


def silent(question: Question) -> list[Reply]:
    return []


def changed(**fields: object) -> Answer:
    """An answer that is honest but for these fields."""
    return lambda question: [Reply(replace(question.packet(), **fields).data())]  # type: ignore[arg-type]


def kiss(code: bytes) -> Answer:
    return changed(stratum=0, reference_id=code, leap=3)


def without_times(question: Question) -> list[Reply]:
    return [Reply(replace(question.packet(), received_s=0.0, sent_s=0.0).data())]


def times_apart(received_to_sent_s: float) -> Answer:
    """T3 lies this much after T2 (negative: before it) although the answer is sent at once."""
    return lambda question: [Reply(replace(question.packet(), sent_s=question.at_s + received_to_sent_s).data())]


def off_by(seconds: float) -> Answer:
    return lambda question: [Reply(question.packet(seconds).data())]


def from_wrong_port(question: Question) -> list[Reply]:
    return [Reply(question.packet(500).data(), from_elsewhere="127.0.0.1")]


def flood_from_another_address(question: Question) -> list[Reply]:
    """Packets from elsewhere, each of which restarts the timer of a careless client, and never an answer."""
    return [Reply(question.packet(500).data(), 0.01, "127.0.0.9")] * 20


def flood_of_strangers(question: Question) -> list[Reply]:
    """Ten thousand packets from the right port with the wrong cookie."""
    return [Reply(replace(question.packet(500), origin=b"notyours").data())] * 10_000


def strangers_then_honest(question: Question) -> list[Reply]:
    """A host that can forge the server's address is faster than the server, but does not know the cookie."""
    forged = [Reply(replace(question.packet(500), origin=bytes([n]) * 8).data()) for n in range(20)]
    return [*forged, Reply(question.packet().data())]


def twice_differently(question: Question) -> list[Reply]:
    """Two answers with the right cookie: only the first counts."""
    return [Reply(question.packet().data()), Reply(question.packet(500).data())]


def late_to_hear(delay_s: float) -> Answer:
    """The whole delay lies on the way there: the most asymmetric path there is."""
    def answer(question: Question) -> list[Reply]:
        now_s = question.at_s + delay_s
        return [Reply(Packet(question.data[40:48], now_s, now_s).data(), delay_s)]
    return answer


def late_to_answer(delay_s: float) -> Answer:
    """The whole delay lies on the way back."""
    return lambda question: [Reply(question.packet().data(), delay_s)]


def stepping(seconds: float) -> Answer:
    """The server's own clock is set between the first question and the second."""
    return lambda question: [Reply(question.packet(seconds if question.number else 0.0).data())]
