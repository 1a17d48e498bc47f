"""`tideover replay`: decide again what a bundle recorded, and print where that differs."""
from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import click

from tideover.cli.options import example, print_json, print_lines, with_json, without_settings
from tideover.effects import Acknowledge, CheckClock, Effect, RunHook
from tideover.errors import EXIT_NO, EXIT_OK
from tideover.lifecycle.replay import Difference, Replayed
from tideover.model import utc_text
from tideover.text_safety import dot_controls


@click.command("replay", epilog=example("tideover replay ./bundle.tar"))
@click.argument("bundle")
@with_json
@without_settings
def command(bundle: str, as_json: bool) -> int:
    """Repeat the decisions that a bundle recorded. BUNDLE is a file of "tideover doctor --bundle".

    This version decides on the recorded observations, and its phases and effects are compared with the recorded ones.
    No hook is run and nothing is sent. Exit status 0 if all are the same, 1 if something differs (the output says
    where), 2 if the file is no bundle.
    """
    from tideover.doctor.bundle import read_recordings
    from tideover.lifecycle.replay import replay
    stretches = [[replay(segment) for segment in segments] for segments in read_recordings(Path(bundle))]
    found = list(chain.from_iterable(stretches))
    if as_json:
        print_json(replay_document(stretches))
    else:
        print_lines(map(dot_controls, replay_lines(stretches)))
    return EXIT_NO if any(one.differences for one in found) else EXIT_OK


def replay_document(stretches: Iterable[list[Replayed]]) -> dict[str, Any]:
    """Given what was replayed, return it for --json."""
    stretches = list(stretches)
    found = list(chain.from_iterable(stretches))
    return {
        "same": not any(one.differences for one in found), "observations": sum(one.steps for one in found),
        "phases": [{"at": utc_text(now.utc), "event_id": event_id, "phase": phase.value}
                   for one in found for now, event_id, phase in one.phases],
        "effects": [{"at": utc_text(now.utc), "event_id": effect_event(effect), "effect": effect_text(effect)}
                    for one in found for now, effect in one.effects],
        "differences": [{"at": utc_text(one.now.utc), "observation": one.seen, "what": one.what,
                         "recorded": one.recorded, "replayed": one.replayed}
                        for segment in found for one in segment.differences],
    }


def replay_lines(stretches: Iterable[list[Replayed]]) -> list[str]:
    """Given what was replayed, return its lines for a person: each event's phases and effects, then the differences."""
    found = list(chain.from_iterable(stretches))
    steps = [(now, event_id, phase.value) for one in found for now, event_id, phase in one.phases]
    steps += [(now, effect_event(effect), f"→ {effect_text(effect)}") for one in found for now, effect in one.effects]
    lines: list[str] = []
    for event_id in dict.fromkeys(event_id for _, event_id, _ in steps):
        lines.append(f"Event {event_id}")
        own = sorted((step for step in steps if step[1] == event_id), key=lambda step: step[0].utc)
        lines += [f"  {utc_text(now.utc)}  {text}" for now, _, text in own] + [""]
    differences = [one for segment in found for one in segment.differences]
    lines += [line for one in differences for line in _difference_lines(one)]
    return [*lines, _sum(found, differences)]


def effect_text(effect: Effect) -> str:
    """Given an effect, return it in words."""
    match effect:
        case RunHook(spec=spec, phase=phase, attempt=attempt):
            return f"{phase.value} {spec.name}" + (f" (attempt {attempt})" if attempt > 1 else "")
        case Acknowledge(attempt=attempt):
            return "acknowledge" + (f" (attempt {attempt})" if attempt > 1 else "")
        case CheckClock():
            return "check the clock"
        case _:
            return effect.key


def effect_event(effect: Effect) -> str:
    """Given an effect, return the id of its event, "" where it has none."""
    return str(getattr(effect, "event_id", ""))


def _difference_lines(one: Difference) -> list[str]:
    return [f"DIFFERS  {utc_text(one.now.utc)}  after {one.seen}: {one.what}",
            f"         recorded: {one.recorded or 'nothing'}", f"         replayed: {one.replayed or 'nothing'}", ""]


def _sum(found: list[Replayed], differences: list[Difference]) -> str:
    observations = sum(one.steps for one in found)
    if not observations:
        return "Nothing is recorded: no event has been seen."
    phases, effects = sum(len(one.phases) for one in found), sum(len(one.effects) for one in found)
    verdict = f"{len(differences)} differ from the recording" if differences else "all as recorded"
    return f"{observations} observations decided again: {phases} phases and {effects} effects, {verdict}."
