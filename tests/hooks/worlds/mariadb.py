"""Three MariaDB nodes in one Galera cluster."""
from __future__ import annotations

import subprocess
from pathlib import Path

from ..bench import Bench
from ..running import Hook
from ..stage import Stage
from .basics import PROGRAMS, as_user, need, until


def galera(lab: Bench, home: Path) -> None:
    """Start a MariaDB on each machine, in one Galera cluster that machine 1 founds."""
    everybody = ",".join(m.address for m in lab.machines)
    for machine in lab.machines:
        here = home / f"galera{machine.number}"
        (here / "data").mkdir(parents=True)
        (here / "my.cnf").write_text(f"""
[client]
socket = {here}/socket
user = root
[mysqld]
datadir = {here}/data
socket = {here}/socket
pid-file = {here}/pid
bind-address = 0.0.0.0
innodb_buffer_pool_size = 32M
innodb_log_file_size = 8M
innodb_flush_log_at_trx_commit = 2
binlog_format = ROW
innodb_autoinc_lock_mode = 2
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_address = gcomm://{everybody}
wsrep_node_address = {machine.address}
wsrep_node_name = n{machine.number}
wsrep_sst_method = rsync
wsrep_provider_options = "gcache.size=32M"
""")
        prefix = as_user("mysql", here, here / "data", here / "my.cnf")
        done = subprocess.run([*prefix, "mariadb-install-db", f"--defaults-file={here}/my.cnf", "--wsrep-on=OFF",
                               "--auth-root-authentication-method=normal", "--skip-test-db"], capture_output=True, text=True,
                              env={"PATH": PROGRAMS, "HOME": str(here)})
        assert done.returncode == 0, done.stdout + done.stderr
        found = ["--wsrep-new-cluster"] if machine.number == 1 else []
        machine.start(*prefix, "/usr/sbin/mariadbd", f"--defaults-file={here}/my.cnf", *found, log=home / f"galera{machine.number}.log",
                      env={"PATH": PROGRAMS, "HOME": str(here)})
        until(lambda m=machine: galera_says(lab, home, m.number, "local_state_comment") == "Synced", "the node is Synced", 90)
    galera_ask(home, 1, "create database bench; create table bench.kept (id int primary key); "
                        "create user writer@'%'; grant all on bench.* to writer@'%'")


def galera_ask(home: Path, number: int, words: str) -> str:
    """Given a machine's number and a statement, return what it prints, or the empty string."""
    done = subprocess.run(["timeout", "10", "mariadb", f"--defaults-file={home}/galera{number}/my.cnf", "-NBe", words],
                          capture_output=True, text=True)
    return done.stdout


def galera_says(lab: Bench, home: Path, number: int, name: str) -> str:
    """Given a machine's number and a wsrep variable, return its value."""
    return (galera_ask(home, number, f"show global status like 'wsrep_{name}'").split() or ["", ""])[-1]


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

