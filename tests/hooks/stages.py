"""For each hook the smallest real world in which it has something to do: its servers, what recover must restore, how to freeze them.

The conformance suite plays the same laws on every stage. A hook without a stage has no proof, and a test says so.
"""
from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench, signal_all
from .running import Hook
from .seen import CLIENTS, PYTHON
from .servers import (
    VIP,
    UserManager,
    answers,
    etcd,
    etcd_lead,
    etcd_leader,
    fake,
    galera,
    galera_ask,
    galera_says,
    haproxy,
    janus,
    keepalived,
    listens,
    need,
    nginx,
    patroni,
    patroni_says,
    rabbitmq,
    rabbitmq_ask,
    rabbitmq_environment,
    redis_with_sentinels,
    rtmp,
    until,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One hook's world."""

    hook: Callable[[Path], Hook]         # given a state directory: the hook, aimed at where it has something to do now
    look: Callable[[], object]           # what recover must bring back, comparable
    frozen: tuple[str, ...]              # the namespaces whose processes the hook talks to
    typical_s: float                     # how long prepare takes: kills fall inside
    may_leave: tuple[int, ...] = (0,)    # what a prepare with something to do may end with

    def freeze(self) -> None:
        """Stop the server the hook talks to; its kernel goes on accepting connections."""
        for namespace in self.frozen:
            signal_all(namespace, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for namespace in self.frozen:
            signal_all(namespace, signal.SIGCONT)


def lb_health(lab: Bench, home: Path) -> Stage:
    """A drain file beside an operator's own file."""
    drain = home / "page/drain"
    settings = {"DRAIN_FILE": str(drain), "SETTLE_S": "1", "PORT": "8080", "DRAIN_S": "1"}
    machine = lab.machines[0]
    return Stage(lambda state: Hook("lb-health", state, settings, inside=machine.inside), drain.exists, (), 1.5)


def haproxy_drain(lab: Bench, home: Path) -> Stage:
    """Three servers behind HAProxy, one of them in an operator's maint."""
    need("haproxy", "nginx", "socat")
    balancer = lab.machines[2]
    for machine in lab.machines[:2]:
        nginx(machine, home / f"nginx{machine.number}", home / "drain")
    haproxy(balancer, home / "haproxy", lab.machines, "check inter 500ms")
    socket = home / "haproxy/admin.sock"

    def talk(words: str) -> str:
        return subprocess.run(["socat", "-", str(socket)], input=words + "\n", capture_output=True, text=True).stdout
    until(socket.exists, "HAProxy's socket")
    talk("set server be/s3 state maint")
    until(lambda: talk("show stat").count(",UP,") >= 2, "both servers are up")

    def look() -> object:
        rows = [line.split() for line in talk("show servers state be").splitlines() if line.count(" ") > 7 and line[0] != "#"]
        return [(row[3], row[6], row[7]) for row in rows]        # name, administrative flags, weight
    settings = {"SOCKET": f"{socket} {balancer.address}:9999", "SERVERS": "be/s1 */s3"}
    return Stage(lambda state: Hook("haproxy-drain", state, settings, inside=lab.machines[0].inside), look,
                 (balancer.namespace,), 0.3)


def keepalived_vrrp(lab: Bench, home: Path) -> Stage:
    """Two routers, machine 1 the holder of the address."""
    need("keepalived")
    first = keepalived(lab.machines[0], home / "keepalived1", 150)
    keepalived(lab.machines[1], home / "keepalived2", 100)

    def holder() -> list[bool]:
        return [VIP in answers(machine, "ip", "-o", "addr") for machine in lab.machines[:2]]
    until(lambda: holder() == [True, False], "machine 1 holds the address")
    settings = {"TRACK_FILE": str(first), "VIP": VIP, "WAIT_S": "8"}
    return Stage(lambda state: Hook("keepalived-vrrp", state, settings, inside=lab.machines[0].inside),
                 lambda: (first.read_bytes(), holder()), (lab.machines[0].namespace,), 4.0)


def redis_sentinel(lab: Bench, home: Path) -> Stage:
    """One master, one replica, three Sentinels; the hook is aimed at the machine that is master now."""
    need("redis-server", "redis-sentinel", "redis-cli")
    redis_with_sentinels(lab, home, 5000)

    def info(number: int) -> str:
        return answers(lab, "redis-cli", "-h", lab.machines[number - 1].address, "info", "replication")

    def master() -> int:
        asked = {answers(lab, "redis-cli", "-h", m.address, "-p", "26379", "sentinel", "get-master-addr-by-name", "mymaster")
                 for m in lab.machines}
        where = asked.pop().split()[0] if len(asked) == 1 else ""
        number = next((m.number for m in lab.machines if m.address == where), 0)
        return number if number and "state=online" in info(number) else 0

    def hook(state: Path) -> Hook:
        until(lambda: master() > 0, "one master with a replica in step", 60)
        here = lab.machines[master() - 1]
        return Hook("redis-sentinel", state, inside=here.inside, settings={
            "REDIS": f"{here.address}:6379", "SENTINELS": " ".join(f"{m.address}:26379" for m in lab.machines)})

    def look() -> object:
        at = master()
        if not at:
            return "no master that all agree on"
        wrote = answers(lab, "timeout", "3", "redis-cli", "-h", lab.machines[at - 1].address, "set", "look", "1").strip()
        return sorted("role:master" in info(n) for n in (1, 2)), wrote
    return Stage(hook, look, tuple(m.namespace for m in lab.machines[:2]), 2.0)


def etcd_move_leader(lab: Bench, home: Path) -> Stage:
    """Three members, machine 1's the leader."""
    need("etcd", "curl")
    etcd(lab, home)

    def hook(state: Path) -> Hook:
        etcd_lead(lab, 1)
        return Hook("etcd-move-leader", state, inside=lab.machines[0].inside)
    return Stage(hook, lambda: etcd_leader(lab) > 0, (lab.machines[0].namespace,), 0.8)


def rabbitmq_drain(lab: Bench, home: Path) -> Stage:
    """Three nodes."""
    need("rabbitmqctl", "rabbitmq-upgrade")
    rabbitmq(lab, home)

    def look() -> object:
        drained = rabbitmq_ask(lab, home, 1, "rabbitmqctl", "-q", "eval", "rabbit_maintenance:is_being_drained_local_read(node()).")
        return drained.strip(), listens(lab, lab.machines[0].address, 5672)
    return Stage(lambda state: Hook("rabbitmq-drain", state, rabbitmq_environment(lab, home, 1), inside=lab.machines[0].inside),
                 look, (lab.machines[0].namespace,), 6.0)


def service_stop(lab: Bench, home: Path) -> Stage:
    """Three units, one of them not running."""
    slow = "[Service]\nExecStart=/bin/sh -c 'trap \"sleep 0.4; exit 0\" TERM; sleep infinity & wait'\n"
    manager = UserManager(lab.machines[0], home / "systemd", {"one.service": slow, "two.service": slow, "three.service": slow})
    manager.ask("start", "one.service", "two.service")
    settings = {"UNITS": "one.service two.service three.service", "SCOPE": "user", "XDG_RUNTIME_DIR": "/run/user/0"}
    return Stage(lambda state: Hook("service-stop", state, settings, kind="reboot", inside=manager.inside),
                 lambda: [manager.ask("is-active", f"{n}.service") for n in ("one", "two", "three")],
                 (lab.machines[0].namespace,), 1.2)


def tcp_reset_after_resume(lab: Bench, home: Path) -> Stage:
    """No server: the kernel is what it talks to."""
    machine = lab.machines[0]
    return Stage(lambda state: Hook("tcp-reset-after-resume", state, {"PORTS": "7"}, inside=machine.inside),
                 lambda: None, (), 0.4)


def webhook(lab: Bench, home: Path) -> Stage:
    """A receiver; with MUST_ARRIVE, so that a frozen one is noticed."""
    machine = lab.machines[1]
    fake(lab, machine, "receiver", 8000, str(home / "told"), log=home / "log")
    settings = {"URL": f"http://{machine.address}:8000/ok", "MUST_ARRIVE": "yes"}
    return Stage(lambda state: Hook("webhook", state, settings, inside=lab.machines[0].inside), lambda: None,
                 (machine.namespace,), 0.4)


def patroni_switchover(lab: Bench, home: Path) -> Stage:
    """A primary and a replica; the hook is aimed at the primary's machine."""
    need("patroni", "etcd", "curl")
    patroni(lab, home)

    def primary() -> int:
        says = {number: patroni_says(lab, number) for number in (1, 2)}
        at = [n for n in says if says[n].get("role") == "master" and says[n].get("state") == "running"]
        streams = [row for n in at for row in says[n].get("replication", []) if row.get("state") == "streaming"]
        return at[0] if len(at) == 1 and streams else 0

    def hook(state: Path) -> Hook:
        until(lambda: primary() > 0, "a primary with a streaming replica", 60)
        return Hook("patroni-switchover", state, inside=lab.machines[primary() - 1].inside)
    return Stage(hook, lambda: primary() > 0, tuple(m.namespace for m in lab.machines[:2]), 6.0)


def flink_checkpoint(lab: Bench, home: Path) -> Stage:
    """The strict fake, before a freeze."""
    machine = lab.machines[1]
    fake(lab, machine, "flink", 8081, str(home / "asked"), log=home / "log")
    settings = {"URL": f"http://{machine.address}:8081", "JOBS": "a" * 32}

    def look() -> object:
        return answers(lab, "curl", "-fsS", f"http://{machine.address}:8081/jobs")
    return Stage(lambda state: Hook("flink-checkpoint", state, settings, inside=lab.machines[0].inside), look,
                 (machine.namespace,), 1.3)


def media_rtmp_drain(lab: Bench, home: Path) -> Stage:
    """Two origins and one encoder that goes where it is well; the hook is aimed at where it publishes."""
    need("nginx", "ffmpeg", "curl")
    for machine in lab.machines[:2]:
        rtmp(machine, home / f"nginx{machine.number}", home / f"drain{machine.number}")
        until(lambda m=machine: listens(lab, m.address, 8080), "nginx listens")
    hosts = [machine.address for machine in lab.machines[:2]]
    lab.client(PYTHON, str(CLIENTS / "rtmp_client.py"), "publish", "s", *hosts)

    def publishing() -> list[int]:
        return [n for n in (1, 2) if "<publishing/>" in
                answers(lab, "curl", "-fsS", "-m", "2", f"http://{hosts[n - 1]}:8080/stat")]

    def hook(state: Path) -> Hook:
        until(lambda: len(publishing()) == 1, "the encoder publishes", 40)
        here = publishing()[0]
        for number in (1, 2):            # what lb-health does in its stage
            drain = home / f"drain{number}"
            drain.touch() if number == here else drain.unlink(missing_ok=True)
        settings = {"STANDBY": f"http://{hosts[2 - here]}:8080/stat"}
        return Hook("media-rtmp-drain", state, settings, inside=lab.machines[here - 1].inside)
    until(lambda: len(publishing()) == 1, "the encoder publishes", 40)
    return Stage(hook, lambda: len(publishing()) == 1, tuple(m.namespace for m in lab.machines[:2]), 2.0)


def janus_drain(lab: Bench, home: Path) -> Stage:
    """One Janus."""
    need("janus", "curl")
    machine = lab.machines[0]
    janus(machine, home / "janus")
    until(lambda: listens(lab, machine.address, 7088), "Janus listens")
    (home / "secret").write_text("bench\n")

    def look() -> object:
        return '"accepting-new-sessions":true' in answers(lab, "curl", "-fsS", f"http://{machine.address}:8088/janus/info")
    settings = {"SECRET_FILE": str(home / "secret")}
    return Stage(lambda state: Hook("janus-drain", state, settings, inside=machine.inside), look, (machine.namespace,), 0.4)


def galera_leave(lab: Bench, home: Path) -> Stage:
    """Three nodes."""
    need("mariadbd", "mariadb", "mariadb-install-db", "rsync")
    galera(lab, home)
    settings = {"DEFAULTS_FILE": f"{home}/galera2/my.cnf"}

    def look() -> object:
        return galera_says(lab, home, 2, "local_state_comment"), galera_says(lab, home, 1, "cluster_size"), \
            galera_ask(home, 2, "select @@wsrep_cluster_address")
    return Stage(lambda state: Hook("galera-leave", state, settings, inside=lab.machines[1].inside), look,
                 (lab.machines[1].namespace,), 0.5)


def kubernetes_cordon(lab: Bench, home: Path) -> Stage:
    """The strict fake."""
    need("curl")
    machine = lab.machines[1]
    fake(lab, machine, "kubernetes", 6443, str(home / "asked"), log=home / "log")
    (home / "token").write_text("secret\n")
    settings = {"API": f"http://{machine.address}:6443", "TOKEN_FILE": str(home / "token"), "NODE": "n1"}

    def look() -> object:
        node = json.loads(answers(lab, "curl", "-fsS", "-H", "Authorization: Bearer secret",
                                  f"http://{machine.address}:6443/api/v1/nodes/n1") or "{}")
        return node.get("spec"), node.get("metadata", {}).get("annotations")
    return Stage(lambda state: Hook("kubernetes-cordon", state, settings, inside=lab.machines[0].inside), look,
                 (machine.namespace,), 0.4)


STAGES: dict[str, Callable[[Bench, Path], Stage]] = {
    "lb-health": lb_health,
    "haproxy-drain": haproxy_drain,
    "keepalived-vrrp": keepalived_vrrp,
    "redis-sentinel": redis_sentinel,
    "patroni-switchover": patroni_switchover,
    "etcd-move-leader": etcd_move_leader,
    "rabbitmq-drain": rabbitmq_drain,
    "flink-checkpoint": flink_checkpoint,
    "media-rtmp-drain": media_rtmp_drain,
    "janus-drain": janus_drain,
    "galera-leave": galera_leave,
    "kubernetes-cordon": kubernetes_cordon,
    "service-stop": service_stop,
    "tcp-reset-after-resume": tcp_reset_after_resume,
    "webhook": webhook,
}
