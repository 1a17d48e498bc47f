"""How often each time source may be asked, and what it told us about that. Sends nothing.

The owner's servers are asked within the default limits of ntpd (ntp.conf, "restrict limited"; the Rate Management
page): never twice within 2 s, and not faster than every 8 s on average, with an allowance of 64 s. Others: RFC 4330
§10, not under 15 s without the operator's word. The pool's terms: an SNTP client asks at most once in 30 minutes.
A kiss-o'-death is obeyed.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tideover.clock.nouns import Origin, Source
from tideover.timekeeping.ntp import Fault, Refused

SPACING_S: Mapping[Origin, float] = MappingProxyType({
    Origin.OWNER: 8.0, Origin.HARDWARE: 0.0, Origin.DAEMON: 15.0, Origin.POOL: 1800.0, Origin.PLATFORM: 15.0,
})
# Questions that the owner's servers may be asked before the average counts: the burst of a check after a resume. ntpd
# allows 8; the rest is for the time daemon and for `tideover clock`, which ask from this address too.
_CREDIT: Mapping[Origin, float] = MappingProxyType({Origin.OWNER: 5.0})
_GAP_S = 2.1                  # between two questions to one server: ntpd's 2 s, and what the network may take off them
# All machines of a host wake from one freeze at once; servers that are not the owner's are spared the chorus.
_SPREAD_S = 0.5
_LEARNT = frozenset({Origin.DAEMON, Origin.POOL, Origin.PLATFORM})
_AFTER_RATE_S = 15.0          # RATE doubles the spacing, to this at least
_LONGEST_S = 3600.0
_BANNED_S = 86_400.0          # DENY and RSTR: "stop asking"; a day later its operator may have changed his mind
_STAY_AWAY = ("DENY", "RSTR")


class _Account:
    __slots__ = ("asked_s", "at_s", "credit", "gap_s", "is_excused", "is_rated", "most", "spacing_s")

    def __init__(self, spacing_s: float, gap_s: float, credit: float, at_s: float) -> None:
        self.spacing_s, self.gap_s, self.credit, self.most, self.at_s = spacing_s, gap_s, credit, credit, at_s
        self.asked_s = at_s - gap_s        # raw seconds of the last question
        self.is_rated = False              # the server has said RATE
        self.is_excused = False            # the next question does not wait for the credit


class Manners:
    """One account for each source; credit grows with time and one question costs 1. Times are raw seconds."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._learnt_from_s = 0.0
        self._accounts: dict[str, _Account] = {}
        self._banned_until_s: dict[str, float] = {}
        self._asked_s: dict[object, float] = {}      # by address and port: two names may lead to one server

    def resumed(self) -> None:
        """The machine has resumed: a RATE from before the stop does not hold back the first question after it, but for
        the least distance that the source's namer allows."""
        for account in self._accounts.values():
            account.is_excused = account.is_rated

    def spread(self, now_s: float) -> None:
        """A pause may just have ended for many machines: hold back what is not the owner's for a moment by chance."""
        self._learnt_from_s = now_s + _SPREAD_S * self._chance()

    def wait_s(self, source: Source, now_s: float) -> float:
        """Given a source and now, return how long until it may be asked."""
        account = self._account(source, now_s)
        credit_s = 0.0 if account.is_excused else (1.0 - account.credit) * account.spacing_s
        wait_s = max(0.0, credit_s, account.asked_s + account.gap_s - now_s)
        return max(wait_s, self._learnt_from_s - now_s) if source.origin in _LEARNT else wait_s

    def note_asked(self, source: Source, now_s: float) -> None:
        account = self._account(source, now_s)
        account.credit = max(0.0, account.credit - 1.0)
        account.asked_s, account.is_excused = now_s, False

    def asked_s(self, source: Source, now_s: float) -> float:
        """Given a source, return the raw seconds of its last question."""
        return self._account(source, now_s).asked_s

    def may_ask_address(self, address: object, now_s: float) -> bool:
        """Given an address with its port, return whether it was left alone long enough, under any name; it counts as
        asked then."""
        self._asked_s = {known: at_s for known, at_s in self._asked_s.items() if now_s - at_s < _GAP_S}
        if address in self._asked_s:
            return False
        self._asked_s[address] = now_s
        return True

    def note_not_asked(self, address: object) -> None:
        """The question that `may_ask_address` allowed could not be sent."""
        self._asked_s.pop(address, None)

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
            account.credit, account.most, account.is_rated = 0.0, 1.0, True

    def _account(self, source: Source, now_s: float) -> _Account:
        account = self._accounts.get(source.server)
        if account is None:
            spacing_s = SPACING_S[source.origin]
            gap_s = spacing_s if source.origin in _LEARNT else min(spacing_s, _GAP_S)
            account = self._accounts[source.server] = _Account(
                spacing_s, gap_s, _CREDIT.get(source.origin, 1.0), now_s)
        if account.spacing_s <= 0:
            account.credit = account.most
        else:
            account.credit = min(account.most, account.credit + (now_s - account.at_s) / account.spacing_s)
        account.at_s = now_s
        return account
