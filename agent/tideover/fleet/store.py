"""What a store must offer (four conditional operations), its time limits, how it fails, and how to add a store.

Adding a store
--------------
1. `agent/tideover/stores.py`: its row in `STORES` (scheme, name, module, form of its address).
2. Its module here, with `open_store(settings)` and `findings(settings)` as `StoreModule` has them. It needs one thing
   of the service: a linearizable compare-and-swap of one key, also for "is absent" and for deletion. A service whose
   replication may lose an acknowledged write will not do. The module keeps the rules of `Store`:
   - every write is conditional; an answer that is lost is `StoreFailed(outcome_unknown=True)`, never a guess;
   - an operation ends within `OPERATION_S`, all servers and retries included;
   - a read shows every write that was acknowledged before it began; `list_stale` alone may be older;
   - a failure is one of `StoreTrouble` and one sentence: what failed, why, what to do.
3. `tests/test_fleet_stores.py`: its entry in `SERVERS`. The suite is the same for all of them; run it against the real
   server, not a stand-in. A store that cannot be run in a test is not added.
4. `docs/fleet.md`: permissions, in the smallest form that the suite passes with.
"""
from __future__ import annotations

import enum
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from tideover.findings import Finding, bad, good
from tideover.http_client import TlsLayer
from tideover.stores import read_store

OPERATION_S = 2.0            # of one operation, over all servers of the store
SERVER_S = 1.0               # … of which one server gets so much while others remain


@dataclass(frozen=True, slots=True)
class Stored:
    """One document. `key`: below the fleet's prefix. `revision`: means something to its store alone, as `expect`.

    `age_s`: since its last write, by the store's own clock; None where the store does not say."""

    key: str
    value: bytes
    revision: str
    age_s: float | None = None


class StoreTrouble(enum.Enum):
    """What kept an operation from being done. The values are the metric's label `outcome`."""

    UNAVAILABLE = "unavailable"      # no complete answer in time, or a server's own failure
    DENIED = "denied"                # credentials, rights, certificates
    FULL = "full"                    # reads work, writes do not
    MALFORMED = "malformed"          # an answer that is none of this store's, or not of this operation


class StoreFailed(Exception):
    """An operation was not done, or it is not known whether; the message is one sentence with cause and hint.

    `outcome_unknown`: a write that may have been made, or may still be: read again before anything is concluded.
    """

    def __init__(self, trouble: StoreTrouble, cause: str, hint: str = "", *, outcome_unknown: bool = False) -> None:
        super().__init__(f"{cause}; {hint}" if hint else cause)
        self.trouble, self.cause, self.hint, self.outcome_unknown = trouble, cause, hint, outcome_unknown


class Conflict(Exception):
    """The document is not as expected: read it again."""


class AnswerTooLarge(Exception):
    """Inside a store's module: the answer to a read was larger than an exchange may bring; a list asks for less."""


class Store(Protocol):
    """A store, for one thread at a time; `close` may come from any thread. Keys are below the fleet's prefix.

    Every operation ends within OPERATION_S and raises StoreFailed. A write whose answer was lost may be found to be
    one's own by its content only, so each document carries a random write id.
    """

    @property
    def generation(self) -> int:
        """Rises when an answer showed that this is another store than before, or one restored from a backup: all that
        was read is void. Revisions of earlier generations conflict by themselves."""

    def get(self, key: str) -> Stored | None:
        """Return the document as it is now; None if there is none."""

    def put(self, key: str, value: bytes, expect: str | None) -> str:
        """Write if the document has the revision `expect` (None: if there is none). Return its new revision. Raise
        Conflict."""

    def delete(self, key: str, expect: str) -> None:
        """Delete the document if it has the revision `expect`. Raise Conflict, also if there is none."""

    def list(self, prefix: str) -> Sequence[Stored]:
        """Return every document whose key begins so, by key. More than one request where there are many: what changes
        meanwhile may be in it or not."""

    def list_stale(self, prefix: str) -> Sequence[Stored]:
        """As `list`, by one server's knowledge, which may be old: where the others cannot be reached. For showing to
        people alone, marked so; never for a decision."""

    def close(self) -> None:
        """End an operation in progress, and refuse every further one."""


class StoreSettings(Protocol):
    """The keys of [fleet] that say where the store is and who asks; None where one is not set."""

    @property
    def store(self) -> str | None: ...
    @property
    def endpoint(self) -> str | None: ...
    @property
    def prefix(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def password_file(self) -> str | None: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def cert_file(self) -> str | None: ...
    @property
    def key_file(self) -> str | None: ...
    @property
    def sas_file(self) -> str | None: ...
    @property
    def identity(self) -> bool: ...


class StoreModule(Protocol):
    """What the module of a store has."""

    def open_store(self, settings: StoreSettings) -> Store:
        """Given [fleet] with a store of this module's, return it. Asks nothing yet. Raise StoreFailed if a file that it
        names cannot be used."""

    def findings(self, settings: StoreSettings) -> list[Finding]:
        """Given [fleet], ask the store and return what doctor says of it. Writes and deletes one probe key."""


def load_store_module(settings: StoreSettings) -> StoreModule:
    """Given [fleet] with a store, return its store's module, with TLS loaded where the store is reached over it: an
    agent imports nothing later. Raise ValueError if `store` names none."""
    module = cast(StoreModule, import_module(read_store(settings.store or "").kind.module))
    if _is_over_tls(settings):
        import_module("tideover.http_tls")
    return module


def new_tls(settings: StoreSettings) -> TlsLayer | None:
    """Given [fleet] with a store, return the TLS that it is reached over; None: it is reached without. Raise OSError if
    a certificate or key cannot be used."""
    if not _is_over_tls(settings):
        return None
    from tideover.http_tls import Tls  # 5 MiB, which the other stores do not need
    return Tls(settings.ca_file, settings.cert_file, settings.key_file)


def _is_over_tls(settings: StoreSettings) -> bool:
    return read_store(settings.store or "").kind.is_tls and not (settings.endpoint or "").startswith("http://")


def open_store(settings: StoreSettings) -> Store:
    """Given [fleet] with a store, return the store. Asks nothing yet. Raise ValueError for an address that is none,
    StoreFailed for a certificate or key that cannot be used."""
    return load_store_module(settings).open_store(settings)


PROBE = "v1/probes/"             # below it each check of the rights writes one key, and deletes it


def check_rights(topic: str, store: Store) -> list[Finding]:
    """Given doctor's topic and a store, write, read, list and delete a probe key; return what doctor says of that."""
    key = f"{PROBE}{secrets.token_hex(8)}"
    try:
        revision = store.put(key, b"tideover doctor", None)
        try:
            found = store.get(key)
            store.list(PROBE)
        finally:
            store.delete(key, revision)
    except StoreFailed as failure:
        return [bad(topic, failure.cause, f"{failure.hint[:1].upper()}{failure.hint[1:]}." if failure.hint else "")]
    except Conflict:
        found = None
    if found is None or found.revision != revision:
        return [bad(topic, f"the store did not keep the probe key {key} as it was written",
                    "Check that nothing else deletes or rewrites keys below fleet.prefix.")]
    return [good(topic, "a probe key was written, read, listed and deleted: the rights are sufficient")]
