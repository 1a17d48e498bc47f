"""What the pages draw: one scale, cuts that say so, nothing outside the picture, moments where they truly lie."""
from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import datetime

import pytest

from kept_records import NAMES, disordered, hostile, kept, read_record, statistics_of, stood_still, times
from tideover.html.clock_chart import clock_drawing, describe, panel_for
from tideover.html.markup import LAYOUTS, WIDE, Area, Box, Dot, Label, SvgLine, text_width
from tideover.html.report import lengths_drawing, months_drawing
from tideover.html.statistics import Spread
from tideover.html.time_axis import TimeSpan, axis_over, seconds_since_notice, ticks
from tideover.html.timeline import GAP, TimelineLayout, place_labels, timeline


def news(seed):
    chance = random.Random(seed)
    at, spans = 0.0, []
    for _ in range(chance.randint(1, 12)):
        length = chance.choice([0.0, 0.01, 1.0, 40.0]) * chance.random()
        spans.append(TimeSpan(at, at + length))
        at += length + chance.choice([0.0, 0.1, 3.0, 800.0, 90000.0]) * chance.random()
    return spans


@pytest.mark.parametrize("seed", range(15))
def test_the_axis_keeps_order_scale_and_everything_that_happened(seed):
    spans = news(seed)
    axis = axis_over(spans, TimeSpan(100.0, 900.0), 40.0)
    for span in spans:
        assert axis.is_drawn(span.begin) and axis.is_drawn(span.end)
        assert axis.x(span.end) - axis.x(span.begin) == pytest.approx(span.length * axis.scale, abs=1e-6)
    edges = sorted(edge for span in spans for edge in (span.begin, span.end))
    places = [axis.x(edge) for edge in edges]
    assert places == sorted(places) and places[0] == 100.0 and places[-1] <= 900.0 + 1e-6
    drawn = sum(one.time.length for one in axis.stretches)
    assert drawn + sum(left_out for _, left_out in axis.cuts) == pytest.approx(max(edges[-1] - edges[0], drawn))


def test_a_long_wait_is_cut_and_a_short_one_is_not():
    assert len(axis_over([TimeSpan(0, 2), TimeSpan(900, 903)], TimeSpan(0, 800), 40).cuts) == 1
    assert not axis_over([TimeSpan(0, 2), TimeSpan(2.5, 5)], TimeSpan(0, 800), 40).cuts


def test_ticks_are_round_moments_far_enough_apart():
    axis = axis_over([TimeSpan(0.0, 20.0)], TimeSpan(0.0, 800.0), 40.0)
    found = ticks(axis, 90.0, origin_s=0.337)
    assert [round((at + 0.337) % 5, 6) for at in found] == [0.0] * len(found) and len(found) == 4


@pytest.mark.parametrize("seed", range(15))
def test_no_flag_covers_another_and_no_staff_crosses_words(seed):
    chance = random.Random(seed)
    places = sorted((chance.uniform(0, 300), chance.uniform(15, 120)) for _ in range(chance.randint(1, 12)))
    flags = place_labels(places)
    for left, right in itertools.combinations(flags, 2):
        if right.x < left.x + left.width + GAP:
            assert left.row > right.row     # the right one's staff begins below the left one's words


def corners(shape):
    match shape:
        case Box(x, y, width, height):
            return [(x, y), (x + width, y + height)]
        case SvgLine(points) | Area(points):
            return list(points)
        case Dot(x, y, radius):
            return [(x - radius, y - radius), (x + radius, y + radius)]
        case Label(x, y, text, _, anchor):
            width = text_width(text, 11.0)
            left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            return [(left, y - 9), (left + width, y)]


def drawings(layout):
    for record in [kept(name) for name in NAMES] + [stood_still(), hostile(kept("failed"))]:
        account = read_record(record)
        yield timeline(account, times(), layout)
        if account.clock.samples:
            yield clock_drawing(account, layout)
    figures = statistics_of([kept(name) for name in NAMES] * 30, times())
    yield months_drawing(figures, layout)
    yield lengths_drawing(figures, layout)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_drawn_outside_the_picture_by_a_clock_that_was_set(seed):
    for name in NAMES:
        account = read_record(disordered(kept(name), random.Random(f"{seed} {name}")))
        for layout in LAYOUTS:
            drawing = timeline(account, times(), layout)
            for shape in drawing.shapes:
                assert all(-1.0 <= x <= drawing.width + 1.0 for x, _ in corners(shape)), (seed, name, shape)
                assert not isinstance(shape, Box) or (shape.width >= 0 and shape.height >= 0), (seed, name, shape)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("lengths_s", [(5.0, 8.5), (0.2, 40.0), (0.004, 90_000.0)])
def test_a_scale_of_lengths_is_named_however_short_its_range_is(layout, lengths_s):
    """A logarithmic scale says nothing without two lengths to read it by."""
    none = Spread((), 0)
    figures = replace(statistics_of([kept("freeze")], times()), notice=Spread(lengths_s, 0), preparation=none, pause=none,
                      clock=none, need_s=None)
    drawing = lengths_drawing(figures, layout)
    named = [shape.text for shape in drawing.shapes if isinstance(shape, Label) and shape.look == "scale"]
    assert len(named) >= 2 and len(set(named)) == len(named), named


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_nothing_is_drawn_outside_the_picture(layout):
    for drawing in drawings(layout):
        for shape in drawing.shapes:
            for x, y in corners(shape):
                assert -1.0 <= x <= drawing.width + 1.0 and -1.0 <= y <= drawing.height + 1.0, (drawing.name, shape)


def test_what_came_after_a_pause_in_which_the_clock_stopped_is_drawn_after_it():
    """The clock showed 10:00:03 when the machine stopped, and the same when it ran again seven seconds later."""
    account = read_record(stood_still(7.0))
    stage = TimelineLayout(account, times(), WIDE)
    rest, seconds = stage.rests[0], seconds_since_notice(account)
    assert rest.whole.end == pytest.approx(10.0) and rest.sure.begin == pytest.approx(3.05)
    assert [round(seconds(one.at), 3) for one in account.clock.samples] == [10.1, 11.1, 12.1]
    assert seconds(account.started_at) == 2.0 and seconds(account.closed_at) == 40.0


def test_a_clock_that_was_wrong_all_along_moves_nothing():
    """Three seconds behind after a pause of seven: it did not come from the pause."""
    record = stood_still(7.0)
    for sample in record["clock"]["samples"]:
        sample["offset_s"] = -3.0
    account = read_record(record)
    assert seconds_since_notice(account)(account.closed_at) == 40.0
    assert seconds_since_notice(account)(account.interruptions[0].resumed_at) == 3.0


def test_moments_never_change_their_order():
    account = read_record(stood_still())
    begin = account.noticed_at.timestamp()
    seconds = seconds_since_notice(account)
    found = [seconds(datetime.fromtimestamp(begin + tenth / 10, account.noticed_at.tzinfo)) for tenth in range(400)]
    assert found == sorted(found)


def test_a_pause_of_which_only_the_bound_is_known_is_drawn_as_doubt():
    stage = TimelineLayout(read_record(kept("reboot")), times(), WIDE)
    rest = stage.rests[0]
    assert rest.sure.length == 0 and rest.whole.length == pytest.approx(7.854)
    assert not any(cut.begin < stage.axis.x(rest.whole.end) and cut.end > stage.axis.x(rest.whole.begin)
                   for cut, _ in stage.axis.cuts)


def test_the_panel_of_the_clock_holds_every_reading_with_its_error():
    record = kept("freeze")
    record["clock"]["samples"][0]["error_bound_s"] = 3.0
    clock = read_record(record).clock
    panel = panel_for(clock, TimeSpan(0, 100), 10.0, 100.0)
    for one in clock.samples:
        assert 10.0 < panel.y(one.offset_s + one.error_bound_s) <= panel.y(one.offset_s - one.error_bound_s) < 110.0
    assert panel.y(0.1) < panel.y(0.0) < panel.y(-0.1)


def test_a_budget_is_drawn_no_longer_than_it_was():
    record = kept("failed")
    stage = TimelineLayout(read_record(record), times(), WIDE)
    budgets = [shape for shape in timeline(read_record(record), times(), WIDE).shapes
               if isinstance(shape, Box) and shape.look == "budget"]
    run = next(run for run in record["hooks"] if run["name"] == "haproxy")
    begun = next(run for run in stage.account.hooks if run.name == "haproxy")
    begin = stage.axis.x(stage.seconds(begun.started_at))
    mine = next(box for box in budgets if box.x == pytest.approx(begin))
    assert mine.width == pytest.approx(run["limit_s"] * stage.axis.scale)


def test_one_sample_of_the_clock_is_not_a_curve_from_the_first_to_the_last():
    record = read_record(kept("freeze"))
    several = describe(record.clock)
    one = describe(replace(record.clock, samples=record.clock.samples[:1]))
    assert one.startswith("One sample, ") and (len(record.clock.samples) < 2 or " samples, from " in several)
