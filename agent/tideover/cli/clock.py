"""`tideover clock`: options, output and exit status of a clock check on demand."""
from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from tideover.api.protocol import read_time_queries
from tideover.cli.options import example, print_json, print_json_line, with_json, with_settings
from tideover.cli.render import Table, table_row
from tideover.cli.terminal import table_lines, this_terminal, wrapped_line
from tideover.clock.on_demand import AgentQueries, check_now, watch_clock
from tideover.clock.types import ClockCheckSettings, ClockReport, DaemonReport
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, EXIT_WRONG_USE
from tideover.humanize import length_text, offset_text
from tideover.model import Verdict, utc_text
from tideover.settings import Settings
from tideover.text_safety import dot_controls

EXITS = {Verdict.GOOD: EXIT_OK, Verdict.BAD: EXIT_NO, Verdict.UNKNOWN: EXIT_WRONG_USE}


@click.command("clock", epilog=example("tideover clock --watch"))
@with_json
@click.option("--watch", is_flag=True, help="Print one line each second until interrupted.")
@with_settings
def command(loaded: Loaded, as_json: bool, watch: bool) -> int:
    """Check the clock against time servers now. Exit status 0 good, 1 bad, 2 unknown.

    With --watch and --json each line is one document.
    """
    settings = loaded.settings
    agent_queries = partial(read_time_queries, Path(settings.paths.socket), Path(settings.paths.state))
    if watch:
        return _watch(settings, agent_queries, as_json=as_json)
    report = check_now(ClockCheckSettings.of(settings), agent_queries=agent_queries)
    if as_json:
        print_json(report_document(report))
    else:
        for line in report_lines(report, settings.clock.tolerance_s):
            click.echo(line)
    return EXITS[report.check.verdict]


def _watch(settings: Settings, agent_queries: AgentQueries, *, as_json: bool) -> int:
    last = Verdict.UNKNOWN
    try:
        for report in watch_clock(ClockCheckSettings.of(settings), agent_queries=agent_queries):
            last = report.check.verdict
            if as_json:
                print_json_line(report_document(report))
            else:
                click.echo(watch_line(report, datetime.now(UTC)))
    except KeyboardInterrupt:
        if not as_json:
            click.echo("")
    return EXITS[last]


def watch_line(report: ClockReport, now: datetime) -> str:
    """Given a report, return it as one line: when, verdict, offset and bound, how many servers are used."""
    check = report.check
    counting = sum(not one.dropped for one in report.servers)
    offset = "-" if check.offset_s is None else offset_text(check.offset_s, check.error_bound_s)
    counted = f"{counting} of {len(report.servers)} used"
    return (f"{now.astimezone():%H:%M:%S}  {check.verdict.value:<7}  {offset:<24}  {counted}"
            + (f"  {dot_controls(check.reason)}" if check.reason else ""))


def report_document(report: ClockReport) -> dict[str, Any]:
    """Given a report, return it for --json. offset_s > 0: this machine is ahead."""
    check = report.check
    return {
        "verdict": check.verdict.value, "offset_s": check.offset_s, "error_bound_s": check.error_bound_s,
        "checked_at": utc_text(check.checked_at), "reason": check.reason, "sources_from": report.origin or None,
        "daemon": _daemon_document(report.daemon) if report.daemon else None,
        "servers": [{"server": one.server, "address": one.address, "offset_s": one.offset_s, "delay_s": one.delay_s,
                     "bound_s": one.bound_s, "stratum": one.stratum, "dropped": one.dropped or None}
                    for one in report.servers],
    }


def report_lines(report: ClockReport, tolerance_s: float) -> list[str]:
    """Given a report, return its lines for a person."""
    check, terminal = report.check, this_terminal()
    sentences = [f"The clock is {check.verdict.value}" + (f": {check.reason}." if check.reason else ".")]
    if check.offset_s is not None:
        sentences.append(f"This machine's clock: {offset_text(check.offset_s, check.error_bound_s)}; "
                         f"the tolerance is {length_text(tolerance_s)}.")
    if report.daemon is not None:
        sentences.append(_daemon_line(report.daemon))
    if not report.servers:
        sentences.append("No time source was queried. Set time servers in [clock] servers.")
    elif report.origin:
        sentences.append(f"Time sources are from {report.origin}.")
    lines = [line for sentence in sentences for line in wrapped_line(sentence, terminal.width)]
    if not report.servers:
        return lines
    rows = [table_row(one.server, one.address, offset_text(one.offset_s) if one.offset_s is not None else "-",
                length_text(one.delay_s) if one.delay_s is not None else "-",
                str(one.stratum) if one.stratum is not None else "-", one.dropped or "used")
            for one in report.servers]
    heads = ("SERVER", "ADDRESS", "OFFSET", "DELAY", "STRATUM", "STATUS")
    return lines + table_lines(Table(heads, tuple(rows)), terminal)


def _daemon_document(daemon: DaemonReport) -> dict[str, Any]:
    """The time daemon's own opinion, which is context and no proof."""
    return {"name": daemon.name, "is_synchronised": daemon.is_synchronised, "offset_s": daemon.offset_s,
            "bound_s": daemon.bound_s, "updated_at": utc_text(daemon.updated_at),
            "last_update_age_s": daemon.last_update_age_s, "note": daemon.note or None}


def _daemon_line(daemon: DaemonReport) -> str:
    believes = {True: "reports that it is synchronised", False: "reports that it is not synchronised",
                None: "does not report whether it is synchronised"}[daemon.is_synchronised]
    offset = f", {offset_text(daemon.offset_s)}" if daemon.offset_s is not None else ""
    age = f", last measured {length_text(daemon.last_update_age_s)} ago" if daemon.last_update_age_s is not None else ""
    note = f" ({daemon.note})" if daemon.note else ""
    return f"The time daemon {daemon.name} {believes}{offset}{age}{note} (not used as evidence)."
