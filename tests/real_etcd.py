"""Real etcd servers on loopback, as Debian has them, and a TCP proxy before one that can refuse, swallow or cut."""
from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from played_http import PlayedListener
from tideover.fleet.etcd import EtcdStore
from tideover.fleet.store import StoreFailed

STARTED_S = 20.0


@dataclass(frozen=True)
class FleetKeys:
    """[fleet] as a store's module sees it."""

    store: str | None
    prefix: str = "tideover"
    endpoint: str | None = None
    user: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    sas_file: str | None = None
    identity: bool = False


def need(*programs: str, hint: str = "apt-get install etcd-server etcd-client") -> None:
    """Skip the proof if a program is missing; in CI, which installs them, that is a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        (pytest.fail if os.environ.get("TIDEOVER_PROOFS") == "required" else pytest.skip)(f"{', '.join(missing)} missing: {hint}")


def is_3_4() -> bool:
    """Whether this is Debian 12's version: the proofs run with 3.5 too."""
    return "etcd Version: 3.4" in subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=False).stdout


def free_port() -> int:
    """Below those that the system gives to connections: one of these could take it before the server has it."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", random.randrange(20000, 32000))) as listener:
            return int(listener.getsockname()[1])


class EtcdMember:
    """One server: `start`, `kill`, `stop` (SIGSTOP), `go_on`. Its data stays from one start to the next."""

    def __init__(self, home: Path, name: str = "m1", flags: Sequence[str] = (), scheme: str = "http", host: str = "127.0.0.1") -> None:
        self.home, self.name, self.flags, self.scheme = home, name, list(flags), scheme
        self.client_port, self.peer_port = free_port(), free_port()
        self.url, self.peer_url = f"{scheme}://{host}:{self.client_port}", f"http://127.0.0.1:{self.peer_port}"
        self.cluster = ""
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        return self.url.partition("://")[2]

    @property
    def data(self) -> Path:
        return self.home / f"{self.name}.data"

    def arguments(self) -> list[str]:
        listen = f"{self.scheme}://127.0.0.1:{self.client_port}"
        return ["--name", self.name, "--data-dir", str(self.data), "--listen-client-urls", listen,
                "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
                "--initial-cluster", self.cluster or f"{self.name}={self.peer_url}", *self.flags]

    def start(self) -> None:
        with (self.home / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(["etcd", *self.arguments()], stdout=log, stderr=log, cwd=self.home)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """Seconds of processor time so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class RealEtcd:
    """A cluster of so many members, one by default."""

    def __init__(self, home: Path, members: int = 1, flags: Sequence[str] = (), scheme: str = "http", host: str = "127.0.0.1") -> None:
        need("etcd")
        self.home = home
        self.members = [EtcdMember(home, f"m{number}", flags, scheme, host) for number in range(1, members + 1)]
        for member in self.members:
            member.cluster = ",".join(f"{one.name}={one.peer_url}" for one in self.members)

    def __enter__(self) -> RealEtcd:
        try:
            for member in self.members:
                member.start()
            if self.members[0].scheme == "http":
                self.await_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()

    @property
    def urls(self) -> list[str]:
        return [member.url for member in self.members]

    @property
    def setting(self) -> str:
        """[fleet] store."""
        return f"{'etcd' if self.members[0].scheme == 'http' else 'etcds'}://{','.join(one.address for one in self.members)}"

    def store(self, prefix: str = "tideover", **options: object) -> EtcdStore:
        return EtcdStore(self.urls, prefix, **options)      # type: ignore[arg-type]

    def await_answer(self, path: str = "/health") -> None:
        until = time.monotonic() + STARTED_S
        for member in self.members:
            while not answers(member.url + path):
                assert time.monotonic() < until, (self.home / f"{member.name}.log").read_text()[-2000:]
                time.sleep(0.05)

    def control(self, *arguments: str, user: str = "") -> str:
        """Run etcdctl against the first member."""
        need("etcdctl")
        done = subprocess.run(["etcdctl", "--endpoints", self.urls[0], *(["--user", user] if user else []), *arguments],
                              env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, path: str, **fields: object) -> dict[str, object]:
        return post(self.urls[0] + path, fields)

    def leader(self) -> EtcdMember:
        until = time.monotonic() + STARTED_S
        while True:
            for member in self.members:
                with suppress(OSError):
                    status = post(member.url + "/v3/maintenance/status", {})
                    if status.get("leader", "0") == status["header"]["member_id"]:      # type: ignore[index]
                        return member
            assert time.monotonic() < until, "no leader"
            time.sleep(0.1)

    def turn_on_users(self, *, name: str = "tide", password: str = "fleet-password", prefix: str = "tideover/") -> None:
        """One user whose role may read and write below a prefix, beside root."""
        for words in (["user", "add", "root:root-password"], ["role", "add", "root"], ["user", "grant-role", "root", "root"],
                      ["user", "add", f"{name}:{password}"], ["role", "add", "members"],
                      ["role", "grant-permission", "members", "--prefix=true", "readwrite", prefix],
                      ["user", "grant-role", name, "members"], ["auth", "enable"]):
            self.control(*words)


def post(url: str, fields: object, timeout_s: float = 5.0) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(fields).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def answers_at_all(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1.0).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class TcpProxy:
    """Before a server. `mode`: "pass"; "swallow" (takes a connection, and bytes, and never answers); "half" (cuts each answer in its
    midst); `shut` refuses."""

    def __init__(self, port: int) -> None:
        self._server, self.mode = port, "pass"
        self._open: set[socket.socket] = set()
        self._listener = PlayedListener(self._serve)
        self.port = self._listener.port
        self.url = f"http://127.0.0.1:{self.port}"

    def shut(self) -> None:
        self._listener.shut()
        self.cut()

    def cut(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open |= {client, server}
            for source, target, answer in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._copy, args=(source, target, answer), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.mode == "swallow":
                    continue
                if self.mode == "half" and is_answer:
                    target.sendall(data[:len(data) - 20])
                    break
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(port: int) -> Iterator[TcpProxy]:
    proxy = TcpProxy(port)
    try:
        yield proxy
    finally:
        proxy.shut()


def until_it_works(work: Callable[[], object], within_s: float = STARTED_S) -> float:
    """Repeat until no StoreFailed is raised; return how long it took."""
    began = time.monotonic()
    while True:
        try:
            work()
        except StoreFailed:
            assert time.monotonic() - began < within_s
            time.sleep(0.05)
        else:
            return time.monotonic() - began
