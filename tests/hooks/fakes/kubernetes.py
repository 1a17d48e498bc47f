"""A strict API server: kubernetes.py HOST PORT LOG ; one node n1 and its pods.

It refuses what the real one refuses: no bearer token (401), a patch of the wrong type (415) or of an old resourceVersion
(409), evictions that a disruption budget forbids (429, the first time for pod "guarded").
"""
from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
LOCK = threading.Lock()
NODE: Answer = {"metadata": {"name": "n1", "resourceVersion": "1", "annotations": {"owner": "kept"}}, "spec": {"podCIDR": "x"}}
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


class ApiServer(BaseHTTPRequestHandler):
    """One request."""

    def is_allowed(self) -> bool:
        """A request without the token is nobody's."""
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
        return self.answer(404, {"message": "not found"})

    def do_PATCH(self) -> None:
        """The node."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.is_allowed():
            return None
        if self.headers["Content-Type"] != "application/merge-patch+json":
            return self.answer(415, {"message": "unsupported patch"})
        if self.path != "/api/v1/nodes/n1":
            return self.answer(404, {"message": "not found"})
        with LOCK:
            if body["metadata"].get("resourceVersion", NODE["metadata"]["resourceVersion"]) != NODE["metadata"]["resourceVersion"]:
                return self.answer(409, {"message": "the object has been modified"})
            merge(NODE, body)
            NODE["metadata"]["resourceVersion"] = str(int(NODE["metadata"]["resourceVersion"]) + 1)
        return self.answer(200, NODE)

    def do_POST(self) -> None:
        """Evictions."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.is_allowed():
            return None
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
