"""The program that the service control manager of Windows starts. No command: people type `tideover run`.

What is imported before it is answered is little: it waits for 30 seconds only, also on a machine that is busy starting.

The installer's own program runs it as a module. A pip installation has it run by this file's path, with the interpreter
that its virtual environment was made from: the environment's own python.exe would start that one as a child, and the
service control manager wants to be answered by the process that it started itself.
"""
from __future__ import annotations

import site
import sys
from pathlib import Path

assert sys.platform == "win32"      # mypy reads the rest for Windows only

if __spec__ is None:                # run by its path: the package's directory is not on sys.path yet
    packages = Path(__file__).parents[2]
    environment = packages.parents[1]
    if (environment / "pyvenv.cfg").is_file():
        sys.prefix = sys.exec_prefix = str(environment)
        sys.executable = str(environment / "Scripts" / "python.exe")
    site.addsitedir(str(packages))

from tideover.cli import config_argument, print_error
from tideover.errors import TideoverError
from tideover.service.windows.service import serve
from tideover.service_manager import ServiceManager


def main(words: list[str]) -> int:
    """Given the words after the program's name (--config FILE or nothing), serve; return the exit status."""
    config = config_argument(words)

    def run(manager: ServiceManager) -> int:
        from tideover.lean_imports import load_requests
        load_requests()
        from tideover.daemon.main import start_agent
        return start_agent(Path(config) if config else None, manager=manager)

    try:
        serve(run)
    except TideoverError as trouble:
        print_error(trouble)
        return trouble.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
