"""Foreign text steers nothing, whichever policy it goes through, and says as much as the policy allows."""
from __future__ import annotations

import json
import random
import sys

import pytest

from tideover.logs import LogLine
from tideover.text_safety import dot_controls, drop_controls, make_storable, safe_json, show_controls

HOSTILE = "a\x1b[2Jb\x9b31mc\x07d\u202ee\udc80f\x00g\x7fh\r\ni\tj"


@pytest.mark.parametrize(("text", "shown"), [
    ("plain é 漢", "plain é 漢"), ("a\tb\r\n", "a b  "), ("\x1b]0;x\x07y", "]0;xy"), ("\x9bA\x7f", "A"), ("", "")])
def test_a_foreign_text_is_made_plain(text: str, shown: str) -> None:
    assert drop_controls(text, 100) == shown


def test_a_dot_stands_for_each_character_that_steers() -> None:
    """Escapes of both kinds, bells, marks of direction, lone surrogates; white space of any kind is a space."""
    assert dot_controls(HOSTILE) == "a·[2Jb·31mc·d·e·f·g·h  i j"


def test_what_cannot_be_seen_is_made_visible() -> None:
    assert show_controls(HOSTILE.replace("\n", "").replace("\t", "")).isprintable()
    assert show_controls("\x1b[31m") == "␛[31m" and show_controls("\u202e") == "⟨202E⟩" and show_controls("\ud800") == "⟨D800⟩"
    assert show_controls("a" * 100, 10) == "a" * 10 + " … (90 more characters)"


def test_json_steers_nothing_and_says_the_same() -> None:
    document = {"description": HOSTILE, "plain": "± 漢字 🎈", "high": "\U000e0001"}
    text = safe_json(document, indent=2)
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert json.loads(text) == document
    assert "± 漢字 🎈" in text and len(safe_json(document).splitlines()) == 1


def test_an_id_is_kept_as_far_as_a_database_can_hold_it() -> None:
    assert make_storable("a\x1b\u202e\r\n\0b\udc80cd", 9) == "a\x1b\u202e\r\n\N{REPLACEMENT CHARACTER}b?c"


def test_no_text_whatever_passes_a_policy_with_something_that_steers() -> None:
    seed = random.randrange(10 ** 9)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(300):
        text = "".join(chr(chance.choice((chance.randrange(0x100), chance.randrange(sys.maxunicode + 1)))) for _ in range(20))
        for safe in (drop_controls(text, 100), dot_controls(text), safe_json(text), LogLine("-", "info", "a.b", {"text": text}).as_text()):
            assert safe.isprintable(), text
        assert show_controls(text).replace("\n", "").replace("\t", "").isprintable(), text
        make_storable(text, 100).encode()
        assert json.loads(safe_json(text)) == text
