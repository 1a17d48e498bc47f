"""What downloads see when their machine is switched off, with the service stopped in order first: service-stop."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, FAILED, NOTHING, Hook
from .seen import Seen, stop
from .worlds.basics import listens, need, until
from .worlds.services import UserManager

pytestmark = pytest.mark.slow


@pytest.fixture
def manager(lab: Bench, home: Path) -> Iterator[UserManager]:
    """systemd with an nginx that may finish its requests (KillSignal=SIGQUIT, as Debian's unit does)."""
    need("nginx", "systemctl")
    page = home / "page"
    page.mkdir()
    (page / "slow").write_bytes(b"x" * 300_000)
    (page / "nginx.conf").write_text(f"""
user root; daemon off; pid {page}/pid; error_log {page}/error.log; events {{ }}
http {{ access_log off; client_body_temp_path {page}/t1; proxy_temp_path {page}/t2; fastcgi_temp_path {page}/t3;
  uwsgi_temp_path {page}/t4; scgi_temp_path {page}/t5;
  server {{ listen 8080; root {page}; location /slow {{ limit_rate 100k; }} }} }}
""")
    page.chmod(0o755)
    made = UserManager(lab, home / "systemd", {
        "web.service": f"[Service]\nExecStart=/usr/sbin/nginx -e {page}/error.log -c {page}/nginx.conf\nKillSignal=SIGQUIT\n",
        "idle.service": "[Service]\nExecStart=/bin/sleep infinity\n"})
    made.ask("start", "web.service")
    until(lambda: listens(lab, lab.machines[0].address, 8080), "nginx listens")
    yield made


def downloads(lab: Bench, before: Callable[[], None]) -> Seen:
    """Given what to do before, switch machine 1 off under downloads; return those begun before."""
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "http_load.py"), lab.machines[0].address, "8080", "/slow", "10", "8")
    time.sleep(2)
    assert load.stdin is not None
    load.stdin.close()                   # no new ones: a balancer would send them elsewhere
    load.stdin = None
    time.sleep(0.2)
    before()
    lab.machines[0].power_off()
    return stop(load)


@pytest.mark.extra
def test_without_a_hook_every_download_is_cut(lab: Bench, manager: UserManager, tell: Callable[[str, object], None]) -> None:
    """The yardstick."""
    saw = downloads(lab, lambda: None)
    tell("nginx switched off, no hook", saw)
    assert saw.failed > 10


def test_service_stop_lets_downloads_end(lab: Bench, manager: UserManager, tmp_path: Path,
                                         tell: Callable[[str, object], None]) -> None:
    """Stopped by its own unit's rules before the machine goes."""
    hook = Hook("service-stop", tmp_path / "state", kind="reboot", inside=manager.inside,
                settings={"UNITS": "web.service idle.service", "SCOPE": "user", "XDG_RUNTIME_DIR": "/run/user/0"})
    took: list[float] = []

    def before() -> None:
        ran = hook.prepare(seconds_left=2.5)
        assert ran.status == DONE, ran.output
        took.append(ran.took_s)
    saw = downloads(lab, before)
    tell("nginx switched off, service-stop", f"{saw}; prepare {took[0]:.1f} s")
    assert saw.failed == 0


def test_it_starts_what_ran_and_leaves_what_did_not(manager: UserManager, tmp_path: Path) -> None:
    """A freeze stops nothing; a unit that does not exist is reported before anything is stopped."""
    settings = {"UNITS": "web.service idle.service", "SCOPE": "user", "XDG_RUNTIME_DIR": "/run/user/0"}
    assert Hook("service-stop", tmp_path / "s", settings, inside=manager.inside).prepare().status == NOTHING
    wrong = settings | {"UNITS": "web.service no-such.service"}
    assert Hook("service-stop", tmp_path / "s", wrong, kind="reboot", inside=manager.inside).prepare().status == FAILED
    hook = Hook("service-stop", tmp_path / "s", settings, kind="reboot", inside=manager.inside)
    assert hook.prepare().status == DONE
    assert manager.ask("is-active", "web.service") == "inactive"
    assert hook.recover(TIDEOVER_REASON="cancelled").status == DONE
    assert [manager.ask("is-active", f"{n}.service") for n in ("web", "idle")] == ["active", "inactive"]
