"""The default file, what `config show` tells (everything that holds, and where it came from), and the JSON Schema."""
from __future__ import annotations

import json
import re
import tomllib

import pytest

from json_schema import errors
from tideover.cli import main
from tideover.errors import ConfigurationError
from tideover.model import Kind
from tideover.settings import (
    LINUX,
    PlatformPaths,
    default_settings,
    options_for,
    read,
    read_settings,
    windows_paths,
)
from tideover.settings.keys import HOOK, TABLES
from tideover.settings.render import (
    HIDDEN,
    configuration_schema,
    effective_values,
    render_default_file,
    section_of,
    show_hidden,
)
from tideover.settings.types import quoted

WINDOWS = windows_paths("C:\\ProgramData")


@pytest.mark.parametrize("platform", [LINUX, WINDOWS])
def test_the_default_file_changes_nothing(platform: PlatformPaths) -> None:
    assert read_settings(render_default_file(platform), file="x", defaults=platform) == default_settings(platform)


@pytest.mark.parametrize("platform", [LINUX, WINDOWS])
def test_each_key_of_the_default_file_shows_its_true_default(platform: PlatformPaths) -> None:
    said = re.sub(r"^#(?=\S)", "", render_default_file(platform), flags=re.MULTILINE)
    reading, defaults = read(said, file="x", defaults=platform), default_settings(platform)
    assert reading.settings.hook["example"] == options_for(defaults, "example")
    for table in TABLES:
        assert section_of(reading.settings, table) == section_of(defaults, table)
        assert {f"{table.name}.{key.name}" for key in table.keys} <= set(reading.origin)
    assert {f"hook.example.{key.name}" for key in HOOK.keys} <= set(reading.origin)
    assert reading.settings.policy_by_kind == defaults.policy_by_kind
    assert "policy.unknown.acknowledge" in reading.origin


def test_taking_one_mark_off_and_forgetting_the_examples_own_header_is_noticed() -> None:
    """Its keys stand last, under a header that takes none of them."""
    for key in HOOK.keys:
        text = render_default_file()
        at = text.rindex(f"\n#{key.name} = ")
        with pytest.raises(ConfigurationError, match="one fault"):
            read_settings(text[:at + 1] + text[at + 2:], file="x", defaults=LINUX)


def test_the_default_file_fits_a_terminal_and_explains_every_key() -> None:
    text = render_default_file()
    assert max(map(len, text.splitlines())) <= 120
    for table in (*TABLES, HOOK):
        assert f"# {table.about}\n" in text
        for key in table.keys:
            assert f"# {key.about}\n# Takes {key.takes.expected}{key.takes.reason and ': '}{key.takes.reason}.\n" in text


def test_show_tells_every_key_and_the_line_of_those_the_file_sets() -> None:
    reading = read('[source]\npoll = "2000ms"\n\n[hook.web]\nuser = "www"\n[policy]\nfreeze.lead = "1h"\n',
                   file="x", defaults=LINUX)
    shown = {line.key: line[1:] for line in effective_values(reading.settings, reading.origin)}
    assert shown["source.poll"] == ('"2s"', "x line 2")
    assert shown["source.kind"] == ('"auto"', "default")
    assert shown["hook.web.user"] == ('"www"', "x line 5")
    assert shown["hook.web.timeout"] == ('"60s"', "default")
    assert shown["hook.web.required"] == ("true", "default")
    assert shown["policy.freeze.lead"] == ('"1h"', "x line 7")
    assert shown["policy.unknown.acknowledge"] == ('"never"', "default")
    assert {f"{table.name}.{key.name}" for table in TABLES for key in table.keys} <= set(shown)
    assert not [key for key in shown if key.startswith("policy.reboot")]


def test_what_show_tells_is_native_to_a_reader_of_its_json() -> None:
    """Text, booleans, lists and tables as the file would give them to any program; durations are text there, too."""
    reading = read('[hook.web]\nuser = "w\\u00fcb"\nenvironment = { A = "b\\"c" }\n[policy]\nact_on = ["freeze"]\n',
                   file="x", defaults=LINUX)
    native = {line.key: line.native for line in effective_values(reading.settings, reading.origin)}
    wanted = {"source.kind": "auto", "policy.act_on": ["freeze"], "policy.acknowledge_shared": False, "pause.tick": "250ms",
              "source.vm_name": "", "hook.web.user": "wüb", "hook.web.environment": {"A": 'b"c'}, "hook.web.required": True}
    assert {key: native[key] for key in wanted} == wanted


def test_show_hides_the_arguments_of_the_notification_program_and_the_values_of_hooks_and_nothing_else() -> None:
    for command, wanted in (([], []), (["/opt/tell"], ["/opt/tell"]), (["/opt/tell", "https://x/token", "b"], ["/opt/tell", HIDDEN, HIDDEN])):
        reading = read(f"[notify]\ncommand = {json.dumps(command)}\n[hook.web]\nenvironment = {{ A = 'b' }}\n", file="x", defaults=LINUX)
        lines = effective_values(reading.settings, reading.origin)
        hidden = {line.key: show_hidden(line).native for line in lines}
        assert hidden == {line.key: line.native for line in lines} | {
            "notify.command": wanted, "hook.web.environment": {"A": HIDDEN}}


def test_what_show_tells_is_a_configuration_that_means_the_same() -> None:
    text = """
[source]
endpoint = "http://[::1]:80"
vm_name = 'back\\slash "quoted"'
[policy]
act_on = ["terminate", "freeze"]
acknowledge = "never"
freeze = { acknowledge = "when-ready", recover_after = "event" }
unknown.acknowledge = "when-ready"
[hook.web]
kinds = ["live-migration", "freeze"]
min_pause = "1.5s"
user = 'DOMAIN\\it''s'
environment = { A = "1 = '2'\\n", B_2 = "" }
[hook.-]
[notify]
command = ["/opt/tell us", 'say "it"']
[applications]
listeners = ["nobody", "media"]
[clock]
servers = ["a", "[::1]:5", "1.2.3.4:99"]
tolerance = "0.25ms"
[metrics]
listen = "[::1]:9477"
textfile = "/var/x.prom"
[fleet]
store = "etcd://a,[::1]:5"
takeover = "never"
slots = 3
""".replace("''", "")
    reading = read(text, file="x", defaults=LINUX)
    again = "\n".join(f"{line.key} = {line.value}" for line in effective_values(reading.settings, reading.origin))
    assert read_settings(again, file="x", defaults=LINUX) == reading.settings
    assert reading.settings.policy_for(Kind.FREEZE).recover_after == "event"


@pytest.mark.parametrize("text", ["", "plain", 'a "b" \'c\'', "back\\slash", "back\\ and '", "line\nfeed\ttab",
                                  "\x7f\x00", "ümlaut", "\u2028", "\U0001f30a", "\U000e0001"])
def test_any_text_is_written_on_one_line_of_toml(text: str) -> None:
    written = quoted(text)
    assert written.isprintable()
    assert tomllib.loads(f"a = {written}") == {"a": text}


# --- The JSON Schema

SCHEMA = configuration_schema()


def test_the_file_of_all_defaults_obeys_the_schema() -> None:
    whole = re.sub(r"^#(?=\S)", "", render_default_file(), flags=re.MULTILINE)
    assert list(errors(tomllib.loads(whole), SCHEMA)) == []


@pytest.mark.parametrize("wrong", [
    "[polic]\n", "[policy]\nacknowlege = 'never'\n", "[policy]\nacknowledge = 'sometimes'\n", "[hooks]\ntimeout = 5\n", "[hooks]\ntimeout = '5 s'\n",
    "[policy.reboot]\nrecover_after = 'event'\n", "[hook.UPPER]\n", "[hook.a]\nkinds = ['freezing']\n", "[hook.a]\nrequired = 'yes'\n",
    "[hook.a.environment]\nX = 1\n", "[clock]\nservers = 'one'\n", "source = 1\n"])
def test_the_schema_refuses_what_has_the_wrong_form(wrong: str) -> None:
    assert list(errors(tomllib.loads(wrong), SCHEMA))


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
