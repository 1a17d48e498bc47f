"""A store in the memory of one process, for the drill and for tests: several members share one `MemoryDocuments`."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tideover.fleet.store import Conflict, Stored, StoreFailed, StoreTrouble


@dataclass(slots=True)
class MemoryDocuments:
    """The documents of one store: key to value, revision and the time of the last write. From any thread."""

    generation: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _documents: dict[str, tuple[bytes, int, float]] = field(default_factory=dict)
    _revision: int = 0

    def read(self, prefix: str) -> list[Stored]:
        """Return every document whose key begins so, by key."""
        with self._lock:
            now_s = time.monotonic()
            return [Stored(key, value, self._token(revision), now_s - written_s)
                    for key, (value, revision, written_s) in sorted(self._documents.items()) if key.startswith(prefix)]

    def read_one(self, key: str) -> Stored | None:
        """Return the document; None if there is none."""
        with self._lock:
            value, revision, written_s = self._documents.get(key, (b"", 0, 0.0))
            return Stored(key, value, self._token(revision), time.monotonic() - written_s) if revision else None

    def swap(self, key: str, value: bytes | None, expect: str | None) -> str:
        """Replace what has the revision `expect` (None: what is not there) by `value` (None: nothing). Return the new
        revision. Raise Conflict."""
        with self._lock:
            present = self._documents.get(key)
            if expect != (None if present is None else self._token(present[1])):
                raise Conflict(key)
            self._revision += 1
            if value is None:
                del self._documents[key]
            else:
                self._documents[key] = (value, self._revision, time.monotonic())
            return self._token(self._revision)

    def restore(self, documents: MemoryDocuments | None = None) -> None:
        """Become what another store has (None: nothing), as a restored backup does."""
        with self._lock:
            self.generation += 1
            self._documents = {} if documents is None else dict(documents._documents)
            self._revision = 0 if documents is None else documents._revision

    def backup(self) -> MemoryDocuments:
        """Return a copy that `restore` takes."""
        with self._lock:
            return MemoryDocuments(self.generation, _documents=dict(self._documents), _revision=self._revision)

    def _token(self, revision: int) -> str:
        return f"{self.generation}-{revision}"


def _nothing_wrong(operation: str, key: str) -> None:
    pass


class MemoryStore:
    """One member's way to the documents. `before` is called with the operation's name and its key (or prefix) before it
    is done: it may wait, or raise StoreFailed, as a network would."""

    def __init__(self, documents: MemoryDocuments, before: Callable[[str, str], None] = _nothing_wrong) -> None:
        self._documents, self._before = documents, before
        self._is_closed = False

    @property
    def generation(self) -> int:
        return self._documents.generation

    def get(self, key: str) -> Stored | None:
        self._begin("get", key)
        return self._documents.read_one(key)

    def put(self, key: str, value: bytes, expect: str | None) -> str:
        self._begin("put", key)
        return self._documents.swap(key, value, expect)

    def delete(self, key: str, expect: str) -> None:
        self._begin("delete", key)
        self._documents.swap(key, None, expect)

    def list(self, prefix: str) -> Sequence[Stored]:
        self._begin("list", prefix)
        return self._documents.read(prefix)

    def list_stale(self, prefix: str) -> Sequence[Stored]:
        return self.list(prefix)

    def close(self) -> None:
        self._is_closed = True

    def _begin(self, operation: str, key: str) -> None:
        if self._is_closed:
            raise StoreFailed(StoreTrouble.UNAVAILABLE, f"cannot {operation} {key}: the store was closed by this agent")
        self._before(operation, key)
