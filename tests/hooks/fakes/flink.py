"""A strict JobManager: flink.py HOST PORT LOG ; two jobs run, one has ended. Work takes a second, as polls show.

It refuses what Flink's REST API refuses: unknown jobs and triggers (404), a malformed trigger id (400), a second stop of a
stopped job (409 as Flink answers for a job that is not running).
"""
from __future__ import annotations

import json
import re
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORK_S = 1.0
JOBS = {"a" * 32: "RUNNING", "b" * 32: "RUNNING", "c" * 32: "FINISHED"}
TRIGGERS: dict[tuple[str, str, str], float] = {}      # (kind of work, job, trigger) -> when it was asked for


def outcome(work: str, job: str, trigger: str) -> tuple[int, dict[str, object]]:
    """What is known of something that was triggered."""
    begun = TRIGGERS.get((work, job, trigger))
    if begun is None:
        return 404, {"errors": ["There is no such operation"]}
    if time.monotonic() - begun < WORK_S:
        return 200, {"status": {"id": "IN_PROGRESS"}, "operation": None}
    if work == "savepoints":
        JOBS[job] = "FINISHED"
        return 200, {"status": {"id": "COMPLETED"}, "operation": {"location": f"file:/savepoints/{trigger}"}}
    return 200, {"status": {"id": "COMPLETED"}, "operation": {"checkpointId": 7}}


def trigger(work: str, job: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    """Begin work on a job."""
    wish = str(body.get("triggerId", uuid.uuid4().hex))
    if not re.fullmatch("[0-9a-f]{32}", wish):
        return 400, {"errors": ["malformed triggerId"]}
    if JOBS[job] != "RUNNING":
        return 409, {"errors": ["the job is not running"]}
    TRIGGERS.setdefault((work, job, wish), time.monotonic())
    return 202, {"request-id": wish}


class JobManager(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Jobs, and what became of triggers."""
        if self.path == "/jobs":
            return self.answer(200, {"jobs": [{"id": job, "status": status} for job, status in JOBS.items()]})
        found = re.fullmatch("/jobs/([0-9a-f]+)/(checkpoints|savepoints)/([0-9a-f]+)", self.path)
        if found is None or found[1] not in JOBS:
            return self.answer(404, {"errors": ["not found"]})
        return self.answer(*outcome(found[2], found[1], found[3]))

    def do_POST(self) -> None:
        """Checkpoints, stops, and starting a jar."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        with Path(sys.argv[3]).open("a") as log:
            log.write(f"{self.path} {json.dumps(body)}\n")
        if self.headers["Content-Type"] != "application/json":
            return self.answer(415, {"errors": ["JSON only"]})
        if self.path == "/jars/job.jar/run":
            job = uuid.uuid4().hex
            JOBS[job] = "RUNNING"
            return self.answer(200, {"jobid": job})
        found = re.fullmatch("/jobs/([0-9a-f]+)/(checkpoints|stop)", self.path)
        if found is None or found[1] not in JOBS:
            return self.answer(404, {"errors": ["not found"]})
        return self.answer(*trigger("savepoints" if found[2] == "stop" else "checkpoints", found[1], body))

    def answer(self, status: int, body: dict[str, object]) -> None:
        """Given a status and a body, answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), JobManager).serve_forever()
