"""Control characters of foreign text (of the platform, a hook, a program): dropped, shown as dots, or shown as codes.
Pure.

Three policies, by what the reader needs: `drop_controls` where the text goes into a value or a sentence of ours,
`dot_controls` where a person should see that something was there, `show_controls` where they should see what it was.
JSON escapes (`safe_json`) because it may lose nothing, and an id stays what it was (`make_storable`), because it goes
back to the platform. All but the last treat the same characters: what `str.isprintable` refuses, which is controls,
escapes, marks of direction, invisible characters and halves of surrogate pairs.
"""
from __future__ import annotations

import json
import re

_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n\t]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def drop_controls(text: str, limit: int) -> str:
    """Given a text, return its first `limit` characters as one line: white space becomes spaces, the rest goes."""
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "" for sign in text)


def dot_controls(text: str) -> str:
    """Given a text, return it as one line: white space becomes spaces, and a dot stands for all else."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "·" for sign in text.rstrip())


def show_controls(text: object, limit: int | None = None) -> str:
    """Given a text, return at most `limit` characters of it, and how many are left out. Line ends and tabs stay.

    Control characters become their pictures (␛), and other invisible ones their code point (⟨202E⟩).
    """
    signs = str(text)
    left_out = len(signs) - limit if limit is not None else 0
    shown = _NOT_PLAIN.sub(lambda found: _visible(found[0]), signs[:limit] if left_out > 0 else signs)
    return f"{shown} … ({left_out:,} more characters)" if left_out > 0 else shown


def safe_json(document: object, indent: int | None = None) -> str:
    """Given a document, return it as JSON in which whatever is not printable is written as \\u…."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


def make_storable(text: str, limit: int) -> str:
    """Given a text, return its first `limit` characters as a database, a log and an environment can hold them: NUL
    and halves of surrogate pairs are replaced, all else stays."""
    return encodable(text[:limit].replace("\0", REPLACEMENT))


def encodable(text: str) -> str:
    """Given a text, return it without halves of surrogate pairs (JSON can bring them), which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _visible(sign: str) -> str:
    if sign.isprintable():
        return sign
    code = ord(sign)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨{code:04X}⟩"
