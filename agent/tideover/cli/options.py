"""What every command shares: --config before or after its name, --json, and the settings they lead to."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from tideover.configuration import Loaded, load_settings

Function = TypeVar("Function", bound=Callable[..., Any])


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes --config and is given `loaded`. Loading raises ConfigurationError, WrongUseError."""
    @click.option("--config", "config", metavar="FILE", default=None, help="The configuration file.")
    @click.pass_context
    @wraps(function)
    def command(context: click.Context, /, *positional: Any, config: str | None, **named: Any) -> Any:
        return function(*positional, loaded=load(context, config), **named)
    return command


def with_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes --json: one document on standard output, nothing else there."""
    option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output.")
    return option(function)


def load(context: click.Context, config: str | None) -> Loaded:
    """Given what stood before and after the command's name, return the settings. Raise as `load_settings` does."""
    named = config or config_before(context)
    return load_settings(Path(named) if named else None, os.environ)


def config_before(context: click.Context) -> str | None:
    """Given a command's context, return the --config that stood before its name."""
    found = context.find_root().obj
    return found if isinstance(found, str) else None


def print_json(document: object) -> None:
    """Given a document, print it as readable as can be; what could steer a terminal is escaped (RFC 8259, 7)."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    odd = {sign for sign in set(text) if not sign.isprintable() and sign != "\n"}
    click.echo(text.translate({ord(sign): json.dumps(sign)[1:-1] for sign in odd}))
