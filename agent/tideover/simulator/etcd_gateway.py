"""A simulated etcd (its JSON gateway, in memory), for the fleet's drill and for tests alone.

It has the part that a client needs which reads ranges and makes conditional writes, without users.

Keys and values are base64, 64-bit numbers are strings, and what is false, 0 or empty is left out, as etcd has it.
"""
from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tideover.simulator.http import HttpServer, Request, SimulatedResponse

CLUSTER_ID, MEMBER_ID = "14841639068965178418", "10276657743932975437"
NOT_FOUND = SimulatedResponse(404, b"Not Found", "text/plain")


@dataclass(frozen=True, slots=True)
class _EtcdKey:
    """A key as etcd keeps it."""

    value: bytes
    created: int
    modified: int
    version: int


class SimulatedEtcd:
    """One server with one member. `is_down`: it answers as one that has no quorum."""

    def __init__(self, *, address: str = "127.0.0.1", port: int = 0,
                 on_write: Callable[[str, bytes | None], None] | None = None) -> None:
        """`on_write` is called with each key that is written and its value (None: deleted), while the write is made."""
        self.is_down = False
        self._keys: dict[bytes, _EtcdKey] = {}
        self._revision = 1
        self._on_write = on_write
        self._lock = threading.Lock()
        self._server = HttpServer(address, port, self._answer)
        self.address = f"{self._server.address}:{self._server.port}"

    @property
    def setting(self) -> str:
        """What [fleet] store says."""
        return f"etcd://{self.address}"

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def values(self) -> dict[str, bytes]:
        """Return what it holds, by key."""
        with self._lock:
            return {key.decode(): known.value for key, known in sorted(self._keys.items())}

    # --- answers

    def _answer(self, request: Request) -> SimulatedResponse:
        if self.is_down:
            return _as_json({"error": "etcdserver: request timed out", "code": 14, "message":
                             "etcdserver: request timed out"}, 503)
        work = {"/v3/kv/range": self._range, "/v3/kv/txn": self._txn,
                "/v3/maintenance/status": self._status}.get(request.target)
        if work is None or request.method != "POST":
            return NOT_FOUND
        try:
            asked = json.loads(request.body or b"{}")
            with self._lock:
                return _as_json({"header": self._header(), **work(asked)})
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            return _as_json({"error": "malformed request", "code": 3, "message": "malformed request"}, 400)

    def _header(self) -> dict[str, str]:
        return {"cluster_id": CLUSTER_ID, "member_id": MEMBER_ID, "revision": str(self._revision),
                "raft_term": "2"}

    def _range(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        first = b64decode(asked["key"])
        end = b64decode(asked["range_end"]) if asked.get("range_end") else first + b"\0"
        limit = int(asked.get("limit", 0))
        found = [key for key in sorted(self._keys) if first <= key < end]
        shown = found[:limit] if limit else found
        answer: dict[str, Any] = {"kvs": [self._written(key) for key in shown]} if shown else {}
        return answer | ({"more": True} if len(shown) < len(found) else {}) | (
            {"count": str(len(found))} if found else {})

    def _written(self, key: bytes) -> dict[str, str]:
        known = self._keys[key]
        written = {"key": b64encode(key).decode(), "create_revision": str(known.created),
                   "mod_revision": str(known.modified), "version": str(known.version)}
        return written | ({"value": b64encode(known.value).decode()} if known.value else {})

    def _txn(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        holds = all(self._compares(one) for one in asked.get("compare", []))
        operations = asked.get("success" if holds else "failure", [])
        answers = [self._carry_out(one) for one in operations]
        return ({"succeeded": True} if holds else {}) | {"header": self._header()} | (
            {"responses": answers} if answers else {})

    def _compares(self, compare: Mapping[str, Any]) -> bool:
        if compare.get("target") != "MOD" or compare.get("result") != "EQUAL":
            raise ValueError("not supported here")
        known = self._keys.get(b64decode(compare["key"]))
        return str(known.modified if known is not None else 0) == str(compare.get("mod_revision", "0"))

    def _carry_out(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        if "request_range" in operation:
            return {"response_range": self._range(operation["request_range"])}
        if "request_put" in operation:
            asked = operation["request_put"]
            key, value = b64decode(asked["key"]), b64decode(asked.get("value", ""))
            before = self._keys.get(key)
            self._revision += 1
            self._keys[key] = _EtcdKey(value, before.created if before else self._revision, self._revision,
                                       before.version + 1 if before else 1)
            self._tell(key, value)
            return {"response_put": {"header": {"revision": str(self._revision)}}}
        key = b64decode(operation["request_delete_range"]["key"])
        if self._keys.pop(key, None) is None:
            return {"response_delete_range": {}}
        self._revision += 1
        self._tell(key, None)
        return {"response_delete_range": {"deleted": "1"}}

    def _tell(self, key: bytes, value: bytes | None) -> None:
        if self._on_write is not None:
            self._on_write(key.decode(), value)

    def _status(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        size = str(sum(len(key) + len(known.value) for key, known in self._keys.items()))
        return {"version": "3.4.0 (simulated)", "dbSize": size, "dbSizeInUse": size, "leader": MEMBER_ID}


def _as_json(value: Mapping[str, Any], status: int = 200) -> SimulatedResponse:
    return SimulatedResponse(status, json.dumps(value).encode(), "application/json")
