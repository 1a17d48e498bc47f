"""How often each source may be asked, and what it told us about that. Sends nothing.

RFC 4330 §10: not under 15 s without the operator's word, and a kiss-o'-death is obeyed. The pool's terms: an
SNTP client asks at most once in 30 minutes. The owner's own servers: once a second while a check runs.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tideover.clock.nouns import Origin, Source
from tideover.timekeeping.ntp import Fault, Refused

SPACING_S: Mapping[Origin, float] = MappingProxyType({
    Origin.OWNER: 1.0, Origin.HARDWARE: 0.0, Origin.DAEMON: 15.0, Origin.POOL: 1800.0, Origin.PLATFORM: 15.0,
})
# The owner's servers may be asked a few times out of turn (chrony's shortest burst is as long), so that a further
# pause, or a clock that was just set, is looked at at once.
_CREDIT: Mapping[Origin, float] = MappingProxyType({Origin.OWNER: 4.0})
# All machines of a host wake from one freeze at once; servers that are not the owner's are spared the chorus.
_SPREAD_S = 0.5
_LEARNT = frozenset({Origin.DAEMON, Origin.POOL, Origin.PLATFORM})
_AFTER_RATE_S = 15.0          # RATE doubles the spacing, to this at least
_LONGEST_S = 3600.0
_BANNED_S = 86_400.0          # DENY and RSTR: "stop asking"; a day later its operator may have changed his mind
_STAY_AWAY = ("DENY", "RSTR")


class _Account:
    __slots__ = ("at_s", "credit", "most", "spacing_s")

    def __init__(self, spacing_s: float, credit: float, at_s: float) -> None:
        self.spacing_s, self.credit, self.most, self.at_s = spacing_s, credit, credit, at_s


class Manners:
    """One account for each source; credit grows with time and one question costs 1. Times are raw seconds."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._learnt_from_s = 0.0
        self._accounts: dict[str, _Account] = {}
        self._banned_until_s: dict[str, float] = {}

    def spread(self, now_s: float) -> None:
        """A pause may just have ended for many machines: hold back what is not the owner's for a moment by chance."""
        self._learnt_from_s = now_s + _SPREAD_S * self._chance()

    def wait_s(self, source: Source, now_s: float) -> float:
        """Given a source and now, return how long until it may be asked."""
        account = self._account(source, now_s)
        wait_s = max(0.0, (1.0 - account.credit) * account.spacing_s)
        return max(wait_s, self._learnt_from_s - now_s) if source.origin in _LEARNT else wait_s

    def note_asked(self, source: Source, now_s: float) -> None:
        self._account(source, now_s).credit -= 1.0

    def is_banned(self, address: str, now_s: float) -> bool:
        return now_s < self._banned_until_s.get(address, now_s)

    def note_answer(self, source: Source, refused: Refused, now_s: float) -> None:
        """Given what a source's address refused us, obey it. Only answers to our own question come here as KISS."""
        if refused.fault is not Fault.KISS:
            return
        if refused.detail in _STAY_AWAY:
            self._banned_until_s[refused.address] = now_s + _BANNED_S
        elif refused.detail == "RATE":
            account = self._account(source, now_s)
            account.spacing_s = min(_LONGEST_S, max(_AFTER_RATE_S, account.spacing_s * 2))
            account.credit, account.most = 0.0, 1.0

    def _account(self, source: Source, now_s: float) -> _Account:
        account = self._accounts.get(source.server)
        if account is None:
            account = self._accounts[source.server] = _Account(
                SPACING_S[source.origin], _CREDIT.get(source.origin, 1.0), now_s)
        if account.spacing_s <= 0:
            account.credit = account.most
        else:
            account.credit = min(account.most, account.credit + (now_s - account.at_s) / account.spacing_s)
        account.at_s = now_s
        return account
