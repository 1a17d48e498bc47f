"""How an agent loads `requests`: without the modules that it never uses of it.

An agent stays in memory all day and asks one server over plain HTTP. `requests` imports whatever it can work with: TLS,
the guessing of character sets, compressions, a list of authorities; an agent would hold 8 MiB for it. The libraries
run without most of it (each such import has its `except ImportError`), so these modules look absent while `requests` is
loaded. The others are replaced by an empty module that imports the real one as soon as something of it is used.
Afterwards all of them can be imported as ever: `tideover.http_tls` does so where an address is https://. A `requests`
that does not load like this is loaded as any program would load it.
"""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_ABSENT = (
    "ssl", "OpenSSL", "cryptography",       # without `ssl`, pyOpenSSL would be loaded in its place
    "charset_normalizer", "simplejson", "socks",
    "brotli", "brotlicffi", "zstandard", "backports.zstd", "compression.zstd",
)
_OPENSSL_DIGESTS = "_hashlib"       # which loads libcrypto; `hashlib` has all the digests that are used without it
_OWN_DIGESTS = ("_md5", "_sha1", "_sha3", "_blake2", *(
    ("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")))
_BUILT_ON_THEM = ("requests", "urllib3", "http", "hashlib", "hmac")
_LOAD_ERRORS = (ImportError, AttributeError, NameError, TypeError, ValueError, LookupError, AssertionError, OSError,
             RuntimeError)


class _Unused(ModuleType):
    """Stands for a module, with the attributes given, and imports it when another one is asked for."""

    def __init__(self, name: str, attributes: Mapping[str, object]) -> None:
        super().__init__(name)
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):       # what the import system looks for in any module
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _version(package: str) -> str:
    from importlib.metadata import version
    return version(package)


_UNUSED: Mapping[str, Mapping[str, object]] = {
    "chardet": {"__version__": "4.0.0"},        # one that each release of requests takes; it only compares it
    "certifi": {"where": str},                  # the path of the authorities: "", as TLS is not theirs to speak
    "idna": {}, "zipfile": {},
    "importlib.metadata": {"version": _version},
}


def load_requests() -> None:
    """Import `requests` for an agent. To be called before anything else that imports it, or `hashlib`."""
    digests = (_OPENSSL_DIGESTS,) if all(map(find_spec, _OWN_DIGESTS)) else ()
    before = set(sys.modules)
    try:
        with _standing_in({"ssl": {}}, digests):        # what they have of TLS loads it when it is used
            import http.client  # noqa: F401
            import urllib.request  # noqa: F401
        with _standing_in(_UNUSED, (*_ABSENT, *digests)):
            import requests.adapters
    except _LOAD_ERRORS:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in _BUILT_ON_THEM:
                del sys.modules[name]
        import requests.adapters  # noqa: F401


@contextmanager
def _standing_in(unused: Mapping[str, Mapping[str, object]], absent: tuple[str, ...]) -> Iterator[None]:
    """As long as this lasts, the modules that are not loaded yet stand empty, or are absent."""
    ours: dict[str, ModuleType | None] = {name: _Unused(name, attributes) for name, attributes in unused.items()}
    ours |= dict.fromkeys(absent)
    ours = {name: module for name, module in ours.items() if name not in sys.modules}
    sys.modules.update(ours)        # type: ignore[arg-type]        # None: "do not look for it" (importlib's reference)
    try:
        yield
    finally:
        for name, module in list(sys.modules.items()):      # `requests` gives some of them a second name
            if isinstance(module, _Unused) or (module is None and name in ours):
                del sys.modules[name]
