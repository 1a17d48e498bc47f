"""The gate to the terminal: no untrusted text steers it, colour only where it is wanted, --watch draws in place."""
from __future__ import annotations

import io

import pytest

from tideover.cli.render import Style, StyledText, Table, key_value, table_row
from tideover.cli.status import cut, frame
from tideover.cli.terminal import Terminal, columns_of, render_lines, this_terminal, wrapped

HOSTILE = "a\x1b[2Jb\x9b31mc\x07d\u202ee\udc80f\x00g\x7fh\r\ni\tj"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_text_of_any_origin_steers_a_terminal():
    """Escapes of both kinds, bells, marks of direction, lone surrogates, line ends."""
    for parts in ([key_value(HOSTILE, HOSTILE, Style.BAD, StyledText(HOSTILE))],
                  [Table(("A", "B"), (table_row(HOSTILE, StyledText(HOSTILE, Style.GOOD), below=(StyledText(HOSTILE),)),))]):
        for width in (None, 60):
            for line in render_lines(parts, Terminal(width)):
                assert line.isprintable(), line


@pytest.mark.parametrize(("environ", "colour"), [
    ({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)])
def test_colour_is_shown_on_a_terminal_that_has_it_unless_its_owner_wants_none(environ, colour):
    assert this_terminal(Screen(), environ).colour is colour


def test_where_there_is_no_terminal_there_is_neither_colour_nor_width():
    assert this_terminal(io.StringIO(), {}) == Terminal(None, False)


def test_colours_add_nothing_to_the_words():
    parts = [key_value("Clock", "bad", Style.BAD), Table(("A",), (table_row(StyledText("refused", Style.BAD)),))]
    painted = render_lines(parts, Terminal(60, colour=True))
    assert painted[0] == "\x1b[2mClock\x1b[0m  \x1b[31mbad\x1b[0m"
    bare = [line.replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in painted]
    assert bare == render_lines(parts, Terminal(60))


def test_wide_signs_take_two_columns_and_combining_ones_none():
    assert (columns_of("漢字"), columns_of("e\u0301"), columns_of("± 3 s")) == (4, 1, 5)
    lines = render_lines([Table(("A", "B"), (table_row("漢字", "x"), table_row("abcd", "y")))], Terminal(60))
    assert lines == ["A     B", "漢字  x", "abcd  y"]


def test_ids_and_paths_are_never_cut_and_a_number_keeps_its_unit():
    path = "/etc/tideover/hooks.d/" + "x" * 80
    assert wrapped(f"chmod go-w {path} now", 40) == ["chmod go-w", path, "now"]
    assert wrapped("a pause of 7.003 s ± 31 ms", 14) == ["a pause of", "7.003 s ± 31 ms"]


def test_the_last_column_is_wrapped_beside_the_others_where_there_is_room_and_below_them_where_not():
    table = Table(("WHEN", "EVIDENCE"), (table_row("x" * 30, "the raw monotonic clock ran on while nothing else did"),))
    assert render_lines([table], Terminal(80)) == [
        "WHEN                            EVIDENCE",
        "x" * 30 + "  the raw monotonic clock ran on while nothing",
        " " * 32 + "else did"]
    assert render_lines([table], Terminal(60)) == [
        "WHEN", "x" * 30, "    evidence the raw monotonic clock ran on while nothing", "    else did"]


def test_a_page_is_drawn_over_the_one_before_without_clearing_it_first():
    """What is cleared first flickers; what scrolls cannot be drawn over."""
    drawn = frame(["one", "two"], 80, 24)
    assert drawn == "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J"
    assert frame(["line"] * 30, 80, 24).count("\r\n") == 23 and "7 lines more" in frame(["line"] * 30, 80, 24)


def test_a_line_that_is_too_long_for_the_screen_is_cut_with_its_colours():
    assert cut("\x1b[1mabcdef\x1b[0m", 6) == "\x1b[1mabcdef\x1b[0m"
    assert cut("\x1b[1mabcdefg\x1b[0m", 6) == "abcde…"
    assert columns_of(cut("漢字漢字", 6)) <= 6
