"""The JSON Schema of the configuration accepts what is right, and refuses what has the wrong form."""
import json
import re
import tomllib

import pytest

from json_schema import errors
from tideover.cli import main
from tideover.settings import render_default_file
from tideover.settings.schema import configuration_schema

SCHEMA = configuration_schema()


def test_the_file_of_all_defaults_obeys_the_schema():
    whole = re.sub(r"^#(?=\S)", "", render_default_file(), flags=re.MULTILINE)
    assert list(errors(tomllib.loads(whole), SCHEMA)) == []


@pytest.mark.parametrize("wrong", [
    "[polic]\n", "[policy]\nacknowlege = 'never'\n", "[policy]\nacknowledge = 'sometimes'\n", "[hooks]\ntimeout = 5\n", "[hooks]\ntimeout = '5 s'\n",
    "[policy.reboot]\nrecover_after = 'event'\n", "[hook.UPPER]\n", "[hook.a]\nkinds = ['freezing']\n", "[hook.a]\nrequired = 'yes'\n",
    "[hook.a.environment]\nX = 1\n", "[clock]\nservers = 'one'\n", "source = 1\n"])
def test_what_has_the_wrong_form_is_refused(wrong):
    assert list(errors(tomllib.loads(wrong), SCHEMA))


def test_the_command_prints_it(capsys):
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
