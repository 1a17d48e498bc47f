"""Makes foreign text safe: no control character reaches an environment, a log line or a sentence."""
from __future__ import annotations


def make_safe(text: str, limit: int) -> str:
    """Given a text of anyone's making, return its first `limit` characters without control characters.

    White space of any kind becomes a space; line ends, escapes, NUL, lone surrogates and the marks that turn the
    direction of writing are dropped.
    """
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "" for character in text
    )
