"""`tideover run`: see `tideover.cli`, which takes the short way for it; this is the long way, with its help."""
from __future__ import annotations

from pathlib import Path

import click

from tideover.cli.options import config_before, with_config


@click.command("run")
@with_config
@click.pass_context
def command(context: click.Context, config: str | None) -> int:
    """Run the agent in the foreground, until SIGTERM or SIGINT."""
    import os

    from tideover.daemon import start_agent
    named = config or config_before(context)
    return start_agent(Path(named) if named else None, drill=os.environ.get("TIDEOVER_DRILL") == "1")
