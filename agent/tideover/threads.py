"""How threads are started, and what happens when one meets an unforeseen exception.

It ends no process: an application may be prepared. A task answers "failed" with the reason, a loop rests and goes on,
and the exception is reported through `threading.excepthook`, which the agent points at its log. This is the only module
that catches everything.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Callable

FIRST_REST_S = 0.1          # of a loop, after an exception; doubled with each that follows
LONGEST_REST_S = 5.0        # as long as the longest interval between two polls
NO_THREAD = "the system gives no more threads; raise the limit (TasksMax, ulimit -u)"

Failed = Callable[[str], None]
"""Called on a thread that failed, with one sentence that says why."""


def start_task(name: str, task: Callable[[], object], failed: Failed | None = None) -> threading.Thread | None:
    """Carry out `task` on a daemon thread. `failed` is called with the reason if it was not completed.

    Return the thread; None where the system gives none: then `failed` has been called before this returns. Never
    raises: the engine's thread may call it.
    """
    def run() -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001
            _report(error, failed)

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:            # how `threading` says that the system gives no more
        if failed is not None:
            failed(NO_THREAD)
        return None
    return thread


class Loop:
    """A daemon thread whose `work` runs as long as the agent does. After an exception it is begun again."""

    def __init__(self, name: str, work: Callable[[], object], failed: Failed | None = None) -> None:
        """`work` returns when there is nothing more to do, and can be begun again at any moment."""
        self._work, self._failed = work, failed
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Raise RuntimeError if the system gives no thread."""
        self._thread.start()

    def end(self, timeout_s: float = 0.0) -> bool:
        """Do not begin `work` again, and wait so long for it to return. Return whether no thread is left."""
        self._ending.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        rest_s = FIRST_REST_S
        while not self._ending.is_set():
            began_s = time.monotonic()
            try:
                self._work()
                return
            except Exception as error:  # noqa: BLE001
                _report(error, self._failed)
            if time.monotonic() - began_s > LONGEST_REST_S:
                rest_s = FIRST_REST_S
            self._ending.wait(rest_s)
            rest_s = min(2 * rest_s, LONGEST_REST_S)


def reason_of(error: BaseException) -> str:
    """Given an exception, return it as a part of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    first_line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _report(error: Exception, failed: Failed | None) -> None:
    """Answer the waiting caller, then report the exception, even if one of them fails."""
    try:
        if failed is not None:
            failed(reason_of(error))
    except Exception as another:  # noqa: BLE001
        _show(another)
    _show(error)


def _show(error: Exception) -> None:
    try:
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread())))
    except Exception:  # noqa: BLE001
        return                      # the log itself does not work: nothing is left to report it with
