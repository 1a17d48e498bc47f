"""What the documents show can be typed as it stands: each command exists with its options, each `sh` block runs, each
configuration is valid, each hook passes the check and a drill.

The language of a fenced block says what it is:

    sh              typed by a new user, in an environment where `tideover` is installed: all blocks of a page are run
                    in one shell session
    sh hook=NN-x    the file of a hook; `python hook=NN-x` likewise
    console         commands after `$ ` (or `# ` as root) with what they print, needing root, a service or an event: they
                    are parsed, not run
    toml            a configuration
    powershell      typed on Windows: its tideover commands are parsed
    text, mermaid   nothing to check
"""
from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest

from running_agent import environment
from tideover.cli.app import COMMANDS, group as app
from tideover.settings import LINUX, read_settings

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md")), TOP / "hooks" / "README.md"]
BLOCK = re.compile(r"^```(.*)\n((?s:.*?))^```$", re.MULTILINE)
LANGUAGES = {"js", "go", "java",       # of docs/applications.md: tests/test_docs_applications.py runs the first
             "sh", "console", "powershell", "toml", "text", "mermaid", "json", "python", "yaml"}
INLINE = re.compile(r"`(tideover(?: [^`]+)?)`")
PROMPT = re.compile(r"^[$#] ", re.MULTILINE)
INSTALLED_SDK = "/usr/share/tideover/hooks"


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    hook: str       # the name of the file that it is; "": it is none
    text: str


def blocks(*pages: Path) -> Iterator[Block]:
    for page in pages:
        for info, text in BLOCK.findall(page.read_text()):
            language, _, rest = info.partition(" ")
            yield Block(page.name, language, rest.removeprefix("hook=") if rest.startswith("hook=") else "", text)


def typed(block: Block) -> list[str]:
    """The lines of a block that are commands; of a `console` block those after a prompt."""
    text = block.text.replace("\\\n", " ")
    lines = text.splitlines()
    return [line[2:] for line in lines if PROMPT.match(line)] if block.language == "console" else lines


def tideover_commands(line: str) -> Iterator[list[str]]:
    """The arguments of each tideover in a line of shell."""
    for part in re.split(r"&&|\|\||[|;]|\$\(", line):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue                                        # a piece of a quoted text
        while words and (words[0] in ("sudo", "time", "if", "then", "!", "exec") or re.fullmatch(r"\w+=.*", words[0])):
            words = words[1:]
        if words and re.fullmatch(r"(\S*/)?tideover", words[0]):
            ends = [number for number, word in enumerate(words) if re.match(r"\d?[<>&]", word)]
            yield words[1:min(ends, default=len(words))]


def parse(arguments: list[str]) -> None:
    """Parse a command line as the program does, without running it. Raise click.UsageError."""
    group: click.Command = app
    context = app.make_context("tideover", list(arguments), resilient_parsing=not arguments)
    while isinstance(group, click.Group) and (rest := _rest_of(context)):
        name, found, rest = group.resolve_command(context, rest)
        assert found is not None
        if {"-h", "--help"} & set(rest):
            return
        context, group = found.make_context(name, rest, parent=context), found


def _rest_of(context: click.Context) -> list[str]:
    """What a group leaves for its command. click before 8.2 names the first word `protected_args`."""
    first = context._protected_args if hasattr(context, "_protected_args") else context.protected_args
    return [*first, *context.args]


def test_the_language_of_each_block_says_what_it_is():
    assert {(block.page, block.language) for block in blocks(*PAGES) if block.language not in LANGUAGES} == set()


def test_each_command_in_a_document_exists_with_its_options():
    wrong, seen = [], 0
    for block in blocks(*PAGES):
        if block.language not in ("sh", "console", "powershell") or block.hook:
            continue
        for line in typed(block):
            for arguments in tideover_commands(line):
                seen += 1
                try:
                    parse(arguments)
                except (click.UsageError, click.exceptions.Exit) as error:
                    wrong.append((block.page, line, str(error)))
    assert wrong == []
    assert seen > 40


def test_each_command_that_a_sentence_names_exists_with_its_options():
    wrong = []
    for page in PAGES:
        for line in INLINE.findall(BLOCK.sub("", page.read_text())):
            group: click.Command = app
            words = line.split()[1:]
            context = click.Context(app)
            while words and isinstance(group, click.Group) and re.fullmatch(r"[a-z]+", words[0]):
                found = group.get_command(context, words.pop(0))
                if found is None:
                    wrong.append((page.name, line))
                    break
                group = found
            options = {name for parameter in (*group.params, *app.params) for name in parameter.opts} | {"--help"}
            wrong += [(page.name, line) for option in re.findall(r"--[a-z-]+", line) if option not in options]
    assert wrong == []


def test_the_documents_show_each_command():
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in COMMANDS if f"tideover {name}" not in text] == []


@pytest.mark.parametrize("block", [block for block in blocks(*PAGES) if block.language == "toml"],
                         ids=lambda block: block.page)
def test_each_configuration_in_a_document_is_valid(block):
    assert read_settings(block.text.encode(), file=block.page, defaults=LINUX)


def test_each_program_and_document_in_a_document_is_well_formed():
    for block in blocks(*PAGES):
        if block.language == "sh":
            read = subprocess.run(["/bin/sh", "-n"], input=block.text, text=True, capture_output=True, check=False)
            assert read.stderr == "", block
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "json":
            json.loads(block.text)


# --- What is really run

@pytest.fixture
def user(tmp_path):
    """A new user in whose environment tideover is installed: call it with the lines to type."""
    tool = tmp_path / "bin" / "tideover"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m tideover "$@"\n')
    tool.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()

    def types(lines: str, *, limit_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["/bin/sh", "-e"], input=lines, text=True, capture_output=True, timeout=limit_s, cwd=TOP,
                              env={**environment(), "HOME": str(home), "PATH": f"{tool.parent}:/usr/bin:/bin",
                                   "TIDEOVER_CONFIG": ""})
    types.home = home
    return types


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.language == "sh" and not block.hook
                                                                for block in blocks(page))], ids=lambda page: page.stem)
def test_each_sh_block_of_a_page_runs_for_a_new_user(page, user):
    lines = "\n".join(block.text for block in blocks(page) if block.language == "sh" and not block.hook)
    session = user(lines)
    assert session.returncode == 0, session.stdout[-3000:] + session.stderr[-3000:]
    assert "Traceback" not in session.stderr and "✗" not in session.stdout


@pytest.mark.slow
def test_the_first_commands_of_the_readme_lead_from_a_clone_to_a_drill_in_a_minute(tmp_path):
    """With Debian's python3, a home without anything in it, and nothing of this checkout's environment."""
    section = (TOP / "README.md").read_text().partition("## See it in one minute")[2].partition("\n## ")[0]
    [first] = [text for info, text in BLOCK.findall(section) if info == "console"]
    subprocess.run(["git", "clone", "-q", f"file://{TOP}", tmp_path / "tideover"], check=True)
    allowed = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    began = time.monotonic()
    session = subprocess.run(["/bin/sh", "-e"], input="\n".join(typed(Block("", "console", "", first))), text=True,
                             capture_output=True, timeout=300, cwd=tmp_path / "tideover", check=False,
                             env={**allowed, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
    took_s = time.monotonic() - began
    assert session.returncode == 0, session.stdout[-3000:] + session.stderr[-3000:]
    assert "Every check passed" in session.stdout
    assert took_s < 60 * (3 if os.getloadavg()[0] > 2 else 1), f"{took_s:.0f} s"


@pytest.fixture
def peer():
    """The address of another machine that answers at once."""
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


HOOKS = [block for block in blocks(*PAGES) if block.hook]


@pytest.mark.slow
@pytest.mark.parametrize("block", HOOKS, ids=lambda block: f"{block.page}-{block.hook}")
def test_each_hook_in_a_document_passes_the_check_and_drills(block, user, peer):
    """As it stands, but for the directory of the SDK, which the page says depends on the installation."""
    directory = user.home / "tideover" / "hooks.d"
    directory.mkdir(parents=True)
    file = directory / block.hook
    file.write_text(block.text.replace(INSTALLED_SDK, str(TOP / "hooks")))
    file.chmod(0o755)
    configuration = user.home / "tideover" / "tideover.toml"
    configuration.write_text(f'[paths]\nhooks = "{directory}"\nstate = "{user.home}/state"\nruntime = "{user.home}/run"\n'
                             f'[hook.{block.hook.partition("-")[2]}]\nenvironment = {{ PEER_URL = "{peer}" }}\n')
    session = user(f"""export TIDEOVER_CONFIG={configuration}
        tideover hooks check
        tideover drill --hooks --pause 2s
        tideover drill --hooks --cancel
        tideover drill --hooks --kind reboot --pause 2s""")
    assert session.returncode == 0, session.stdout[-4000:] + session.stderr[-3000:]
