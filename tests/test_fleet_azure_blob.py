"""What the store in Azure Blob Storage makes of each answer, and of none: servers on raw sockets that say what the service's
documentation and Azurite say. The suite against the real Azurite: test_fleet_stores.py, test_fleet_azurite.py."""
from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from http_faults import answer
from played_http import PlayedRequest, PlayedServer, played_servers
from real_etcd import FleetKeys
from tideover.fleet.azure_blob import AzureBlobStore, findings
from tideover.fleet.store import Conflict, StoreFailed, StoreTrouble, open_store

SAS = "sv=2023-11-03&sr=c&sp=rcwdl&se=2099-01-01T00%3A00%3A00Z&sig=abc%3D"


@pytest.fixture
def play() -> Iterator[Callable[..., PlayedServer]]:
    with played_servers() as begin:
        yield begin


@pytest.fixture
def sas(tmp_path: Path) -> Path:
    file = tmp_path / "sas"
    file.write_text(SAS + "\n")
    return file


def keys(server: PlayedServer, sas: Path, **more: object) -> FleetKeys:
    return FleetKeys("azblob://account/fleet", endpoint=server.url, sas_file=str(sas), **more)      # type: ignore[arg-type]


def refusal(status: bytes, code: str, headers: bytes = b"") -> bytes:
    return answer(b"<Error/>", b"x-ms-request-id: 1\r\nx-ms-error-code: %s\r\n%s" % (code.encode(), headers), status)


def document(body: bytes, headers: bytes = b"") -> bytes:
    return answer(body, b'x-ms-request-id: 1\r\nETag: "0x1"\r\n' + headers)


def failure(work: Callable[[], object]) -> StoreFailed:
    with pytest.raises(StoreFailed) as found:
        work()
    return found.value


@pytest.mark.parametrize(("sent", "trouble", "words"), [
    (refusal(b"403 Forbidden", "AuthenticationFailed"), StoreTrouble.DENIED, "permissions rwdl"),
    (refusal(b"403 Forbidden", "AuthorizationFailure"), StoreTrouble.DENIED, "network rules"),
    (refusal(b"404 Not Found", "ContainerNotFound"), StoreTrouble.DENIED, "there is no such container; create it"),
    (refusal(b"503 Service Unavailable", "ServerBusy"), StoreTrouble.UNAVAILABLE, "503 ServerBusy"),
    (refusal(b"500 Internal Server Error", "OperationTimedOut"), StoreTrouble.UNAVAILABLE, "500 OperationTimedOut"),
    (refusal(b"400 Bad Request", "InvalidHeaderValue"), StoreTrouble.MALFORMED, "400 InvalidHeaderValue"),
    (answer(b"<html>"), StoreTrouble.MALFORMED, "is not one of a blob service"),
    (answer(b"<html>", status=b"201 Created"), StoreTrouble.MALFORMED, "is not one of a blob service"),
    (answer(b"nothing here", status=b"404 Not Found"), StoreTrouble.MALFORMED, "is not one of a blob service"),
    (b"", StoreTrouble.UNAVAILABLE, "closed without an answer"),
    (b"garbage\r\n", StoreTrouble.UNAVAILABLE, "not a valid HTTP answer"),
])
def test_each_answer_that_is_no_success_is_one_sentence_with_cause_and_hint(play, sas, sent, trouble, words):
    store = open_store(keys(play(sent), sas))
    for work in (lambda: store.get("v1/a"), lambda: store.put("v1/a", b"x", None), lambda: store.delete("v1/a", "1"), lambda: store.list("v1/")):
        found = failure(work)
        assert found.trouble is trouble and words in str(found) and str(found).startswith("cannot "), found


@pytest.mark.parametrize(("sent", "unknown"), [
    (b"", True), (refusal(b"500 Internal Server Error", "InternalError"), True), (answer(b"<html>", status=b"201 Created"), True),
    (refusal(b"503 Service Unavailable", "ServerBusy"), False), (refusal(b"403 Forbidden", "AuthenticationFailed"), False),
])
def test_a_write_whose_answer_leaves_it_open_is_unknown(play, sas, sent, unknown):
    server = play(sent)
    store = open_store(keys(server, sas))
    assert failure(lambda: store.put("v1/a", b"x", None)).outcome_unknown is unknown
    assert not failure(lambda: store.get("v1/a")).outcome_unknown
    server.shut()
    assert not failure(lambda: open_store(keys(server, sas)).put("v1/a", b"x", None)).outcome_unknown


@pytest.mark.parametrize("code", ["BlobAlreadyExists", "ConditionNotMet", "BlobNotFound"])
def test_a_condition_that_does_not_hold_is_a_conflict(play, sas, code):
    store = open_store(keys(play(refusal(b"412 Precondition Failed", code)), sas))
    with pytest.raises(Conflict):
        store.put("v1/a", b"x", '"0x1"')
    with pytest.raises(Conflict):
        store.delete("v1/a", '"0x1"')


def test_every_write_is_conditional_and_every_request_has_the_version_and_the_sas(play, sas):
    def reply(request: PlayedRequest) -> bytes:
        return answer(b"", b'ETag: "0x2"\r\n', b"201 Created" if request.method == "PUT" else b"202 Accepted")

    server = play(reply)
    store = open_store(keys(server, sas))
    assert store.put("v1/a b", b"x", None) == '"0x2"'
    store.put("v1/a b", b"x", '"0x1"')
    store.delete("v1/a b", '"0x2"')
    first, second, third = server.requests
    assert first.headers["if-none-match"] == "*" and second.headers["if-match"] == '"0x1"' and third.headers["if-match"] == '"0x2"'
    for request in server.requests:
        assert request.target == f"/account/fleet/tideover/v1/a%20b?{SAS}" and request.headers["x-ms-version"] == "2023-11-03"


def test_it_is_not_asked_again_before_the_time_that_it_has_asked_for_is_over(play, sas):
    now = [100.0]
    server = play(refusal(b"503 Service Unavailable", "ServerBusy", b"Retry-After: 7\r\n"))
    store = AzureBlobStore(f"{server.url}/account/fleet", "tideover", sas_file=str(sas), read_raw_s=lambda: now[0])
    failure(lambda: store.get("v1/a"))
    found = failure(lambda: store.put("v1/a", b"x", None))
    assert "asked for 7 s without requests" in str(found) and not found.outcome_unknown and len(server.requests) == 1
    now[0] += 7.5
    failure(lambda: store.get("v1/a"))
    assert len(server.requests) == 2


def test_a_new_sas_in_the_file_is_used_when_the_old_one_is_refused(play, sas):
    server = play(lambda request: document(b"x") if "sig=new" in request.target else refusal(b"403 Forbidden", "AuthenticationFailed"))
    store = open_store(keys(server, sas))
    assert failure(lambda: store.get("v1/a")).trouble is StoreTrouble.DENIED
    assert len(server.requests) == 1, "the same SAS is not tried twice"
    sas.write_text("https://account.blob.core.windows.net/fleet?sv=2023-11-03&sig=new")
    found = store.get("v1/a")
    assert found is not None and found.value == b"x"


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read: no such file"), ("a password", "has no SAS"), ("", "has no SAS")])
def test_a_file_without_a_sas_is_told(play, sas, content, words):
    sas.unlink() if content is None else sas.write_text(content)
    found = failure(lambda: open_store(keys(play(b""), sas)).get("v1/a"))
    assert found.trouble is StoreTrouble.DENIED and words in str(found)


def test_without_credentials_or_with_a_token_in_clear_text_the_store_is_not_opened(play, sas):
    server = play(b"")
    assert "no credentials are configured" in str(failure(lambda: open_store(FleetKeys("azblob://account/fleet", endpoint=server.url))))
    plain = failure(lambda: open_store(FleetKeys("azblob://account/fleet", endpoint=server.url, identity=True)))
    assert "its token would be sent without TLS" in str(plain)
    open_store(FleetKeys("azblob://account/fleet", identity=True)).close()


def test_the_managed_identitys_token_is_used_until_shortly_before_its_end_and_renewed_when_refused(play):
    now, given = [1000.0], []

    def platform(request: PlayedRequest) -> bytes:
        assert request.headers["metadata"] == "true" and "resource=https%3A%2F%2Fstorage.azure.com%2F" in request.target
        given.append(f"token-{len(given) + 1}")
        return answer(json.dumps({"access_token": given[-1], "expires_in": "3600", "token_type": "Bearer"}).encode())

    valid = "token-1"
    server = play(lambda request: document(b"x") if request.headers["authorization"] == f"Bearer {valid}" else refusal(
        b"401 Unauthorized", "InvalidAuthenticationInfo"))
    store = AzureBlobStore(f"{server.url}/fleet", "tideover", sas_file=None, platform=play(platform).url, read_raw_s=lambda: now[0])
    store.get("v1/a")
    now[0] += 3000
    store.get("v1/a")
    assert given == ["token-1"]
    valid, now[0] = "token-2", now[0] + 400
    store.get("v1/a")
    assert given == ["token-1", "token-2"]
    assert len(server.requests) == 3, "the old token is not tried first"
    valid, now[0] = "token-3", now[0] + 10
    store.get("v1/a")
    valid = "none"
    found = failure(lambda: store.get("v1/a"))
    assert len(given) == 3 and found.trouble is StoreTrouble.DENIED and "role Storage Blob Data Contributor" in str(found)


@pytest.mark.parametrize(("sent", "trouble"), [
    (answer(b'{"error":"invalid_request","error_description":"Identity not found"}', status=b"400 Bad Request"), StoreTrouble.DENIED),
    (answer(b"{}", status=b"429 Too Many Requests"), StoreTrouble.UNAVAILABLE), (answer(b"[]"), StoreTrouble.UNAVAILABLE),
    (answer(b'{"access_token": "a\\nb", "expires_in": "1"}'), StoreTrouble.UNAVAILABLE), (b"", StoreTrouble.UNAVAILABLE),
])
def test_a_vm_without_an_identity_is_told(play, sent, trouble):
    server = play(document(b"x"))
    store = AzureBlobStore(f"{server.url}/fleet", "tideover", sas_file=None, platform=play(sent).url)
    found = failure(lambda: store.get("v1/a"))
    assert found.trouble is trouble and "the metadata service gave no token" in str(found) and server.requests == []


def blob(name: str, value: bytes, metadata: bool = True) -> str:
    kept = f"<Metadata><document>{b64encode(value).decode()}</document></Metadata>" if metadata else "<Metadata/>"
    return (f"<Blob><Name>{name}</Name><Properties><Last-Modified>Sat, 28 Nov 2026 10:00:00 GMT</Last-Modified><Etag>0x1</Etag>"
            f"<Content-Length>{len(value)}</Content-Length></Properties>{kept}</Blob>")


def page(blobs: str, marker: str = "") -> bytes:
    body = f'<?xml version="1.0"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>'
    return answer(body.encode(), b"Date: Sat, 28 Nov 2026 10:01:30 GMT\r\n")


def test_a_list_follows_its_pages_and_asks_for_what_metadata_does_not_hold(play, sas):
    """Documents come with the list; a long one, and one that something else has written, is read by itself."""
    def reply(request: PlayedRequest) -> bytes:
        if "comp=list" not in request.target:
            return document(b"long" * 2000) if request.target.startswith("/account/fleet/tideover/v1/c?") else refusal(b"404 Not Found", "BlobNotFound")
        if "marker=&" in request.target:
            return page(blob("tideover/v1/a", b"one") + blob("tideover/v1/b", b"", metadata=False), "2!next")
        assert "marker=2%21next&" in request.target
        return page(blob("tideover/v1/c", b"long" * 2000, metadata=False) + blob("tideover/v1/d", b"deleted meanwhile", metadata=False))

    server = play(reply)
    found = open_store(keys(server, sas)).list("v1/")
    assert [(one.key, one.value) for one in found] == [("v1/a", b"one"), ("v1/b", b""), ("v1/c", b"long" * 2000)]
    assert found[0].revision == '"0x1"' and found[0].age_s == 90.0
    assert len(server.requests) == 4


def test_the_age_of_a_document_is_by_the_services_clock_alone(play, sas):
    sent = document(b"x", b"Date: Sat, 28 Nov 2026 10:00:10 GMT\r\nLast-Modified: Sat, 28 Nov 2026 09:00:00 GMT\r\n")
    found = open_store(keys(play(sent), sas)).get("v1/a")
    assert found is not None and found.age_s == 3610.0


def test_doctor_names_a_sas_that_is_about_to_end(play, sas):
    server = play(refusal(b"403 Forbidden", "AuthenticationFailed"))
    for days, words in ((-1, "ended at"), (2, "ends at"), (60, "is valid until")):
        sas.write_text(f"sv=1&se={(datetime.now(UTC) + timedelta(days=days)).strftime('%Y-%m-%dT%H:%M:%SZ')}&sig=x")
        found = findings(keys(server, sas))
        assert words in found[0].what and "may not do this (403 AuthenticationFailed)" in found[1].what
