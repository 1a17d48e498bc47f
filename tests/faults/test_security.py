"""Who must not be trusted is not: other users of this machine, authors of events, hosts on the network."""
from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from faults.table import trial
from hooks_tried import Bench
from running_agent import environment, world
from tideover.config_file import load_tolerantly
from tideover.daemon.startup import open_state_directory, require_trusted_path, trusted
from tideover.errors import WrongUseError
from tideover.hooks.posix_trust import untrusted_component
from tideover.logs import Log
from tideover.model import HookOutcome
from tideover.settings import LINUX

slow = pytest.mark.slow
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
PYTHON = "/usr/bin/python3"     # one that every user may run
NOBODY = pwd.getpwnam("nobody")
REFUSED = "refused with the command that mends it, nothing run"
# This machine's own time daemon is asked what it believes (chronyd's monitoring port, systemd's bus), never beyond it.
TIME_DAEMON = ("127.0.0.1", 323)
# Users are looked up where the C library looks them up.
OWN_MACHINE = {"/var/run/nscd/socket", "/run/chrony/chronyd.sock", "/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"}
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n2026-11-21T00:00:00.000Z info forged=1 \u202etxt <script>alert(1)</script> $(id) `id` '\";"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def home():
    """Not pytest's own: every directory on the way to it can be entered by other users."""
    place = Path(tempfile.mkdtemp(prefix="tideover-proof-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


# ---- files that others can write ----

@as_root
@pytest.mark.parametrize("step", ["tideover.toml", "etc", ".", "link", "linked", "state"])
def test_a_configuration_or_state_directory_that_others_can_change_is_refused(home, step):
    """On every step of the path, links included; what the sentence says to do makes it acceptable."""
    (home / "etc").mkdir()
    (home / "linked").mkdir()
    (home / "linked" / "tideover.toml").write_text("")
    (home / "etc" / "tideover.toml").symlink_to(home / "link")
    (home / "link").symlink_to("linked/tideover.toml")
    (home / "state").mkdir(mode=0o711)
    culprit = home / {"tideover.toml": "linked/tideover.toml"}.get(step, step)

    def use() -> None:
        require_trusted_path(home / "etc" / "tideover.toml")
        open_state_directory(home / "state", Log()).close()

    use()
    for spoil in (lambda: os.lchown(culprit, NOBODY.pw_uid, NOBODY.pw_gid), lambda: culprit.chmod(culprit.lstat().st_mode | 0o022)):
        if culprit.is_symlink() or step == "link":
            os.lchown(culprit, NOBODY.pw_uid, NOBODY.pw_gid)
        else:
            spoil()
        if step == "state" and culprit.stat().st_uid == 0:
            use()                       # its own directory the agent mends itself
            continue
        with pytest.raises(WrongUseError) as refused:
            use()
        command = re.search(r"(chown (?:-h )?root|chmod \S+) (\S+?)\.? ", f"{refused.value} ")
        assert command, refused.value
        subprocess.run([*command[1].split(), command[2].rstrip(".")], check=True)
        use()


@as_root
@pytest.mark.parametrize(("mode", "whom"), [(0o644, "everybody"), (0o640, "its group"), (0o604, "everybody"), (0o600, None)])
def test_a_secret_file_that_others_can_read_is_refused_and_the_configuration_itself_is_not(home, mode, whom):
    file = home / "credentials"
    file.write_text("")
    file.chmod(mode)
    require_trusted_path(file)
    if whom is None:
        require_trusted_path(file, is_secret=True)
        return
    with pytest.raises(WrongUseError, match=f"can be read by {whom}: chmod") as refused:
        require_trusted_path(file, is_secret=True)
    subprocess.run(["chmod", re.search(r"chmod (\S+)", str(refused.value))[1], file], check=True)
    require_trusted_path(file, is_secret=True)


@as_root
def test_nothing_of_a_configuration_that_others_can_write_is_used_to_recover(home, monkeypatch):
    """The usual one gives way to the defaults; one that names other directories is refused, for they count nowhere else."""
    usual = replace(LINUX, configuration=str(home / "tideover.toml"), hooks=str(home / "hooks.d"), state=str(home / "state"))
    monkeypatch.setattr("tideover.config_file.platform_paths", lambda: usual)
    monkeypatch.setattr("tideover.daemon.startup.platform_paths", lambda: usual)
    file = Path(usual.configuration)
    file.write_text('[hook.first]\nenvironment = { BASH_ENV = "/tmp/evil" }\n')
    assert trusted(load_tolerantly(None, {})).settings.hook["first"].environment == {"BASH_ENV": "/tmp/evil"}
    file.chmod(0o666)
    used = trusted(load_tolerantly(None, {}))
    assert used.settings.hook == {} and used.settings.paths.state == usual.state and "chmod" in str(used.trouble)
    file.write_text('[paths]\nstate = "/srv/elsewhere"\n')
    with pytest.raises(WrongUseError, match="chmod"):
        trusted(load_tolerantly(None, {}))


@as_root
@slow
@pytest.mark.parametrize("step", ["hook", "directory", "link", "directory of the link", "configuration", "state"])
def test_an_agent_refuses_what_others_can_write(home, step):
    with trial("others can write", f"the {step} is nobody's", REFUSED), world(home) as here:
        here.configure()
        (home / "library").mkdir()
        here.hook("20-plain")
        shutil.copy(home / "hooks.d" / "20-plain", home / "library" / "linked")
        (home / "hooks.d" / "10-linked").symlink_to(home / "library" / "linked")
        (home / "state").mkdir(mode=0o711)
        culprit = home / {"hook": "hooks.d/20-plain", "directory": "hooks.d", "link": "hooks.d/10-linked",
                          "directory of the link": "library", "configuration": "tideover.toml", "state": "state"}[step]
        os.lchown(culprit, NOBODY.pw_uid, NOBODY.pw_gid)
        if step in ("configuration", "state"):
            answer = here.command("run")
            assert answer.returncode == 2 and "chown" in answer.stderr and "Traceback" not in answer.stderr
            assert here.begun() == []
            return
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] == "held")
        time.sleep(0.3)
        assert here.metadata.acknowledgements == []
        wanted = {"hook": ["linked prepare"], "link": ["plain prepare"], "directory": [], "directory of the link": ["plain prepare"]}
        assert here.begun() == [one.replace("linked", "plain") for one in wanted[step]]
        assert "chown" in here.said() and here.command("hooks", "check").returncode == 1


@contextmanager
def under_attack(program, *words):
    """While another user's process tries it all the time, to the end."""
    attack = subprocess.Popen([PYTHON, "-c", program, *words], user="nobody", extra_groups=[])
    try:
        yield
        assert attack.poll() is None
    finally:
        attack.kill()
        attack.wait()


@as_root
@slow
def test_a_hook_cannot_be_swapped_between_the_check_and_the_start(home):
    """Another user tries it all the time: renames, links, writes, in the hook's directory and above, which is sticky."""
    with trial("hook swapped", "a stranger's process races the start, 150 runs", "what was checked is what is run") as tried:
        tried.times = 150
        bench = Bench()
        bench.directory.chmod(0o1777)
        evil = bench.directory / "evil"
        spec = bench.write("10-good", "echo good")
        with closing(bench), under_attack(RACE, str(bench.hooks), str(evil)):
            outputs = {bench.run(spec).output for _ in range(tried.times)}
            assert outputs == {"good\n"}


RACE = """
import os, sys, contextlib
hooks, evil = sys.argv[1:]
with open(evil, "w") as file: file.write("#!/bin/sh\\necho evil\\n")
os.chmod(evil, 0o777)
while True:
    for act in (lambda: os.rename(evil, hooks + "/10-good"), lambda: os.rename(hooks, evil + ".d"), lambda: os.symlink(evil, hooks + "/05-evil"),
                lambda: os.unlink(hooks + "/10-good"), lambda: os.link(evil, hooks + "/10-good"), lambda: os.truncate(hooks + "/10-good", 0),
                lambda: os.chmod(hooks, 0o777)):
        with contextlib.suppress(OSError): act()
"""


@as_root
@slow
def test_a_link_that_another_user_can_change_is_never_run_through(home):
    """The link of ours leads to one of his, which he points now at root's good file, now at his own, all the time."""
    with trial("link turned", "a stranger's process races the start, 150 runs", "refused each time, never run through") as tried:
        tried.times = 150
        bench = Bench()
        theirs = bench.directory / "theirs"
        theirs.mkdir(mode=0o755)
        good = bench.write("90-good", "echo good")
        (theirs / "turned").symlink_to(good.path)
        for made in (theirs, theirs / "turned"):
            os.lchown(made, NOBODY.pw_uid, NOBODY.pw_gid)
        (bench.hooks / "10-linked").symlink_to(theirs / "turned")
        spec = replace(good, name="linked", order=10, path=str(bench.hooks / "10-linked"))
        with closing(bench), under_attack(TURN, str(theirs), good.path):
            reports = [bench.run(spec) for _ in range(tried.times)]
        assert {(report.outcome, report.output, report.begun) for report in reports} == {(HookOutcome.REFUSED, "", False)}


TURN = """
import os, sys
theirs, good = sys.argv[1:]
with open(theirs + "/evil", "w") as file: file.write("#!/bin/sh\\necho evil\\n")
os.chmod(theirs + "/evil", 0o755)
while True:
    for target in (good, theirs + "/evil"):
        os.symlink(target, theirs + "/new")
        os.rename(theirs + "/new", theirs + "/turned")
"""


def test_write_rights_by_access_list_count_as_write_rights(home):
    if not shutil.which("setfacl"):
        pytest.skip("no setfacl here")
    file = home / "file"
    file.touch(0o644)
    if subprocess.run(["setfacl", "-m", "u:nobody:rw", str(file)], capture_output=True, check=False).returncode:
        pytest.skip("no access lists on this file system")
    assert untrusted_component(str(file)) is not None


# ---- what is the agent's own ----

def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@as_root
@slow
def test_what_the_agent_keeps_cannot_be_read_or_locked_by_other_users(home):
    with trial("others look", "modes and owners; another user tries", "state 0711, journal and lock 0600, hook's directory 0700 and its user's"), \
            world(home) as here:
        here.hook("10-theirs", f'[ $1 = recover ] || {{ cd "$TIDEOVER_STATE_DIR"; id -G > groups; touch mine; stat -c "%a %U" . > {home}/own; cat groups > {home}/groups; }}')
        (home / "own").touch(0o666)
        (home / "own").chmod(0o666)
        (home / "groups").touch(0o666)
        (home / "groups").chmod(0o666)
        here.log.touch(0o666)
        here.log.chmod(0o666)
        here.configure('[hook.theirs]\nuser = "nobody"')
        here.start()
        here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        state = home / "state"
        assert (mode(state), mode(state / "hooks"), mode(state / "hooks" / "theirs")) == (0o711, 0o711, 0o700)
        assert [mode(state / name) for name in ("journal.db", "journal.db-wal", "journal.db-shm", "agent.lock")] == [0o600] * 4
        assert mode(home / "run" / "tideover.sock") == 0o600
        assert (state / "hooks" / "theirs").stat().st_uid == NOBODY.pw_uid and (home / "own").read_text() == "700 nobody\n"
        assert set((home / "groups").read_text().split()) == {str(gid) for gid in os.getgrouplist("nobody", NOBODY.pw_gid)}
        assert not {str(gid) for gid in os.getgroups()} & set((home / "groups").read_text().split())
        for words in (["cat", str(state / "journal.db")], ["ls", str(state)], ["flock", "-n", str(state / "agent.lock"), "true"],
                      [PYTHON, "-c", f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(home / 'run' / 'tideover.sock')!r})"]):
            assert subprocess.run(words, user="nobody", extra_groups=[], capture_output=True, check=False).returncode != 0, words


def test_a_hook_of_another_user_has_none_of_the_agents_groups():
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    bench, before = Bench(), os.getgroups()
    os.setgroups([0, 4, 27, grp.getgrnam("shadow").gr_gid])
    try:
        spec = replace(bench.write("10-groups", "id -u; id -G"), user="nobody")
        uid, groups = bench.run(spec).output.splitlines()
        assert (int(uid), {int(gid) for gid in groups.split()}) == (NOBODY.pw_uid, set(os.getgrouplist("nobody", NOBODY.pw_gid)))
    finally:
        os.setgroups(before)
        bench.close()


@slow
def test_no_secret_and_no_open_file_of_the_agent_reaches_a_hook(home):
    with trial("secrets of the agent", "environment, open files, arguments", "a hook sees PATH, LANG, HOME and what it is told"), \
            world(home) as here:
        here.hook("10-spy", f'env -0 >> {home}/spied; ls -l /proc/self/fd >> {home}/files; cat > {home}/record')
        here.configure()
        secrets = {"AWS_SECRET_ACCESS_KEY": "s3cret", "NOTIFY_SOCKET": "/s3cret", "LD_PRELOAD_NOT": "s3cret", "PYTHONSTARTUP": "s3cret"}
        before = dict(os.environ)
        os.environ.update(secrets)
        try:
            here.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        event_id = here.freeze()
        here.until(lambda: here.record()["status"] == "started")
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed")
        spied = (home / "spied").read_text()
        names = {entry.partition("=")[0] for entry in spied.split("\0") if entry}
        assert {name for name in names if not name.startswith("TIDEOVER_")} <= {"PATH", "LANG", "HOME", "PWD", "_", "SHLVL", "OLDPWD"}
        assert "s3cret" not in spied + (home / "record").read_text()
        files = [line for line in (home / "files").read_text().splitlines() if "->" in line]
        assert not [line for line in files if str(home / "state" / "journal") in line or "socket:" in line or "agent.lock" in line], files
        assert len(files) == 2 * 4, "standard input, output, errors, and what ls itself has open"


# ---- what strangers write ----

@slow
def test_the_text_of_an_event_steers_no_terminal(home):
    """Environment, log lines, terminal, JSON: a description is text and stays text."""
    with trial("event says evil things", "escape sequences, line ends, shell, HTML in each field", "inert in environment, log, terminal, JSON"), \
            world(home) as here:
        here.hook("10-env", f'env -0 > {home}/env.$1; printf "\\033[2J\\233evil\\r\\n"; echo "$TIDEOVER_EVENT_ID"')
        here.start()
        event_id = here.metadata.add_event("Freeze", description=HOSTILE, event_source=f"Platform{HOSTILE}", duration_s=5,
                                           id="$(touch owned);'\"<b>|&")
        here.until(lambda: here.record()["status"] == "started")
        here.ask("status")
        texts = [here.command("status").stdout, here.command("show", "last").stdout]
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed")
        texts += [here.command(*words).stdout for words in (
            ["history"], ["show", "last"], ["pauses"], ["status"], ["doctor"], ["history", "--json"], ["show", "last", "--json"],
            ["status", "--json"], ["doctor", "--json"])]
        texts += [here.said(), here.command("show", HOSTILE).stderr]
        for text in texts:
            assert not STEERING.search(text), repr(STEERING.search(text))
        for line in here.said().splitlines():
            assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error) [a-z.-]+( |$)", line), line
        assert not [line for line in here.said().splitlines() if " forged=" in re.sub(r'"(\\.|[^"])*"', "", line)]
        own = dict(entry.split("=", 1) for entry in (home / "env.prepare").read_text().split("\0") if entry)
        assert own["TIDEOVER_EVENT_ID"] == event_id and not list(home.rglob("owned"))
        assert not [name for name, value in own.items() if STEERING.search(name + value)]
        assert json.loads(here.command("show", "last", "--json").stdout)["description"] == HOSTILE


# ---- whom it talks to ----

@slow
def test_only_the_configured_endpoint_and_time_servers_are_talked_to(home):
    """Every connect and sendto of the agent's own, over a whole life, by the kernel's own account."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    with trial("talks to others", "strace of every address, one whole life", "the endpoint and the time server, nobody else"), \
            world(home) as here:
        here.hook("10-first")
        here.configure()
        trace = home / "trace"
        lures = {"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
        with (home / "agent.log").open("ab") as log:
            agent = subprocess.Popen(
                ["strace", "-D", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg,bind,listen", "-o", str(trace), sys.executable, "-m",
                 "tideover", "run", "--config", str(home / "tideover.toml")], env={**environment(), **lures}, stdout=log, stderr=log)
        here.agents.append(agent)
        here.until(lambda: len(here.metadata.requests) > 2)
        event_id = here.freeze()
        here.until(lambda: here.record()["status"] == "started", 40)
        here.metadata.remove_event(event_id)
        here.until(lambda: here.record()["status"] == "closed", 40)
        assert here.time_server is not None
        wanted = {(here.metadata.endpoint.rpartition("/")[2].partition(":")[0], int(here.metadata.endpoint.rpartition(":")[2])),
                  (here.time_server.host, here.time_server.port)}
        called = {(match[2], int(match[1])) for match in re.finditer(
            r'sin6?_port=htons\((\d+)\), (?:sin_addr=inet_addr|.*?inet_pton)\((?:AF_INET6, )?"([^"]+)"', trace.read_text())}
        own_doors = {match[1] for match in re.finditer(r'sun_path="([^"]*)"', trace.read_text())}
        called.discard(("::1", 0))      # urllib3 tries at its import whether an IPv6 socket can be bound here
        assert called - {TIME_DAEMON} == wanted, called ^ wanted
        assert own_doors - OWN_MACHINE <= {str(home / "run" / "tideover.sock")}, own_doors


@slow
def test_another_user_on_the_socket_learns_and_changes_nothing(home):
    """Garbage at the agent's own door: answered or hung up on, and the agent lives."""
    with trial("garbage on the agent's socket", "random and half questions, 60", "one refusal each, the agent goes on") as tried, \
            world(home) as here:
        tried.times = 60
        here.start()
        for number in range(tried.times):
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(10)
                door.connect(str(home / "run" / "tideover.sock"))
                door.sendall([b"\n", b"{}\n", b'{"ask": []}\n', b'{"ask": "status"', os.urandom(200) + b"\n", b"[" * 5000 + b"\n",
                              b'{"ask": "acknowledge", "event": {"a": 1}}\n', b'{"ask": "recover", "event": "x"}\n',
                              b'{"ask": 1e999}\n', b"x" * 65536][number % 10])
                door.shutdown(socket.SHUT_WR)
                assert json.loads(door.recv(65536))["ok"] is False, number
        assert here.ask("status")["agent"]["alive"] is True and "Traceback" not in here.said()


