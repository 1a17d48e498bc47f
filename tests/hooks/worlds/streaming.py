"""A Flink cluster with a job that counts."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .basics import FAKES, answers, fake, need, until

OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in (
    "java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks")]


def flink_libraries() -> Path:
    """Where Flink's jars are (pyflink/lib of PyPI's apache-flink-libraries). Skip when that is not set."""
    need("java", "javac", "jar")
    where = Path(os.environ.get("TIDEOVER_FLINK_LIB", "/nonexistent"))
    if not list(where.glob("flink-dist-*.jar")):
        pytest.skip("TIDEOVER_FLINK_LIB does not name the lib directory of PyPI's apache-flink-libraries")
    return where


def flink(lab: Bench, home: Path, heartbeat_timeout_ms: int) -> Path:
    """Start a JobManager on machine 3 and TaskManagers on 1 and 2; return the jar of the counting job."""
    jars, manager = flink_libraries(), lab.machines[2]
    (home / "classes").mkdir()
    for words in (("javac", "-cp", f"{jars}/*", "-d", str(home / "classes"), str(FAKES.parent / "flinkjob/Counting.java")),
                  ("jar", "cfe", str(home / "job.jar"), "Counting", "-C", str(home / "classes"), ".")):
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for machine in lab.machines:
        conf = home / f"flink{machine.number}"
        conf.mkdir()
        (conf / "log4j2.properties").write_text("rootLogger.level = WARN\nrootLogger.appenderRef.c.ref = C\n"
                                                "appender.c.name = C\nappender.c.type = CONSOLE\n")
        (conf / "config.yaml").write_text(f"""
jobmanager: {{ rpc: {{ address: {manager.address} }}, bind-host: 0.0.0.0, memory: {{ process.size: 700m }} }}
rest: {{ address: {manager.address}, bind-address: 0.0.0.0 }}
web: {{ upload: {{ dir: {home} }} }}
heartbeat: {{ interval: 1000, timeout: {heartbeat_timeout_ms} }}
io: {{ tmp: {{ dirs: {conf} }} }}
execution: {{ checkpointing: {{ interval: 60s, dir: "file://{home}/checkpoints", savepoint-dir: "file://{home}/savepoints" }} }}
restart-strategy: {{ type: fixed-delay, fixed-delay: {{ attempts: 100, delay: 1s }} }}
taskmanager:
  host: {machine.address}
  bind-host: 0.0.0.0
  cpu: {{ cores: 1 }}
  numberOfTaskSlots: 1
  memory: {{ task: {{ heap: {{ size: 64m }}, off-heap: {{ size: 0m }} }}, managed: {{ size: 16m }}, network: {{ min: 16m, max: 16m }},
            framework: {{ heap: {{ size: 64m }}, off-heap: {{ size: 64m }} }}, jvm-metaspace: {{ size: 128m }},
            jvm-overhead: {{ min: 64m, max: 64m }} }}
""")
        entry = "entrypoint.StandaloneSessionClusterEntrypoint" if machine is manager else "taskexecutor.TaskManagerRunner"
        machine.start("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *OPENS,
                      f"-Dlog4j.configurationFile={conf}/log4j2.properties", "-cp", f"{jars}/*",
                      f"org.apache.flink.runtime.{entry}", "--configDir", str(conf), log=home / f"flink{machine.number}.log")
    until(lambda: flink_says(lab, "/overview").get("slots-total") == 2, "two TaskManagers", 120)
    return home / "job.jar"


def flink_says(lab: Bench, path: str, *more: str) -> dict[str, object]:
    """Given a path of the REST API (and more of curl's words), return the answer."""
    return dict(json.loads(answers(lab, "curl", "-sS", "-m", "20", *more, f"http://{lab.machines[2].address}:8081{path}") or "{}"))


def flink_checkpoint(lab: Bench, home: Path) -> Stage:
    """The strict fake, before a freeze."""
    machine = lab.machines[1]
    fake(lab, machine, "flink", 8081, str(home / "asked"), log=home / "log")
    settings = {"URL": f"http://{machine.address}:8081", "JOBS": "a" * 32}

    def look() -> object:
        return answers(lab, "curl", "-fsS", f"http://{machine.address}:8081/jobs")
    return Stage(lambda state: Hook("flink-checkpoint", state, settings, inside=lab.machines[0].inside), look,
                 (machine.namespace,), 1.3)

