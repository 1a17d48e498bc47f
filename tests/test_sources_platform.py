"""Which source a machine calls for, by its DMI tables alone."""
from __future__ import annotations

import pytest

from tideover.sources import choose_source_kind

AZURE = "7783-7084-3265-9085-8269-3286-77"


@pytest.mark.parametrize(("tables", "kind"), [
    ({"chassis_asset_tag": AZURE + "\n", "sys_vendor": "Microsoft Corporation\n", "product_name": "Virtual Machine\n"},
     "azure"),
    ({"chassis_asset_tag": AZURE}, "azure"),
    ({"chassis_asset_tag": "1234", "sys_vendor": "Microsoft Corporation\n", "product_name": "Virtual Machine\n"},
     "hyperv"),
    ({"sys_vendor": "Microsoft Corporation", "product_name": "Surface Pro"}, "none"),
    ({"sys_vendor": "QEMU", "product_name": "Standard PC"}, "none"),
    ({"chassis_asset_tag": AZURE[:-1]}, "none"),
    ({"chassis_asset_tag": "\xff\xfe"}, "none"),
    ({}, "none"),
])
def test_the_tables_tell_the_platform(tmp_path, tables, kind):
    folder = tmp_path / "sys/class/dmi/id"
    folder.mkdir(parents=True)
    for name, text in tables.items():
        (folder / name).write_text(text, encoding="latin-1")
    assert choose_source_kind(tmp_path) == kind


def test_a_machine_without_tables_has_no_platform(tmp_path):
    assert choose_source_kind(tmp_path) == "none"


def test_a_table_that_is_no_file_is_no_platform(tmp_path):
    (tmp_path / "sys/class/dmi/id/chassis_asset_tag").mkdir(parents=True)
    assert choose_source_kind(tmp_path) == "none"
