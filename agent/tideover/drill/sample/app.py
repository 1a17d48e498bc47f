"""The drill's sample application: a counter that must not be interrupted in the middle of a number.

It counts twenty times a second and writes each number down. While the file `hold` is there it pauses, having
put its number into `saved`; when `hold` goes it deletes `saved` and counts on. Restarted, it continues from `saved`.
Run as a program of its own, by its path; it ends when its standard input does, so it never outlives the drill.
"""
from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

BETWEEN_S = 0.05


def count(folder: Path) -> None:
    """Given a folder, count there until standard input ends."""
    hold, saved, ended = folder / "hold", folder / "saved", threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    number = int(saved.read_text(encoding="ascii")) if saved.exists() else 0
    with (folder / "numbers").open("a", encoding="ascii") as numbers:
        while not ended.wait(BETWEEN_S):
            if hold.exists():
                _save(saved, number)
                continue
            saved.unlink(missing_ok=True)
            number += 1
            numbers.write(f"{time.time():.6f} {number}\n")
            numbers.flush()


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


def _save(saved: Path, number: int) -> None:
    """Whole or not at all: a half-written number must not be gone on from."""
    if saved.exists():
        return
    draft = saved.with_suffix(".draft")
    draft.write_text(str(number), encoding="ascii")
    draft.replace(saved)


if __name__ == "__main__":
    count(Path(sys.argv[1]))
