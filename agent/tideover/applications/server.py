"""Connections of applications and listeners, and their runs: reconnecting, lost answers, bounded queues.

A client costs a bounded amount: one line of input, a bounded queue of output, so many connections a user. Each run that
is started is answered exactly once (HookSettled), whatever becomes of the connection. An instance that reconnects
within 2 s is sent its run again, by the same number.
"""
from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from types import MappingProxyType

from tideover.applications import protocol
from tideover.applications.admission import Admission, ApplicationAccess
from tideover.applications.transport import ClientChannel, User, open_transport
from tideover.effects import RunHook
from tideover.hooks.runner import ActiveTimer
from tideover.lifecycle.hook_stages import unanswered_outcome
from tideover.lifecycle.state import CONNECT_AGAIN_S
from tideover.model import HookOutcome, HookPhase, HookReport, Moment
from tideover.observations import ApplicationConnected, ApplicationGone, HookSettled, Observation
from tideover.threads import Loop

HELLO_S = 5.0                    # from the connection to its first line
BACK_S = 2.0                     # an instance that is back by then goes on with its run
CANCELLED_S = 5.0                # a cancelled run has so long to answer
OUTPUT_BYTES = 256 * 1024        # what a client may leave unread
UNIDENTIFIED_AT_MOST = 64        # clients whose user is not known yet (Windows: before their first bytes)
CLOSE_S = 2.0
LOST = "the connection ended during the run"
OTHER_INSTANCE = "another instance of it is connected"
LISTENERS_AT_ONCE = 20                # listeners, between two looks for runs to start
LATE_LOGGED = 10                 # of one connection: a client can send many
LATE = "its answer came after the run was over"


class _Peer:
    """One client. `name`: "" until its hello was taken. `counted_as`: None while its user is not known."""

    __slots__ = ("channel", "counted_as", "hello_until_s", "instance", "is_listener", "late_answers", "name", "reader")

    def __init__(self, channel: ClientChannel) -> None:
        self.channel = channel
        self.counted_as: User | None = None
        self.name, self.instance, self.is_listener = "", "", False
        self.reader, self.late_answers = protocol.LineReader(), 0
        self.hello_until_s = time.monotonic() + HELLO_S


@dataclass(slots=True)
class _OpenRun:
    """A run that has no answer yet. `sent_to`: the instance that was sent it, "": none was. `ending`: what it counts as
    since it was cancelled, None: it was not. `until_s`: when it is answered without the client."""

    effect: RunHook
    message: bytes
    begun: Moment
    timer: ActiveTimer
    sent_to: str = ""
    ending: HookOutcome | None = None
    until_s: float | None = None
    note: str = ""


@dataclass(slots=True)
class _Participants:
    """By name: the connection of each application that is connected, and the run of each that has one."""

    connections: dict[str, _Peer] = field(default_factory=dict)
    runs: dict[str, _OpenRun] = field(default_factory=dict)


class ApplicationServer:
    """Serves at `path`: a socket, on Windows the name of a pipe. Raise OSError if that fails.

    `start`, `cancel`, `shorten` and `tell_listeners` come from the engine's thread; they only leave a message.
    """

    def __init__(self, path: Path, post: Callable[[Observation], None], access: ApplicationAccess, *,
                 read_moment: Callable[[], Moment], phase: Callable[[], str], keep_witness: Callable[[RunHook], str],
                 log: Callable[[str, str], None], on_problem: Callable[[str | None], None]) -> None:
        """`phase`: of the event under way. `keep_witness`: makes the private directory of what is prepared, and returns
        why it could not ("": it could). `log`: given a name and a sentence."""
        self._post, self._read_moment, self._phase = post, read_moment, phase
        self._admission = Admission(access)
        self._keep_witness, self._log = keep_witness, log
        self._transport = open_transport(path, on_problem)
        self._began_s = time.monotonic()
        self._news: queue.SimpleQueue[bytes] = queue.SimpleQueue()      # for listeners
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._peers: dict[ClientChannel, _Peer] = {}
        self._without_hello: dict[ClientChannel, _Peer] = {}      # the oldest first
        self._here = _Participants()
        self._is_closing = False
        self._removed: Mapping[str, str] = MappingProxyType({})
        self._loop = Loop("applications", self._serve)
        self._loop.start()

    # --- From other threads

    def start(self, effect: RunHook, trace_id: str) -> None:
        """Carry out a run. Its answer is HookSettled."""
        self._leave(partial(self._start, effect, trace_id))

    def cancel(self, effect: RunHook) -> None:
        """The run is no longer wanted. It still gives its answer."""
        self._leave(partial(self._cancel, effect.spec.name, effect.run, HookOutcome.STOPPED, "cancelled"))

    def shorten(self, effect: RunHook) -> None:
        """The run has less time than it was begun with."""
        self._leave(partial(self._shorten, effect))

    def tell_listeners(self, fields: Mapping[str, object]) -> None:
        """An event has another phase."""
        self._news.put(protocol.event(fields))
        self._transport.wake()

    def is_replaced(self) -> bool:
        """Whether another process took the place where clients connect. Any thread."""
        return self._transport.is_replaced()

    def listen_again(self, on_failure: Callable[[OSError], None]) -> None:
        """Listen in the place of what is there now."""
        def listen() -> None:
            try:
                self._transport.listen_again()
            except OSError as trouble:
                on_failure(trouble)
        self._leave(listen)

    def close(self, removed: Mapping[str, str] = MappingProxyType({})) -> None:
        """End every connection. A run under way is not answered: the next agent goes on with it. `removed`: by name,
        why an application may take part no longer, which is sent to it."""
        if self._is_closing:
            return
        self._removed, self._is_closing = removed, True
        self._transport.wake()
        if self._loop.end(CLOSE_S):
            self._transport.close()

    def _leave(self, act: Callable[[], None]) -> None:
        self._inbox.put(act)
        self._transport.wake()

    # --- The thread

    def _serve(self) -> None:
        while not self._is_closing:
            for channel, data in self._transport.wait(self._wait_s()):
                self._converse(channel, data)
            self._take_inbox()
            self._send_news()
            self._look_at_the_time()
        for name, why in self._removed.items():
            if name in self._here.connections:
                self._refuse(self._here.connections[name], why)

    def _wait_s(self) -> float | None:
        now_s = time.monotonic()
        moments = [connection.hello_until_s for connection in islice(self._without_hello.values(), 1)]
        moments += [run.until_s for run in self._here.runs.values() if run.until_s is not None]
        moments += [now_s + run.timer.next_wait_s() for run in self._here.runs.values()]
        return max(0.0, min(moments) - now_s) if moments else None

    def _take_inbox(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()()

    def _look_at_the_time(self) -> None:
        now_s = time.monotonic()
        for connection in list(takewhile(lambda one: now_s >= one.hello_until_s, self._without_hello.values())):
            self._end(connection, "no hello came")
        for name, run in list(self._here.runs.items()):
            run.timer.count(self._read_moment().raw_s)
            if run.until_s is not None and now_s >= run.until_s:
                self._give_up(name, run)
            elif run.ending is None and run.timer.is_over():
                self._cancel(name, run.effect.run, HookOutcome.TIMED_OUT,
                             f"took longer than {run.effect.limit_s:.3g} s")

    # --- Connections

    def _converse(self, channel: ClientChannel, data: bytes | None) -> None:
        """Given a connection and what has arrived: b"" for a new one, None at its end."""
        connection = self._peers.get(channel) or self._welcome_later(channel)
        if connection.counted_as is None and channel.user is not None:
            connection.counted_as, why = self._admission.enter(channel.user)
            if why:
                self._refuse(connection, why)
                return
        if data is None:
            self._end(connection)
            return
        try:
            for line in connection.reader.lines(data):
                if not channel.is_closed:
                    self._take_line(connection, line)
        except protocol.ViolationError as violation:
            self._end(connection, str(violation))

    def _welcome_later(self, channel: ClientChannel) -> _Peer:
        """A new connection. Where the system says whose it is at its first bytes only, the oldest of too many that stay
        silent makes room."""
        connection = self._peers[channel] = self._without_hello[channel] = _Peer(channel)
        unidentified = [one for one in self._without_hello.values() if one.counted_as is None]
        if len(unidentified) > UNIDENTIFIED_AT_MOST:
            self._end(unidentified[0])
        return connection

    def _refuse(self, connection: _Peer, why: str) -> None:
        self._end(connection, last=protocol.refused(why))

    def _take_line(self, connection: _Peer, line: bytes) -> None:
        message = protocol.read_line(line)
        if isinstance(message, protocol.Hello):
            if connection.name:
                raise protocol.ViolationError("a second hello")
            self._take_hello(connection, message)
        elif not connection.name or connection.is_listener:
            raise protocol.ViolationError("an answer without a run")
        else:
            self._take_answer(connection, message)

    def _take_hello(self, connection: _Peer, hello: protocol.Hello) -> None:
        user = connection.channel.user
        assert user is not None         # its first bytes have come
        why = self._admission.why_refused(user, hello)
        if not why and not hello.listens and hello.name in self._here.connections:
            why = f"{hello.name} is connected already"
        if not why and not hello.listens:
            why = self._admission.why_too_often(hello.name)
        if why:
            self._refuse(connection, why)
            return
        self._send(connection, protocol.welcome(hello.name, self._phase()))
        if connection.channel.is_closed:            # it has gone: nothing may stay connected in its name
            return
        self._without_hello.pop(connection.channel, None)
        connection.name, connection.instance, connection.is_listener = hello.name, hello.instance, hello.listens
        if hello.listens:
            return
        self._here.connections[hello.name] = connection
        run = self._here.runs.get(hello.name)
        if run is not None and run.sent_to and run.sent_to != hello.instance:
            self._settle(hello.name, run, run.ending or HookOutcome.FAILED, run.note or OTHER_INSTANCE)
            run = None
        self._post(ApplicationConnected(hello.name, hello.instance))
        if run is not None:
            self._send_run(connection, run)

    def _send(self, connection: _Peer, data: bytes) -> None:
        """A client that does not read is ended once too much waits for it."""
        try:
            connection.channel.send(data)
        except OSError:
            self._end(connection)
            return
        if connection.channel.unsent > OUTPUT_BYTES:
            self._end(connection)

    def _end(self, connection: _Peer, violation: str = "", last: bytes = b"") -> None:
        """Close a connection; with one line that says what was wrong, if something was."""
        channel = connection.channel
        if channel.is_closed:
            return
        channel.close(protocol.error(violation) if violation else last)
        if violation:
            self._log(connection.name, f"its connection was closed: {violation}")
        self._peers.pop(channel, None)
        self._without_hello.pop(channel, None)
        if connection.counted_as is not None:
            self._admission.leave(connection.counted_as)
        if connection.name and not connection.is_listener and self._here.connections.get(connection.name) is connection:
            del self._here.connections[connection.name]
            self._post(ApplicationGone(connection.name))
            self._lost_during_run(connection.name)

    def _lost_during_run(self, name: str) -> None:
        run = self._here.runs.get(name)
        if run is None or not run.sent_to:
            return
        if run.ending is not None:
            self._settle(name, run, run.ending, run.note)
        else:
            run.until_s, run.note = time.monotonic() + BACK_S, LOST

    # --- Runs

    def _start(self, effect: RunHook, trace_id: str) -> None:
        name, begun = effect.spec.name, self._read_moment()
        if effect.phase is HookPhase.PREPARE and (why := self._keep_witness(effect)):
            report = HookReport(HookOutcome.FAILED, None, begun.utc, 0.0, note=why, begun=False)
            self._post(HookSettled(name, effect.phase, effect.run, report))
            return
        run = _OpenRun(effect, protocol.run_message(effect, trace_id), begun, ActiveTimer(effect.limit_s, begun.raw_s))
        self._here.runs[name] = run
        connection = self._here.connections.get(name)
        run.sent_to = effect.resumed_instance
        if connection is not None and run.sent_to in ("", connection.instance):
            self._send_run(connection, run)
        elif connection is not None:
            self._settle(name, run, HookOutcome.FAILED, OTHER_INSTANCE)
        else:
            run.until_s = max(time.monotonic(), self._began_s + CONNECT_AGAIN_S)
            run.note = LOST if run.sent_to else "it is not connected"

    def _send_run(self, connection: _Peer, run: _OpenRun) -> None:
        run.sent_to, run.until_s, run.note = connection.instance, None, ""
        self._send(connection, run.message)

    def _give_up(self, name: str, run: _OpenRun) -> None:
        """No answer will come: the application is away, or did not answer to cancel."""
        effect = run.effect
        outcome = run.ending or unanswered_outcome(effect.spec, effect.phase, may_have_begun=bool(run.sent_to))
        self._settle(name, run, outcome, run.note)

    def _cancel(self, name: str, number: int, ending: HookOutcome, note: str) -> None:
        run = self._here.runs.get(name)
        if run is None or run.effect.run != number or run.ending is not None:
            return
        connection = self._here.connections.get(name)
        if not run.sent_to or connection is None:
            self._settle(name, run, ending, note)
            return
        run.ending, run.note, run.until_s = ending, note, time.monotonic() + CANCELLED_S
        self._send(connection, protocol.cancel(number))

    def _shorten(self, effect: RunHook) -> None:
        run = self._here.runs.get(effect.spec.name)
        if run is not None and run.effect.run == effect.run:
            run.effect = replace(run.effect, limit_s=effect.limit_s)
            run.timer.limit(effect.limit_s)

    def _take_answer(self, connection: _Peer, answer: protocol.RunAnswer) -> None:
        run = self._here.runs.get(connection.name)
        if run is None or run.effect.run != answer.run:
            connection.late_answers += 1
            if connection.late_answers <= LATE_LOGGED:
                self._log(connection.name, LATE)
            return
        if run.ending is not None:
            self._settle(connection.name, run, run.ending, run.note)
        else:
            self._settle(connection.name, run, answer.outcome, answer.why, answer.exit_status)

    def _settle(self, name: str, run: _OpenRun, outcome: HookOutcome, note: str,
                exit_status: int | None = None) -> None:
        self._here.runs.pop(name, None)
        now = self._read_moment()
        report = HookReport(outcome, exit_status, run.begun.utc, now.raw_s - run.begun.raw_s, note=note,
                            begun=bool(run.sent_to))
        self._post(HookSettled(name, run.effect.phase, run.effect.run, report))

    def _send_news(self) -> None:
        """Many may listen: a run that is to be started does not wait until all have been sent it."""
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._news.get_nowait()
                for number, connection in enumerate(list(self._peers.values()), 1):
                    if connection.is_listener:
                        self._send(connection, line)
                    if number % LISTENERS_AT_ONCE == 0:
                        self._take_inbox()
