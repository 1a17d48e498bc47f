"""The table of platforms: which one a machine is by its DMI fields alone, and whether its events can be received."""
from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from running_agent import environment
from source_trees import nodes
from tideover.platforms import PLATFORMS, SOURCE_KINDS, detect, platform_of
from tideover.sources import PlatformModule, load_platform
from tideover.system.dmi import TABLES, read_dmi

DOCUMENTS = Path(__file__).parent / "platform_documents"
AZURE = "7783-7084-3265-9085-8269-3286-77"


def captured(name: str) -> dict[str, str]:
    """The fields of a machine as they were read there."""
    lines = (DOCUMENTS / f"dmi_{name}.txt").read_text().splitlines()
    return {field: text for field, _, text in (line.partition("=") for line in lines)}


def put(root: Path, fields: dict[str, str]) -> Path:
    (root / TABLES).mkdir(parents=True)
    for name, text in fields.items():
        (root / TABLES / name).write_text(text, encoding="latin-1")
    return root


@pytest.mark.parametrize(("tables", "kind"), [
    ({"chassis_asset_tag": AZURE + "\n", "sys_vendor": "Microsoft Corporation\n", "product_name": "Virtual Machine\n"},
     "azure"),
    ({"chassis_asset_tag": AZURE}, "azure"),
    ({"chassis_asset_tag": "1234", "sys_vendor": "Microsoft Corporation\n", "product_name": "Virtual Machine\n"},
     "hyperv"),
    ({"sys_vendor": "Microsoft Corporation", "product_name": "Surface Pro"}, "none"),
    ({"sys_vendor": "Google", "product_name": "a Chromebook"}, "none"),
    ({"sys_vendor": "QEMU", "product_name": "Standard PC"}, "qemu"),
    ({"chassis_asset_tag": AZURE[:-1]}, "none"),
    ({"chassis_asset_tag": "\xff\xfe"}, "none"),
    ({}, "none"),
])
def test_the_tables_tell_the_platform(tmp_path, tables, kind):
    assert detect(read_dmi(put(tmp_path, tables))).kind == kind


@pytest.mark.parametrize(("name", "kind"), [
    ("gcp", "gcp"), ("aws_nitro", "aws"), ("aws_xen", "aws"), ("vmware8", "vsphere"), ("oci", "oci"),
    ("alibaba", "alibaba"), ("openstack", "openstack"), ("xenserver", "xen"), ("nutanix", "nutanix"), ("hetzner", "hetzner"),
])
def test_a_captured_machine_is_recognised_by_its_fields(tmp_path, name, kind):
    assert detect(read_dmi(put(tmp_path, captured(name)))).kind == kind


def test_the_fields_that_only_root_may_read_change_no_platform():
    for path in DOCUMENTS.glob("dmi_*.txt"):
        fields = captured(path.stem.removeprefix("dmi_"))
        fields_of_a_user = {name: text for name, text in fields.items() if name not in ("product_serial", "product_uuid")}
        assert detect(fields) is detect(fields_of_a_user), path.name


def test_a_machine_without_tables_has_no_platform(tmp_path):
    assert detect(read_dmi(tmp_path)).kind == "none"


def test_a_table_that_is_no_file_is_no_platform(tmp_path):
    (tmp_path / "sys/class/dmi/id/chassis_asset_tag").mkdir(parents=True)
    assert detect(read_dmi(tmp_path)).kind == "none"


def test_what_the_owner_says_counts_whatever_the_tables_say():
    assert platform_of("azure", captured("gcp")).kind == "azure" and platform_of("auto", captured("gcp")).kind == "gcp"


def test_each_row_of_the_table_says_all_that_others_read_of_it():
    """A served platform names its module, any other why it has none; each is known by a name of its own."""
    assert len({one.kind for one in PLATFORMS}) == len({one.name for one in PLATFORMS}) == len(PLATFORMS)
    for one in PLATFORMS:
        assert one.is_served == bool(one.module) == bool(one.simulator) == (not one.silence), one
        assert one.source_kind in SOURCE_KINDS
        assert all(re.compile(text) for table in one.tables for text in table.values())


def test_the_module_of_each_served_platform_has_what_the_agent_and_doctor_call():
    wanted = {name: list(inspect.signature(verb).parameters)[1:]
              for name, verb in inspect.getmembers(PlatformModule, inspect.isfunction) if not name.startswith("_")}
    assert set(wanted) == {"open_source", "findings"}
    for one in PLATFORMS:
        if one.is_served:
            has = {name: list(inspect.signature(getattr(load_platform(one), name)).parameters) for name in wanted}
            assert has == wanted, one.kind


MAY_NAME_THEM = {
    "doctor/other_agents.py",           # programs of others that acknowledge events too
    "settings/keys.py", "settings/values.py",       # the tables [source.KIND]
}


@pytest.mark.parametrize("room", ["cli", "daemon", "doctor", "drill", "status.py", "settings", "lifecycle", "html", "engine.py"])
def test_no_platform_is_named_where_the_table_is_read(room):
    """What another platform needs stands in its row and its modules, and nowhere else."""
    package = Path(inspect.getfile(PlatformModule)).parents[1]
    kinds = {one.kind for one in PLATFORMS if one.is_served}
    for path in [package / room] if room.endswith(".py") else sorted((package / room).rglob("*.py")):
        if path.relative_to(package).as_posix() in MAY_NAME_THEM:
            continue
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = set(re.findall(r"[a-z]+", node.value.lower()))
                assert not words & kinds, f"{path.relative_to(package)}:{node.lineno} names {words & kinds}"
            elif isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                assert not any(kind in name.lower() for kind in kinds), f"{path.relative_to(package)}:{node.lineno} {name}"


LOADED = """
import json, os, sys
from pathlib import Path
from tideover.config_file import load_settings
from tideover.daemon.agent import Agent

for file in sys.argv[1:]:       # each in a child, which has what all agents load and nothing of the others
    if os.fork() == 0:
        agent = Agent(load_settings(Path(file), {}))
        print(json.dumps(sorted(sys.modules)), flush=True)
        agent.close()
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
def test_an_agent_loads_no_other_platforms_module(tmp_path):
    """A module that is not needed costs memory on every machine of every other platform."""
    kinds = [one.kind for one in PLATFORMS if one.is_served]
    for kind in kinds:
        home = (tmp_path / kind).as_posix()
        Path(f"{home}.toml").write_text(f'[source]\nkind = "{kind}"\n[paths]\nhooks = "{home}/hooks"\nstate = "{home}/state"\n'
                                        f'runtime = "{home}/run"\n')
    ran = subprocess.run([sys.executable, "-c", LOADED, *(str(tmp_path / f"{kind}.toml") for kind in kinds)],
                         capture_output=True, text=True, check=True, env=environment())
    shared = {"tideover.sources", "tideover.sources.poller"}
    own = {one.kind: {one.module, *imported_sources(one.module)} - shared for one in PLATFORMS if one.is_served}
    for kind, line in zip(kinds, ran.stdout.splitlines(), strict=True):
        loaded = set(json.loads(line))
        assert {name for name in loaded if name.startswith("tideover.sources")} - shared == own[kind]
        assert not any(name.startswith("tideover.simulator") for name in loaded)


def imported_sources(module: str) -> set[str]:
    """The modules of sources/ that this one imports: its wire format."""
    text = (Path(inspect.getfile(PlatformModule)).parent / f"{module.rpartition('.')[2]}.py").read_text()
    return {found for found in re.findall(r"^from (tideover\.sources\.\w+) import", text, re.MULTILINE)}
