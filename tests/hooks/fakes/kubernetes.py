"""A strict API server: kubernetes.py HOST PORT LOG ; one node n1 and its pods.

It refuses what the real one refuses: no bearer token (401), a patch of the wrong type (415) or of an old resourceVersion
(409), evictions that a disruption budget forbids (429, the first time for pod "guarded"), conditions and Events that are
not whole (422), an Event whose name is taken (409). The node's status changes under /status only, conditions by their type.
"""
from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
LOCK = threading.Lock()
NODE: Answer = {"metadata": {"name": "n1", "resourceVersion": "1", "annotations": {"owner": "kept"}}, "spec": {"podCIDR": "x"},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
EVENTS: dict[str, Answer] = {}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
ASKED: set[str] = set()


def pod(name: str, phase: str = "Running", **meta: Any) -> Answer:
    """One pod of the node."""
    return {"metadata": {"name": name, "namespace": "default", **meta}, "spec": {"nodeName": "n1"}, "status": {"phase": phase}}


PODS = {p["metadata"]["name"]: p for p in (
    pod("web", ownerReferences=[{"kind": "ReplicaSet"}]), pod("guarded", ownerReferences=[{"kind": "StatefulSet"}]),
    pod("agent", ownerReferences=[{"kind": "DaemonSet"}]), pod("done", "Succeeded"),
    pod("static", annotations={"kubernetes.io/config.mirror": "x"}))}


def merge(into: Answer, patch: Answer) -> None:
    """JSON merge patch (RFC 7396)."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def is_whole_condition(condition: Answer) -> bool:
    """What the API server's validation asks of a condition."""
    return bool(condition.get("type")) and condition.get("status") in ("True", "False", "Unknown") and all(
        TIME.fullmatch(condition[key]) for key in ("lastHeartbeatTime", "lastTransitionTime") if key in condition) and \
        bool(REASON.fullmatch(condition.get("reason", "none")))


def is_whole_event(event: Answer) -> bool:
    """What it asks of an Event of the node: one of the cluster's objects, so in the namespace default."""
    return bool(NAME.fullmatch(event["metadata"].get("name", ""))) and event["metadata"].get("namespace") == "default" and \
        event.get("involvedObject", {}).get("kind") == "Node" and event["involvedObject"].get("name") == "n1" and \
        event.get("type") in ("Normal", "Warning") and bool(REASON.fullmatch(event.get("reason", ""))) and \
        all(TIME.fullmatch(event.get(key, "")) for key in ("firstTimestamp", "lastTimestamp"))


class ApiServer(BaseHTTPRequestHandler):
    """One request."""

    def is_allowed(self) -> bool:
        """A request without the token is refused."""
        if self.headers["Authorization"] == "Bearer secret":
            return True
        self.answer(401, {"message": "Unauthorized"})
        return False

    def do_GET(self) -> None:
        """The node, and the pods on it."""
        if not self.is_allowed():
            return None
        if self.path == "/api/v1/nodes/n1":
            return self.answer(200, NODE)
        if self.path == "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1":
            return self.answer(200, {"items": list(PODS.values())})
        if self.path == "/api/v1/namespaces/default/events":
            return self.answer(200, {"items": list(EVENTS.values())})
        return self.answer(404, {"message": "not found"})

    def do_PATCH(self) -> None:
        """The node, and its status."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.is_allowed():
            return None
        if self.path == "/api/v1/nodes/n1/status":
            return self.patch_status(body)
        if self.headers["Content-Type"] != "application/merge-patch+json":
            return self.answer(415, {"message": "unsupported patch"})
        if self.path != "/api/v1/nodes/n1":
            return self.answer(404, {"message": "not found"})
        with LOCK:
            if body["metadata"].get("resourceVersion", NODE["metadata"]["resourceVersion"]) != NODE["metadata"]["resourceVersion"]:
                return self.answer(409, {"message": "the object has been modified"})
            merge(NODE, {key: value for key, value in body.items() if key != "status"})
            NODE["metadata"]["resourceVersion"] = str(int(NODE["metadata"]["resourceVersion"]) + 1)
        return self.answer(200, NODE)

    def patch_status(self, body: Answer) -> None:
        """A strategic merge patch: a condition takes the place of the one of its type. A merge patch would take them all."""
        if self.headers["Content-Type"] != "application/strategic-merge-patch+json":
            return self.answer(415, {"message": "this server tries strategic merge patches of the status only"})
        fresh = body["status"]["conditions"]
        if not all(is_whole_condition(one) for one in fresh):
            return self.answer(422, {"message": "Node is invalid"})
        with LOCK:
            there = {one["type"]: one for one in NODE["status"]["conditions"]}
            for one in fresh:
                there[one["type"]] = {**there.get(one["type"], {}), **one}
            NODE["status"]["conditions"] = list(there.values())
            NODE["metadata"]["resourceVersion"] = str(int(NODE["metadata"]["resourceVersion"]) + 1)
        return self.answer(200, NODE)

    def take_event(self, event: Answer) -> None:
        """A new Event."""
        if not is_whole_event(event):
            return self.answer(422, {"message": "Event is invalid"})
        name = event["metadata"]["name"]
        if name in EVENTS:
            return self.answer(409, {"message": f'events "{name}" already exists'})
        EVENTS[name] = event
        return self.answer(201, event)

    def do_POST(self) -> None:
        """Evictions and Events."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.is_allowed():
            return None
        if self.path == "/api/v1/namespaces/default/events":
            return self.take_event(body)
        name = body.get("metadata", {}).get("name", "")
        with Path(sys.argv[3]).open("a") as log:
            log.write(f"{self.path}\n")
        if self.path != f"/api/v1/namespaces/default/pods/{name}/eviction" or body.get("kind") != "Eviction":
            return self.answer(400, {"message": "no eviction"})
        if name not in PODS:
            return self.answer(404, {"message": "not found"})
        if name == "guarded" and name not in ASKED:
            ASKED.add(name)
            return self.answer(429, {"message": "Cannot evict pod as it would violate the pod's disruption budget."})
        del PODS[name]
        return self.answer(201, {"status": "Success"})

    def answer(self, status: int, body: Answer) -> None:
        """Given a status and a body, answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), ApiServer).serve_forever()
