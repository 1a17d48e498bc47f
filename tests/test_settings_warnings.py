"""What is allowed but likely to surprise is reported, with its line; nothing else is."""
from __future__ import annotations

import pytest

from tideover.settings import LINUX, default_settings, read, unused_hook_tables, warnings_about
from tideover.settings.render import render_default_file


def cautions_of(text: str) -> tuple[str, ...]:
    reading = read(text, file="x", defaults=LINUX)
    return warnings_about(reading.settings, reading.origin)


def test_the_defaults_give_no_caution() -> None:
    assert warnings_about(default_settings()) == ()
    assert cautions_of(render_default_file()) == ()


@pytest.mark.parametrize(("text", "start", "quiet"), [
    ('[source]\npoll = "199ms"', "line 2: source.poll: the metadata service answers 5", '[source]\npoll = "200ms"'),
    ('[source]\npoll = "11s"', "line 2: source.poll: a preempt event", '[source]\npoll = "10s"'),
    ("[policy]\nacknowledge_shared = true", "line 2: policy.acknowledge_shared: ",
     "[policy]\nacknowledge_shared = false"),
    ("[policy.freeze]\nacknowledge_shared = true", "line 2: policy.freeze.acknowledge_shared: ", ""),
    ('[policy]\nlead = "64s"', "line 2: policy.lead: ", '[policy]\nlead = "65s"'),
    ('[policy]\nlead = "90s"\n[hook.a]\ntimeout = "86s"', "line 2: policy.lead: ",
     '[policy]\nlead = "91s"\n[hook.a]\ntimeout = "86s"'),
    ('[policy.preempt]\nlead = "1s"', "line 2: policy.preempt.lead: ", ""),
    ('[policy]\nact_on = ["freeze"]\n[policy.reboot]', "line 3: policy.reboot: has no effect",
     '[policy]\nact_on = ["reboot"]\n[policy.reboot]'),
    ('[pause]\nthreshold = "2s"', "line 2: pause.threshold: ", '[pause]\nthreshold = "1s"'),
    ('[clock]\ntolerance = "9ms"', "line 2: clock.tolerance: ", '[clock]\ntolerance = "10ms"'),
    ('[metrics]\ntextfile = "/a.txt"', "line 2: metrics.textfile: ", '[metrics]\ntextfile = "/a.prom"'),
    ('[metrics]\nlisten = "127.0.0.2:5"\n[health]\nlisten = "127.0.0.2:5"', "line 4: health.listen: ",
     '[metrics]\nlisten = "127.0.0.2:5"\n[health]\nlisten = "127.0.0.2:6"'),
    ('[metrics]\nlisten = "0.0.0.0:5"', "line 2: metrics.listen: any host that reaches this", '[metrics]\nlisten = "127.9.9.9:5"'),
    ('[metrics]\nlisten = "[::]:5"', "line 2: metrics.listen: any host that reaches this", '[metrics]\nlisten = "[::1]:5"'),
    ('[metrics]\nlisten = "[1::]:5"', "line 2: metrics.listen: any host that reaches this", '[metrics]\nlisten = "[0:0:0:0:0:0:0:1]:5"'),
    (f'[paths]\nruntime = "/{"a" * 93}"', "line 2: paths.runtime: ", f'[paths]\nruntime = "/{"a" * 92}"'),
    ("[fleet]\nslots = 1", "line 2: fleet.slots: has no effect", '[fleet]\nslots = 1\nstore = "etcd://a"'),
    ('[fleet]\nstore = "etcd://a"\n[policy]\nacknowledge_shared = true', "line 4: policy.acknowledge_shared: is ignored",
     '[fleet]\nstore = "etcd://a"'),
    ('[fleet]\nstore = "etcd://a"\nshared = "alone"', "line 3: fleet.shared: ", '[fleet]\nshared = "alone"'),
    ('[fleet]\nstore = "etcd://127.0.0.1,a"\nuser = "x"\npassword_file = "/p"', "line 3: fleet.user: the password crosses",
     '[fleet]\nstore = "etcd://127.0.0.1,[::1]:4"\nuser = "x"\npassword_file = "/p"'),
    ("[hook.a]\nkinds = []", "line 2: hook.a.kinds: this hook never runs", '[hook.a]\nkinds = ["freeze"]'),
    ('[policy]\nact_on = ["freeze"]\n[hook.a]\nkinds = ["freeze", "reboot"]',
     "line 4: hook.a.kinds: policy.act_on does not name reboot", '[policy]\nact_on = ["freeze"]\n[hook.a]\n'),
    ('[policy]\nunannounced = "record"\n[hook.a]\nkinds = ["unannounced"]', "line 4: hook.a.kinds: policy.unannounced",
     '[hook.a]\nkinds = ["unannounced"]'),
])
def test_each_caution_is_given_once_where_it_applies_and_not_beside(text: str, start: str, quiet: str) -> None:
    cautions = cautions_of(text)
    assert len(cautions) == 1, cautions
    assert cautions[0].startswith(start)
    assert cautions_of(quiet) == ()


def test_a_hooks_table_without_a_file_is_named_with_what_was_probably_meant() -> None:
    text = "[hook.hapoxy]\n[hook.redis]\n[hook.10-redis]\n[hook.web-redis]\n[hook.zzz]\n"
    reading = read(text, file="x", defaults=LINUX)
    missing = "the hooks directory has no such hook"
    assert unused_hook_tables(reading.settings, {"haproxy", "redis"}, reading.origin) == (
        f"line 1: hook.hapoxy: {missing}, did you mean haproxy?",
        f"line 3: hook.10-redis: {missing}, its name is redis, without the number",
        f"line 4: hook.web-redis: {missing}, did you mean redis?",
        f"line 5: hook.zzz: {missing}")
    assert unused_hook_tables(default_settings(), {"redis"}) == ()
