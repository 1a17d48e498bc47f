"""What the etcd store makes of each answer, and of none: servers on raw sockets that say what etcd 3.4.23 was seen to say.

The same with real servers: test_fleet_etcd_servers.py."""
from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from http_faults import answer
from played_http import PlayedRequest, PlayedServer, played_servers
from real_etcd import FleetKeys
from tideover.findings import Finding
from tideover.fleet.etcd import EtcdStore
from tideover.fleet.store import Conflict, StoreFailed, StoreTrouble, open_store


def header(revision: int = 5, cluster: int = 77) -> dict[str, Any]:
    return {"header": {"cluster_id": str(cluster), "member_id": "1", "revision": str(revision), "raft_term": "2"}}


def kv(key: str, value: bytes, revision: int) -> dict[str, str]:
    return {"key": b64encode(f"tideover/{key}".encode()).decode(), "create_revision": "2", "mod_revision": str(revision), "version": "1",
            "value": b64encode(value).decode()}


def ok(**fields: Any) -> bytes:
    return answer(json.dumps({**header(), **fields}).encode(), b"Content-Type: application/json\r\n")


def error(status: bytes, code: int, message: str) -> bytes:
    return answer(json.dumps({"error": message, "message": message, "code": code}).encode(), status=status)


LOGIN = "/v3/auth/authenticate"
HALF_AN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"
UNAUTHENTICATED = error(b"401 Unauthorized", 16, "etcdserver: invalid auth token")


@pytest.fixture
def play() -> Iterator[Callable[..., PlayedServer]]:
    with played_servers() as begin:
        yield begin


def failure(work: Callable[[], object]) -> StoreFailed:
    with pytest.raises(StoreFailed) as found:
        work()
    return found.value


def shorten_if_endless(monkeypatch, sent):
    """An answer that never ends is waited for up to the bound: here a short one."""
    if sent == HALF_AN_ANSWER:
        monkeypatch.setattr("tideover.fleet.etcd.OPERATION_S", 0.06)


@pytest.mark.parametrize(("sent", "trouble", "words"), [
    (error(b"400 Bad Request", 3, "etcdserver: user name is empty"), StoreTrouble.DENIED, "set fleet.user and fleet.password_file"),
    (error(b"403 Forbidden", 7, "etcdserver: permission denied"), StoreTrouble.DENIED, "--prefix=true readwrite tideover/"),
    (error(b"429 Too Many Requests", 8, "etcdserver: mvcc: database space exceeded"), StoreTrouble.FULL, "compact its history"),
    (error(b"429 Too Many Requests", 8, "etcdserver: too many requests"), StoreTrouble.UNAVAILABLE, "too many requests"),
    (error(b"503 Service Unavailable", 14, "etcdserver: request timed out"), StoreTrouble.UNAVAILABLE, "request timed out"),
    (error(b"500 Internal Server Error", 2, "context deadline exceeded"), StoreTrouble.UNAVAILABLE, "context deadline exceeded"),
    (answer(b"404 page not found\n", status=b"404 Not Found"), StoreTrouble.UNAVAILABLE, "enable-grpc-gateway: true"),
    (answer(b"Not Found\n", status=b"404 Not Found"), StoreTrouble.MALFORMED, "names an etcd 3.4 or newer"),
    (answer(b"<html>welcome</html>"), StoreTrouble.MALFORMED, "no proxy is between"),
    (answer(b"[]"), StoreTrouble.MALFORMED, "no JSON of etcd"),
    (answer(b"[" * 5000), StoreTrouble.MALFORMED, "no JSON of etcd"),
    (answer(b'{"header": 3}'), StoreTrouble.MALFORMED, "no header of etcd"),
    (answer(b'{"header": {"cluster_id": "1", "revision": "many"}}'), StoreTrouble.MALFORMED, "no header of etcd"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", StoreTrouble.UNAVAILABLE, "not a valid HTTP answer"),
    pytest.param(HALF_AN_ANSWER, StoreTrouble.UNAVAILABLE, "in time", marks=pytest.mark.slow),
    (b"", StoreTrouble.UNAVAILABLE, "closed without an answer"),
])
def test_each_answer_that_is_no_success_is_one_sentence_with_cause_and_hint(play, sent, trouble, words, monkeypatch):
    shorten_if_endless(monkeypatch, sent)
    server = play(sent)
    store = EtcdStore([server.url], "tideover")
    for work in (lambda: store.get("v1/a"), lambda: store.put("v1/a", b"x", None), lambda: store.list("v1/")):
        found = failure(work)
        assert found.trouble is trouble, found
        assert words in str(found) and str(found).startswith("cannot ") and server.url.partition("://")[2] in str(found)
        assert "\n" not in str(found)
    store.close()


@pytest.mark.parametrize(("sent", "unknown"), [
    (error(b"503 Service Unavailable", 14, "etcdserver: request timed out"), True),
    (error(b"500 Internal Server Error", 2, "context deadline exceeded"), True),
    (answer(b"<html>welcome</html>"), True),
    pytest.param(HALF_AN_ANSWER, True, marks=pytest.mark.slow),
    (b"", True),
    (error(b"403 Forbidden", 7, "etcdserver: permission denied"), False),
    (error(b"429 Too Many Requests", 8, "etcdserver: mvcc: database space exceeded"), False),
])
def test_a_write_whose_answer_leaves_it_open_is_unknown(play, sent, unknown, monkeypatch):
    """A read is never unknown, nor is a write that no server has received."""
    shorten_if_endless(monkeypatch, sent)
    server = play(sent)
    store = EtcdStore([server.url], "tideover")
    assert failure(lambda: store.put("v1/a", b"x", None)).outcome_unknown is unknown
    assert failure(lambda: store.delete("v1/a", "0-3")).outcome_unknown is unknown
    assert not failure(lambda: store.get("v1/a")).outcome_unknown
    server.shut()
    refused = failure(lambda: EtcdStore([server.url], "tideover").put("v1/a", b"x", None))
    assert not refused.outcome_unknown and "connection refused" in str(refused)


def test_a_document_that_is_no_base64_is_malformed(play):
    server = play(ok(kvs=[{**kv("v1/a", b"", 3), "value": "%%%"}]))
    assert failure(lambda: EtcdStore([server.url], "tideover").get("v1/a")).trouble is StoreTrouble.MALFORMED
    server.reply = lambda *_: ok(kvs="none")
    assert failure(lambda: EtcdStore([server.url], "tideover").get("v1/a")).trouble is StoreTrouble.MALFORMED


@pytest.mark.parametrize("sent", [{"kvs": 5}, {"kvs": None}, {"kvs": {"a": 1}}, {"kvs": True}, {"header": []}, {"header": "x"},
                                  {"header": {"cluster_id": "1", "revision": float("inf")}}, {"responses": [{"response_range": {"kvs": 7}}]},
                                  {"responses": {}}], ids=str)
def test_an_answer_of_another_form_is_malformed_whatever_was_asked(play, sent):
    store = EtcdStore([play(ok(**sent)).url], "tideover")
    assert failure(lambda: store.put("v1/a", b"x", "0-3")).trouble is StoreTrouble.MALFORMED
    if "responses" not in sent:
        assert failure(lambda: store.get("v1/a")).trouble is StoreTrouble.MALFORMED
        assert failure(lambda: store.list("v1/")).trouble is StoreTrouble.MALFORMED
    assert all(isinstance(one, Finding) for one in store.server_findings("fleet store"))


def test_the_next_server_is_asked_where_one_fails_and_first_from_then_on(play):
    """Also for an election that is under way, and for one without a gateway."""
    for sent in (b"", error(b"503 Service Unavailable", 14, "etcdserver: leader changed"), answer(b"404 page not found\n", status=b"404 Not Found")):
        failing, good = play(sent), play(ok())
        store = EtcdStore([failing.url, good.url], "tideover")
        assert store.get("v1/a") is None
        assert store.get("v1/a") is None
        assert (len(failing.requests), len(good.requests)) == (1, 2)


def test_what_every_server_would_say_ends_the_operation(play):
    denying, good = play(error(b"403 Forbidden", 7, "etcdserver: permission denied")), play(ok())
    assert failure(lambda: EtcdStore([denying.url, good.url], "tideover").get("v1/a")).trouble is StoreTrouble.DENIED
    assert good.requests == []


def test_of_several_servers_that_fail_the_sentence_names_each(play):
    one, other, third = play(b""), play(b""), play(error(b"503 Service Unavailable", 14, "etcdserver: leader changed"))
    words = str(failure(lambda: EtcdStore([one.url, other.url, third.url], "tideover").get("v1/a")))
    names = [server.url.partition("://")[2] for server in (one, other, third)]
    assert f"{names[0]}, {names[1]}: the connection was closed without an answer; {names[2]}: it answered 503, etcdserver: leader changed" in words


def test_a_pause_of_this_machine_before_anything_was_asked_is_a_failure_like_others(play):
    """The raw clock may have gone on: then no time is left for the first server."""
    server = play(ok())
    clock = iter([100.0, 130.0, 130.0, 160.0, 160.0])
    store = EtcdStore([server.url], "tideover", read_raw_s=lambda: next(clock, 160.0))
    found = failure(lambda: store.put("v1/a", b"x", None))
    assert found.trouble is StoreTrouble.UNAVAILABLE and not found.outcome_unknown and server.requests == []


def test_the_user_logs_in_and_a_token_that_is_refused_is_renewed_once(play, tmp_path):
    password = tmp_path / "password"
    password.write_text("first\n")
    given: list[str] = []

    def reply(request: PlayedRequest) -> bytes:
        if request.target == LOGIN:
            given.append(json.loads(request.body)["password"])
            return answer(json.dumps({**header(), "token": f"token-{len(given)}"}).encode())
        return ok() if request.headers.get("authorization") == valid else UNAUTHENTICATED

    valid = "token-1"
    server = play(reply)
    store = EtcdStore([server.url], "tideover", user="tide", password_file=str(password))
    store.get("v1/a")
    store.get("v1/a")
    assert given == ["first"]
    password.write_text("second\n")
    valid = "token-2"
    store.get("v1/a")
    assert given == ["first", "second"], "the file is read at each login"
    valid = "none of these"
    found = failure(lambda: store.get("v1/a"))
    assert found.trouble is StoreTrouble.DENIED and len(given) == 3


def test_roles_that_have_changed_and_users_that_were_turned_on_need_a_login_too(play, tmp_path):
    (tmp_path / "password").write_text("secret")
    on = False

    def reply(request: PlayedRequest) -> bytes:
        if request.target == LOGIN:
            return answer(json.dumps({**header(), "token": "t2"}).encode()) if on else error(
                b"412 Precondition Failed", 9, "etcdserver: authentication is not enabled")
        if on and request.headers.get("authorization") != "t2":
            return error(b"400 Bad Request", 3, "etcdserver: user name is empty" if "authorization" not in request.headers
                         else "etcdserver: revision of auth store is old")
        return ok()

    server = play(reply)
    store = EtcdStore([server.url], "tideover", user="tide", password_file=str(tmp_path / "password"))
    store.get("v1/a")
    on = True
    store.get("v1/a")
    store._token = "t1"
    store.get("v1/a")
    assert [one.target for one in server.requests].count(LOGIN) == 3


def test_a_wrong_password_and_a_file_that_is_missing_are_told(play, tmp_path):
    server = play(error(b"400 Bad Request", 3, "etcdserver: authentication failed, invalid user ID or password"))
    missing = EtcdStore([server.url], "tideover", user="tide", password_file=str(tmp_path / "none"))
    assert "none cannot be read: no such file or directory; check fleet.password_file" in str(failure(lambda: missing.get("v1/a")))
    (tmp_path / "password").write_text("x")
    wrong = EtcdStore([server.url], "tideover", user="tide", password_file=str(tmp_path / "password"))
    found = failure(lambda: wrong.get("v1/a"))
    assert found.trouble is StoreTrouble.DENIED and "does not accept the password of the user tide" in str(found)


@pytest.mark.parametrize("after", [header(revision=9, cluster=78), header(revision=4)], ids=["another cluster", "an earlier revision"])
def test_another_or_a_restored_store_is_a_new_generation_in_which_old_revisions_conflict(play, after):
    """A backup that is restored with the same options has the same cluster id, but its revision is below one already seen."""
    server = play(answer(json.dumps({**header(), "kvs": [kv("v1/a", b"x", 3)], "count": "1"}).encode()))
    store = EtcdStore([server.url], "tideover")
    before = store.get("v1/a")
    assert before is not None and store.generation == 0
    server.reply = lambda *_: answer(json.dumps({**after, "kvs": [kv("v1/a", b"x", 3)], "count": "1"}).encode())
    now = store.get("v1/a")
    assert store.generation == 1 and now is not None and now.revision != before.revision
    asked = len(server.requests)
    with pytest.raises(Conflict):
        store.put("v1/a", b"y", before.revision)
    assert len(server.requests) == asked
    store.get("v1/a")
    assert store.generation == 1


def test_a_write_that_meets_another_store_is_unknown(play):
    """Its revisions could be the same by chance."""
    server = play(ok())
    store = EtcdStore([server.url], "tideover")
    store.get("v1/a")
    server.reply = lambda *_: answer(json.dumps({**header(revision=3), "succeeded": True, "responses": []}).encode())
    found = failure(lambda: store.put("v1/a", b"x", "0-2"))
    assert found.outcome_unknown and store.generation == 1


def test_a_stale_list_asks_for_one_servers_knowledge_and_never_makes_a_generation(play):
    asked: list[dict[str, Any]] = []

    def reply(request: PlayedRequest) -> bytes:
        fields = json.loads(request.body)
        asked.append(fields)
        return answer(json.dumps(header(2 if fields.get("serializable") else 5)).encode())

    store = EtcdStore([play(reply).url], "tideover")
    store.list("v1/")
    store.list_stale("v1/")
    assert store.generation == 0 and [one.get("serializable", False) for one in asked] == [False, True]


def test_a_write_that_was_made_although_its_answer_was_lost_is_known_by_its_content(play):
    """The second server shows what is there: the same bytes, with the writer's random id in them."""
    lost = play(b"")
    second = play(ok(responses=[{"response_range": {"kvs": [kv("v1/a", b"mine", 6)], "count": "1"}}]))
    store = EtcdStore([lost.url, second.url], "tideover")
    assert store.put("v1/a", b"mine", None) == "0-6"
    with pytest.raises(Conflict):
        EtcdStore([lost.url, second.url], "tideover").put("v1/a", b"another's", None)
    with pytest.raises(Conflict):
        store.put("v1/a", b"mine", None)        # the first answer was no loss: it is there already


def test_a_deletion_whose_answer_was_lost_is_made_where_the_document_is_gone(play):
    lost, second = play(b""), play(ok(responses=[{"response_range": {}}]))
    EtcdStore([lost.url, second.url], "tideover").delete("v1/a", "0-6")
    with pytest.raises(Conflict):
        EtcdStore([second.url], "tideover").delete("v1/a", "0-6")


def test_a_long_list_comes_in_pages_and_a_page_that_is_too_large_in_smaller_ones(play):
    documents = [kv(f"v1/members/m{number:03}", b"x" * 9000, 3) for number in range(450)]
    limits: list[int] = []

    def reply(request: PlayedRequest) -> bytes:
        fields = json.loads(request.body)
        limits.append(int(fields["limit"]))
        rest = [one for one in documents if b64decode(one["key"]) >= b64decode(fields["key"])]
        page = rest[:limits[-1]]
        return ok(kvs=page, more=len(rest) > len(page), count=str(len(rest)))

    found = EtcdStore([play(reply).url], "tideover").list("v1/members/")
    assert [one.key for one in found] == [f"v1/members/m{number:03}" for number in range(450)]
    assert limits == [200] + 9 * [50]


def test_a_store_closed_while_it_waits_ends_at_once(play):
    waiting, done = threading.Event(), threading.Event()

    def reply(*_: object) -> bytes:
        waiting.set()
        done.wait(10)
        return b""

    store = EtcdStore([play(reply).url], "tideover")
    ended: list[StoreFailed] = []
    thread = threading.Thread(target=lambda: ended.append(failure(lambda: store.get("v1/a"))))
    thread.start()
    waiting.wait(5)
    store.close()
    thread.join(5)
    done.set()
    assert "ended by this agent" in str(ended[0])


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_be_used_is_told_when_the_store_is_opened(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    found = failure(lambda: open_store(FleetKeys("etcds://127.0.0.1:1", ca_file=str(file))))
    assert found.trouble is StoreTrouble.DENIED and "cannot use the certificates for etcd" in str(found) and str(file) in str(found)
