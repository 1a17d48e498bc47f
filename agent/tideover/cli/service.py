"""`tideover service`: the service of a pip installation. The packages bring their own."""
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tideover.cli.options import (
    config_before,
    print_json,
    with_config_for_all,
    with_json,
    with_readable_settings,
    with_settings,
    without_settings,
)
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError


@click.group("service")
@with_config_for_all
def command() -> None:
    """Install, remove, start, stop the service; how it is."""


@command.command("install")
@click.pass_context
@with_settings
def install_service(context: click.Context, loaded: Loaded) -> int:
    """Make the service, enabled: it starts with the machine, or by `tideover service start`."""
    from tideover.service import install
    named = context.params.get("config") or config_before(context)
    file = install(str(Path(named).absolute()) if named else None, Path(loaded.settings.paths.hooks))
    click.echo(f"{file} is installed and enabled. tideover service start starts it now.")
    return EXIT_OK


@command.command("remove")
@with_readable_settings
def remove_service(loaded: Loaded) -> int:
    """Stop the service, recover what is prepared, remove the service. Configuration and records stay."""
    from tideover.daemon.offline import recover_by_hand
    from tideover.service import check_ours, remove, stop
    check_ours()
    stop()
    still_pending = recover_by_hand(loaded, None, confirmed=True).still_pending
    if still_pending:
        raise TideoverError("cannot remove the service", f"recover is still owed: {', '.join(still_pending)}",
                            "tideover show last tells why; tideover recover tries again.")
    remove()
    click.echo("The service is removed.")
    return EXIT_OK


@command.command("start")
@without_settings
def start_service() -> int:
    """Start the service, and wait until it is ready."""
    from tideover.service import start
    start()
    click.echo("The service runs.")
    return EXIT_OK


@command.command("stop")
@without_settings
def stop_service() -> int:
    """Stop the service; [policy] on_stop says what happens to prepared applications."""
    from tideover.service import stop
    stop()
    click.echo("The service has stopped.")
    return EXIT_OK


@command.command("status")
@with_json
@without_settings
def service_status(as_json: bool) -> int:
    """How the service is. Exit status 1 if it does not run."""
    from tideover.service import read_report
    report = read_report()
    if as_json:
        print_json(asdict(report))
    elif not report.is_installed:
        click.echo("The service is not installed.")
    else:
        enabled = "starts with the machine" if report.is_enabled else "does not start with the machine"
        restarted = "" if report.restarts is None else f", restarted {report.restarts} times"
        click.echo(f"{report.state} ({report.detail}), {enabled}{restarted}: {report.unit}")
        if report.said:
            click.echo(report.said)
    return EXIT_OK if report.is_active else EXIT_NO
