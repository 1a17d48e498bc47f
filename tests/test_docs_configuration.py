"""The configuration reference is written from the table of keys."""
import importlib.util
from pathlib import Path

from tideover.settings.keys import HOOK, TABLES

SCRIPT = Path(__file__).parents[1] / "docs" / "write_configuration.py"
SPEC = importlib.util.spec_from_file_location("write_configuration", SCRIPT)
write_configuration = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(write_configuration)


def test_the_configuration_reference_is_current():
    assert write_configuration.PAGE.read_text() == write_configuration.page(), "run `python docs/write_configuration.py`"


def test_every_key_stands_in_the_configuration_reference_with_what_it_decides():
    page = write_configuration.page()
    assert not [key.name for table in (*TABLES, HOOK) for key in table.keys
                if f"| `{key.name}` |" not in page or key.about.replace("|", "\\|") not in page]
