"""How often each time server may be asked: the spacing by kind of source, the credit, kiss-o'-death (RATE, DENY,
RSTR)."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from tideover.clock.types import Origin, TimeSource
from tideover.timekeeping.ntp_packet import Rejected, RejectReason

# The owner's servers are asked within the default limits of ntpd (ntp.conf, "restrict limited"; the Rate Management
# page): never twice within 2 s, and not faster than every 8 s on average, with an allowance of 64 s. Others: RFC 4330
# §10, not under 15 s without the operator's word. The pool's terms: an SNTP client asks at most once in 30 minutes.
# A kiss-o'-death is obeyed.

SPACING_S: Mapping[Origin, float] = MappingProxyType({
    Origin.OWNER: 8.0, Origin.HARDWARE: 0.0, Origin.DAEMON: 15.0, Origin.POOL: 1800.0, Origin.PLATFORM: 15.0,
})
# Questions that the owner's servers may be asked before the average counts: the burst of a check after a resume. ntpd
# allows 8; the rest is for the time daemon and for `tideover clock`, which ask from this address too.
_CREDIT: Mapping[Origin, float] = MappingProxyType({Origin.OWNER: 5.0})
_RESERVE = 1.0                # … and so many beyond that for what measures a stop: paid back before the next usual one
GAP_S = 2.1                   # between two questions to one server: ntpd's 2 s, and what the network may take off them
# All machines of a host wake from one freeze at once; servers that are not the owner's are spared the chorus.
_SPREAD_S = 0.5
_LEARNT = frozenset({Origin.DAEMON, Origin.POOL, Origin.PLATFORM})
_AFTER_RATE_S = 15.0          # RATE doubles the spacing, to this at least
_LONGEST_S = 3600.0
_BANNED_S = 86_400.0          # DENY and RSTR: "stop asking"; a day later its operator may have changed his mind
_STAY_AWAY = ("DENY", "RSTR")


class _TokenBucket:
    __slots__ = ("asked_s", "at_s", "credit", "gap_s", "is_excused", "is_rated", "is_urgent", "most", "spacing_s")

    def __init__(self, spacing_s: float, gap_s: float, credit: float, at_s: float) -> None:
        self.spacing_s, self.gap_s, self.credit, self.most, self.at_s = spacing_s, gap_s, credit, credit, at_s
        self.asked_s = at_s - gap_s        # raw seconds of the last question
        self.is_rated = False              # the server has sent RATE
        self.is_excused = False            # the next question does not wait for the credit
        self.is_urgent = False             # … may use the reserve


class RateLimiter:
    """One account for each source; credit grows with time and one question costs 1. Times are raw seconds."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._learnt_from_s = 0.0
        self._accounts: dict[str, _TokenBucket] = {}
        self._banned_until_s: dict[str, float] = {}
        self._asked_s: dict[object, float] = {}      # by address and port: two names may lead to one server
        self._announced_s: dict[str, float] = {}     # by source: when a command was about to ask it

    def resumed(self) -> None:
        """The machine has resumed: a RATE from before the stop does not hold back the first question after it, but for
        the least distance that the source's namer allows."""
        for account in self._accounts.values():
            account.is_excused = account.is_rated

    def urge(self) -> None:
        """The machine may have stopped just now: the next question to each server may use the reserve, unless the
        server has sent RATE."""
        for account in self._accounts.values():
            account.is_urgent = not account.is_rated

    def is_urgent(self, source: TimeSource, now_s: float) -> bool:
        """Given a source, return whether it has not been asked since `urge`."""
        return self._account(source, now_s).is_urgent

    def note_unreachable(self, source: TimeSource, now_s: float) -> None:
        """It has no address: what is urgent does not wait for it."""
        self._account(source, now_s).is_urgent = False

    def spread(self, now_s: float) -> None:
        """A pause may just have ended for many machines: hold back what is not the owner's for a moment by chance."""
        self._learnt_from_s = now_s + _SPREAD_S * self._chance()

    def wait_s(self, source: TimeSource, now_s: float) -> float:
        """Given a source and now, return how long until it may be asked."""
        account = self._account(source, now_s)
        needed = 1.0 - _RESERVE if account.is_urgent else 1.0
        credit_s = 0.0 if account.is_excused else (needed - account.credit) * account.spacing_s
        announced_s = self._announced_s.get(source.server, float("-inf"))
        wait_s = max(0.0, credit_s, account.asked_s + account.gap_s - now_s, announced_s + GAP_S - now_s)
        return max(wait_s, self._learnt_from_s - now_s) if source.origin in _LEARNT else wait_s

    def note_asked(self, source: TimeSource, now_s: float) -> None:
        account = self._account(source, now_s)
        lowest = -_RESERVE if account.is_urgent else min(0.0, account.credit)
        account.credit = max(lowest, account.credit - 1.0)
        account.asked_s, account.is_excused, account.is_urgent = now_s, False, False

    def asked_s(self, source: TimeSource, now_s: float) -> float:
        """Given a source, return the raw seconds of its last question."""
        return self._account(source, now_s).asked_s

    def may_ask_address(self, address: object, now_s: float) -> bool:
        """Given an address with its port, return whether it was left alone long enough, under any name; it counts as
        asked then."""
        self._asked_s = {known: at_s for known, at_s in self._asked_s.items() if now_s - at_s < GAP_S}
        if address in self._asked_s:
            return False
        self._asked_s[address] = now_s
        return True

    def recent_queries(self, now_s: float) -> dict[object, float]:
        """Return how many seconds ago each address with its port was asked, of those that must be left alone yet. Any
        thread."""
        return {address: now_s - at_s for address, at_s in self._asked_s.copy().items() if now_s - at_s < GAP_S}

    def note_asked_by_agent(self, ago_s: Mapping[tuple[str | int, ...], float], now_s: float) -> None:
        """Given how many seconds ago another process of this machine asked each address, count that as ours."""
        self._asked_s.update({address: now_s - ago for address, ago in ago_s.items()})

    def note_announced(self, servers: Iterable[str], now_s: float) -> None:
        """Another process of this machine is about to ask these: leave them alone meanwhile. Any thread. After each
        time, announcements are not heard for as long again, so that no series of commands keeps this agent from
        asking."""
        for server in servers:
            if server in self._accounts and now_s - self._announced_s.get(server, float("-inf")) >= 2 * GAP_S:
                self._announced_s[server] = now_s

    def note_not_asked(self, address: object) -> None:
        """The question that `may_ask_address` allowed could not be sent."""
        self._asked_s.pop(address, None)

    def is_banned(self, address: str, now_s: float) -> bool:
        return now_s < self._banned_until_s.get(address, now_s)

    def note_answer(self, source: TimeSource, refused: Rejected, now_s: float) -> None:
        """Given what a source's address refused us, obey it. Only answers to our own question come here as KISS."""
        if refused.fault is not RejectReason.KISS:
            return
        if refused.detail in _STAY_AWAY:
            self._banned_until_s[refused.address] = now_s + _BANNED_S
        elif refused.detail == "RATE":
            account = self._account(source, now_s)
            account.spacing_s = min(_LONGEST_S, max(_AFTER_RATE_S, account.spacing_s * 2))
            account.credit, account.most, account.is_rated = 0.0, 1.0, True

    def _account(self, source: TimeSource, now_s: float) -> _TokenBucket:
        account = self._accounts.get(source.server)
        if account is None:
            spacing_s = SPACING_S[source.origin]
            gap_s = spacing_s if source.origin in _LEARNT else min(spacing_s, GAP_S)
            account = self._accounts[source.server] = _TokenBucket(
                spacing_s, gap_s, _CREDIT.get(source.origin, 1.0), now_s)
        if account.spacing_s <= 0:
            account.credit = account.most
        else:
            account.credit = min(account.most, account.credit + (now_s - account.at_s) / account.spacing_s)
        account.at_s = now_s
        return account
