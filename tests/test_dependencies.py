"""What is imported is what is brought along: pyproject.toml, the Debian package and the Windows installer say the same."""
from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

from source_trees import PACKAGE, nodes

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYWIN32 = {"pywintypes", "servicemanager", "win32api", "win32con", "win32event", "win32evtlog", "win32evtlogutil", "win32file",
           "win32job", "win32pipe", "win32process", "win32security", "win32service", "win32serviceutil", "winerror"}
DISTRIBUTIONS = {name: "pywin32" for name in PYWIN32} | {
    "prometheus_client": "prometheus-client",
    "urllib3": "requests",          # whose connections these are: its version is requests' choice
}
OPTIONAL = {"prometheus-client"}    # the extra `metrics`
# What the installer's wheels need beside: pip on Linux does not see needs that hold on Windows only.
NEEDED_BY_THEM = {"certifi", "charset-normalizer", "idna", "urllib3", "colorama"}


@cache
def imported() -> frozenset[str]:
    """Return the distributions that the package imports, wherever in its files."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in nodes(path):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            found |= {name.partition(".")[0] for name in names}
    foreign = found - sys.stdlib_module_names - {"tideover"}
    return frozenset(DISTRIBUTIONS.get(name, name) for name in foreign)


def names_in(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0] for line in requirements}


def debian_field(name: str) -> set[str]:
    control = (TOP / "packaging/deb/debian/control").read_text(encoding="utf-8")
    found = re.search(rf"^{name}: (.*(?:\n .*)*)", control, re.MULTILINE)
    assert found
    return {word.strip() for word in re.split("[,|]", found[1])}


def test_pip_brings_exactly_what_is_imported() -> None:
    assert names_in(PROJECT["dependencies"]) == imported() - OPTIONAL
    assert names_in(PROJECT["optional-dependencies"]["metrics"]) == OPTIONAL


def test_the_debian_package_depends_on_exactly_what_is_imported() -> None:
    libraries = {f"python3-{name}" for name in imported() - OPTIONAL - {"pywin32"}}
    assert {name for name in debian_field("Depends") if name.startswith("python3-")} == libraries
    assert {name for name in debian_field("Build-Depends") if name.startswith("python3-")} - {
        "python3-all", "python3-setuptools"} == libraries       # dh-python reads the needs of what is installed
    assert {f"python3-{name}" for name in OPTIONAL} <= debian_field("Suggests")


def test_the_windows_installer_has_exactly_what_is_imported_and_what_that_needs() -> None:
    parameters = (TOP / "packaging/windows/parameters").read_text(encoding="utf-8")
    installed = set(re.findall(r"^([A-Za-z0-9-]+)==\S+ --hash=", parameters, re.MULTILINE))
    tried = names_in((TOP / "tests/windows/wheels.txt").read_text(encoding="utf-8").splitlines()) - {"", "pytest"}
    assert installed == tried == (imported() - OPTIONAL) | NEEDED_BY_THEM


def test_each_dependency_has_a_floor_and_a_reason() -> None:
    text = (TOP / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [\n")[2].partition("\n]")[0]
    for line in text.splitlines():
        assert re.fullmatch(r' +"[a-z0-9-]+>=[0-9.]+(; .*)?", +# .{20,}', line), line


def test_no_hook_needs_a_library() -> None:
    """They run under the system's Python, which may have none of them."""
    for path in (TOP / "hooks").rglob("*"):
        if path.is_file() and (path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python3")):
            names = {word for line in path.read_text(encoding="utf-8").splitlines() for word in re.findall(r"^\s*(?:import|from) (\w+)", line)}
            assert names <= sys.stdlib_module_names | {"tideover_hook", "tideover_hook_message"}, path
