"""What is built: by one command, the same each time, without a word of lintian's, leaving nothing behind."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from deb_build import TOP, build

from test_dependencies import NEEDED_BY_THEM, OPTIONAL, imported

pytestmark = pytest.mark.slow
DEBIANS = "/usr/bin/python3"
MODULES = ("click", "ntplib", "prometheus_client", "psutil", "requests", "pytest")


def test_two_builds_are_byte_for_byte_the_same_whatever_the_clock_and_the_files_dates_say(package, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(TOP, copy, symlinks=True, copy_function=shutil.copy, ignore=shutil.ignore_patterns(
        ".git", ".venv*", "*_cache", "__pycache__"))
    date = subprocess.run(["git", "-C", TOP, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True)
    again = build(tmp_path / "out", copy, env={**os.environ, "SOURCE_DATE_EPOCH": date.stdout.strip(), "TZ": "Asia/Tokyo", "LANG": "C"})
    assert again.read_bytes() == package.read_bytes()


def test_building_leaves_nothing_in_the_checkout(package, tmp_path):
    def seen():
        return {path for path in TOP.rglob("*") if not {".git", "__pycache__"} & set(path.parts)
                and not re.search(r"_cache|\.venv", str(path))}
    before = seen()
    build(tmp_path)
    assert seen() - before == set()


def test_lintian_finds_no_error_and_no_warning(package):
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--allow-root", package], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_package_depends_on_debians_libraries_that_are_imported_and_no_other_and_has_the_programs_version(package):
    told = subprocess.run(["dpkg-deb", "-f", package], capture_output=True, text=True, check=True).stdout
    version = re.search(r'__version__ = "(.*)"', (TOP / "agent/tideover/__init__.py").read_text())
    assert version and f"Version: {version[1]}\n" in told
    [depends] = re.findall(r"^Depends: (.*)$", told, re.MULTILINE)
    libraries = {name.split()[0] for name in depends.split(", ")}
    assert libraries == {"python3:any"} | {f"python3-{name}" for name in imported() - OPTIONAL - {"pywin32"}}
    assert "python3:any (>= 3.11" in depends


def test_pip_installs_into_an_empty_environment_what_is_imported_and_what_that_needs_and_no_more(tmp_path):
    source, environment = tmp_path / "source", tmp_path / "environment"
    shutil.copytree(TOP, source, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv*", "*_cache", "__pycache__", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    installs = subprocess.run([environment / "bin/pip", "install", "-q", source], capture_output=True, text=True, check=False)
    assert installs.returncode == 0, installs.stderr
    told = json.loads(subprocess.run([environment / "bin/pip", "list", "--format=json"], capture_output=True, text=True, check=True).stdout)
    brought = {one["name"].lower().replace("_", "-") for one in told} - {"tideover", "pip", "setuptools"}
    for_windows = {"pywin32", "colorama"}
    assert brought == (imported() - OPTIONAL | NEEDED_BY_THEM) - for_windows
    assert subprocess.run([environment / "bin/pip", "check"], capture_output=True, check=False).returncode == 0


def test_the_manual_pages_say_all_commands_and_keys_and_are_sound(package, tmp_path):
    from tideover.cli.app import COMMANDS
    from tideover.settings.keys import TABLES
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    for page, words in (("man1/tideover.1.gz", list(COMMANDS)),
                        ("man5/tideover.toml.5.gz", [key.name for table in TABLES for key in table.keys])):
        shown = subprocess.run(["man", "--warnings", "-l", tmp_path / "usr/share/man" / page], capture_output=True, text=True,
                               env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}, check=True)
        assert shown.stderr == ""
        assert [word for word in words if not re.search(rf"^ +(\[0m)?{word}\b", re.sub(r".\x08", "", shown.stdout), re.M)] == []


COMPLETIONS = {"bash": "bash-completion/completions/tideover", "zsh": "zsh/vendor-completions/_tideover",
               "fish": "fish/vendor_completions.d/tideover.fish"}


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_the_package_installs_completion_where_the_shell_looks_for_it(package, tmp_path, capsys, shell):
    from tideover.cli import main
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    assert main(["completion", shell]) == 0
    assert (tmp_path / "usr/share" / COMPLETIONS[shell]).read_text() == capsys.readouterr().out


def test_the_documents_that_are_shipped_find_each_other(package, tmp_path):
    """Each link of a page leads to a file of the package, none of which is compressed."""
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    home = tmp_path / "usr/share/doc/tideover"
    pages = sorted(home.rglob("*.md"))
    assert {f"docs/{page.name}" for page in (TOP / "docs").glob("*.md")} < {str(page.relative_to(home)) for page in pages}
    dead = []
    for page in pages:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", text):
            file = page.parent / target
            there = file.readlink() if file.is_symlink() else file
            if not target.startswith("http") and not (file.parent / there).exists():
                dead.append((page.name, target))
    assert dead == []


def test_the_configuration_file_that_is_shipped_changes_nothing_and_needs_no_edit(package, tmp_path):
    """The first installation puts it into /etc; changes go into conf.d. It is no conffile, so dpkg never asks about it."""
    from tideover.settings import LINUX, default_settings, read_settings
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    shipped = (tmp_path / "usr/share/tideover/tideover.toml").read_bytes()
    assert read_settings(shipped, file="shipped", defaults=LINUX) == default_settings()
    assert all(line.startswith("#") for line in shipped.decode().splitlines()) and len(shipped.splitlines()) < 15
    assert (tmp_path / "etc/tideover/conf.d").is_dir() and not list((tmp_path / "etc/tideover").rglob("*.toml"))
    assert subprocess.run(["dpkg-deb", "-I", package, "conffiles"], capture_output=True, check=False).returncode != 0


def test_the_fast_suite_passes_with_debians_own_python_and_libraries():
    """/usr/bin/python3 sees Debian's python3-* packages and nothing from an index (-s and -E: no user's, no variable's).

    Without threadexception: Debian's pytest 7.2 puts its own hook for threads' exceptions in the place of a fixture's.
    """
    found = subprocess.run([DEBIANS, "-s", "-E", "-c", f"import {', '.join(MODULES)}; print({', '.join(f'{m}.__file__' for m in MODULES)}, sep='\\n')"],
                           capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"Debian's packages are not all here: {found.stderr.splitlines()[-1]} (tests/packaging/packages.txt)")
    assert all(line.startswith("/usr/lib/python3/dist-packages/") for line in found.stdout.split()), found.stdout
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TIDEOVER_PROOFS", "VIRTUAL_ENV"))}
    done = subprocess.run([DEBIANS, "-s", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:threadexception", "-x", "tests"],
                          cwd=TOP, capture_output=True, text=True, timeout=240, check=False,
                          env={**environment, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
