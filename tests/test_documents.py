"""The JSON documents are as their schemas say: all fields, and no other."""
from __future__ import annotations

import json

import pytest

from json_schema import errors
from running_agent import world
from tideover.cli import main
from tideover.documents import DOCUMENTS, document_schema


def strictly(schema):
    """The schema, with fields refused that it does not name."""
    if isinstance(schema, dict):
        closed = {name: strictly(value) for name, value in schema.items()}
        return {**closed, "additionalProperties": False} if "properties" in schema and "type" in schema else closed
    return [strictly(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_command_prints_the_schema(name, capsys):
    assert main(["config", "schema", name]) == 0
    assert json.loads(capsys.readouterr().out) == document_schema(name)


@pytest.mark.slow
def test_a_real_agents_documents_obey_their_schemas_during_an_event_and_after_it(tmp_path, capsys):
    with world(tmp_path) as here:
        here.hook("10-only")
        here.configure("")
        here.start()
        event = here.freeze()
        here.until(lambda: here.record().get("started_at"))
        seen = [told(here, capsys, name, command) for name, command in COMMANDS.items()]
        here.metadata.remove_event(event)
        here.until(lambda: here.record().get("status") == "closed")
        seen += [told(here, capsys, name, command) for name, command in COMMANDS.items()]
    assert seen == [[]] * 6


COMMANDS = {"record": "history", "pauses": "pauses", "status": "status"}


def told(here, capsys, name, command):
    assert main([command, "--json", "--config", str(here.home / "tideover.toml")]) == 0
    document = json.loads(capsys.readouterr().out)
    schema = strictly(document_schema(name))
    if name == "status":
        schema.pop("additionalProperties")
    return list(errors(document, schema))
