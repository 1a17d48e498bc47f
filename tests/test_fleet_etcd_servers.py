"""The etcd store against real servers that are full, closed to it, stopped, killed, restored or cut off."""
from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from real_etcd import STARTED_S, EtcdMember, FleetKeys, RealEtcd, free_port, is_3_4, need, proxied, until_it_works
from tideover.findings import FindingLevel
from tideover.fleet.etcd import EtcdStore, findings
from tideover.fleet.store import Conflict, StoreFailed, StoreTrouble, open_store

pytestmark = pytest.mark.slow

WITHIN_S = 2.6
"""The bound of 2 s of an operation, and what a shared machine adds."""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[RealEtcd]:
    with RealEtcd(tmp_path / "etcd") as running:
        yield running


@pytest.fixture
def three(tmp_path: Path) -> Iterator[RealEtcd]:
    with RealEtcd(tmp_path / "etcd", 3) as running:
        yield running


def failure(work: Callable[[], object]) -> StoreFailed:
    with pytest.raises(StoreFailed) as found:
        work()
    return found.value


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def worst(keys: FleetKeys) -> tuple[FindingLevel, str]:
    """What doctor finds: the worst level, and all its words."""
    found = findings(keys)
    order = [FindingLevel.GOOD, FindingLevel.NOTE, FindingLevel.BAD]
    return max((one.state for one in found), key=order.index), " | ".join(f"{one.what} {one.do}" for one in found)


def test_users_rights_and_tokens(one: RealEtcd, tmp_path: Path) -> None:
    """Each of the answers that an etcd with users gives, with the hint that helps."""
    password = tmp_path / "password"
    password.write_text("fleet-password\n")
    with_user = {"user": "tide", "password_file": str(password)}
    early = one.store(**with_user)
    revision = early.put("v1/a", b"before there were users", None)
    assert worst(FleetKeys(one.setting, **with_user)) == (FindingLevel.NOTE, worst(FleetKeys(one.setting, **with_user))[1])
    one.turn_on_users()
    assert early.put("v1/a", b"after", revision), "it logs in by itself"

    nobody = failure(lambda: one.store().get("v1/a"))
    assert nobody.trouble is StoreTrouble.DENIED and "set fleet.user" in str(nobody)
    password.write_text("wrong")
    wrong = failure(lambda: one.store(**with_user).get("v1/a"))
    assert wrong.trouble is StoreTrouble.DENIED and "does not accept the password of the user tide" in str(wrong)
    password.write_text("fleet-password")

    early._token = "no-token.1"
    assert early.get("v1/a") is not None, "a token that is refused is renewed"
    one.control("role", "grant-permission", "members", "--prefix=true", "readwrite", "more/", user="root:root-password")
    assert early.get("v1/a") is not None, "roles that have changed void the token"

    foreign = one.store("foreign", **with_user)
    for work, right in ((lambda: foreign.get("v1/a"), "read"), (lambda: foreign.put("v1/a", b"x", None), "write"), (lambda: foreign.list(""), "read")):
        found = failure(work)
        assert found.trouble is StoreTrouble.DENIED and f"tide may not {right} below foreign/" in str(found), found
        assert "grant-permission ROLE --prefix=true readwrite foreign/" in str(found) and not found.outcome_unknown
    level, words = worst(FleetKeys(one.setting, "foreign", **with_user))
    assert level is FindingLevel.BAD and "tide may not write below foreign/" in words
    level, words = worst(FleetKeys(one.setting, **with_user))
    assert level is FindingLevel.NOTE and "sent without TLS" in words and "the rights are sufficient" in words


def test_a_user_that_counts_for_nothing_because_authentication_is_off_is_told(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("anything\n")
    with RealEtcd(tmp_path / "etcd") as one:
        open_to_all = findings(FleetKeys(one.setting, user="tide", password_file=str(password)))
        assert any("authentication is off in this etcd" in finding.what for finding in open_to_all), open_to_all
        assert not any("authentication" in finding.what for finding in findings(FleetKeys(one.setting)))


def test_a_full_database_refuses_writes_and_is_told_with_the_cure(tmp_path: Path) -> None:
    with RealEtcd(tmp_path / "etcd", flags=["--quota-backend-bytes=2097152"]) as full:
        store = full.store()
        revision, found = None, None
        for _ in range(64):
            try:
                revision = store.put("v1/a", os.urandom(100_000), revision)
            except StoreFailed as error:
                found = error
                break
        assert found is not None and found.trouble is StoreTrouble.FULL and not found.outcome_unknown
        assert "etcdctl compaction, defrag, alarm disarm" in str(found) and "auto-compaction" in str(found)
        level, words = worst(FleetKeys(full.setting))
        assert level is FindingLevel.BAD and "the NOSPACE alarm is raised" in words
        present = store.get("v1/a")
        assert present is not None
        if is_3_4():
            store.delete("v1/a", present.revision)
            assert store.get("v1/a") is None, "reads and deletions go on"
        else:           # 3.5.1 refuses a conditional deletion too
            assert failure(lambda: store.delete("v1/a", present.revision)).trouble is StoreTrouble.FULL
        assert failure(lambda: store.put("v1/b", b"x", None)).trouble is StoreTrouble.FULL
        newest = str(store._newest_revision)
        full.control("compaction", newest)
        full.control("defrag")
        full.control("alarm", "disarm")
        store.put("v1/b", b"x", None)
        assert worst(FleetKeys(full.setting))[0] is FindingLevel.GOOD


def test_a_server_without_its_gateway_is_told_with_the_key_that_turns_it_on(tmp_path: Path) -> None:
    """etcd 3.4 has it off when it is started from a configuration file."""
    need("etcd")
    member = EtcdMember(tmp_path / "etcd")

    class FromFile(EtcdMember):
        def arguments(self) -> list[str]:
            file = self.home / "etcd.conf"
            file.write_text(f"name: {member.name}\ndata-dir: {member.data}\nlisten-client-urls: {member.url}\nadvertise-client-urls: {member.url}\n"
                            f"listen-peer-urls: {member.peer_url}\n{self.more}")
            return ["--config-file", str(file)]

        more = "" if is_3_4() else "enable-grpc-gateway: false\n"       # 3.5 has it on

    without = FromFile(tmp_path / "etcd")
    keys = FleetKeys(f"etcd://{member.address}")
    store = open_store(keys)
    without.start()
    try:
        until = time.monotonic() + STARTED_S
        while "connection refused" in (words := str(failure(lambda: store.get("v1/a")))):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "404 page not found" in words and "enable-grpc-gateway: true" in words
        level, words = worst(keys)
        assert level is FindingLevel.BAD and "enable-grpc-gateway: true" in words
        without.kill()
        without.more = "enable-grpc-gateway: true\n"
        without.start()
        until_it_works(lambda: store.get("v1/a"))
    finally:
        without.kill()


def test_a_server_that_was_killed_is_refused_at_once_and_goes_on_where_it_was(one: RealEtcd) -> None:
    store = one.store()
    revision = store.put("v1/a", b"x", None)
    one.members[0].kill()
    took_s = timed(lambda: failure(lambda: store.put("v1/a", b"y", revision)))
    again = failure(lambda: store.put("v1/a", b"y", revision))
    assert took_s < WITHIN_S and again.trouble is StoreTrouble.UNAVAILABLE and not again.outcome_unknown
    assert "connection refused" in str(again)
    one.members[0].start()
    back_s = until_it_works(lambda: store.get("v1/a"))
    found = store.get("v1/a")
    assert found is not None and found.revision == revision and store.generation == 0
    store.put("v1/a", b"y", revision)
    print(f"\nkilled: refused after {took_s * 1000:.0f} ms, back {back_s:.2f} s after the start")


def test_a_store_restored_from_a_backup_is_a_new_generation(one: RealEtcd, tmp_path: Path) -> None:
    """Restored with the options of before it has the same cluster id: the revision tells."""
    need("etcdctl")
    store = one.store()
    first = store.put("v1/a", b"in the backup", None)
    one.control("snapshot", "save", str(tmp_path / "backup"))
    second = store.put("v1/a", b"after the backup", first)
    store.put("v1/b", b"after the backup", None)
    member = one.members[0]
    member.kill()
    shutil.rmtree(member.data)
    one.control("snapshot", "restore", str(tmp_path / "backup"), "--data-dir", str(member.data), "--name", member.name,
                "--initial-cluster", member.cluster, "--initial-advertise-peer-urls", member.peer_url)
    member.start()
    until_it_works(lambda: store.get("v1/a"))
    assert store.generation == 1
    found = store.get("v1/a")
    assert found is not None and found.value == b"in the backup" and store.get("v1/b") is None
    with pytest.raises(Conflict):
        store.put("v1/a", b"x", second)
    with pytest.raises(Conflict):
        store.put("v1/a", b"x", first)
    store.put("v1/a", b"x", found.revision)
    assert store.generation == 1


def test_an_emptied_store_of_another_cluster_is_a_new_generation(one: RealEtcd) -> None:
    store = one.store()
    first = store.put("v1/a", b"x", None)
    member = one.members[0]
    member.kill()
    shutil.rmtree(member.data)
    member.flags = ["--initial-cluster-token", "another"]
    member.start()
    others = one.store()
    until_it_works(lambda: others.get("v1/a"))
    for number in range(9):
        others.put(f"v1/m{number}", b"x", None)         # its revision is above the one that was seen
    until_it_works(lambda: store.get("v1/a"))
    assert store.generation == 1 and store.get("v1/a") is None
    with pytest.raises(Conflict):
        store.put("v1/a", b"x", first)
    store.put("v1/a", b"x", None)


def test_doctor_names_servers_of_two_clusters(one: RealEtcd, tmp_path: Path) -> None:
    with RealEtcd(tmp_path / "other", flags=["--initial-cluster-token", "another"]) as other:
        level, words = worst(FleetKeys(f"{one.setting},{other.members[0].address}"))
    assert level is FindingLevel.BAD and "are of 2 clusters" in words


def test_a_leader_that_stands_for_ten_seconds_costs_some_seconds_and_no_write_twice(three: RealEtcd) -> None:
    """SIGSTOP, as a pause of its machine. Each write is one on what was read, so a count shows a lost or doubled one."""
    store, longest_s, failed = three.store(), 0.0, []
    revision = store.put("v1/n", b"0", None)
    leader = three.leader()
    store._first = three.members.index(leader)          # the worst case: the one that stops is the one in use
    leader.stop()
    stopped = last = time.monotonic()
    resumed, written = False, 0
    try:
        while time.monotonic() - stopped < 14:
            if not resumed and time.monotonic() - stopped > 10:
                leader.go_on()
                resumed = True
            began = time.monotonic()
            try:
                revision = store.put("v1/n", str(written + 1).encode(), revision)
                written += 1
            except (StoreFailed, Conflict) as error:
                failed.append(error)
                assert time.monotonic() - began < WITHIN_S
                try:
                    found = store.get("v1/n")
                except StoreFailed:
                    continue
                assert found is not None and int(found.value) in (written, written + 1)
                written, revision = int(found.value), found.revision
                continue
            longest_s, last = max(longest_s, time.monotonic() - last), time.monotonic()
            time.sleep(0.02)
    finally:
        leader.go_on()
    print(f"\nleader stopped 10 s: {written} writes, {len(failed)} failed calls, longest time without one {longest_s:.2f} s")
    found = store.get("v1/n")
    assert found is not None and found.value == str(written).encode()
    assert longest_s < 8 and store.generation == 0


def test_without_a_majority_writes_are_unknown_within_two_seconds_and_only_a_stale_list_answers(three: RealEtcd) -> None:
    store = three.store()
    revision = store.put("v1/a", b"x", None)
    left = three.members[2]
    for member in three.members[:2]:
        member.kill()
    time.sleep(0.2)
    for work in (lambda: store.put("v1/a", b"y", revision), lambda: store.get("v1/a"), lambda: store.list("")):
        began = time.monotonic()
        found = failure(work)
        took_s = time.monotonic() - began
        assert found.trouble is StoreTrouble.UNAVAILABLE and took_s < WITHIN_S, (took_s, found)
    assert failure(lambda: store.put("v1/a", b"y", revision)).outcome_unknown
    assert [one.value for one in store.list_stale("v1/")] == [b"x"]
    level, words = worst(FleetKeys(three.setting))
    assert level is FindingLevel.BAD and words.count("connection refused") >= 2
    assert f"at {left.address}" in words and "it sees no leader" in words
    print(f"\ntwo of three killed: failed after {took_s:.2f} s")
    three.members[0].start()
    back_s = until_it_works(lambda: store.get("v1/a"))
    found_after = store.get("v1/a")
    assert found_after is not None
    if found_after.value == b"x":           # the write in question was never made
        store.put("v1/a", b"z", found_after.revision)
    print(f"a second member started: answers {back_s:.2f} s later; the unknown write was {'made' if found_after.value == b'y' else 'not made'}")


def test_a_member_that_is_cut_off_swallowed_or_halved_costs_a_second_at_most(three: RealEtcd) -> None:
    """Behind the first server is a proxy; two more are reachable."""
    with proxied(three.members[0].client_port) as proxy:
        store = EtcdStore([proxy.url, *three.urls[1:]], "tideover")
        store.put("v1/a", b"x", None)
        proxy.mode = "half"
        store._first = 0
        half_s = timed(lambda: store.get("v1/a"))
        proxy.cut()
        proxy.mode = "swallow"
        store._first = 0
        swallowed_s = timed(lambda: store.get("v1/a"))
        then_s = timed(lambda: store.get("v1/a"))
        proxy.shut()
        store._first = 0
        refused_s = timed(lambda: store.get("v1/a"))
    print(f"\nhalf an answer {half_s:.2f} s, swallowed {swallowed_s:.2f} s, the next {then_s * 1000:.0f} ms, refused {refused_s * 1000:.0f} ms")
    assert half_s < 1.5 and 0.9 < swallowed_s < 1.5 and then_s < 0.5 and refused_s < 0.5


def test_the_only_server_behind_a_black_hole_fails_within_two_seconds(one: RealEtcd) -> None:
    with proxied(one.members[0].client_port) as proxy:
        store = EtcdStore([proxy.url], "tideover")
        revision = store.put("v1/a", b"x", None)
        proxy.mode = "swallow"
        began = time.monotonic()
        found = failure(lambda: store.put("v1/a", b"y", revision))
        took_s = time.monotonic() - began
        assert found.outcome_unknown and 1.8 < took_s < WITHIN_S and "no complete answer in time" in str(found)
        proxy.cut()
        proxy.mode = "half"
        found = failure(lambda: store.put("v1/a", b"z", revision))
        assert found.outcome_unknown
        proxy.mode = "pass"
        after = store.get("v1/a")
        assert after is not None and after.value == b"z", "it was made although its answer was cut short"


def test_tls_with_an_authority_of_ones_own_and_a_clients_certificate(tmp_path: Path) -> None:
    need("openssl", hint="apt-get install openssl")
    from hooks.worlds.authority import Authority
    authority = Authority(tmp_path / "tls")
    authority.signs("server", "IP:127.0.0.1,DNS:localhost")
    authority.signs("client", "DNS:member")
    flags = ["--cert-file", authority.file("server.crt"), "--key-file", authority.file("server.key"), "--client-cert-auth",
             "--trusted-ca-file", authority.file("ours.crt")]
    ours = {"ca_file": authority.file("ours.crt"), "cert_file": authority.file("client.crt"), "key_file": authority.file("client.key")}
    with RealEtcd(tmp_path / "etcd", flags=flags, scheme="https") as secure:
        store = open_store(FleetKeys(secure.setting, **ours))
        until_it_works(lambda: store.get("v1/a"))
        revision = store.put("v1/a", b"x", None)
        store.delete("v1/a", revision)
        assert worst(FleetKeys(secure.setting, **ours))[0] is FindingLevel.GOOD
        strange = failure(lambda: open_store(FleetKeys(secure.setting, **{**ours, "ca_file": authority.file("strange.crt")})).get("v1/a"))
        assert strange.trouble is StoreTrouble.DENIED and "its certificate is refused" in str(strange) and "check fleet.ca_file" in str(strange)
        system = failure(lambda: open_store(FleetKeys(secure.setting, **{**ours, "ca_file": None})).get("v1/a"))
        assert "its certificate is refused" in str(system)
        bare = failure(lambda: open_store(FleetKeys(secure.setting, ca_file=ours["ca_file"])).get("v1/a"))
        assert "fleet.cert_file" in str(bare), bare         # TLS 1.3: an alert, if it is read before the reset
        plain = failure(lambda: open_store(FleetKeys(secure.setting.replace("etcds", "etcd"))).get("v1/a"))
        assert plain.trouble in (StoreTrouble.MALFORMED, StoreTrouble.UNAVAILABLE), plain

        by_name = open_store(FleetKeys(secure.setting.replace("127.0.0.1", "localhost"), **ours))
        assert by_name.get("v1/a") is None


def test_certificates_that_are_replaced_count_without_a_restart_of_the_agent(tmp_path: Path) -> None:
    """The server's, by another authority, and the client's; the pair is half replaced for a while."""
    need("openssl", hint="apt-get install openssl")
    from hooks.worlds.authority import Authority
    used, old, new = tmp_path / "used", Authority(tmp_path / "old"), Authority(tmp_path / "new")
    used.mkdir()
    for authority in (old, new):
        authority.signs("server", "IP:127.0.0.1")
        authority.signs("client", "DNS:member")

    def place(authority: Authority, *names: str) -> None:
        for name in names:
            shutil.copy(authority.file(name), used / name)

    server, client = ("server.crt", "server.key", "ours.crt"), ("client.crt", "client.key")
    place(old, *server, *client)
    flags = ["--cert-file", str(used / "server.crt"), "--key-file", str(used / "server.key"), "--client-cert-auth",
             "--trusted-ca-file", str(used / "ours.crt")]
    with RealEtcd(tmp_path / "etcd", flags=flags, scheme="https") as secure:
        store = open_store(FleetKeys(secure.setting, ca_file=str(used / "ours.crt"), cert_file=str(used / "client.crt"),
                                     key_file=str(used / "client.key")))
        until_it_works(lambda: store.put("v1/a", b"x", None))
        secure.members[0].kill()
        place(new, *server, "client.crt")
        secure.members[0].start()
        time.sleep(2.0)
        assert failure(lambda: store.get("v1/a"))
        place(new, "client.key")
        until_it_works(lambda: store.get("v1/a"))


def test_a_name_service_that_does_not_answer_holds_nothing_up(one: RealEtcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two servers the first has a name; the second answers meanwhile."""
    asked, answer, resolve = threading.Event(), threading.Event(), socket.getaddrinfo

    def never(host: str, *rest: object, **options: object) -> object:
        if host != "etcd.invalid":
            return resolve(host, *rest, **options)      # type: ignore[arg-type]
        asked.set()
        answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    store = EtcdStore([f"http://etcd.invalid:{free_port()}", one.urls[0]], "tideover")
    took_s = timed(lambda: store.put("v1/a", b"x", None))
    assert asked.is_set() and 0.9 < took_s < 1.8
    alone = EtcdStore([f"http://etcd.invalid:{free_port()}"], "tideover")
    threads = threading.active_count()
    took_s = timed(lambda: failure(lambda: alone.get("v1/a")))
    assert took_s < WITHIN_S
    found = failure(lambda: alone.get("v1/a"))
    assert "its name was not resolved in time" in str(found) and threading.active_count() <= threads + 1
    answer.set()
