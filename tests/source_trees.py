"""The package's modules as syntax trees: each is read and parsed once for all the tests that look through them."""
from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "agent" / "tideover"


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Given a module's path, return every node of its tree, the module itself first."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
