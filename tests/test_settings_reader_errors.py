"""What is wrong with a configuration is reported all at once, each fault with its line, its key and what was expected."""
from __future__ import annotations

import random
import time
from functools import cache

import pytest

from sampling import thinned
from tideover.errors import EXIT_WRONG_USE, ConfigurationError
from tideover.settings import LARGEST_BYTES, LINUX, read, read_settings
from tideover.settings.keys import HOOK, TABLES

ROWS = [(f"{table.name if table is not HOOK else 'hook.web'}", key.name) for table in (*TABLES, HOOK)
        for key in table.keys]

RANGES = [        # table, key, just too small, smallest, largest, just too large
    ("source", "poll", "49ms", "50ms", "5m", "301s"),
    ("source.gcp", "preempt_notice", None, "0s", "1h", "61m"),
    ("source.gcp", "terminate_notice", None, "0s", "24h", "25h"),
    ("policy", "lead", "999ms", "1s", "365d", "366d"),
    ("hooks", "timeout", "9ms", "10ms", "24h", "1441m"),
    ("hooks", "reserve", None, "0s", "10m", "601s"),
    ("hook.web", "min_pause", None, "0s", "1h", "61m"),
    ("hook.web", "timeout", "0s", "10ms", "24h", "25h"),
    ("pause", "tick", "9ms", "10ms", "1s", "1001ms"),
    ("pause", "threshold", "0s", "10ms", "1m", "2m"),
    ("pause", "settle", None, "0s", "10m", "11m"),
    ("clock", "tolerance", "0s", "0.1ms", "1h", "61m"),
    ("clock", "deadline", None, "0s", "24h", "25h"),
    ("fleet", "takeover", "59s", "1m", "30d", "31d"),
    ("journal", "keep", "59s", "1m", "36500d", "36501d"),
]


def faults_of(text: str | bytes) -> tuple[str, ...]:
    try:
        read_settings(text, file="tideover.toml", defaults=LINUX)
    except ConfigurationError as refused:
        return refused.faults
    return ()


@pytest.mark.parametrize(("table", "key"), thinned(ROWS, 3))
def test_a_value_of_a_wrong_type_is_refused_at_its_line_for_every_key(table: str, key: str) -> None:
    for value, found in (("7", "7"), ("1.5", "1.5"), ("1979-05-27", "a date or time"), ("[[]]", None),
                         ("{ x = 7 }", None)):
        if key in ("connections", "slots") and value == "7":
            continue                                # a number is right there
        faults = faults_of(f"# first\n[{table}]\n\n{key} = {value} # here\n")
        assert len(faults) == 1, (value, faults)
        below = ".x" if key == "environment" and found is None and value != "[[]]" else ""
        assert faults[0].startswith(f"line 4: {table}.{key}{below}: expected "), faults
        if key in ("environment", "command") and value in ("7", "1.5"):
            found = "a number"                      # its values may be secret: none is repeated
        assert found is None or faults[0].endswith(f", found {found}"), faults


@pytest.mark.parametrize(("table", "key"), thinned(ROWS, 3))
def test_a_slip_of_the_pen_in_every_key_is_refused_and_the_right_one_named(table: str, key: str) -> None:
    faults = faults_of(f"[{table}]\n{key}s_ = 1\n")
    assert faults == (f"line 2: {table}.{key}s_: unknown key, did you mean {key}?",)


@pytest.mark.parametrize(("table", "key", "below", "low", "high", "above"), RANGES)
def test_the_ends_of_every_range_are_allowed_and_nothing_beyond(
        table: str, key: str, below: str | None, low: str, high: str, above: str) -> None:
    for fine in (low, high):
        assert faults_of(f'[{table}]\n{key} = "{fine}"') == ()
    for wrong in (below, above):
        if wrong:
            [fault] = faults_of(f'[{table}]\n{key} = "{wrong}"')
            other = '"never" or ' if key == "takeover" else ""
            assert fault.startswith(
                f'line 2: {table}.{key}: expected {other}a duration from "{low}" to "{high}", found "{wrong}" ('), fault


def test_every_duration_of_the_table_has_its_range_tested() -> None:
    durations = {(table.name if table is not HOOK else "hook.web", key.name) for table in (*TABLES, HOOK)
                 for key in table.keys if key.takes.unit == "_s"}
    assert durations == {row[:2] for row in RANGES}


def test_the_sentence_of_the_contract() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_settings('[policy]\nacknowledge = "sometimes"', file="/etc/x.toml", defaults=LINUX)
    assert refused.value.faults == (
        'line 2: policy.acknowledge: expected when-ready or never, found "sometimes"',)
    assert refused.value.file == "/etc/x.toml"
    assert refused.value.exit_status == EXIT_WRONG_USE
    assert "/etc/x.toml" in str(refused.value)


def test_ten_faults_are_ten_lines_in_the_order_of_the_file() -> None:
    text = """\
polly = 1
[source]
kind = "azur"
[policy]
act_on = ["freeze",
          "frieze"]
reboot.recover_after = "event"
[hooks]
timeout = "0s"
[hook.web]
required = "yes"
[hook.web.environment]
GOOD = "x"
BAD = 1
[clock]
servers = ["ntp://x"]
[metrics]
listen = "localhost:1"
[paths]
state = "here"
[jornal]
keep = 1
"""
    faults = faults_of(text)
    assert [fault.split(": ")[:2] for fault in faults] == [
        ["line 1", "polly"], ["line 3", "source.kind"], ["line 5", "policy.act_on"],
        ["line 7", "policy.reboot.recover_after"], ["line 9", "hooks.timeout"], ["line 11", "hook.web.required"],
        ["line 14", "hook.web.environment.BAD"], ["line 16", "clock.servers"], ["line 18", "metrics.listen"],
        ["line 20", "paths.state"], ["line 21", "jornal"]]
    assert faults[1].endswith('found "azur", did you mean azure?')
    assert faults[2].endswith('found "frieze" in it, did you mean freeze?')
    assert faults[-1] == "line 21: jornal: unknown table or key, did you mean journal?"


@pytest.mark.parametrize(("text", "fault"), [
    ('poll = "1s"', "line 1: poll: unknown table or key, it belongs in [source]"),
    ('[hooks]\nuser = "x"', "line 2: hooks.user: unknown key, it belongs in [notify] or [fleet] or [hook.NAME] or [application.NAME]"),
    ('[log]\ntimeout = "1s"', "line 2: log.timeout: unknown key, it belongs in [hooks] or [hook.NAME] or [application.NAME]"),
    ("[hooks.web]\n", "line 1: hooks.web: unknown key, one hook's own table is [hook.web]"),
    ("[policy.freze]\n", "line 1: policy.freze: unknown key, did you mean freeze?"),
    ("[log]\nzzz = 1", "line 2: log.zzz: unknown key, [log] takes format, level"),
    ('[hook]\ntimeout = "5s"', 'line 2: hook.timeout: expected a table [hook.NAME], found "5s"'),
    ("source = 3", "line 1: source: expected a table [source], found 3"),
    ("[[source]]", "line 1: source: expected a table [source], found a list"),
    ('policy.freeze = "x"', 'line 1: policy.freeze: expected a table [policy.freeze], found "x"'),
    ("[hook.Web]", "line 1: hook.Web: expected a name of small letters, digits and hyphens for the hook"),
    ('[hook."a b"]', "line 1: hook.\"a b\": expected a name of small letters, digits and hyphens for the hook"),
    ("[log]\nlevel = true", "line 2: log.level: expected debug, info, warning or error, found true"),
    ("[log]\nlevel = false", "line 2: log.level: expected debug, info, warning or error, found false"),
    ("[log]\nlevel = 07:32:00", "line 2: log.level: expected debug, info, warning or error, found a date or time"),
    ("[log]\nlevel = 1" + "0" * 40,
     "line 2: log.level: expected debug, info, warning or error, found a very large number"),
    (f'[log]\nlevel = "{"x" * 60}"',
     f'line 2: log.level: expected debug, info, warning or error, found "{"x" * 60}"'),
    (f'[log]\nlevel = "{"x" * 61}"',
     f'line 2: log.level: expected debug, info, warning or error, found "{"x" * 60}…"'),
    ('[clock]\nservers = ["", 2, ":3"]',
     'line 2: clock.servers: expected a list of "host", "host:port" or "[v6]:port", found "", 2, ":3" in it'),
    ('[clock]\nservers = ["", 2, "", 3, 4]',
     'line 2: clock.servers: expected a list of "host", "host:port" or "[v6]:port", found "", 2, "" and 2 more in it'),
    ('[clock]\nservers = [1, 2, 3, 4]',
     'line 2: clock.servers: expected a list of "host", "host:port" or "[v6]:port", found 1, 2, 3 and 1 more in it'),
    ("a = ", 'line 1: not TOML: expected a value: text in quotes, as in "5s", or true, false or a list'),
    ('a = "\\q"', "line 1: not TOML: unescaped '\\' in a string"),
    ('[log]\nlevel = "a\\nb\\u0007"',
     'line 2: log.level: expected debug, info, warning or error, found "a\\u000ab\\u0007"'),
    ('[log]\n"\\u2028" = 1', 'line 2: log."\\u2028": unknown key, [log] takes format, level'),
])
def test_each_mistake_is_reported_so_that_it_can_be_corrected(text: str, fault: str) -> None:
    assert faults_of(text) == (fault,)


@pytest.mark.parametrize(("kind", "key", "allowed"), thinned([
    (kind, key, key in ("acknowledge", "acknowledge_shared", "prepare", "lead")
     or (key, kind) == ("recover_after", "freeze"))
    for kind in ("freeze", "reboot", "redeploy", "preempt", "terminate", "unknown")
    for key in ("act_on", "acknowledge", "acknowledge_shared", "prepare", "lead", "recover_after", "unannounced",
                "on_stop")], 3))
def test_what_one_kind_cannot_have_of_its_own_is_refused_with_the_reason(kind: str, key: str, allowed: bool) -> None:
    values = {"act_on": "[]", "acknowledge": '"never"', "acknowledge_shared": "true", "prepare": '"at-once"',
              "lead": '"1h"', "recover_after": '"event"', "unannounced": '"record"', "on_stop": '"keep"'}
    faults = faults_of(f"[policy.{kind}]\n{key} = {values[key]}")
    if allowed:
        assert faults == ()
    else:
        assert len(faults) == 1
        assert faults[0].startswith(f"line 2: policy.{kind}.{key}: cannot differ for {kind}: ")
        assert "[policy]" in faults[0]


@pytest.mark.parametrize("kind", ["unannounced", "live-migration"])
def test_kinds_that_are_never_announced_have_no_policy_and_are_not_acted_on(kind: str) -> None:
    assert len(faults_of(f"[policy.{kind}]\nlead = '1h'")) == 1
    assert len(faults_of(f'[policy]\nact_on = ["{kind}"]')) == 1
    assert faults_of(f'[hook.web]\nkinds = ["{kind}"]') == ()


@pytest.mark.parametrize(("table", "key", "wrong"), thinned([
    *(("source", "endpoint", text) for text in (
        "https://x", "http://", "http://x/y", "http://x?y", "http://u@x", "http://x#y", "ftp://x", "x:80",
        "http://x:0", "http://x:70000", "http://[::1", "http://x y", "http://300.1.1.1", " http://x")),
    *(("source", "vm_name", text) for text in (" ", "a ", "a\\nb", "\\u0000")),
    *(("metrics", "listen", text) for text in ("localhost:1", ":9477", "9477", "1.2.3.4", "1.2.3.4:0", "::1:80",
                                               "1.2.3.4:x", "[1.2.3.4]:80", "[::1]")),
    ("health", "listen", "0.0.0.0:65536"), ("metrics", "textfile", "a.prom"), ("paths", "hooks", ""),
    ("paths", "state", "~/state"), ("paths", "runtime", "/a\\u0000"), ("hook.web", "user", "a:b"),
    ("hook.web", "user", "\\t"),
    *(("fleet", "store", text) for text in (
        "etcd://", "etcd:///", "etcd://a,", "etcd://a:0", "etcd://u:secret@a", "http://a", "consul://a", "azblob://acc",
        "azblob://ac/container", "azblob://Account/container", "azblob://account/co", "azblob://account/a--b",
        "azblob://account/container/x", "azblob://account/container?sig=secret", "etcd://a/b")),
    *(("fleet", "group", text) for text in ("", "a b", "a/b", ".a", "-a", "é", "a" * 65)),
    *(("fleet", "prefix", text) for text in ("", "/a", "a/", "a//b", "a/../b", "a b", "a" * 65)),
    *(("fleet", "endpoint", text) for text in ("x", "ftp://x", "http://x/a/b", "https://x?sig=secret", "https://u:secret@x")),
    ("fleet", "password_file", "etcd.password"), ("fleet", "takeover", "Never"),
], 3))
def test_text_that_is_no_address_path_or_name_is_refused(table: str, key: str, wrong: str) -> None:
    [fault] = faults_of(f'[{table}]\n{key} = "{wrong}"')
    assert fault.startswith(f"line 2: {table}.{key}: expected ")
    assert "secret" not in fault


@pytest.mark.parametrize(("text", "faults"), [
    ('store = "etcd://a"\nuser = "x"', ["line 3: fleet.user: needs password_file too"]),
    ('store = "etcd://a"\npassword_file = "/p"', ["line 3: fleet.password_file: needs user too"]),
    ('store = "etcd://a"\nca_file = "/p"', ["line 3: fleet.ca_file: is not for etcd://, which takes user, password_file"]),
    ('store = "etcds://a"\nca_file = "/p"', []),
    ('store = "etcds://a"\ncert_file = "/p"', ["line 3: fleet.cert_file: needs key_file too"]),
    ('store = "etcds://a"\nkey_file = "/p"', ["line 3: fleet.key_file: needs cert_file too"]),
    ('store = "etcd://a"\nidentity = true', [
        "line 3: fleet.identity: is not for etcd://, which takes user, password_file"]),
    ('store = "azblob://account/fleet"', ["line 2: fleet.store: needs sas_file or identity = true"]),
    ('store = "azblob://account/fleet"\nsas_file = "/s"', []),
    ('store = "azblob://account/fleet"\nidentity = true', []),
    ('store = "azblob://account/fleet"\nidentity = true\nsas_file = "/s"',
     ["line 3: fleet.identity: cannot be used with sas_file: choose one"]),
    ('store = "azblob://account/fleet"\nidentity = true\nuser = "x"',
     ["line 4: fleet.user: is not for azblob://, which takes endpoint, sas_file, identity"]),
    ('user = "x"\nsas_file = "/s"', []),                      # without a store nothing of it is used
    ('store = "azblob://x"', None),                            # what follows from a wrong value is no further fault
])
def test_keys_of_the_fleet_that_do_not_go_together_are_refused(text: str, faults: list[str] | None) -> None:
    found = faults_of(f"[fleet]\n{text}")
    if faults is None:
        assert len(found) == 1
        assert found[0].startswith("line 2: fleet.store: expected ")
    else:
        assert list(found) == faults


def test_a_store_may_stand_in_one_file_and_its_credentials_in_another() -> None:
    parts = ('[fleet]\nstore = "azblob://account/fleet"\n', '[fleet]\nsas_file = "/s"\n', '[fleet]\nuser = "x"\n')
    assert read(parts[0], file="main", defaults=LINUX, drop_ins=[("b", parts[1])]).settings.fleet.sas_file == "/s"
    with pytest.raises(ConfigurationError) as refused:
        read(parts[0], file="main", defaults=LINUX, drop_ins=[("b", parts[1]), ("c", parts[2])])
    assert refused.value.faults == ("c line 2: fleet.user: is not for azblob://, which takes endpoint, sas_file, identity",)


@pytest.mark.parametrize("server", ["", "ntp://x", "a b", "x:0", "x:65536", "x:", "[::1", "::1]:123", "[x]:1", "1.2.3",
                                    "256.1.1.1", "-x", "a..b", "x" * 64,
                                    ".".join(["x" * 50] * 5), "2001:db8::1::2", "[fe80::1%]:123"])
def test_what_is_no_time_server_is_refused(server: str) -> None:
    [fault] = faults_of(f'[clock]\nservers = ["10.0.0.1", "{server}"]')
    assert fault.startswith('line 2: clock.servers: expected a list of "host", "host:port" or "[v6]:port", found "')


@pytest.mark.parametrize(("name", "value"), [
    ("TIDEOVER_KIND", '"x"'), ("tideover_kind", '"x"'), ('"a b"', '"x"'), ("1A", '"x"'), ('""', '"x"'), ("A", "true"),
    ("A", '"a\\u0000"'), ('"A=B"', '"x"')])
def test_a_variable_that_cannot_be_handed_to_a_hook_is_refused_at_its_own_line(name: str, value: str) -> None:
    [fault] = faults_of(f'[hook.web]\n[hook.web.environment]\nFINE = "x"\n{name} = {value}')
    assert fault.startswith(f"line 4: hook.web.environment.{name}: expected text for each name"), fault


@pytest.mark.parametrize(("text", "line", "words"), [
    ('[source]\npoll = 1s', 2, "quotes"), ("[log]\n\nlevel = info", 3, "quotes"), ("[log\n", 1, ""),
    ('[log]\nlevel = "info"\nlevel = "debug"', 3, "twice"), ("[log]\n[hooks]\n[log]\n", 3, "twice"),
    ("\nlevel", 2, "="), ('a = """\n\n\n', 1, ""), ("a = [1,\n2,\n", 2, ""),
    ("# fine\r\n\r\n= 3", 3, ""), ("a = { b = 1, b = 2 }", 1, "twice"),
    ("\n\0", 2, ""), (b"\n# caf\xe9\n", 2, "UTF-8"), ("\ufeff[log]".encode("utf-16"), 1, "UTF-16"),
])
def test_what_is_no_toml_is_one_fault_with_its_line(text: str | bytes, line: int, words: str) -> None:
    [fault] = faults_of(text)
    assert fault.startswith(f"line {line}: "), fault
    assert words in fault


@cache
@cache
def garbage(seed: int) -> dict[str, bytes]:
    dice = random.Random(seed)
    size = LARGEST_BYTES
    return {
        "random bytes": dice.randbytes(size),
        "a mebibyte": dice.randbytes(2**20),
        "marks of TOML": bytes(dice.choices(b"ab=.[]{}\"'#\n, 1", k=size)),
        "lists in lists": b"x=" + b"[" * (size - 2),
        "tables in tables": b"x={" + b"a={" * (size // 3 - 2),
        "a long key": b"a." * (size // 2 - 2) + b"a=1",
        "a long key in braces": b"x={" + b"a." * (size // 2 - 5) + b"a=1}",
        "a long quoted key": b'["a"' + b'."a"' * (size // 4 - 3) + b"]",
        "a long number": b"x=" + b"9" * (size - 2),
        "a long duration": b'[source]\npoll="' + b"9" * (size - 40) + b's"',
        "quotes": b'x="""' + b'a"' * (size // 2 - 10) + b'"""',
        "nothing": bytes(size),
    }


SEED = random.randrange(10**6)


@pytest.mark.parametrize("name", thinned(list(garbage(SEED)), 3))
def test_garbage_is_a_fault_on_one_line_never_a_traceback_and_never_a_long_wait(name: str) -> None:
    print(f"seed {SEED}")
    began = time.monotonic()
    faults = faults_of(garbage(SEED)[name])
    assert len(faults) == 1 or (name == "marks of TOML" and faults)      # it may hold headers of unknown tables
    assert len(faults[0]) < 300
    assert faults[0].isprintable()
    assert time.monotonic() - began < 5


def test_thousands_of_faults_are_counted_and_the_first_hundred_shown() -> None:
    faults = faults_of("".join(f"a{number} = 1\n" for number in range(3000)))
    assert len(faults) == 101
    assert faults[0].startswith("line 1: a0: ")
    assert faults[99].startswith("line 100: a99: ")
    assert faults[100] == "and 2900 more of this kind"
    assert len(faults_of("".join(f"a{number} = 1\n" for number in range(100)))) == 100
    assert faults_of("".join(f"a{number} = 1\n" for number in range(101)))[-1] == "and 1 more of this kind"


def test_a_file_may_have_256_kibibytes_and_no_more() -> None:
    assert faults_of(b"#" * 262144) == ()
    assert faults_of(b"#" * 262145) == ("larger than 256 KiB, which cannot be a configuration of tideover",)


def test_a_file_that_is_not_toml_has_the_same_faults_for_every_command() -> None:
    from tideover.settings import read_tolerantly
    text = "[policy]\nbogus = 1\n[clock]\nfoo = \n[log]\nzz = 1\n"
    with pytest.raises(ConfigurationError) as refused:
        read_settings(text, file="t", defaults=LINUX)
    _, trouble = read_tolerantly(text, file="t", defaults=LINUX)
    assert trouble is not None
    assert refused.value.faults == trouble.faults
    assert len(trouble.faults) == 3
