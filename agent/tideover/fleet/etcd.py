"""The store in etcd (3.4 or newer): its JSON gateway, login, TLS, errors, findings for doctor.

Keys and values are base64, 64-bit numbers are strings, and what is false, 0 or empty is left out. The words and codes
of errors are those of etcd 3.4.23 and 3.5.1. Documentation: etcd.io, "gRPC gateway", "Role-based access control",
"Maintenance". Of a client certificate's name the gateway takes no identity: that needs a user and a password.
"""
from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tideover import __version__
from tideover.findings import Finding, bad, good, remark
from tideover.fleet.store import (
    OPERATION_S,
    SERVER_S,
    AnswerTooLarge,
    Conflict,
    Stored,
    StoreFailed,
    StoreSettings,
    StoreTrouble,
    check_rights,
    new_tls,
)
from tideover.http_client import (
    BODY_TOO_LARGE,
    JSON_CONTENT,
    HttpClient,
    HttpResponse,
    RequestFailed,
    TlsLayer,
)
from tideover.stores import read_store
from tideover.system.clocks import read_raw_s
from tideover.text_safety import dot_controls

RANGE, TXN = "/v3/kv/range", "/v3/kv/txn"
LOGIN, STATUS = "/v3/auth/authenticate", "/v3/maintenance/status"
PAGE = 200                       # documents of one request of a list: an answer may have 1 MiB
LONGEST_IDLE_S = 60.0            # of a connection: load balancers and NAT forget one after some minutes
LONGEST_QUOTED = 200             # characters of a server's own message
USUAL_QUOTA_BYTES = 2 << 30      # --quota-backend-bytes, where nothing is configured; status does not say it before 3.6
NEARLY_FULL = 0.8
LONGEST_NUMBER = 20              # digits of a 64-bit number

UNAUTHENTICATED, PERMISSION_DENIED, PRECONDITION, EXHAUSTED = 16, 7, 9, 8       # gRPC's codes
NO_USER = "user name is empty"
OLD_TOKEN = "revision of auth store is old"     # users or roles have changed since the token was given
NO_SPACE = "database space exceeded"
NO_GATEWAY = "404 page not found"               # of the server itself; an unknown path of the gateway is "Not Found"
GATEWAY_HINT = ("its JSON gateway is off, as etcd 3.4 has it when it is started from a configuration file: set "
                "enable-grpc-gateway: true there, and restart it")
SPACE_HINT = ("compact its history, defragment it and disarm the alarm (etcdctl compaction, defrag, alarm disarm), and "
              "turn on automatic compaction (--auto-compaction-retention)")
TLS_HINT = "check fleet.ca_file, fleet.cert_file, and that the server's certificate names it as fleet.store does"
TLS_REACH_HINT = ("check that its servers run, that no firewall is between, and whether they ask for a client "
                  "certificate (fleet.cert_file)")
REACH_HINT = "check that its servers run, and that no firewall is between"


def open_store(settings: StoreSettings) -> EtcdStore:
    """Given [fleet] with an etcd, return it. Raise StoreFailed if a certificate or key cannot be used."""
    place = read_store(settings.store or "")
    tls = _tls(settings)
    scheme = "http" if tls is None else "https"
    return EtcdStore([f"{scheme}://{host}" for host in place.hosts], settings.prefix, user=settings.user,
                     password_file=settings.password_file, tls=tls)


def _tls(settings: StoreSettings) -> TlsLayer | None:
    try:
        return new_tls(settings)
    except OSError as error:
        files = [file for file in (settings.ca_file, settings.cert_file, settings.key_file) if file]
        raise StoreFailed(StoreTrouble.DENIED, f"cannot use the certificates for etcd ({', '.join(files)}): "
                          f"{(error.strerror or str(error)).lower()}",
                          "check fleet.ca_file, fleet.cert_file and fleet.key_file: PEM files, the key without a "
                          "passphrase") from error


@dataclass(slots=True)
class _EtcdServer:
    """One server: its address, and the connection to it."""

    url: str
    client: HttpClient

    @property
    def name(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class _EtcdAnswer:
    """What one server answered. `after_unknown`: another may have made the same write before."""

    fields: dict[str, Any]
    is_same_store: bool
    after_unknown: bool


class _ServerFailed(Exception):
    """One server gave nothing of use. `is_final`: another one of the same store would say the same. `is_unknown`: what
    was asked for may have been done."""

    def __init__(self, trouble: StoreTrouble, cause: str, hint: str = "", *, is_final: bool = False,
                 is_unknown: bool = False) -> None:
        super().__init__(cause)
        self.trouble, self.cause, self.hint, self.is_final, self.is_unknown = trouble, cause, hint, is_final, is_unknown


class _LoginNeeded(Exception):
    """The server wants a token, or a newer one."""


class EtcdStore:
    """An etcd at `urls`, asked in turn: the one that answered last is asked first."""

    def __init__(self, urls: Sequence[str], prefix: str, *, user: str | None = None, password_file: str | None = None,
                 tls: TlsLayer | None = None, read_raw_s: Callable[[], float] = read_raw_s) -> None:
        headers = {"User-Agent": f"tideover/{__version__}", **JSON_CONTENT}
        self._servers = [_EtcdServer(url, HttpClient(headers, read_raw_s, tls=tls, longest_idle_s=LONGEST_IDLE_S))
                         for url in urls]
        self._prefix, self._user, self._password_file = prefix, user, password_file
        self._read_raw_s = read_raw_s
        self._first = 0                         # the server to be asked first
        self._token: str | None = None          # "": this etcd has no users
        self._generation, self._cluster_id, self._newest_revision = 0, "", 0

    @property
    def generation(self) -> int:
        return self._generation

    def get(self, key: str) -> Stored | None:
        try:
            answer = self._ask(f"read {key}", RANGE, {"key": self._encode(key)}, self._read_raw_s() + OPERATION_S)
        except AnswerTooLarge as error:
            raise StoreFailed(StoreTrouble.MALFORMED, f"cannot read {key} in etcd: {BODY_TOO_LARGE}",
                              "check that nothing else writes below fleet.prefix") from error
        found = _documents(f"read {key}", answer.fields)
        return self._stored(found[0]) if found else None

    def list(self, prefix: str) -> Sequence[Stored]:
        return self._list(prefix, {})

    def list_stale(self, prefix: str) -> Sequence[Stored]:
        return self._list(prefix, {"serializable": True})

    def put(self, key: str, value: bytes, expect: str | None) -> str:
        write = {"request_put": {"key": self._encode(key), "value": b64encode(value).decode()}}
        answer = self._swap(f"write {key}", key, expect, write)
        if "succeeded" in answer.fields:
            return self._token_of(answer.fields["header"]["revision"])
        present = self._present(key, answer)
        if answer.after_unknown and present is not None and present.value == value:
            return present.revision             # the answer that was lost was a yes
        raise Conflict(key)

    def delete(self, key: str, expect: str) -> None:
        answer = self._swap(f"delete {key}", key, expect, {"request_delete_range": {"key": self._encode(key)}})
        if "succeeded" in answer.fields or (answer.after_unknown and self._present(key, answer) is None):
            return
        raise Conflict(key)

    def close(self) -> None:
        for server in self._servers:
            server.client.close()

    # --- what the operations are made of

    def _list(self, prefix: str, options: dict[str, Any]) -> Sequence[Stored]:
        first = f"{self._prefix}/{prefix}".encode()
        end = first[:-1] + bytes([first[-1] + 1])       # UTF-8 has no byte 0xFF
        found: list[Stored] = []
        generation, limit, more = self._generation, PAGE, True
        until_raw_s = self._read_raw_s() + OPERATION_S
        while more:
            asked = {"key": b64encode(first).decode(), "range_end": b64encode(end).decode(), "limit": str(limit)}
            try:
                answer = self._ask(f"list {prefix}", RANGE, asked | options, until_raw_s).fields
            except AnswerTooLarge as error:
                if limit == 1:
                    raise StoreFailed(StoreTrouble.MALFORMED, f"cannot list {prefix} in etcd: {BODY_TOO_LARGE}",
                                      "check that nothing else writes below fleet.prefix") from error
                limit = max(limit // 4, 1)
                continue
            if found and self._generation != generation:        # what the first pages had is void
                found, generation, first = [], self._generation, f"{self._prefix}/{prefix}".encode()
                continue
            generation = self._generation
            documents = _documents(f"list {prefix}", answer)
            found += map(self._stored, documents)
            more = bool(answer.get("more")) and bool(documents)
            if more:
                first = b64decode(documents[-1]["key"]) + b"\0"
        return found

    def _swap(self, operation: str, key: str, expect: str | None, write: dict[str, Any]) -> _EtcdAnswer:
        generation, _, revision = (expect or f"{self._generation}-0").partition("-")
        if generation != str(self._generation):
            raise Conflict(key)                 # of a store that is no more
        encoded = self._encode(key)
        compare = {"target": "MOD", "result": "EQUAL", "key": encoded, "mod_revision": revision}
        answer = self._ask(operation, TXN, {"compare": [compare], "success": [write],
                                            "failure": [{"request_range": {"key": encoded}}]},
                           self._read_raw_s() + OPERATION_S)
        if not answer.is_same_store:
            raise StoreFailed(StoreTrouble.UNAVAILABLE, f"cannot {operation} in etcd: it has become another store, or "
                              "one restored from a backup", "what it has is read again", outcome_unknown=True)
        return answer

    def _present(self, key: str, answer: _EtcdAnswer) -> Stored | None:
        """Given the answer to a swap that was not made, return the document as it is."""
        try:
            answered = answer.fields["responses"][0]["response_range"]
        except (LookupError, TypeError):
            raise _malformed(f"write {key}") from None
        found = _documents(f"write {key}", answered)
        return self._stored(found[0]) if found else None

    def _stored(self, found: dict[str, Any]) -> Stored:
        try:
            key = b64decode(found["key"], validate=True).decode().removeprefix(f"{self._prefix}/")
            value = b64decode(found.get("value", ""), validate=True)
            return Stored(key, value, self._token_of(found["mod_revision"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _malformed("read a document") from None

    def _token_of(self, revision: object) -> str:
        return f"{self._generation}-{revision}"

    def _encode(self, key: str) -> str:
        return b64encode(f"{self._prefix}/{key}".encode()).decode()

    # --- one question, asked of one server after the other

    def _ask(self, operation: str, path: str, asked: dict[str, Any], until_raw_s: float) -> _EtcdAnswer:
        """Given the operation in words, what is asked and until when, return the first answer. Raise StoreFailed."""
        body = json.dumps(asked).encode()
        failed: dict[int, _ServerFailed] = {}
        turn = [(self._first + place) % len(self._servers) for place in range(len(self._servers))]
        for asked_before, index in enumerate(turn):
            left_s = until_raw_s - self._read_raw_s()
            if left_s <= 0:
                break
            is_last = asked_before == len(turn) - 1
            end_raw_s = until_raw_s if is_last else until_raw_s - left_s + min(SERVER_S, left_s / 2)
            try:
                fields = self._ask_server(self._servers[index], path, body, end_raw_s)
                same = self._note_header(fields, is_stale="serializable" in asked)
            except _ServerFailed as failure:
                failed[index] = failure
                self._first = (index + 1) % len(self._servers)
                if failure.is_final:
                    break
            else:
                self._first = index
                return _EtcdAnswer(fields, same, any(one.is_unknown for one in failed.values()))
        raise self._failure(operation, failed, is_write=path == TXN)

    def _ask_server(self, server: _EtcdServer, path: str, body: bytes, end_raw_s: float) -> dict[str, Any]:
        """Ask one server, with a token where there are users; a token that it does not take is renewed once."""
        if self._user and self._token is None:
            self._log_in(server, end_raw_s)
        try:
            return self._post(server, path, body, end_raw_s)
        except _LoginNeeded:
            self._log_in(server, end_raw_s)
        try:
            return self._post(server, path, body, end_raw_s)
        except _LoginNeeded:
            raise _ServerFailed(StoreTrouble.DENIED, "it refuses the token that it has just given",
                                "check the clocks and the auth-token option of its servers") from None

    def _post(self, server: _EtcdServer, path: str, body: bytes, end_raw_s: float) -> dict[str, Any]:
        answer = self._send(server, path, body, end_raw_s, {"Authorization": self._token} if self._token else {})
        fields = _fields(answer.body)
        message, code = str(fields.get("message", fields.get("error", ""))), fields.get("code")
        if answer.status == 200 and "header" in fields:
            return fields
        wants_login = code == UNAUTHENTICATED or OLD_TOKEN in message or NO_USER in message
        if wants_login and self._user:
            raise _LoginNeeded
        raise self._refusal(answer, path, message, code)

    def _send(self, server: _EtcdServer, path: str, body: bytes, end_raw_s: float,
              headers: dict[str, str]) -> HttpResponse:
        left_s = end_raw_s - self._read_raw_s()
        if left_s <= 0:
            raise _ServerFailed(StoreTrouble.UNAVAILABLE, "no complete answer in time", REACH_HINT)
        try:
            return server.client.exchange("POST", server.url + path, left_s, body, headers)
        except RequestFailed as error:
            if path == RANGE and str(error) == BODY_TOO_LARGE:
                raise AnswerTooLarge from error
            trouble = StoreTrouble.DENIED if error.is_tls else StoreTrouble.UNAVAILABLE
            hint = TLS_HINT if error.is_tls else TLS_REACH_HINT if server.url.startswith("https") else REACH_HINT
            raise _ServerFailed(trouble, str(error), hint, is_unknown=error.may_be_received) from error

    def _log_in(self, server: _EtcdServer, end_raw_s: float) -> None:
        assert self._user is not None
        asked = {"name": self._user, "password": self._password()}
        answer = self._send(server, LOGIN, json.dumps(asked).encode(), end_raw_s, {})
        fields = _fields(answer.body)
        if answer.status == 200 and isinstance(fields.get("token"), str):
            self._token = fields["token"]
        elif fields.get("code") == PRECONDITION:
            self._token = ""
        elif answer.status == 400:
            raise _ServerFailed(StoreTrouble.DENIED, f"it does not accept the password of the user {self._user}",
                                "check fleet.user and fleet.password_file", is_final=True)
        else:
            raise self._refusal(answer, LOGIN, str(fields.get("message", "")), fields.get("code"))

    def _password(self) -> str:
        if self._password_file is None:
            return ""
        try:
            return Path(self._password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise _ServerFailed(StoreTrouble.DENIED, f"{self._password_file} cannot be read: "
                                f"{getattr(error, 'strerror', None) or 'it is no text'}".lower(),
                                "check fleet.password_file", is_final=True) from error

    def _refusal(self, answer: HttpResponse, path: str, message: str, code: object) -> _ServerFailed:
        """Given an answer that is no success, return what it means."""
        status, quoted = answer.status, dot_controls(message[:LONGEST_QUOTED])
        if status == 404 and answer.body.strip().decode("latin-1") == NO_GATEWAY:
            return _ServerFailed(StoreTrouble.UNAVAILABLE, f"it answers {path} with {NO_GATEWAY}", GATEWAY_HINT)
        if NO_SPACE in message:
            return _ServerFailed(StoreTrouble.FULL, "its database is full: it accepts no writes", SPACE_HINT,
                                 is_final=True)
        if code == PERMISSION_DENIED:
            who, right = self._user or "no user", "write" if path == TXN else "read"
            return _ServerFailed(StoreTrouble.DENIED, f"{who} may not {right} below {self._prefix}/",
                                 "give its role the right: etcdctl role grant-permission ROLE --prefix=true readwrite "
                                 f"{self._prefix}/", is_final=True)
        if NO_USER in message:
            return _ServerFailed(StoreTrouble.DENIED, "it wants a user, and none is configured",
                                 "set fleet.user and fleet.password_file", is_final=True)
        if status == 429 or status >= 500:
            return _ServerFailed(StoreTrouble.UNAVAILABLE, f"it answered {status}, {quoted or 'without a message'}",
                                 "if this lasts, look at its log and whether most of its members run",
                                 is_unknown=status >= 500)
        return _ServerFailed(StoreTrouble.MALFORMED, f"it answered {path} with {status}, {quoted or 'no JSON of etcd'}",
                             "check that fleet.store names an etcd 3.4 or newer, and no proxy is between",
                             is_unknown=status == 200)

    def _note_header(self, fields: dict[str, Any], *, is_stale: bool) -> bool:
        """Given an answer, note which store it is of. Return whether that is the same as before."""
        cluster_id, revision = _header(fields)
        changed = self._cluster_id not in ("", cluster_id) or (revision < self._newest_revision and not is_stale)
        if changed:
            self._generation += 1
            self._newest_revision = 0
        self._cluster_id, self._newest_revision = cluster_id, max(self._newest_revision, revision)
        return not changed

    def _failure(self, operation: str, failed: dict[int, _ServerFailed], *, is_write: bool) -> StoreFailed:
        """Given what each server that was asked has failed with, return one sentence about all of them."""
        if not failed:
            return StoreFailed(StoreTrouble.UNAVAILABLE, f"cannot {operation} in etcd: this machine stopped or was "
                               f"overloaded for the {OPERATION_S:g} s of the operation", "it is tried again")
        in_order = [failed[index] for index in sorted(failed)]
        worst = next((one for one in in_order if one.trouble is not StoreTrouble.UNAVAILABLE), None) or next(
            (one for one in in_order if one.hint == GATEWAY_HINT), in_order[0])
        causes: dict[str, list[str]] = {}
        for index in sorted(failed):
            causes.setdefault(failed[index].cause, []).append(self._servers[index].name)
        words = "; ".join(f"{', '.join(names)}: {cause}" for cause, names in causes.items())
        return StoreFailed(worst.trouble, f"cannot {operation} in etcd: {words}", worst.hint,
                           outcome_unknown=is_write and any(one.is_unknown for one in in_order))

    # --- for doctor

    @property
    def has_no_users(self) -> bool:
        """Whether a login was answered with: authentication is not enabled."""
        return self._token == ""

    def server_findings(self, topic: str) -> Sequence[Finding]:
        """Ask each server by itself; return what doctor says of them."""
        found: list[Finding] = []
        clusters: dict[str, list[str]] = {}
        for server in self._servers:
            end_raw_s = self._read_raw_s() + OPERATION_S
            try:
                status = self._ask_server(server, STATUS, b"{}", end_raw_s)
                cluster_id, _ = _header(status)
            except _ServerFailed as failure:
                found.append(bad(topic, f"etcd at {server.name}: {failure.cause}", _sentence(failure.hint)))
                continue
            clusters.setdefault(cluster_id, []).append(server.name)
            found += _status_findings(topic, server.name, status)
        if len(clusters) > 1:
            words = " and ".join(", ".join(names) for names in clusters.values())
            found.append(bad(topic, f"the servers of fleet.store are of {len(clusters)} clusters: {words}",
                             "Name the servers of one cluster only."))
        return found


def _fields(body: bytes) -> dict[str, Any]:
    """Given a body, return the object that it is; {} where it is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}


def _header(fields: dict[str, Any]) -> tuple[str, int]:
    """Given an answer, return the id of its cluster and the newest revision there. Raise _ServerFailed."""
    try:
        return str(fields["header"]["cluster_id"]), int(fields["header"]["revision"])
    except (KeyError, OverflowError, TypeError, ValueError):
        raise _ServerFailed(StoreTrouble.MALFORMED, "its answer has no header of etcd",
                            "check that fleet.store names an etcd 3.4 or newer", is_unknown=True) from None


def _documents(operation: str, answer: object) -> Sequence[Any]:
    """Given the answer to a range, return the documents that it has, unchecked. Raise StoreFailed."""
    found = answer.get("kvs", []) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise _malformed(operation)
    return found


def _malformed(operation: str) -> StoreFailed:
    return StoreFailed(StoreTrouble.MALFORMED, f"cannot {operation} in etcd: the answer has not the form of etcd's",
                       "check that fleet.store names an etcd 3.4 or newer, and no proxy is between",
                       outcome_unknown=True)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def findings(settings: StoreSettings) -> list[Finding]:
    """Given [fleet] with an etcd, ask it and return what doctor says of it. Writes and deletes one probe key."""
    topic = "fleet store"
    try:
        store = open_store(settings)
    except StoreFailed as failure:
        return [bad(topic, failure.cause, _sentence(failure.hint))]
    try:
        found = [*store.server_findings(topic)]
        found += check_rights(topic, store)
        if store.has_no_users:
            found.append(remark(topic, f"fleet.user is {settings.user}, but authentication is off in this etcd: anyone "
                                "who reaches it can write", "Turn it on: etcdctl auth enable (needs a user root)."))
    finally:
        store.close()
    if settings.user and urlsplit(f"{settings.store}").scheme == "etcd":
        found.append(remark(topic, "the password of fleet.user is sent without TLS", "Use etcds:// if the network "
                            "between is not yours alone."))
    return found


def _status_findings(topic: str, name: str, status: dict[str, Any]) -> list[Finding]:
    """What one server knows by itself; its `errors` name alarms, and that it sees no leader."""
    errors = str(status.get("errors", ""))
    size, used = (_number(status.get(field)) for field in ("dbSize", "dbSizeInUse"))
    words = (f"etcd {status.get('version', '')} at {name}: database {size / 2**20:.1f} MiB, "
             f"{used / 2**20:.1f} MiB in use")
    if "NOSPACE" in errors:
        return [bad(topic, f"{words}; the NOSPACE alarm is raised: no writes are accepted", _sentence(SPACE_HINT))]
    if "no leader" in errors or _number(status.get("leader")) == 0:
        return [bad(topic, f"{words}; it sees no leader", "Check that most of its members run and are connected.")]
    quota = _number(status.get("dbSizeQuota")) or USUAL_QUOTA_BYTES
    if size > NEARLY_FULL * quota:
        return [remark(topic, f"{words}; at its quota ({quota / 2**20:.0f} MiB unless configured otherwise) etcd "
                       "accepts no writes", _sentence(SPACE_HINT))]
    return [good(topic, words)]


def _number(text: object) -> int:
    digits = str(text) if isinstance(text, str | int) else ""
    return int(digits) if digits.isdecimal() and len(digits) <= LONGEST_NUMBER else 0
