"""What can be promised of pauses on this machine: what follows from its clocks and from who answers outside."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tideover.clock import ClockReport
from tideover.clock.checker import CALM_SAMPLING_S, CLOSE_SAMPLING_S
from tideover.clock.manners import SPACING_S
from tideover.clock.nouns import Origin, ServerReport
from tideover.doctor.findings import Finding, bad
from tideover.pause import PauseSettings
from tideover.pause.promise import OutsideSource, Promise, promises
from tideover.settings import Settings

DATE_ERROR_S = 1.0                      # a Date header has whole seconds (RFC 9110 §5.6.7)


def look_at_promises(settings: Settings, clock: ClockReport | None,
                     sends_date: bool) -> tuple[list[Finding], list[Promise]]:
    """Given the settings, what the time sources said and whether the metadata service sends a Date, return what can be
    promised, calm and while an event is near."""
    calm = _outside(settings, clock, sends_date, CALM_SAMPLING_S)
    watch = PauseSettings(settings.pause.tick_s, threshold_s=settings.pause.threshold_s)
    told = list(promises(watch, calm))
    if not calm:
        return [bad("pauses", "where all clocks of this machine stop with it, a pause can neither be seen nor measured "
                              "here: nobody outside answers", "Name time servers under [clock] servers.")], told
    close = replace(watch, tick_s=min(watch.tick_s, watch.close_tick_s))
    near = promises(close, _outside(settings, clock, sends_date, CLOSE_SAMPLING_S))
    return [], told + [replace(one, stopped=f"while an event is near, {one.stopped}") for one in near]


def _outside(settings: Settings, clock: ClockReport | None, sends_date: bool, every_s: float) -> list[OutsideSource]:
    """What compares: half of each server's round trip, for what it is wrong by itself is the same before and after."""
    answering = [one for one in clock.servers if not one.dropped and one.delay_s is not None] if clock else []
    sources = [OutsideSource(one.server, max(every_s, _spacing_s(one)), (one.delay_s or 0.0) / 2) for one in answering]
    if sends_date:
        sources.append(OutsideSource("the metadata service's Date", settings.source.poll_s, DATE_ERROR_S))
    return sources


def _spacing_s(one: ServerReport) -> float:
    """How often good manners let us ask it."""
    spacings: Sequence[float] = [SPACING_S[origin] for origin in Origin if origin.value == one.origin]
    return max(spacings, default=0.0)
