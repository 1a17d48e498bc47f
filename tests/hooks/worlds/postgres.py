"""PostgreSQL under Patroni: a primary, a replica, and etcd beside them."""
from __future__ import annotations

import json
from pathlib import Path

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .basics import PROGRAMS, answers, as_user, listens, need, until

POSTGRES = "/usr/lib/postgresql/15/bin"


def patroni(lab: Bench, home: Path) -> None:
    """Start PostgreSQL under Patroni on machines 1 (the primary) and 2, at stock timings, with etcd on machine 3."""
    store = lab.machines[2]
    (home / "etcd").mkdir()
    store.start("etcd", "--data-dir", str(home / "etcd"), "--listen-client-urls", f"http://{store.address}:2379",
                "--advertise-client-urls", f"http://{store.address}:2379", log=home / "etcd.log", env={"PATH": PROGRAMS})
    until(lambda: listens(lab, store.address, 2379), "etcd listens")
    for machine in lab.machines[:2]:
        here = home / f"pg{machine.number}"
        here.mkdir()
        (here / "patroni.yml").write_text(f"""
scope: bench
name: pg{machine.number}
restapi: {{ listen: "0.0.0.0:8008", connect_address: "{machine.address}:8008" }}
etcd3: {{ host: "{store.address}:2379" }}
bootstrap:
  dcs: {{ ttl: 30, loop_wait: 10, retry_timeout: 10, maximum_lag_on_failover: 1048576 }}
  initdb: [ {{ auth-host: trust }}, {{ auth-local: trust }}, no-sync ]
postgresql:
  listen: "0.0.0.0:5432"
  connect_address: "{machine.address}:5432"
  data_dir: {here}/data
  bin_dir: {POSTGRES}
  pg_hba: [ "local all all trust", "host all all all trust", "host replication all all trust" ]
  authentication: {{ superuser: {{ username: postgres, password: bench }}, replication: {{ username: replicator, password: bench }} }}
  parameters: {{ unix_socket_directories: {here}, shared_buffers: 16MB }}
""")
        prefix = as_user("postgres", here, here / "patroni.yml")
        machine.start(*prefix, "/usr/bin/patroni", f"{here}/patroni.yml", log=home / f"pg{machine.number}.log",
                      env={"PATH": PROGRAMS, "HOME": str(here), "LANG": "C.UTF-8"})
        until(lambda m=machine: patroni_says(lab, m.number).get("state") == "running", "PostgreSQL runs", 90)
    until(lambda: any(row.get("state") == "streaming" for row in patroni_says(lab, 1).get("replication", [])), "it streams", 60)


def patroni_says(lab: Bench, number: int) -> dict[str, object]:
    """What the Patroni of a machine says of itself."""
    text = answers(lab, "curl", "-sS", "-m", "3", f"http://{lab.machines[number - 1].address}:8008/patroni")
    return dict(json.loads(text or "{}"))


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

