"""SVG drawings: shapes, text widths and the two layouts. Colours are in the style sheet. Pure."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tideover.html.markup import Markup, tag

# --- Layouts: one for desktop and paper, one for a phone

@dataclass(frozen=True, slots=True)
class PageLayout:
    """All in pixels of the drawing. `left`: the column of the lanes' names; 0 where names stand above their lanes."""

    name: str
    width: float
    left: float
    right: float             # kept free beside the last moment at least, for what is written there
    text: float              # the size of the font
    lane: float              # the height of a lane
    bar: float               # the height of a bar in it
    panel: float             # the height of the clock's curve
    tick_distance: float
    cut: float               # the width of a cut in the axis
    spells_flags: bool       # flags carry words, or their number alone

    @property
    def names_above(self) -> bool:
        return self.left == 0


WIDE = PageLayout("wide", 1010, 158, 60, 13, 30, 14, 124, 92, 40, True)
NARROW = PageLayout("narrow", 352, 0, 20, 12, 40, 13, 120, 66, 30, False)
LAYOUTS = (WIDE, NARROW)


# --- Shapes

SIGN_WIDTH = 0.62            # of the font's size: what a sign of a wide font (DejaVu, Verdana) takes on average


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    look: str
    about: str = ""          # shown where the pointer rests, and read aloud
    round: float = 0.0


@dataclass(frozen=True, slots=True)
class SvgLine:
    points: tuple[tuple[float, float], ...]
    look: str


@dataclass(frozen=True, slots=True)
class Area:
    points: tuple[tuple[float, float], ...]
    look: str


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    radius: float
    look: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float                 # of the base line
    text: str
    look: str = "note"
    anchor: str = "start"    # start | middle | end


SvgShape = Box | SvgLine | Area | Dot | Label


@dataclass(frozen=True, slots=True)
class Drawing:
    """`name` is unique in its page; title and description are for those who cannot see it."""

    name: str
    width: float
    height: float
    title: str
    description: str
    shapes: tuple[SvgShape, ...]


def text_width(text: str, size: float) -> float:
    """Given a text and its font's size in pixels, return about how wide it is."""
    return len(text) * size * SIGN_WIDTH


def svg(drawing: Drawing, look: str) -> Markup:
    """Given a drawing, return it as an inline SVG element of class `look`."""
    title, description = f"{drawing.name}-title", f"{drawing.name}-description"
    return tag("svg", tag("title", drawing.title, id=title), tag("desc", drawing.description, id=description),
               *(_written(shape) for shape in drawing.shapes),
               viewBox=f"0 0 {drawing.width:g} {drawing.height:g}", class_=look, role="img",
               aria_labelledby=f"{title} {description}")


def _written(shape: SvgShape) -> Markup:
    match shape:
        case Box(x, y, width, height, look, about, corner):
            return tag("rect", *_about(about), x=x, y=y, width=width, height=height, rx=corner or None, class_=look)
        case SvgLine(points, look):
            return tag("polyline", points=_points(points), class_=look)
        case Area(points, look):
            return tag("polygon", points=_points(points), class_=look)
        case Dot(x, y, radius, look, about):
            return tag("circle", *_about(about), cx=x, cy=y, r=radius, class_=look)
        case Label(x, y, text, look, anchor):
            return tag("text", text, x=x, y=y, class_=look, text_anchor=None if anchor == "start" else anchor)


def _about(about: str) -> tuple[Markup, ...]:
    return (tag("title", about),) if about else ()


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
