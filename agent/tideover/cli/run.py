"""`tideover run`: see `tideover.cli`, which takes the short way for it; this is the long way, with its help."""
from __future__ import annotations

import click

from tideover.cli.options import with_settings
from tideover.configuration import Loaded


@click.command("run")
@with_settings
def command(loaded: Loaded) -> int:
    """Run the agent in the foreground, until SIGTERM or SIGINT."""
    import os

    from tideover.daemon import run_agent
    return run_agent(loaded, drill=os.environ.get("TIDEOVER_DRILL") == "1")
