"""The door through which the service control manager of Windows comes in. No command: people type `tideover run`.

What is imported before it is answered is little: it waits for 30 seconds only, also on a machine that is busy starting.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"      # mypy reads the rest for Windows only

from tideover.cli import configuration_named, tell
from tideover.errors import TideoverError
from tideover.service.windows.host import serve
from tideover.supervision import ServiceManager


def main(words: list[str]) -> int:
    """Given the words after the program's name (--config FILE or nothing), serve; return the exit status."""
    config = configuration_named(words)

    def run(manager: ServiceManager) -> int:
        import os
        from pathlib import Path

        from tideover.configuration import load_settings
        from tideover.daemon import run_agent
        return run_agent(load_settings(Path(config) if config else None, os.environ), manager=manager)

    try:
        serve(run)
    except TideoverError as trouble:
        tell(trouble)
        return trouble.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
