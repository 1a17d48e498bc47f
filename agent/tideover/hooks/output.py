"""What a hook prints: the end of it kept, its lines handed on. Its memory does not grow with what is printed."""
from __future__ import annotations

from collections.abc import Callable

from tideover.hooks.plain_text import plain

KEPT_BYTES = 64 * 1024      # the contract's
LINES_AT_MOST = 1000        # of one run: a log must not be filled by one hook
LINE_AT_MOST = 4096         # a longer one is handed on in pieces, so that a hook without line ends costs no memory
SILENCED = "… prints more than can be logged; the end of it is kept in the record"


class Output:
    """The output of one run."""

    def __init__(self, log_line: Callable[[str], None], lines_at_most: int = LINES_AT_MOST) -> None:
        self._log_line = log_line
        self._tail = bytearray()
        self._begun = b""               # a line that has not ended yet
        self._lines_left = lines_at_most

    def take(self, data: bytes) -> None:
        """Given what was printed next, keep its end and hand its whole lines on."""
        self._tail += data
        if len(self._tail) > 2 * KEPT_BYTES:    # cut seldom: each cut moves what is kept
            del self._tail[:-KEPT_BYTES]
        if self._lines_left:
            *whole, self._begun = (self._begun + data).split(b"\n")
            for line in whole:
                self._hand_on(line)
            if len(self._begun) > LINE_AT_MOST:
                self._hand_on(self._begun)
                self._begun = b""

    def finish(self) -> str:
        """Hand on what is left of the last line and return the text that is kept."""
        if self._begun:
            self._hand_on(self._begun)
            self._begun = b""
        return self._tail[-KEPT_BYTES:].decode("utf-8", "replace")

    def _hand_on(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LINE_AT_MOST):
            if self._lines_left:
                piece = line[start:start + LINE_AT_MOST].decode("utf-8", "replace")
                self._lines_left -= 1
                self._log_line(plain(piece, LINE_AT_MOST))
                if not self._lines_left:
                    self._log_line(SILENCED)
