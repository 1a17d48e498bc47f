"""Three RabbitMQ nodes in one cluster."""
from __future__ import annotations

import subprocess
from pathlib import Path

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .basics import PROGRAMS, as_user, listens, need, until


def rabbitmq(lab: Bench, home: Path) -> None:
    """Start a RabbitMQ node on each machine, in one cluster."""
    for machine in lab.machines:
        here = home / f"rabbit{machine.number}"
        here.mkdir(parents=True)
        cookie = here / ".erlang.cookie"
        cookie.write_text("bench")
        nodes = "\n".join(f"cluster_formation.classic_config.nodes.{m.number} = rabbit@{m.address}" for m in lab.machines)
        (here / "rabbitmq.conf").write_text("loopback_users = none\ncluster_formation.peer_discovery_backend = classic_config\n"
                                            f"{nodes}\nlog.console = true\nlog.console.level = warning\n")
        prefix = as_user("rabbitmq", here, cookie, here / "rabbitmq.conf")
        cookie.chmod(0o400)
        machine.start(*prefix, RABBIT, env=rabbitmq_environment(lab, home, machine.number),
                      log=home / f"rabbit{machine.number}.log")
        until(lambda m=machine: listens(lab, m.address, 5672), "RabbitMQ listens", 90)
    until(lambda: rabbitmq_ask(lab, home, 1, "rabbitmqctl", "-q", "eval", "length(nodes()).").strip() == "2",
          "three nodes run", 60)


RABBIT = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def rabbitmq_environment(lab: Bench, home: Path, number: int) -> dict[str, str]:
    """Given a machine's number, return what its node and tools need to find each other."""
    here = home / f"rabbit{number}"
    return {"PATH": f"/usr/lib/rabbitmq/bin:{PROGRAMS}", "HOME": str(here), "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"rabbit@{lab.machines[number - 1].address}", "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"), "RABBITMQ_MNESIA_BASE": str(here),
            "RABBITMQ_LOG_BASE": str(here), "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none", "RABBITMQ_CONF_ENV_FILE": "/dev/null"}


def rabbitmq_ask(lab: Bench, home: Path, number: int, *argv: str) -> str:
    """Given a machine's number and a tool's command, return what it prints, or the empty string."""
    done = subprocess.run([*lab.machines[number - 1].inside, *argv], capture_output=True, text=True,
                          env=rabbitmq_environment(lab, home, number))
    return done.stdout if done.returncode == 0 else ""


def rabbitmq_drain(lab: Bench, home: Path) -> Stage:
    """Three nodes."""
    need("rabbitmqctl", "rabbitmq-upgrade")
    rabbitmq(lab, home)

    def look() -> object:
        drained = rabbitmq_ask(lab, home, 1, "rabbitmqctl", "-q", "eval", "rabbit_maintenance:is_being_drained_local_read(node()).")
        return drained.strip(), listens(lab, lab.machines[0].address, 5672)
    return Stage(lambda state: Hook("rabbitmq-drain", state, rabbitmq_environment(lab, home, 1), inside=lab.machines[0].inside),
                 look, (lab.machines[0].namespace,), 6.0)

