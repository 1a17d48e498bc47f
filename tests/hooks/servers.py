"""Real servers on the bench: their smallest honest configurations, and waiting until they serve.

Every server lives in a directory of its own under the test's; nothing of the machine's installation is used but programs.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .bench import Bench, Machine

PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin"


def need(*programs: str) -> None:
    """Given programs a proof runs, skip it with the reason when one is not installed."""
    for program in programs:
        if shutil.which(program, path=PROGRAMS) is None:
            pytest.skip(f"{program} is not installed (tests/hooks/servers.txt says which package has it)")


def until(question: Callable[[], bool], what: str, longest_s: float = 30) -> None:
    """Given a question, ask it until it says yes. Raise AssertionError when it never does."""
    end = time.monotonic() + longest_s
    while not question():
        assert time.monotonic() < end, f"waited {longest_s} s in vain: {what}"
        time.sleep(0.05)


def answers(bench: Bench | Machine, *argv: str) -> str:
    """Given a command, return what it prints in that network, or the empty string when it fails."""
    try:
        done = subprocess.run([*bench.inside, *argv], capture_output=True, text=True, timeout=10,
                              env={"PATH": PROGRAMS, "HOME": "/root", "LANG": "C.UTF-8"})
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def listens(bench: Bench, address: str, port: int) -> bool:
    """Does somebody accept connections there, seen from the clients?"""
    return bool(answers(bench, "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && echo yes"))


def nginx(machine: Machine, home: Path, drain_file: Path) -> None:
    """Start an nginx with a health page, a small page and a slow download (300 kB at 100 kB/s)."""
    home.mkdir(parents=True)
    for name, size in (("small", 200), ("slow", 300_000)):
        (home / name).write_bytes(b"x" * size)
    home.chmod(0o755)
    (home / "nginx.conf").write_text(f"""
user root; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ }}
http {{
  access_log off; client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{
    listen 8080; root {home};
    location /healthz {{ if (-f {drain_file}) {{ return 503; }} return 200 "ok"; }}
    location /slow {{ limit_rate 100k; }}
  }}
}}
""")
    machine.start("nginx", "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf", log=home / "log")


def haproxy(machine: Machine, home: Path, backends: list[Machine], probe: str) -> None:
    """Start an HAProxy in front of `backends` (names s1, s2 …) with its stats socket on port 9999."""
    home.mkdir(parents=True)
    lines = "\n".join(f"  server s{b.number} {b.address}:8080 {probe}" for b in backends)
    (home / "haproxy.cfg").write_text(f"""
global
  stats socket ipv4@{machine.address}:9999 level admin
  stats socket {home}/admin.sock level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend web
  bind :80
  default_backend be
backend be
  option httpchk GET /healthz
{lines}
""")
    machine.start("haproxy", "-db", "-f", f"{home}/haproxy.cfg", log=home / "log")


FAKES = Path(__file__).parent / "fakes"


def fake(lab: Bench, machine: Machine, name: str, port: int, *more: str, log: Path) -> None:
    """Start one of our strict fakes on a machine and wait until it listens."""
    machine.start("/usr/bin/python3", str(FAKES / f"{name}.py"), machine.address, str(port), *more, log=log)
    until(lambda: listens(lab, machine.address, port), f"the fake {name} listens")


class UserManager:
    """A real systemd as a user's service manager on one machine: own process and mount namespace, own cgroup."""

    def __init__(self, machine: Machine, home: Path, units: dict[str, str]) -> None:
        need("systemctl", "unshare")
        self.groups = [root / f"tideover-{machine.namespace}" for root in
                       (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup"))
                       if (root / "cgroup.procs").exists()]
        (home / "units").mkdir(parents=True)
        for name, text in units.items():
            (home / "units" / name).write_text(f"[Unit]\nDefaultDependencies=no\n{text}")
        enter = " && ".join(f"mkdir -p {group} && echo $$ > {group}/cgroup.procs" for group in self.groups)
        inner = ("mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user/0 && "
                 "export XDG_RUNTIME_DIR=/run/user/0 && (/lib/systemd/systemd --user --unit=base.service & wait)")
        (home / "units/base.service").write_text("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep infinity\n")
        outer = machine.start("sh", "-c", f"{enter} && exec unshare -mpf --cgroup --kill-child sh -c '{inner}'",
                              log=home / "systemd.log", env={"PATH": PROGRAMS, "SYSTEMD_UNIT_PATH": f"{home}/units"})
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        until(lambda: Path(f"/proc/{outer.pid}/comm").read_text() == "unshare\n" and bool(children.read_text().split()),
              "the namespace's first process")
        self.inside = (*machine.inside, "nsenter", "-t", children.read_text().split()[0], "-m", "-p")
        try:
            until(lambda: self.ask("is-active", "base.service") == "active", "systemd as a user's manager", 10)
        except AssertionError:
            pytest.skip(f"systemd does not run as a user's manager here: {(home / 'systemd.log').read_text()[-300:]}")

    def ask(self, *words: str) -> str:
        """Given systemctl's words, return what it prints."""
        done = subprocess.run([*self.inside, "systemctl", "--user", *words], capture_output=True, text=True,
                              env={"PATH": PROGRAMS, "XDG_RUNTIME_DIR": "/run/user/0"})
        return done.stdout.strip()

    def close(self) -> None:
        """Remove the cgroups; the processes have gone with the machine."""
        for group in self.groups:
            for directory in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
                directory.rmdir()
            group.rmdir()


def rtmp(machine: Machine, home: Path, drain_file: Path) -> None:
    """Start an nginx with RTMP: an origin with control, stat and a health page that also refuses publishers."""
    home.mkdir(parents=True)
    (home / "nginx.conf").write_text(f"""
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
user root; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ }}
rtmp {{ server {{ listen 1935; application live {{
  live on; on_publish http://127.0.0.1:8080/healthz; idle_streams off; }} }} }}
http {{
  access_log off; client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{
    listen 8080;
    location /healthz {{ if (-f {drain_file}) {{ return 503; }} return 200 "ok"; }}
    location /stat {{ rtmp_stat all; }}
    location /control {{ allow 127.0.0.1; deny all; rtmp_control all; }}
  }}
}}
""")
    machine.start("nginx", "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf", log=home / "log")


OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in (
    "java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks")]


def flink_libraries() -> Path:
    """Where Flink's jars are (pyflink/lib of PyPI's apache-flink-libraries). Skip when nobody says."""
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


JANUS = "/usr/lib/x86_64-linux-gnu/janus"


def janus(machine: Machine, home: Path) -> None:
    """Start a Janus with its HTTP and admin APIs (secret "bench")."""
    home.mkdir(parents=True)
    (home / "janus.jcfg").write_text(f"""
general: {{ configs_folder = "{home}" plugins_folder = "{home}" transports_folder = "{JANUS}/transports"
  admin_secret = "bench" log_to_stdout = true }}
nat: {{ ice_lite = true }}
media: {{ }}
""")
    (home / "janus.transport.http.jcfg").write_text("""
general: { json = "compact" base_path = "/janus" http = true port = 8088 https = false }
admin: { admin_base_path = "/admin" admin_http = true admin_port = 7088 admin_https = false }
""")
    machine.start("janus", "-F", str(home), "-C", f"{home}/janus.jcfg", log=home / "log")


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


VIP = "10.99.0.100"


def keepalived(machine: Machine, home: Path, priority: int) -> Path:
    """Start keepalived for VIP with a priority; return the file it tracks (weight -1)."""
    home.mkdir(parents=True)
    track = home / "track"
    track.write_text("0\n")
    (home / "keepalived.conf").write_text(f"""
global_defs {{ router_id r{machine.number} }}
track_file drain {{ file {track}
  weight -1 }}
vrrp_instance web {{
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority {priority}
  advert_int 1
  virtual_ipaddress {{ {VIP}/24 }}
  track_file {{ drain }}
}}
""")
    machine.start("keepalived", "-n", "-l", "-f", f"{home}/keepalived.conf", "-p", f"{home}/pid", "-r", f"{home}/vrrp.pid",
                  log=home / "log")
    return track


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


def etcd(lab: Bench, home: Path) -> None:
    """Start one etcd member on each machine, at stock heartbeat and election times."""
    cluster = ",".join(f"m{m.number}=http://{m.address}:2380" for m in lab.machines)
    for machine in lab.machines:
        client, peer = f"http://{machine.address}:2379", f"http://{machine.address}:2380"
        (home / f"etcd{machine.number}").mkdir(parents=True)
        machine.start("etcd", "--name", f"m{machine.number}", "--data-dir", str(home / f"etcd{machine.number}"),
                      "--listen-client-urls", f"{client},http://127.0.0.1:2379", "--advertise-client-urls", client,
                      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
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
    """Have machine `number`'s member lead."""
    until(lambda: etcd_leader(lab) > 0, "etcd has a leader")
    at = etcd_leader(lab)
    if at != number:
        url = f"http://{lab.machines[number - 1].address}:2379"
        member = json.loads(answers(lab, "curl", "-fsS", "-d", "{}", f"{url}/v3/maintenance/status"))["header"]["member_id"]
        answers(lab, "curl", "-fsS", "-d", json.dumps({"targetID": member}),
                f"http://{lab.machines[at - 1].address}:2379/v3/maintenance/transfer-leadership")
    until(lambda: etcd_leader(lab) == number, f"member {number} leads")


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


def as_user(user: str, *paths: Path) -> tuple[str, ...]:
    """Given a server's user, give it the paths and return the command prefix that becomes it."""
    for path in paths:
        shutil.chown(path, user, user)
        parent = path
        while parent != Path("/tmp") and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
            parent = parent.parent
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
