"""TLS of the HTTP client: certificates, handshake, reasons in words. Imported where an address is https:// only."""
from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path

from tideover.http_client import LimitedStream


class _LimitedTlsSocket(LimitedStream, ssl.SSLSocket):
    pass


class Tls:
    """What an `HttpClient` speaks TLS with. The server's certificate and name are always checked."""

    def __init__(self, ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None) -> None:
        """Given PEM files (no `ca_file`: the system's authorities). Raise OSError (ssl.SSLError is one) if one of them
        cannot be used. Their owner may replace them at any time: that counts for the next connection."""
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file
        self._seen = self._look()
        self._context = ssl.create_default_context(cafile=ca_file)
        self._context.sslsocket_class = _LimitedTlsSocket
        # Python ignores an end of the connection that TLS does not confirm: an answer that was cut would look whole.
        self._context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        if cert_file is not None:       # an encrypted key is refused, not asked for
            self._context.load_cert_chain(cert_file, key_file, password="")

    def wrap(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        """See `TlsLayer`, as with the two below."""
        self._read_again()
        return self._context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False,
                                         suppress_ragged_eofs=False)

    def refusal(self, error: BaseException) -> str | None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {error.verify_message.lower()}"
        if not isinstance(error, ssl.SSLError) or self.is_cut(error):
            return None
        reason = error.reason or "the server ended it"
        return f"TLS failed: {reason.lower().replace('_', ' ')}"

    def is_cut(self, error: BaseException) -> bool:
        return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or (
            isinstance(error, ssl.SSLError) and error.reason == "UNEXPECTED_EOF_WHILE_READING")

    def _read_again(self) -> None:
        """What cannot be used yet, as half of a replaced pair, waits for a later connection."""
        with suppress(OSError):
            seen = self._look()
            if seen == self._seen:
                return
            if self._ca_file is not None:
                self._context.load_verify_locations(self._ca_file)
            if self._cert_file is not None:
                self._context.load_cert_chain(self._cert_file, self._key_file, password="")
            self._seen = seen

    def _look(self) -> list[tuple[int, int, int]]:
        found = [Path(file).stat() for file in (self._ca_file, self._cert_file, self._key_file) if file is not None]
        return [(one.st_mtime_ns, one.st_size, one.st_ino) for one in found]
