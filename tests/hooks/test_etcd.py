"""What writers through the other two members see when the etcd leader's machine stops for 10 s: etcd-move-leader."""
from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from . import seen
from .bench import Bench
from .running import DONE, FAILED, NOTHING, REFUSED, Hook
from .seen import Seen, add_up, results
from .worlds.authority import Authority
from .worlds.basics import answers, need
from .worlds.etcd import TLS_PORT, etcd, etcd_lead, etcd_leader

pytestmark = pytest.mark.slow

STOP_S = 10


def hook_on(lab: Bench, number: int, state: Path, kind: str = "freeze") -> Hook:
    """Given a machine's number, return the hook as it runs there, at its defaults."""
    return Hook("etcd-move-leader", state, inside=lab.machines[number - 1].inside, kind=kind)


def _all_keys(lab: Bench, host: str) -> str:
    """Asked until there is an answer: a cluster that has just seen a member come back may take a moment."""
    until = time.monotonic() + 20
    while True:
        told = answers(lab, "curl", "-fsS", "-d", '{"key":"AA==","range_end":"AA==","keys_only":true}',
                       f"http://{host}:2379/v3/kv/range")
        if told.strip() or time.monotonic() > until:
            return told
        time.sleep(0.5)


def under_load(lab: Bench, before: Callable[[], None], after: Callable[[], None]) -> tuple[Seen, Seen]:
    """Given what to do before and after, stop machine 1 under writes through the others; return what they saw.

    The first sum is up to the return, the second the whole. A member that has heard no leader may call an election up to two
    election times after its return, and that takes up to two more: the load goes on for longer.
    """
    hosts = [machine.address for machine in lab.machines[1:]]
    load = lab.client(seen.PYTHON, str(seen.CLIENTS / "etcd_load.py"), "50", "1", *hosts)
    time.sleep(2)
    before()
    lab.machines[0].stop_for(STOP_S)
    back = time.monotonic()
    after()
    time.sleep(6)
    rows = results(load)
    everything = json.loads(_all_keys(lab, hosts[0]))
    there = {base64.b64decode(row["key"]).decode() for row in everything["kvs"]}
    lost = len({row[3] for row in rows if row[2] is None} - there)
    return add_up([row for row in rows if row[0] < back]), add_up(rows, lost=lost)


# Without --pre-vote, which etcd has on by default from 3.5, a member that goes on after 10 s of silence may depose the leader
# before it hears of it: on some runs writes wait for an election then, whoever led. No hook can prevent that.
@pytest.mark.parametrize("flags", [("--pre-vote=true",), pytest.param((), marks=pytest.mark.extra)], ids=["pre-vote", "3.4's default"])
def test_etcd_move_leader_leaves_no_election_to_wait_for(lab: Bench, tmp_path: Path, flags: tuple[str, ...],
                                                         tell: Callable[[str, object], None]) -> None:
    """Leadership is elsewhere before the stop; a follower has nothing to do; without a majority it refuses."""
    need("etcd", "curl")
    etcd(lab, tmp_path, *flags)
    etcd_lead(lab, 1)
    bare_until_the_return, bare = under_load(lab, lambda: None, lambda: None)
    said = " ".join(flags) or "no pre-vote"
    tell(f"etcd, no hook, 10 s, {said}", f"{bare}; until the return: {bare_until_the_return}")
    etcd_lead(lab, 1)
    hook = hook_on(lab, 1, tmp_path / "state")
    assert hook_on(lab, 2, tmp_path / "state2").prepare().status == NOTHING
    took: list[float] = []

    def before() -> None:
        ran = hook.prepare(seconds_left=20)
        assert ran.status == DONE, ran.output
        assert "--pre-vote" in ran.output, "3.4 is told what may happen at the return"
        took.append(ran.took_s)

    def after() -> None:
        assert hook.recover().status == DONE
    until_the_return, saw = under_load(lab, before, after)
    tell(f"etcd, etcd-move-leader, 10 s, {said}", f"{saw}; until the return: {until_the_return}; prepare {took[0]:.1f} s")
    assert (bare.lost, saw.lost) == (0, 0)
    assert bare_until_the_return.failed > 5, "the yardstick: without a stop that hurts, the rest proves nothing"
    assert until_the_return.spares(bare_until_the_return, one_in=10)
    assert saw.spares(bare, one_in=10) or not flags
    lab.machines[2].stop()
    refused = hook_on(lab, 2, tmp_path / "state2", kind="reboot").prepare()
    lab.machines[2].go_on()
    assert refused.status == REFUSED, refused.output


def test_etcd_move_leader_trusts_and_is_trusted_by_certificate_and_password(lab: Bench, tmp_path: Path) -> None:
    """Over TLS, with client certificates and authentication on: a host that is not proved is not asked to do anything."""
    need("etcd", "curl")
    authority = Authority(tmp_path / "certificates")
    authority.signs("hook", "DNS:hook")
    etcd(lab, tmp_path, authority=authority)
    etcd_lead(lab, 1)
    plain = f"http://{lab.machines[0].address}:2379/v3/auth"
    for path, words in (("user/add", {"name": "root", "password": "right"}), ("user/grant", {"user": "root", "role": "root"}),
                        ("enable", {})):
        assert "revision" in answers(lab, "curl", "-fsS", "-d", json.dumps(words), f"{plain}/{path}")
    for password in ("right", "wrong"):
        (tmp_path / password).write_text(f"{password}\n")
    good = {"ENDPOINT": f"https://127.0.0.1:{TLS_PORT}", "CA_FILE": authority.file("ours.crt"), "USER": "root",
            "CERT_FILE": authority.file("hook.crt"), "KEY_FILE": authority.file("hook.key"), "PASSWORD_FILE": str(tmp_path / "right")}
    hook = replace(hook_on(lab, 1, tmp_path / "state"), settings=good)
    for wrong in ({"CA_FILE": authority.file("strange.crt")}, {"CERT_FILE": "", "KEY_FILE": ""},
                  {"PASSWORD_FILE": str(tmp_path / "wrong")}):
        ran = replace(hook, settings={**good, **wrong}).prepare(seconds_left=10)
        assert ran.status == FAILED and "Traceback" not in ran.output, ran.output
        assert etcd_leader(lab) == 1
    ran = hook.prepare(seconds_left=20)
    assert ran.status == DONE, ran.output
    assert etcd_leader(lab) not in (0, 1)
    assert hook.recover().status == DONE
