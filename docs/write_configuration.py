#!/usr/bin/env python3
"""Writes docs/configuration.md from the table of keys in `agent/tideover/settings/keys.py`.

    python docs/write_configuration.py          writes it
    python docs/write_configuration.py --print  prints it

`tests/test_docs_configuration.py` checks that the page is current."""
from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PAGE = Path(__file__).with_name("configuration.md")
sys.path.insert(0, str(PAGE.parents[1] / "agent"))

from tideover.model import Kind  # noqa: E402
from tideover.settings import LINUX, windows_paths  # noqa: E402
from tideover.settings.keys import NAMED_TABLES, TABLES, PlatformDefault, SettingKey  # noqa: E402

WINDOWS = windows_paths("%ProgramData%")
HEAD = f"""\
# Configuration
<!-- written by docs/write_configuration.py from agent/tideover/settings/keys.py -->

The file is `{LINUX.configuration}` (Windows: `{WINDOWS.configuration}`),
or the one that `--config` or the variable `TIDEOVER_CONFIG` names. It is [TOML](https://toml.io). Every key has a
default, and with no file at all the defaults apply. A key that is unknown, of the wrong type or out of range stops the
start, with all faults listed at once.

- Files `conf.d/*.toml` beside the file are read after it, in the order of their names (not those whose names begin
  with a dot). Tables are merged key by key, the later file wins, lists are replaced. So a package, a role or an image
  can add a piece without editing the file.
- The files are refused if a user other than root or the agent's own can change them.
- `tideover config check` lists all faults and warnings without starting; `tideover config show` prints every value with
  the file and line that it is from.
- `tideover config schema` prints the JSON Schema of the file, for editors.
- Durations are text: `"250ms"`, `"5s"`, `"2m"`, `"1h"`, `"365d"`.
- `systemctl reload tideover` (Windows: `sc.exe control tideover paramchange`) applies a changed configuration between
  events. What the new one needs and the old one did not (metrics, a fleet, TLS for its store) is loaded then; if the
  package was removed or replaced meanwhile and that fails, the log has `configuration.refused` and the old
  configuration holds.

A drop-in, `/etc/tideover/conf.d/50-web.toml`:

```toml
[policy]
lead = "30m"

[policy.reboot]             # for one kind of event
acknowledge = "never"

[hook.haproxy-drain]        # the hook of the file 20-haproxy-drain
timeout = "30s"
environment = {{ SOCKET = "/run/haproxy/admin.sock" }}
environment_file = "/etc/tideover/haproxy.env"
```

The environment file has a line for each variable, and mode 0600:

```text
# HAProxy's stats user
PASSWORD=secret
```

Values of `environment` and `environment_file` are passed to the hook and stored nowhere else. `tideover config show`
hides those of `environment` without `--secrets`.

The files that `[fleet]` names are refused by the rule of the hooks: `password_file`, `key_file` and `sas_file` if a
user other than root or the agent's own can read or change them, `ca_file` and `cert_file` if one can change them.
`acknowledge_shared` is ignored, with a warning, where `[fleet]` has a store.
"""


def page() -> str:
    return "\n".join([HEAD, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    for table in TABLES:
        yield from (f"## [{table.name}]", table.about, "", *_rows(table.keys), "")
        if table.name == "policy":
            yield from _kinds(table.keys)
    for named in NAMED_TABLES:
        yield from (f"## [{named.name}.NAME]", named.about, "", *_rows(named.keys), "")


def _rows(keys: Iterable[SettingKey]) -> Iterator[str]:
    yield "| key | default | what it decides | takes |"
    yield "|---|---|---|---|"
    for key in keys:
        reason = f" ({key.takes.reason})" if key.takes.reason else ""
        yield f"| `{key.name}` | {_default(key)} | {_cell(key.about)} | {_cell(key.takes.expected + reason)} |"


def _default(key: SettingKey) -> str:
    if key.default is PlatformDefault.PLATFORM:
        return f"`{getattr(LINUX, key.name)}`; Windows: `{getattr(WINDOWS, key.name)}`"
    return "" if key.default is None else f"`{_cell(key.takes.write(key.takes.read(key.default)))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _kinds(keys: Iterable[SettingKey]) -> Iterator[str]:
    """Which of them a [policy.KIND] may say, and the defaults that a kind has of its own."""
    yield "`[policy.KIND]` says otherwise for one kind of event:"
    yield ""
    yield "| kind | its keys | defaults of its own |"
    yield "|---|---|---|"
    keys = tuple(keys)
    for kind in Kind:
        own = [key for key in keys if kind in key.kinds]
        if own:
            names = ", ".join(f"`{key.name}`" for key in own)
            differ = ", ".join(f"`{key.name} = {key.takes.write(key.takes.read(key.by_kind[kind]))}`"
                               for key in own if kind in key.by_kind)
            yield f"| `{kind.value}` | {names} | {differ} |"
    yield ""


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(page(), end="")
    else:
        PAGE.write_text(page())
