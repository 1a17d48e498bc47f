"""What a configuration file means: the contract's keys, their defaults, and how they are understood."""
from __future__ import annotations

import dataclasses

import pytest

from tideover.errors import ConfigurationError
from tideover.model import ANNOUNCED, Kind
from tideover.settings import (
    LINUX,
    Address,
    Settings,
    default_settings,
    options_for,
    read_duration,
    read_settings,
    windows_paths,
    write_duration,
)
from tideover.settings.keys import HOOK, TABLES
from tideover.settings.render import section_of
from tideover.settings.types import quoted
from tideover.settings.values import AwsSettings, GcpSettings, VsphereSettings

DAY_S = 86400.0

DEFAULTS = {       # by hand from the contract, not from the table
    "source": {"kind": "auto", "endpoint": None, "poll_s": 1.0, "vm_name": None, "gcp": GcpSettings(0.0, 60.0),
               "aws": AwsSettings(rebalance=False, autoscaling=False), "vsphere": VsphereSettings("tideover", None)},
    "policy": {"act_on": ANNOUNCED, "acknowledge": "when-ready", "acknowledge_shared": False, "mode": "act",
               "prepare": "at-once", "lead_s": 3600.0, "recover_after": "pause", "unannounced": "recover", "on_stop": "keep"},
    "hooks": {"timeout_s": 60.0, "reserve_s": 5.0, "on_failure": "hold"},
    "pause": {"tick_s": 0.25, "threshold_s": 0.5, "settle_s": 5.0},
    "clock": {"servers": (), "tolerance_s": 0.25, "deadline_s": 60.0, "on_deadline": "recover", "remedy": "none"},
    "notify": {"user": "nobody", "command": ()},
    "log": {"format": "text", "level": "info"},
    "metrics": {"listen": None, "textfile": None},
    "health": {"listen": None},
    "journal": {"keep_s": 365 * DAY_S},
    "fleet": {"store": None, "endpoint": None, "group": "default", "slots": 0, "shared": "together",
              "on_unreachable": "hold", "takeover_s": 1800.0, "prefix": "tideover", "user": None, "password_file": None,
              "ca_file": None, "cert_file": None, "key_file": None, "sas_file": None, "identity": False},
    "paths": {"hooks": "/etc/tideover/hooks.d", "state": "/var/lib/tideover", "runtime": "/run/tideover"},
}

EVERYTHING = """
[source]
kind = "azure"
endpoint = "http://127.0.0.1:8080/"
poll = "100ms"
vm_name = "VM_7"
[source.vsphere]
app_name = "tideover-7"
vmtoolsd = "/opt/vmtoolsd"
[source.aws]
rebalance = true
autoscaling = true
[source.gcp]
preempt_notice = "120s"
terminate_notice = "60m"
[policy]
act_on = ["freeze", "reboot"]
acknowledge = "never"
acknowledge_shared = true
mode = "observe"
prepare = "just-in-time"
lead = "2h"
recover_after = "event"
unannounced = "record"
on_stop = "recover"
[policy.freeze]
acknowledge = "when-ready"
lead = "30m"
recover_after = "pause"
[policy.unknown]
acknowledge = "when-ready"
[hooks]
timeout = "90s"
reserve = "1.5s"
on_failure = "proceed"
[hook.haproxy]
kinds = ["freeze", "unannounced", "live-migration"]
min_pause = "2s"
timeout = "20s"
required = true
user = "haproxy"
environment = { SOCKET = "/run/haproxy/admin.sock" }
umask = "027"
environment_file = "/etc/tideover/haproxy.env"
[pause]
tick = "100ms"
threshold = "1s"
settle = "0s"
[clock]
servers = ["ntp.example", "10.0.0.1:1123", "[2001:db8::1]:124", "2001:db8::2"]
tolerance = "0.5ms"
deadline = "2m"
on_deadline = "hold"
remedy = "daemon"
[notify]
user = ""
command = ["/usr/local/bin/tell", "--to", "us"]
[log]
format = "json"
level = "debug"
[metrics]
listen = "127.0.0.1:9477"
textfile = "/var/lib/node_exporter/tideover.prom"
[health]
listen = "[::]:9478"
[journal]
keep = "30d"
[fleet]
store = "etcds://etcd-1,[::1]:4001/"
group = "web.A_1"
slots = 2
shared = "alone"
on_unreachable = "proceed"
takeover = "never"
prefix = "ops/tideover"
user = "tideover"
password_file = "/etc/tideover/etcd.password"
ca_file = "/etc/tideover/ca.pem"
cert_file = "/etc/tideover/etcd.pem"
key_file = "/etc/tideover/etcd.key"
[paths]
hooks = "/home/me/hooks/"
state = "/home/me/state"
runtime = "/home/me/run"
"""


def settings_of(text: str | bytes) -> Settings:
    return read_settings(text, file="tideover.toml", defaults=LINUX)


def fields(value: object) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]


@pytest.mark.parametrize("table", DEFAULTS)
def test_with_no_file_the_contracts_defaults_apply(table: str) -> None:
    assert fields(getattr(default_settings(), table)) == DEFAULTS[table]


def test_each_row_of_the_table_fills_one_field_and_no_field_is_without_a_row() -> None:
    for table in (*TABLES, HOOK):
        within = [one.name.rpartition(".")[2] for one in TABLES if one.name.rpartition(".")[0] == table.name]
        assert [*(key.field for key in table.keys), *within] == [field.name for field in dataclasses.fields(table.makes)]


def test_every_key_of_a_full_file_is_understood() -> None:
    settings = settings_of(EVERYTHING)
    assert fields(settings.source) == {
        "kind": "azure", "endpoint": "http://127.0.0.1:8080", "poll_s": 0.1, "vm_name": "VM_7",
        "gcp": GcpSettings(120.0, 3600.0), "aws": AwsSettings(rebalance=True, autoscaling=True),
        "vsphere": VsphereSettings("tideover-7", "/opt/vmtoolsd")}
    assert fields(settings.policy) == {
        "act_on": {Kind.FREEZE, Kind.REBOOT}, "acknowledge": "never", "acknowledge_shared": True, "mode": "observe",
        "prepare": "just-in-time", "lead_s": 7200.0, "recover_after": "event", "unannounced": "record",
        "on_stop": "recover"}
    assert fields(settings.hooks) == {"timeout_s": 90.0, "reserve_s": 1.5, "on_failure": "proceed"}
    assert fields(settings.hook["haproxy"]) == {
        "kinds": {Kind.FREEZE, Kind.UNANNOUNCED, Kind.LIVE_MIGRATION}, "min_pause_s": 2.0, "timeout_s": 20.0,
        "required": True, "user": "haproxy", "environment": {"SOCKET": "/run/haproxy/admin.sock"},
        "umask": 0o027, "environment_file": "/etc/tideover/haproxy.env"}
    assert fields(settings.pause) == {"tick_s": 0.1, "threshold_s": 1.0, "settle_s": 0.0}
    assert fields(settings.clock) == {
        "servers": (Address("ntp.example", 123), Address("10.0.0.1", 1123), Address("2001:db8::1", 124),
                    Address("2001:db8::2", 123)),
        "tolerance_s": 0.0005, "deadline_s": 120.0, "on_deadline": "hold", "remedy": "daemon"}
    assert fields(settings.notify) == {"user": None, "command": ("/usr/local/bin/tell", "--to", "us")}
    assert fields(settings.log) == {"format": "json", "level": "debug"}
    assert fields(settings.fleet) == {
        "store": "etcds://etcd-1,[::1]:4001/", "endpoint": None,
        "group": "web.A_1", "slots": 2, "shared": "alone", "on_unreachable": "proceed", "takeover_s": None,
        "prefix": "ops/tideover", "user": "tideover", "password_file": "/etc/tideover/etcd.password",
        "ca_file": "/etc/tideover/ca.pem", "cert_file": "/etc/tideover/etcd.pem", "key_file": "/etc/tideover/etcd.key",
        "sas_file": None, "identity": False}
    assert fields(settings.metrics) == {
        "listen": Address("127.0.0.1", 9477), "textfile": "/var/lib/node_exporter/tideover.prom"}
    assert settings.health.listen == Address("::", 9478)
    assert settings.journal.keep_s == 30 * DAY_S
    assert fields(settings.paths) == {"hooks": "/home/me/hooks", "state": "/home/me/state", "runtime": "/home/me/run"}


def test_a_blob_container_is_named_by_its_account_and_an_emulator_by_its_address() -> None:
    fleet = settings_of('[fleet]\nstore = "azblob://opsaccount/fleet-1"\nidentity = true\n'
                        'endpoint = "http://127.0.0.1:10000/opsaccount/"\ntakeover = "90s"').fleet
    assert (fleet.store, fleet.endpoint, fleet.takeover_s) == (
        "azblob://opsaccount/fleet-1", "http://127.0.0.1:10000/opsaccount", 90.0)


def test_one_kinds_policy_says_otherwise_and_inherits_the_rest() -> None:
    settings = settings_of(EVERYTHING)
    freeze, reboot = settings.policy_for(Kind.FREEZE), settings.policy_for(Kind.REBOOT)
    assert (freeze.acknowledge, freeze.lead_s, freeze.recover_after) == ("when-ready", 1800.0, "pause")
    assert (freeze.prepare, freeze.act_on) == ("just-in-time", {Kind.FREEZE, Kind.REBOOT})
    assert (reboot.acknowledge, reboot.lead_s) == ("never", 7200.0)
    assert set(settings.policy_by_kind) == ANNOUNCED
    assert settings.policy_for(Kind.UNANNOUNCED) == settings.policy


@pytest.mark.parametrize("table", ["", '[policy]\nacknowledge = "when-ready"\n'])
def test_an_unknown_kind_is_not_acknowledged_unless_its_own_table_says_so(table: str) -> None:
    assert settings_of(table).policy_for(Kind.UNKNOWN).acknowledge == "never"
    assert settings_of(table).policy_for(Kind.REBOOT).acknowledge == "when-ready"
    own = table + '[policy.unknown]\nacknowledge = "when-ready"\n'
    assert settings_of(own).policy_for(Kind.UNKNOWN).acknowledge == "when-ready"


@pytest.mark.parametrize("kind", sorted(ANNOUNCED - {Kind.FREEZE}, key=str))
def test_only_a_freeze_is_recovered_after_the_pause_alone(kind: Kind) -> None:
    assert default_settings().policy_for(kind).recover_after == "event"
    assert default_settings().policy_for(Kind.FREEZE).recover_after == "pause"


@pytest.mark.parametrize(("on_failure", "required"), [("hold", True), ("proceed", False)])
def test_a_hook_is_required_as_hooks_on_failure_says_unless_it_says_itself(on_failure: str, required: bool) -> None:
    settings = settings_of(f'[hooks]\non_failure = "{on_failure}"\ntimeout = "7s"\n[hook.a]\n'
                           f'[hook.b]\nrequired = {str(not required).lower()}\ntimeout = "3s"')
    for name in ("a", "no-table"):
        assert fields(options_for(settings, name)) == {
            "kinds": ANNOUNCED, "min_pause_s": 0.0, "timeout_s": 7.0, "required": required, "user": None,
            "environment": {}, "environment_file": None, "umask": 0o022}
    assert (options_for(settings, "b").required, options_for(settings, "b").timeout_s) == (not required, 3.0)


@pytest.mark.parametrize("text", [
    '[policy]\nfreeze = { lead = "2h" }',
    'policy.freeze.lead = "2h"',
    '[policy.freeze]\nlead = "2h"\n[policy]\nprepare = "at-once"',
    '[policy."freeze"]\n"le\\u0061d" = \'2h\'',
    '["policy"]\r\n[policy.freeze]\r\nlead = """2h"""\r\n',
])
def test_any_way_toml_has_of_writing_a_key_is_as_good(text: str) -> None:
    assert settings_of(text).policy_for(Kind.FREEZE).lead_s == 7200.0


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing\n", b"\xef\xbb\xbf", b"[source]\n[policy]\n[hook]\n"])
def test_a_file_that_says_nothing_changes_nothing(text: bytes) -> None:
    assert settings_of(text) == default_settings()


def test_a_byte_order_mark_of_a_windows_editor_does_not_matter() -> None:
    assert settings_of(b'\xef\xbb\xbf[source]\r\npoll = "2s"\r\n').source.poll_s == 2.0


@pytest.mark.parametrize(("text", "seconds"), [
    ("250ms", 0.25), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("365d", 365 * DAY_S), ("1.5s", 1.5), ("0s", 0.0),
    ("0.5ms", 0.0005), ("007s", 7.0)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", " 5s", "5s\n", "5S", "-5s", "+5s", "1e3s", ".5s", "5.s", "1m30s",
                                  "5us", "5min", "٥s", "5s5"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert read_duration(text) is None


@pytest.mark.parametrize("text", ["0s", "1ms", "250ms", "1500ms", "0.5ms", "5s", "60s", "90s", "2m", "1h", "90m", "1d",
                                  "365d"])
def test_a_duration_is_written_as_people_write_it(text: str) -> None:
    seconds = read_duration(text)
    assert seconds is not None
    assert write_duration(seconds) == text


def test_a_slash_at_the_end_of_a_path_means_nothing_but_at_the_root() -> None:
    for written, meant in (("/a/b/", "/a/b"), ("/a//", "/a"), ("/", "/")):
        assert settings_of(f'[paths]\nstate = "{written}"').paths.state == meant
    assert read_settings('[paths]\nstate = "D:/"', file="x", defaults=windows_paths("C:\\")).paths.state == "D:/"


def test_settings_are_values_that_are_never_changed() -> None:
    settings = settings_of(EVERYTHING)
    for value in (settings, *(section_of(settings, table) for table in TABLES), settings.hook["haproxy"]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)
        assert not hasattr(value, "__dict__")
    for mapping in (settings.hook, settings.policy_by_kind, settings.hook["haproxy"].environment):
        with pytest.raises(TypeError):
            mapping["a"] = 1  # type: ignore[index]


def test_windows_has_its_own_places_and_its_own_idea_of_an_absolute_path() -> None:
    windows = windows_paths("C:\\ProgramData")
    settings = default_settings(windows)
    assert fields(settings.paths) == {
        "hooks": "C:\\ProgramData\\tideover\\hooks.d", "state": "C:\\ProgramData\\tideover\\state",
        "runtime": "\\\\.\\pipe\\tideover"}
    assert windows.configuration == "C:\\ProgramData\\tideover\\tideover.toml"
    assert settings.paths.socket == "\\\\.\\pipe\\tideover"
    assert default_settings().paths.socket == "/run/tideover/tideover.sock"
    for path, platform in (("D:\\tide", LINUX), ("/var/tide", windows), ("tide", windows), ("tide", LINUX)):
        with pytest.raises(ConfigurationError) as refused:
            read_settings(f"[paths]\nstate = '{path}'", file="x", defaults=platform)
        assert refused.value.faults == (
            f"line 2: paths.state: expected an absolute path, found {quoted(path)}",)
    assert read_settings("[paths]\nstate = 'D:\\tide'", file="x", defaults=windows).paths.state == "D:\\tide"
