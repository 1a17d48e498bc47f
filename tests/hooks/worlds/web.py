"""nginx behind HAProxy, and two routers with one virtual address."""
from __future__ import annotations

import subprocess
from pathlib import Path

from ..bench import Bench, Machine
from ..running import Hook
from ..stage import Stage
from .basics import answers, listens, need, until


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


def lb_health(lab: Bench, home: Path) -> Stage:
    """A web server with a drain file; a freeze catches a download that is waited for."""
    need("nginx", "curl")
    machine = lab.machines[0]
    drain = home / "page/drain"
    nginx(machine, home / "nginx", drain)
    until(lambda: listens(lab, machine.address, 8080), "nginx listens")
    settings = {"DRAIN_FILE": str(drain), "SETTLE_S": "1", "PORT": "8080"}

    def download() -> None:
        lab.client("curl", "-s", "-o", "/dev/null", f"http://{machine.address}:8080/slow")
        until(lambda: f"{machine.address}:8080" in answers(machine, "ss", "-Htn", "state", "established"), "it is under way")
    return Stage(lambda state: Hook("lb-health", state, settings, inside=machine.inside), drain.exists,
                 (machine.namespace,), 1.5, under_way=download)


def haproxy_drain(lab: Bench, home: Path) -> Stage:
    """Three servers behind HAProxy, one of them in an operator's own drain."""
    need("haproxy", "nginx", "socat")
    balancer = lab.machines[2]
    for machine in lab.machines[:2]:
        nginx(machine, home / f"nginx{machine.number}", home / "drain")
    haproxy(balancer, home / "haproxy", lab.machines, "check inter 500ms")
    socket = home / "haproxy/admin.sock"

    def talk(words: str) -> str:
        return subprocess.run(["socat", "-", str(socket)], input=words + "\n", capture_output=True, text=True).stdout
    until(socket.exists, "HAProxy's socket")
    talk("set server be/s3 state drain")
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

