"""The line reported for a key is the line it stands on, whatever way the file writes it."""
from __future__ import annotations

import random
import tomllib

import pytest

from tideover.settings.toml import DEEPEST, TooDeep, key_lines


def test_tables_dotted_keys_quoted_keys_and_braces_each_have_their_line() -> None:
    text = '''\
# [not.a.table]
top = 1   # = [x]

[ a . "b c" . 'd' ]
key = "# no comment [ ] { } = "
x.y . z = 1
"q\\u0041\\"" = 2
braces = { in = { deep = 1, "er" = [ { q = 1 } ] }, last = 'it''s' }
'''.replace("'it''s'", "'its'")
    assert key_lines(text) == {
        ("top",): 2, ("a",): 4, ("a", "b c"): 4, ("a", "b c", "d"): 4, ("a", "b c", "d", "key"): 5,
        ("a", "b c", "d", "x"): 6, ("a", "b c", "d", "x", "y"): 6, ("a", "b c", "d", "x", "y", "z"): 6,
        ("a", "b c", "d", 'qA"'): 7, ("a", "b c", "d", "braces"): 8, ("a", "b c", "d", "braces", "in"): 8,
        ("a", "b c", "d", "braces", "in", "deep"): 8, ("a", "b c", "d", "braces", "in", "er"): 8,
        ("a", "b c", "d", "braces", "last"): 8}


@pytest.mark.parametrize("value", [
    '"""\nno = 1\n[no]\n"""', "'''\nno = 1\n'''", '"""a\\\n   b"""', '""""quoted""""', '"""""two"""""', "'''''two'''''",
    '"""\\""" = """', '"a\\"b" # " \'', "'\\'", "[\n 1, # ]\n [ 'x]', \"]\" ],\n '''\n]\n''',\n]", "[]", "[[], [\n]]",
    "{}", '{ a = [\n{ b = "}" } ], c = "," }', "1979-05-27 07:32:00", "1979-05-27T07:32:00Z", "-1_000",
    "0xf", "inf", "1e5", "true#comment", '""', "''", '""""""', "''''''", '"""\r\n\r\n"""',
])
def test_no_value_makes_the_keys_after_it_lose_their_line(value: str) -> None:
    for end in ("\n", "\r\n", " \t# more = 1\n"):
        text = f"first = {value}{end}second = 2{end}[third]{end}fourth = {value}"
        tomllib.loads(text)
        lines = key_lines(text)
        second = 2 + value.count("\n")
        assert (lines["second",], lines["third",], lines["third", "fourth"]) == (second, second + 1, second + 2)


VALUES = ('"x"', "'#'", "1", "true", '"""\n# a = 1\n"""', "[1,\n2]", "{}", "[ # ]\n]", "'''\n[b]\n\n'''",
          "2020-01-01 10:00:00")


def random_file(dice: random.Random) -> str:
    """Given dice, return a valid TOML file in which each key that is set is named after its line."""
    parts: list[str] = []
    line = 1
    for table in range(dice.randrange(1, 8)):
        header = dice.choice(["", f"[t{table}]\n", f"[ t{table}.'u' ]  # [x]\n", f"\n# a = 1\n[t{table}.\"v.w\"]\n"])
        if table == 0:
            header = ""
        elif not header:
            continue
        parts.append(header)
        line += header.count("\n")
        for column in range(dice.randrange(5)):
            name, value = f"k{column}_{line}", dice.choice(VALUES)
            key = dice.choice([name, f'"{name}"', f"d{line}.{name}", f" '{name}' "])
            braces = f"b{line} = {{ {name} = {dice.choice(['1', '{}', '[ ]'])} , z={value} }}"
            pair = dice.choice([f"{key} = {value}", braces])
            pair += dice.choice(["\n", " # k = 1\n", "\n\n", "\n\t\n"])
            parts.append(pair)
            line += pair.count("\n")
    return "".join(parts)


def set_keys(tree: dict[str, object], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, value in tree.items():
        found.append((*path, name))
        if isinstance(value, dict):
            found += set_keys(value, (*path, name))
    return found


def test_random_files_give_exactly_the_keys_of_tomllib_each_on_its_line() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    checked = 0
    for _ in range(300):
        text = random_file(dice)
        lines = key_lines(text)
        assert sorted(lines) == sorted(set_keys(tomllib.loads(text))), text
        for path, line in lines.items():
            if path[-1].startswith("k"):
                assert line == int(path[-1].partition("_")[2]), (path, text)
                checked += 1
    assert checked > 300


def test_a_key_deeper_than_any_configuration_is_refused_with_its_line() -> None:
    deep = ".".join(["a"] * (DEEPEST + 1))
    with pytest.raises(TooDeep) as refused:
        key_lines(f"\nb = {{ {deep} = 1 }}")
    assert refused.value.line == 2
    assert len(key_lines(f"{'.'.join(['a'] * DEEPEST)} = 1")) == DEEPEST
