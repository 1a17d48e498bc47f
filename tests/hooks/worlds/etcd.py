"""Three etcd members."""
from __future__ import annotations

import json
from pathlib import Path

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .authority import Authority
from .basics import PROGRAMS, answers, need, until

TLS_PORT = 2479


def over_tls(authority: Authority, address: str) -> tuple[str, list[str]]:
    """Given who signs and a member's address, return its client URL over TLS and the flags: clients must have a certificate."""
    authority.signs(f"member-{address}", f"IP:{address},IP:127.0.0.1")
    return f"https://{address}:{TLS_PORT}", [
        "--cert-file", authority.file(f"member-{address}.crt"), "--key-file", authority.file(f"member-{address}.key"),
        "--client-cert-auth", "--trusted-ca-file", authority.file("ours.crt")]


def etcd(lab: Bench, home: Path, *flags: str, authority: Authority | None = None) -> None:
    """Start one etcd member on each machine, at stock heartbeat and election times, with `flags` besides.

    With an authority the members name each other's URLs over TLS; plain HTTP stays for the bench's own questions.
    """
    cluster = ",".join(f"m{m.number}=http://{m.address}:2380" for m in lab.machines)
    for machine in lab.machines:
        plain, peer = f"http://{machine.address}:2379,http://127.0.0.1:2379", f"http://{machine.address}:2380"
        named, more = over_tls(authority, machine.address) if authority else (f"http://{machine.address}:2379", [])
        listens = f"{plain},{named},https://127.0.0.1:{TLS_PORT}" if authority else plain
        (home / f"etcd{machine.number}").mkdir(parents=True)
        machine.start("etcd", "--name", f"m{machine.number}", "--data-dir", str(home / f"etcd{machine.number}"),
                      "--listen-client-urls", listens, "--advertise-client-urls", named, *more,
                      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, *flags,
                      log=home / f"etcd{machine.number}.log", env={"PATH": PROGRAMS})
    until(lambda: etcd_leader(lab) > 0, "etcd has a leader")


def etcd_leader(lab: Bench) -> int:
    """Return the number of the machine whose member leads, or 0."""
    for machine in lab.machines:
        text = answers(lab, "curl", "-fsS", "-m", "2", "-d", "{}", f"http://{machine.address}:2379/v3/maintenance/status")
        status = json.loads(text or "{}")
        if status and status.get("leader") == status["header"]["member_id"]:
            return machine.number
    return 0


def etcd_lead(lab: Bench, number: int) -> None:
    """Have machine `number`'s member lead; asked again, for a member that has just come back may not be in step yet."""
    def leads() -> bool:
        at = etcd_leader(lab)
        if at not in (0, number):
            url = f"http://{lab.machines[number - 1].address}:2379"
            status = json.loads(answers(lab, "curl", "-fsS", "-m", "2", "-d", "{}", f"{url}/v3/maintenance/status") or "{}")
            if status:
                answers(lab, "curl", "-fsS", "-d", json.dumps({"targetID": status["header"]["member_id"]}),
                        f"http://{lab.machines[at - 1].address}:2379/v3/maintenance/transfer-leadership")
        return at == number
    until(leads, f"member {number} leads")


def etcd_move_leader(lab: Bench, home: Path) -> Stage:
    """Three members, machine 1's the leader."""
    need("etcd", "curl")
    etcd(lab, home)

    def hook(state: Path) -> Hook:
        etcd_lead(lab, 1)
        return Hook("etcd-move-leader", state, inside=lab.machines[0].inside)
    return Stage(hook, lambda: etcd_leader(lab) > 0, (lab.machines[0].namespace,), 0.8)

