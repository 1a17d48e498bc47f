"""RTMP origins with an encoder, and a Janus."""
from __future__ import annotations

from pathlib import Path

from ..bench import Bench, Machine
from ..running import Hook
from ..seen import CLIENTS, PYTHON
from ..stage import Stage
from .basics import answers, listens, need, until


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

