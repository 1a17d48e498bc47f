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


def names_imported(node: ast.AST) -> list[str]:
    """Given a node of a module's tree, return the modules that it imports: by a statement, or by their name."""
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module):
            return [module or ""]
        case ast.Call(ast.Name("import_module" | "__import__") | ast.Attribute(_, "import_module"), [ast.Constant(str(name)), *_]):
            return [name]
        case _:
            return []


@cache
def imported() -> frozenset[str]:
    """Return the distributions that the package imports, wherever in its files."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in nodes(path):
            found |= {name.partition(".")[0] for name in names_imported(node)}
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
    control = (TOP / "packaging/deb/debian/control").read_text(encoding="utf-8")
    assert "\nRecommends:" not in control       # apt installs those as well


def test_the_windows_installer_has_exactly_what_is_imported_and_what_that_needs() -> None:
    parameters = (TOP / "packaging/windows/parameters").read_text(encoding="utf-8")
    installed = set(re.findall(r"^([A-Za-z0-9-]+)==\S+ --hash=", parameters, re.MULTILINE))
    tried = names_in((TOP / "tests/windows/wheels.txt").read_text(encoding="utf-8").splitlines()) - {"", "pytest"}
    assert installed == tried == (imported() - OPTIONAL) | NEEDED_BY_THEM


def test_each_dependency_has_a_floor_and_a_reason() -> None:
    text = (TOP / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [\n")[2].partition("\n]")[0]
    for line in text.splitlines():
        assert re.fullmatch(r' +"[a-z0-9-]+>=[0-9.]+(; .*)?", +# .{20,}', line), line


def python_programs() -> list[Path]:
    """Return the hooks and notification programs in Python, whatever they are called, and what they read."""
    places = (TOP / "hooks", TOP / "notify", PACKAGE / "hooks/templates", PACKAGE / "drill/sample/hooks")
    return [path for place in places for path in sorted(place.rglob("*")) if path.is_file() and "__pycache__" not in path.parts
            and (path.suffix == ".py" or path.parts[-2:] == ("windows", "notebook") or re.match(rb"#!.*python", path.read_bytes()))]


def test_no_hook_needs_a_library() -> None:
    """They run under the system's Python, which may have none of them."""
    beside = {"tideover_hook", "tideover_hook_message", "notebook"}
    assert {"webhook", "mail", "python", "10-notes.py", "notebook"} <= {path.name for path in python_programs()}
    for path in python_programs():
        names = {word for line in path.read_text(encoding="utf-8").splitlines() for word in re.findall(r"^\s*(?:import|from) (\w+)", line)}
        assert names <= sys.stdlib_module_names | beside, path
