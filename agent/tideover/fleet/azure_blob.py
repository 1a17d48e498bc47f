"""The store in Azure Blob Storage: requests, access by SAS or managed identity, errors, findings for doctor.

A list of blobs has no contents. So each document that is short enough stands in its blob's metadata too, which a list
can bring along. Access by a shared access signature (SAS) of the container, or by the managed identity of this VM; the
account's key is never needed. Documentation: learn.microsoft.com, "Blob service REST API", "How managed identities for
Azure resources work with Azure virtual machines", "Service SAS".
"""
from __future__ import annotations

import json
import math
import xml.etree.ElementTree as xml
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tideover import __version__
from tideover.findings import Finding, bad, good, remark
from tideover.fleet.store import (
    OPERATION_S,
    AnswerTooLarge,
    Conflict,
    Stored,
    StoreFailed,
    StoreSettings,
    StoreTrouble,
    check_rights,
    new_tls,
)
from tideover.http_client import BODY_TOO_LARGE, HttpClient, HttpResponse, RequestFailed, TlsLayer
from tideover.stores import read_store
from tideover.system.clocks import read_raw_s
from tideover.text_safety import dot_controls

API_VERSION = "2023-11-03"       # x-ms-version
PLATFORM = "http://169.254.169.254"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F"
RENEW_BEFORE_S = 300.0           # the token's end; the platform gives a newer one from then on
LONGEST_WAIT_S = 120.0           # of a Retry-After that is kept to
LONGEST_IDLE_S = 60.0            # of a connection: the service closes one after some minutes
PAGE = 400                       # blobs of one request of a list: an answer may have 1 MiB
METADATA = "x-ms-meta-document"  # the document as base64; all metadata of a blob may have 8 KiB
LONGEST_IN_METADATA = 4096       # bytes of a document
LONGEST_QUOTED = 200             # characters of the service's own message
SAS_NEARLY_OVER_S = 7 * 86400.0

SAS_HINT = ("give the container's SAS the permissions rwdl (read, write, delete, list), and write it to "
            "fleet.sas_file")
ROLE_HINT = "give the VM's identity the role Storage Blob Data Contributor for this container"
REACH_HINT = "check fleet.store and fleet.endpoint, the account's network rules, and that no firewall is between"
OTHER_HINT = "check that fleet.endpoint is a blob service, and no proxy is between"


def open_store(settings: StoreSettings) -> AzureBlobStore:
    """Given [fleet] with a container, return it. Raise StoreFailed if its certificates or its way in cannot be used."""
    place = read_store(settings.store or "")
    base = (settings.endpoint or f"https://{place.account}.blob.core.windows.net").rstrip("/")
    url = urlsplit(base)
    if url.path == "" and not (url.hostname or "").startswith(f"{place.account}."):
        base += f"/{place.account}"             # as emulators have it
    if settings.identity and url.scheme != "https":
        raise StoreFailed(StoreTrouble.DENIED, f"cannot use the managed identity at {base}: its token would be sent "
                          "without TLS", "use an https:// address in fleet.endpoint, or fleet.sas_file")
    if not settings.identity and settings.sas_file is None:
        raise StoreFailed(StoreTrouble.DENIED, f"cannot use {base}/{place.container}: no credentials are configured",
                          "set fleet.sas_file, or fleet.identity = true")
    return AzureBlobStore(f"{base}/{place.container}", settings.prefix, tls=_tls(settings),
                          sas_file=None if settings.identity else settings.sas_file)


def _tls(settings: StoreSettings) -> TlsLayer | None:
    try:
        return new_tls(settings)
    except OSError as error:
        raise StoreFailed(StoreTrouble.DENIED, f"cannot use the certificates in {settings.ca_file}: "
                          f"{(error.strerror or str(error)).lower()}", "check fleet.ca_file: a PEM file") from error


class AzureBlobStore:
    """The container at `url`. `sas_file`: of its SAS; None: by the managed identity of this VM.

    It is one store for good: a container that was deleted and made again has none of the documents, and an ETag is
    never used twice.
    """

    generation = 0

    def __init__(self, url: str, prefix: str, *, sas_file: str | None, tls: TlsLayer | None = None,
                 platform: str = PLATFORM, read_raw_s: Callable[[], float] = read_raw_s) -> None:
        headers = {"User-Agent": f"tideover/{__version__}", "x-ms-version": API_VERSION}
        self._client = HttpClient(headers, read_raw_s, tls=tls, longest_idle_s=LONGEST_IDLE_S)
        self._url, self._prefix, self._read_raw_s = url, prefix, read_raw_s
        self._access = _SasAccess(sas_file) if sas_file is not None else _IdentityAccess(platform, read_raw_s)
        self._wait_until_raw_s = -math.inf      # Retry-After of an answer

    def get(self, key: str) -> Stored | None:
        return self._get(key, self._read_raw_s() + OPERATION_S)

    def put(self, key: str, value: bytes, expect: str | None) -> str:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/json",
                   **({"If-None-Match": "*"} if expect is None else {"If-Match": expect})}
        if len(value) <= LONGEST_IN_METADATA:
            headers[METADATA] = b64encode(value).decode()
        answer = self._ask(f"write {key}", "PUT", self._place(key), self._read_raw_s() + OPERATION_S, value, headers)
        if answer.status != 201:
            self._refuse_write(f"write {key}", answer)
        if "ETag" not in answer.headers:
            raise self._no_answer_of_ours(f"write {key}", answer, is_write=True)
        return answer.headers["ETag"]

    def delete(self, key: str, expect: str) -> None:
        answer = self._ask(f"delete {key}", "DELETE", self._place(key), self._read_raw_s() + OPERATION_S,
                           headers={"If-Match": expect})
        if answer.status != 202:
            self._refuse_write(f"delete {key}", answer)

    def list(self, prefix: str) -> Sequence[Stored]:
        until_raw_s = self._read_raw_s() + OPERATION_S
        found: list[Stored] = []
        marker, page = "", PAGE
        while True:
            asked = (f"?restype=container&comp=list&include=metadata&maxresults={page}&marker={quote(marker, safe='')}"
                     f"&prefix={quote(f'{self._prefix}/{prefix}', safe='')}")
            try:
                answer = self._ask(f"list {prefix}", "GET", asked, until_raw_s)
            except AnswerTooLarge as error:
                if page == 1:
                    raise _too_large(f"list {prefix}") from error
                page = max(page // 4, 1)
                continue
            if answer.status != 200:
                raise self._refusal(f"list {prefix}", answer)
            blobs, marker = self._read_list(prefix, answer)
            for blob in blobs:
                whole = blob.document or self._get(blob.key, until_raw_s)
                if whole is not None:           # it was deleted meanwhile
                    found.append(whole)
            if not marker:
                return found

    def list_stale(self, prefix: str) -> Sequence[Stored]:
        return self.list(prefix)

    def close(self) -> None:
        self._client.close()
        self._access.close()

    # --- what the operations are made of

    def _place(self, key: str) -> str:
        return "/" + quote(f"{self._prefix}/{key}", safe="/")

    def _get(self, key: str, until_raw_s: float) -> Stored | None:
        try:
            answer = self._ask(f"read {key}", "GET", self._place(key), until_raw_s)
        except AnswerTooLarge as error:
            raise _too_large(f"read {key}") from error
        if answer.status == 404 and _code(answer) == "BlobNotFound":
            return None
        if answer.status != 200:
            raise self._refusal(f"read {key}", answer)
        if "ETag" not in answer.headers or "x-ms-request-id" not in answer.headers:
            raise self._no_answer_of_ours(f"read {key}", answer)
        age_s = _age_s(answer.headers.get("Last-Modified"), answer.date)
        return Stored(key, answer.body, answer.headers["ETag"], age_s)

    def _read_list(self, prefix: str, answer: HttpResponse) -> tuple[Sequence[_Blob], str]:
        """Return the blobs of a page, and the marker of the next one, "" after the last."""
        try:
            tree = xml.fromstring(answer.body)
            blobs = [self._read_blob(one, answer.date) for one in tree.iterfind("Blobs/Blob")]
            if tree.tag != "EnumerationResults":
                raise ValueError
        except (xml.ParseError, LookupError, ValueError):
            raise self._no_answer_of_ours(f"list {prefix}", answer) from None
        return blobs, tree.findtext("NextMarker") or ""

    def _read_blob(self, found: xml.Element, date: str) -> _Blob:
        name = found.find("Name")
        if name is None or not name.text:
            raise ValueError
        text = unquote(name.text) if name.get("Encoded") == "true" else name.text
        key = text.removeprefix(f"{self._prefix}/")
        etag, changed = found.findtext("Properties/Etag"), found.findtext("Properties/Last-Modified")
        size, document = found.findtext("Properties/Content-Length"), found.findtext("Metadata/document")
        if document is None and size != "0":
            return _Blob(key)
        value = b64decode(document or "", validate=True)
        if not etag or str(len(value)) != size:
            return _Blob(key)           # not written by this program
        quoted = etag if etag.startswith('"') else f'"{etag}"'      # a list has it without quotation marks
        return _Blob(key, Stored(key, value, quoted, _age_s(changed, date)))

    def _ask(self, operation: str, method: str, place: str, until_raw_s: float, body: bytes | None = None,
             headers: Mapping[str, str] | None = None) -> HttpResponse:
        """One request, with fresh credentials once more where those in use are refused. Raise StoreFailed."""
        wait_s = self._wait_until_raw_s - self._read_raw_s()
        if wait_s > 0:
            raise StoreFailed(StoreTrouble.UNAVAILABLE, f"cannot {operation} in Azure Blob Storage: it has asked for "
                              f"{math.ceil(wait_s)} s without requests", "if this lasts, look at the account's limits")
        is_write = method != "GET"
        answer = self._send(operation, method, place, until_raw_s, body, headers or {}, is_write)
        if answer.status in (401, 403) and self._access.renew():
            answer = self._send(operation, method, place, until_raw_s, body, headers or {}, is_write)
        if answer.status in (429, 500, 503):
            with suppress(ValueError):
                wait_s = min(float(answer.headers.get("Retry-After", "")), LONGEST_WAIT_S)
                self._wait_until_raw_s = self._read_raw_s() + max(wait_s, 0.0)
        return answer

    def _send(self, operation: str, method: str, place: str, until_raw_s: float, body: bytes | None,
              headers: Mapping[str, str], is_write: bool) -> HttpResponse:
        try:
            query, more = self._access.credentials(until_raw_s - self._read_raw_s())
        except _NoCredentials as failure:
            raise StoreFailed(failure.trouble, f"cannot {operation} in Azure Blob Storage: {failure}",
                              failure.hint) from failure
        url = self._url + place + (f"{'&' if '?' in place else '?'}{query}" if query else "")
        left_s = until_raw_s - self._read_raw_s()
        if left_s <= 0:
            raise StoreFailed(StoreTrouble.UNAVAILABLE, f"cannot {operation} in Azure Blob Storage: no complete answer "
                              "in time", REACH_HINT)
        try:
            return self._client.exchange(method, url, left_s, body, {**headers, **more})
        except RequestFailed as error:
            if not is_write and str(error) == BODY_TOO_LARGE:
                raise AnswerTooLarge from error
            trouble = StoreTrouble.DENIED if error.is_tls else StoreTrouble.UNAVAILABLE
            where = urlsplit(self._url).netloc
            raise StoreFailed(trouble, f"cannot {operation} in Azure Blob Storage: {where}: {error}",
                              "check fleet.ca_file and the address in fleet.endpoint" if error.is_tls else REACH_HINT,
                              outcome_unknown=is_write and error.may_be_received) from error

    def _refuse_write(self, operation: str, answer: HttpResponse) -> NoReturn:
        """Given the answer to a write that was not made, raise Conflict or StoreFailed."""
        code = _code(answer)
        if code in ("BlobAlreadyExists", "ConditionNotMet", "BlobNotFound", "TargetConditionNotMet"):
            raise Conflict(operation)
        raise self._refusal(operation, answer, is_write=True)

    def _refusal(self, operation: str, answer: HttpResponse, *, is_write: bool = False) -> StoreFailed:
        """Given an answer that is no success, return what it means."""
        status, code = answer.status, _code(answer)
        what = f"cannot {operation} in Azure Blob Storage: {self._url}"
        if code in ("ContainerNotFound", "ResourceNotFound", "ContainerBeingDeleted"):
            return StoreFailed(StoreTrouble.DENIED, f"{what}: there is no such container",
                               "create it, or check fleet.store")
        if status in (401, 403):
            hint = self._access.hint
            if code in ("AuthorizationFailure", "IpAuthorizationError", "PublicAccessNotPermitted"):
                hint = f"the account's network rules or the SAS may not allow this address; {hint}"
            return StoreFailed(StoreTrouble.DENIED, f"{what}: {self._access.who} may not do this ({status} {code})",
                               hint)
        if status == 429 or status >= 500:
            return StoreFailed(StoreTrouble.UNAVAILABLE, f"{what}: it answered {status} {code or 'without a code'}",
                               "if this lasts, look at the account's limits and at Azure's status",
                               outcome_unknown=is_write and status >= 500 and code != "ServerBusy")
        if not code:
            return self._no_answer_of_ours(operation, answer, is_write=is_write)
        return StoreFailed(StoreTrouble.MALFORMED, f"{what}: it answered {status} {code}", OTHER_HINT)

    def _no_answer_of_ours(self, operation: str, answer: HttpResponse, *, is_write: bool = False) -> StoreFailed:
        return StoreFailed(StoreTrouble.MALFORMED, f"cannot {operation} in Azure Blob Storage: {self._url}: its answer "
                           f"({answer.status}) is not one of a blob service", OTHER_HINT, outcome_unknown=is_write)

    # --- for doctor

    def access_findings(self, topic: str, now: datetime) -> Sequence[Finding]:
        """Say what is known of the credentials. Asks nothing of the store."""
        return self._access.findings(topic, now)


@dataclass(frozen=True, slots=True)
class _Blob:
    """One blob of a list. `document`: with its content, where the list has it."""

    key: str
    document: Stored | None = None


class _NoCredentials(Exception):
    """There is nothing to send with a request; the message says why."""

    def __init__(self, trouble: StoreTrouble, cause: str, hint: str) -> None:
        super().__init__(cause)
        self.trouble, self.hint = trouble, hint


class _SasAccess:
    """A shared access signature in a file, which its owner may replace at any time."""

    hint = SAS_HINT

    def __init__(self, file: str) -> None:
        self._file, self._query = file, ""

    @property
    def who(self) -> str:
        return f"the SAS in {self._file}"

    def credentials(self, timeout_s: float) -> tuple[str, Mapping[str, str]]:
        """Return what to add to the query and the headers. Raise _NoCredentials."""
        self._query = self._query or self._read()
        return self._query, {}

    def renew(self) -> bool:
        """The credentials were refused. Return whether there are others now."""
        before, self._query = self._query, ""
        with suppress(_NoCredentials):
            self._query = self._read()
        return self._query not in ("", before)

    def close(self) -> None:
        pass

    def findings(self, topic: str, now: datetime) -> Sequence[Finding]:
        try:
            ends = parse_qs(self._read()).get("se", [""])[0]
            left_s = (_moment(ends) - now).total_seconds()
        except (_NoCredentials, ValueError):
            return []                   # a request says more about it; one with a stored access policy has no end
        if left_s <= 0:
            return [bad(topic, f"the SAS in {self._file} ended at {ends}", "Write a new one to this file.")]
        if left_s < SAS_NEARLY_OVER_S:
            return [remark(topic, f"the SAS in {self._file} ends at {ends}",
                           "Write a new one to this file before that.")]
        return [good(topic, f"the SAS in {self._file} is valid until {ends}")]

    def _read(self) -> str:
        try:
            text = Path(self._file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = (getattr(error, "strerror", None) or "it is no SAS").lower()
            raise _NoCredentials(StoreTrouble.DENIED, f"{self._file} cannot be read: {why}",
                                 "check fleet.sas_file") from error
        query = text.rpartition("?")[2]         # also of a whole URL
        if "sig=" not in query or any(character.isspace() for character in query):
            raise _NoCredentials(StoreTrouble.DENIED, f"{self._file} has no SAS (sv=…&sig=…) in it", SAS_HINT)
        return query


class _IdentityAccess:
    """The managed identity of this VM: a token of the metadata service, for some hours."""

    hint = ROLE_HINT
    who = "the managed identity of this VM"

    def __init__(self, platform: str, read_raw_s: Callable[[], float]) -> None:
        self._client = HttpClient({"Metadata": "true", "User-Agent": f"tideover/{__version__}"}, read_raw_s)
        self._platform, self._read_raw_s = platform, read_raw_s
        self._token, self._renew_raw_s = "", -math.inf
        self._given_raw_s = -math.inf

    def credentials(self, timeout_s: float) -> tuple[str, Mapping[str, str]]:
        if not self._token or self._read_raw_s() > self._renew_raw_s:
            self._ask(max(timeout_s, 0.0))
        return "", {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """A token that was given at this moment is not asked for again: it lacks a role."""
        is_old = self._read_raw_s() - self._given_raw_s > OPERATION_S
        if is_old:
            self._token = ""
        return is_old

    def close(self) -> None:
        self._client.close()

    def findings(self, topic: str, now: datetime) -> Sequence[Finding]:
        try:
            self._ask(OPERATION_S)
        except _NoCredentials as failure:
            return [bad(topic, str(failure), f"{failure.hint[:1].upper()}{failure.hint[1:]}.")]
        return [good(topic, "the metadata service gives a token of this VM's managed identity")]

    def _ask(self, timeout_s: float) -> None:
        hint = "turn on a managed identity for this VM, or use fleet.sas_file"
        try:
            answer = self._client.exchange("GET", self._platform + TOKEN, timeout_s)
        except RequestFailed as error:
            raise _NoCredentials(StoreTrouble.UNAVAILABLE, f"the metadata service gave no token: {error}",
                                 hint) from error
        try:
            given = json.loads(answer.body) if answer.status == 200 else {}
            token, lasts_s = str(given["access_token"]), float(given["expires_in"])
            if not token.isascii() or not token.isprintable() or not token:
                raise ValueError
        except (KeyError, TypeError, ValueError, RecursionError):
            trouble = StoreTrouble.DENIED if 400 <= answer.status < 429 else StoreTrouble.UNAVAILABLE
            quoted = dot_controls(answer.body[:LONGEST_QUOTED].decode("utf-8", "replace"))
            raise _NoCredentials(trouble, f"the metadata service gave no token, but {answer.status} {quoted}",
                                 hint) from None
        self._token, self._given_raw_s = token, self._read_raw_s()
        self._renew_raw_s = self._given_raw_s + max(lasts_s - RENEW_BEFORE_S, lasts_s / 2)


def _too_large(operation: str) -> StoreFailed:
    return StoreFailed(StoreTrouble.MALFORMED, f"cannot {operation} in Azure Blob Storage: {BODY_TOO_LARGE}",
                       "check that nothing else writes to this container")


def _code(answer: HttpResponse) -> str:
    return dot_controls(answer.headers.get("x-ms-error-code", "")[:LONGEST_QUOTED])


def _age_s(changed: str | None, date: str) -> float | None:
    """Given Last-Modified and Date, both by the service's clock, return the time between; None if one is missing."""
    try:
        return max((parsedate_to_datetime(date) - parsedate_to_datetime(changed or "")).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def _moment(text: str) -> datetime:
    """Given the time of a SAS, return it. Raise ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def findings(settings: StoreSettings) -> list[Finding]:
    """Given [fleet] with a container, ask it and return what doctor says of it. Writes and deletes one probe blob."""
    topic = "fleet store"
    try:
        store = open_store(settings)
    except StoreFailed as failure:
        return [bad(topic, failure.cause, f"{failure.hint[:1].upper()}{failure.hint[1:]}.")]
    try:
        return [*store.access_findings(topic, datetime.now(UTC)), *check_rights(topic, store)]
    finally:
        store.close()
