"""The checks of a contributor and of CI (`.ci/run`), each in an environment of its own: `nox -s lint types tests-3.11`.

`nox -l` lists them. What follows `--` goes to the tool: `nox -s tests-3.11 -- tests/test_laws.py`."""
from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2023.4.22"
nox.options.envdir = ".venvs/nox"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests-3.11"]

PROOFS = ["-m", "slow and not extra", "--ignore", "tests/vm"]
"""The lab (tests/vm) measures, and nothing else may run beside it: `pytest -m slow tests/vm`."""


def install(session: nox.Session, *extras: str) -> None:
    """This package with what the extras name; what the build leaves in the checkout is removed."""
    session.install(f".[{','.join(extras)}]")
    shutil.rmtree("build", ignore_errors=True)
    for left in Path("agent").glob("*.egg-info"):
        shutil.rmtree(left)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and what a linter finds."""
    session.install("ruff")
    session.run("ruff", "check", *(session.posargs or ["."]))


@nox.session
def types(session: nox.Session) -> None:
    """Types, for both systems."""
    install(session, "dev")
    session.run("mypy", *session.posargs)
    session.run("mypy", "--platform", "win32", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The fast suite, with each version of Python."""
    install(session, "test")
    session.run("pytest", "-q", "-p", "no:cacheprovider", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The proofs but for the lab: TIDEOVER_TURN=head samples them (tests/sampled.toml)."""
    install(session, "test")
    session.run("pytest", *PROOFS, "-q", "--durations=10", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the pure packages by the fast suite: 100 % (pyproject.toml says of what)."""
    session.install("-e", ".[dev]")
    session.run("coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", *session.posargs)
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Writes again what is made from the code (diagram, configuration reference, tables), and checks the documents."""
    install(session, "test")
    for script in ("draw_phases", "write_configuration", "write_tables"):
        session.run("python", f"docs/{script}.py")
    session.run("pytest", "-q", *map(str, sorted(Path("tests").glob("test_docs_*.py"))))


@nox.session
def screens(session: nox.Session) -> None:
    """Draws the pictures of the documents from a real drill."""
    install(session, "test")
    session.run("python", "docs/draw_screens.py")
