"""`tideover service`: install, remove, start, stop and status of the service of a pip installation."""
from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import click

from tideover.cli.options import (
    SuggestingGroup,
    config_before,
    example,
    print_json,
    print_sentence,
    with_config_for_all,
    with_json,
    with_readable_settings,
    with_settings,
    without_settings,
)
from tideover.config_file import Loaded
from tideover.errors import EXIT_NO, EXIT_OK, TideoverError


@click.group("service", cls=SuggestingGroup, epilog=example("sudo .venv/bin/tideover service install"))
@with_config_for_all
def command() -> None:
    """Install, remove, start or stop the service, or show its state."""


@command.command("install", epilog=example("sudo .venv/bin/tideover service install"))
@click.pass_context
@with_settings
def install_service(context: click.Context, loaded: Loaded) -> int:
    """Install and enable the service: it starts at boot, or with tideover service start."""
    from tideover.service import install
    named = context.params.get("config") or config_before(context)
    file = install(str(Path(named).absolute()) if named else None, Path(loaded.settings.paths.hooks))
    print_sentence(f"{file} is installed and enabled. Start it now with {_typed_name()} service start.")
    return EXIT_OK


def _typed_name() -> str:
    """The name by which this program can be called again: sudo's PATH has no virtual environment."""
    found, called = shutil.which("tideover"), Path(sys.argv[0])
    is_usual = called.stem != "tideover" or (found is not None and Path(found).resolve() == called.resolve())
    return "tideover" if is_usual else sys.argv[0]


@command.command("remove", epilog=example("sudo .venv/bin/tideover service remove"))
@with_readable_settings
def remove_service(loaded: Loaded) -> int:
    """Stop the service, run pending recover hooks, and remove the service. Configuration and records stay."""
    from tideover.daemon.offline import recover_by_hand
    from tideover.service import check_ours, remove, stop
    check_ours()
    stop()
    still_pending = recover_by_hand(loaded, None, confirmed=True).still_pending
    if still_pending:
        raise TideoverError("cannot remove the service", f"recovery is still pending: {', '.join(still_pending)}",
                            "See the reason with tideover show last; retry with tideover recover.")
    remove()
    print_sentence("The service was removed.")
    return EXIT_OK


@command.command("start", epilog=example("sudo tideover service start"))
@without_settings
def start_service() -> int:
    """Start the service and wait until it is ready."""
    from tideover.service import start
    start()
    print_sentence("The service is running.")
    return EXIT_OK


@command.command("stop", epilog=example("sudo tideover service stop"))
@without_settings
def stop_service() -> int:
    """Stop the service; [policy] on_stop decides what happens to prepared applications."""
    from tideover.service import stop
    stop()
    print_sentence("The service has stopped.")
    return EXIT_OK


@command.command("status", epilog=example("tideover service status"))
@with_json
@without_settings
def service_status(as_json: bool) -> int:
    """Show the state of the service. Exit status 1 if it is not running."""
    from tideover.service import read_report
    report = read_report()
    if as_json:
        print_json(asdict(report))
    elif not report.is_installed:
        print_sentence("The service is not installed.")
    else:
        enabled = "started at boot" if report.is_enabled else "not started at boot"
        restarted = "" if report.restarts is None else f", restarted {report.restarts} times"
        print_sentence(f"{report.state} ({report.detail}), {enabled}{restarted}: {report.unit}")
        if report.status_text:
            print_sentence(report.status_text)
    return EXIT_OK if report.is_active else EXIT_NO
