"""Redis with three Sentinels."""
from __future__ import annotations

from pathlib import Path

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .basics import answers, need, until


def redis_with_sentinels(lab: Bench, home: Path, down_after_ms: int) -> None:
    """Start a Redis and a Sentinel on each machine, machine 1 the master, one replica (machine 2); machine 3 Sentinel only."""
    for machine in lab.machines:
        here = home / f"redis{machine.number}"
        here.mkdir(parents=True)
        (here / "sentinel.conf").write_text(f"""
port 26379
dir {here}
sentinel monitor mymaster {lab.machines[0].address} 6379 2
sentinel down-after-milliseconds mymaster {down_after_ms}
sentinel failover-timeout mymaster 20000
""")
        (here / "redis.conf").write_text(f"port 6379\ndir {here}\nappendonly yes\nsave \"\"\nprotected-mode no\n"
                                         + (f"replicaof {lab.machines[0].address} 6379\n" if machine.number == 2 else ""))
        if machine.number < 3:
            machine.start("redis-server", f"{here}/redis.conf", log=here / "log")
    first = lab.machines[0]
    until(lambda: "state=online" in answers(first, "redis-cli", "info", "replication"), "the replica follows")
    for machine in lab.machines:
        here = home / f"redis{machine.number}"
        machine.start("redis-sentinel", f"{here}/sentinel.conf", "--protected-mode", "no", log=here / "sentinel.log")
    until(lambda: all(
        "slaves=1,sentinels=3" in answers(m, "redis-cli", "-p", "26379", "info", "sentinel") for m in lab.machines),
        "all Sentinels know each other", 60)


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

