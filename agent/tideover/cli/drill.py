"""`tideover drill`: options and defaults, the questions before it starts, what it prints while it runs and at
its end.
"""
from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from tideover.cli.options import check_named, duration_between, example, load, print_json, with_config, with_json
from tideover.cli.terminal import wrapped
from tideover.drill import (
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    CheckResult,
    DrillEnvironment,
    DrillOutcome,
    DrillPlan,
    FleetDrill,
    FleetOutcome,
    TimelineLine,
    hooks_that_run,
    run_drill,
    user_hooks,
)
from tideover.drill.fleet import DEFAULT_PAUSE_S as FLEET_PAUSE_S
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError, WrongUseError
from tideover.humanize import length_text
from tideover.model import ANNOUNCED, Kind
from tideover.platforms import SIMULATED_KINDS, platform_named
from tideover.settings import default_settings
from tideover.simulator import load_simulator

KINDS = [kind.value for kind in Kind if kind in ANNOUNCED]
LINE_INDENT = 23                # "  +12.34 s  platform   "
NARROWEST, WIDEST = 60, 110     # longer lines are hard to read
MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}
PLAIN_MARKS = {"✓": "+", "✗": "X", "–": "-"}     # where the terminal's character set has no better ones


ENDINGS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""What ends a program from outside, beside Ctrl-C, as far as this system has it."""



class Interrupted(TideoverError):
    """The drill was interrupted by Ctrl-C, or its terminal was closed."""


@click.command("drill", epilog=example("tideover drill --kind reboot --pause 8s"))
@click.option("--kind", type=click.Choice(KINDS), default="freeze", show_default=True, help="The kind of event.")
@click.option("--platform", "platform_kind", type=click.Choice(SIMULATED_KINDS), default=SIMULATED_KINDS[0],
              show_default=True, help="The platform that is simulated.")
@click.option("--pause", callback=duration_between(SHORTEST_PAUSE_S, LONGEST_PAUSE_S), default="5s", metavar="DURATION",
              show_default=True,
              help="How long the machine is paused.")
@click.option("--cancel", is_flag=True, help="Cancel the event while prepare runs.")
@click.option("--fleet", "with_fleet", is_flag=True,
              help="Rehearse three machines that coordinate: a shared event, then one event each with one slot.")
@click.option("--hooks", "with_own_hooks", is_flag=True,
              help="Run the hooks of the configured directory instead of the built-in samples.")
@with_json
@with_config
@click.pass_context
def command(context: click.Context, /, with_own_hooks: bool, with_fleet: bool, as_json: bool, config: str | None,
            **chosen: Any) -> int:
    """Rehearse a maintenance event end to end and check each guarantee.

    The drill runs a simulated metadata service and time server, a real agent and real hooks in a temporary directory,
    and stops the agent's process to simulate the pause. It changes nothing outside that directory and never contacts
    the platform. Exit status 0 only if every guarantee held.

    With --fleet there are three agents, three metadata services of one availability set, and a store in the drill's
    memory. Each pause takes 2s, unless --pause says otherwise.
    """
    if with_fleet:
        check_named(context, config)
        _require_alone(context)
        pause_s = chosen["pause"] if _is_given(context, "pause") else FLEET_PAUSE_S
        return _drill_fleet(pause_s, as_json=as_json)
    plan = _plan(context, config, with_own_hooks, **chosen)
    _must_run_hooks(plan)
    stage = DrillEnvironment(plan)
    with _all_endings_shown():
        try:
            outcome = _hold(stage, plan, silent=as_json)
        except KeyboardInterrupt:
            raise _interrupted(stage) from None
    if as_json:
        print_json(_document(outcome, stage))
    else:
        _show_verdict(outcome, stage)
    return EXIT_OK if outcome.held and not stage.left_prepared else EXIT_NO


def _is_given(context: click.Context, parameter: str) -> bool:
    return context.get_parameter_source(parameter) is not ParameterSource.DEFAULT


def _require_alone(context: click.Context) -> None:
    """Raise WrongUseError for an option that means nothing for a fleet."""
    for name, option in (("kind", "--kind"), ("platform_kind", "--platform"), ("cancel", "--cancel"),
                         ("with_own_hooks", "--hooks")):
        if _is_given(context, name):
            raise WrongUseError("cannot drill a fleet", f"{option} cannot be combined with --fleet",
                                "Omit one of the two options.")


def _drill_fleet(pause_s: float, *, as_json: bool) -> int:
    drill = FleetDrill(pause_s, (lambda line: None) if as_json else _show_line)
    if not as_json:
        click.echo("\n".join(wrapped(
            f"Rehearsal of four events on three machines of one availability set ({length_text(pause_s)} paused each), "
            "in this machine's memory and temporary directory. The platform is never contacted.", _width())) + "\n")
    with _all_endings_shown():
        try:
            with _undisturbed_end(drill):
                outcome = drill.run()
        except KeyboardInterrupt:
            raise Interrupted("the drill was interrupted", "its processes were ended and its directories were removed",
                              "Run it again to see a complete rehearsal.") from None
    if as_json:
        print_json(_fleet_document(outcome, drill))
        return EXIT_OK if outcome.held else EXIT_NO
    click.echo("\nChecks:")
    for finding in outcome.findings:
        _show_finding(finding)
    broken = sum(finding.held is False for finding in outcome.findings)
    last = "Every check passed." if outcome.held else (
        f"{broken} of {len(outcome.findings)} checks failed. The drill's directories are kept: "
        f"{', '.join(map(str, drill.folders))}")
    click.echo("\n" + "\n".join(wrapped(last, _width())))
    return EXIT_OK if outcome.held else EXIT_NO


def _fleet_document(outcome: FleetOutcome, drill: FleetDrill) -> dict[str, Any]:
    return {
        "held": outcome.held, "ended_early": outcome.broken, "acknowledgements": outcome.acknowledgements,
        "folders": [str(path) for path in drill.folders] if drill.keeps_folders else [],
        "checks": _checks(outcome.findings), "timeline": _timeline(outcome.lines),
    }


def _checks(findings: Iterable[CheckResult]) -> list[dict[str, Any]]:
    return [{"guarantee": finding.guarantee, "title": finding.title, "held": finding.held,
             "evidence": list(finding.evidence)} for finding in findings]


def _timeline(lines: Iterable[TimelineLine]) -> list[dict[str, Any]]:
    return [{"at_s": round(line.at_s, 3), "who": line.who, "what": line.what} for line in lines]


def _interrupted(stage: DrillEnvironment) -> Interrupted:
    if stage.left_prepared:
        return Interrupted("the drill was interrupted", f"{', '.join(stage.left_prepared)} could not be recovered",
                           f"See {stage.folder.path}/agent.log, then run: tideover recover --config "
                           f"{stage.folder.configuration}")
    return Interrupted("the drill was interrupted", "its processes were ended and its directory was removed",
                       "Run it again to see a complete event.")


def _plan(context: click.Context, config: str | None, with_own_hooks: bool, *, kind: str, platform_kind: str,
          pause: float, cancel: bool) -> DrillPlan:
    check_named(context, config)
    platform = platform_named(platform_kind)
    simulator = load_simulator(platform)
    if kind not in simulator.EVENT_WORDS:
        raise WrongUseError(f"cannot drill {kind}", f"{platform.name} announces no event of this kind",
                            f"Choose another one with --kind: {', '.join(simulator.EVENT_WORDS)}")
    if kind in simulator.CANCEL_ONLY and not cancel:
        raise WrongUseError(f"cannot drill {kind}", f"on {platform.name} only a restart of the machine shows its "
                            "start", "Add --cancel to rehearse its preparation and recovery")
    loaded = load(context, config) if with_own_hooks else None
    own = user_hooks(loaded.settings, loaded.origin) if loaded else None
    acknowledged = (platform.takes_acknowledgement
                    and default_settings().policy_for(Kind(kind)).acknowledge == "when-ready")
    return DrillPlan(Kind(kind), pause, acknowledged, cancel, own, platform)


def _must_run_hooks(plan: DrillPlan) -> None:
    """Raise WrongUseError if an event like this would run none of the owner's hooks: there would be nothing to see."""
    if plan.own is None or hooks_that_run(plan.kind, plan.duration_s, plan.own.specs):
        return
    raise WrongUseError("cannot drill your hooks", f"none in {plan.own.directory} runs for such an event "
                        f"({plan.kind.value}, {length_text(plan.pause_s)})",
                        "See tideover hooks list")


def _hold(stage: DrillEnvironment, plan: DrillPlan, *, silent: bool) -> DrillOutcome:
    with _undisturbed_end(stage):
        if silent:
            return run_drill(stage, plan, lambda line: None)
        _show_head(plan, stage)
        return run_drill(stage, plan, _show_line)


@contextmanager
def _all_endings_shown() -> Iterator[None]:
    """SIGTERM and a closed terminal end a drill like Ctrl-C does: after putting everything away."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed_end(stage: DrillEnvironment | FleetDrill) -> Iterator[None]:
    """A second Ctrl-C does not stop the putting away: it is short, and what it ends may be stopped processes."""
    with stage:
        try:
            yield
        finally:
            for number in (signal.SIGINT, *ENDINGS):
                signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- what is shown ------------------------------------------------------------------------------------------------

def _show_head(plan: DrillPlan, stage: DrillEnvironment) -> None:
    what = "cancelled while prepare runs" if plan.cancel else f"{length_text(plan.away_s)} paused"
    parts = [f"Rehearsal of one event ({plan.kind.value}, {what}) on this machine."]
    if plan.away_s > plan.pause_s and not plan.cancel:
        parts.append(f"The pause is a little longer than {length_text(plan.pause_s)}, because only a pause measured as "
                     "1 s or more ends an event.")
    if plan.own is None:
        parts.append(f"It changes nothing outside {stage.folder.path} and never contacts the platform.")
    else:
        parts.append(f"Your own hooks run from {plan.own.directory}. The platform is not contacted; your "
                     "[policy] and [clock] settings are not used.")
    if plan.kind.info.deletes_machine and not plan.cancel:
        parts.append("The platform would delete this machine; in the drill it restarts, to show that nothing stays "
                     "prepared.")
    click.echo("\n".join(wrapped(" ".join(parts), _width())) + "\n")


def _show_line(line: TimelineLine) -> None:
    head = f"  {f'+{line.at_s:.2f} s':>9}  {line.who:<9} "
    lines = wrapped(line.what, _width() - LINE_INDENT)
    colour = {"platform": "cyan", "machine": "magenta"}.get(line.who)
    _echo(head, ("\n" + " " * LINE_INDENT).join(lines), colour=colour)


def _show_verdict(outcome: DrillOutcome, stage: DrillEnvironment) -> None:
    click.echo("\nChecks:")
    for finding in outcome.findings:
        _show_finding(finding)
    click.echo("\n" + "\n".join(wrapped(_last_sentence(outcome, stage), _width())))


def _last_sentence(outcome: DrillOutcome, stage: DrillEnvironment) -> str:
    shown = [finding for finding in outcome.findings if finding.held is not None]
    broken = sum(finding.held is False for finding in shown)
    if stage.left_prepared:
        return (f"Still prepared: {', '.join(stage.left_prepared)}. Fix the hook, then run: tideover recover --config "
                f"{stage.folder.configuration}")
    if not outcome.held:
        how = f"{broken} of {len(outcome.findings)} checks failed" if broken else (
            "The drill did not complete")
        return f"{how}. The drill's directory is kept: {stage.folder.path}"
    if len(shown) < len(outcome.findings):
        return f"Every check that applies to this drill passed ({len(shown)} of {len(outcome.findings)})."
    return "Every check passed."


def _show_finding(finding: CheckResult) -> None:
    mark, colour = MARKS[finding.held]
    if not _can_show(mark):
        mark = PLAIN_MARKS[mark]
    _echo(f"  {mark} ", f"{finding.guarantee}  {finding.title}", colour=colour)
    for fact in finding.evidence:
        click.echo("\n".join(" " * 7 + line for line in wrapped(fact, _width() - 7)))


def _echo(head: str, rest: str, *, colour: str | None) -> None:
    """Colour only on a terminal (click takes it out elsewhere), and not under NO_COLOR (no-color.org)."""
    styled = click.style(head, fg=colour) if colour and not os.environ.get("NO_COLOR") else head
    click.echo(styled + rest)


def _can_show(mark: str) -> bool:
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _width() -> int:
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns - 1))


def _document(outcome: DrillOutcome, stage: DrillEnvironment) -> dict[str, Any]:
    seen = outcome.evidence
    stop = seen.stop or seen.away
    return {
        "held": outcome.held, "kind": seen.plan.kind.value, "cancelled": seen.plan.cancel,
        "ended_early": seen.broken, "left_prepared": stage.left_prepared,
        "folder": str(stage.folder.path) if stage.keeps_folder else None,
        "checks": _checks(outcome.findings),
        "measured": {"away_s": round(stop.middle_s, 3) if stop else None, "acknowledgements": len(seen.posts),
                     "hooks": [{"name": run.hook, "phase": run.phase.value, "done": run.worked} for run in seen.runs]},
        "timeline": _timeline(outcome.lines),
        "record": outcome.record.as_json() if outcome.record else None,
    }
