"""HTML and SVG markup: escaping, typesetting of numbers and units, shapes of drawings, text widths. Pure.

An event's description, a hook's output and the names in both are untrusted text. They come in through
`show_controls` and leave through `tag`, which escapes every plain string; only what `tag` itself has made is taken as
it is. A plain string is finished text of ours and is typeset on its way; verbatim text goes through
`untrusted` or `verbatim`.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tideover.humanize import UNITS
from tideover.text_safety import show_controls

# --- Typography: a number never parts from its unit

THIN = "\u202f"          # a narrow space that no line breaks at
FIRM = "\u00a0"          # an ordinary one that no line breaks at
MINUS = "\u2212"

_UNIT = rf"(?:(?:{'|'.join(UNITS)})\b|%)"
_BEFORE_UNIT = re.compile(rf"(?<=\d) (?={_UNIT})")
_AFTER_SIGN = re.compile(r"± (?=\d)")
_HYPHEN_AS_MINUS = re.compile(rf"(?<![\w.:/-])-(?=\d[\d.]* {_UNIT})")


def typeset(text: str) -> str:
    """Given our own finished text, return it as a page shows it: in one piece "4.184 s ± 31 ms", and a minus is one."""
    if not any(sign.isdigit() for sign in text):
        return text
    text = _HYPHEN_AS_MINUS.sub(MINUS, text)
    return _AFTER_SIGN.sub(f"±{FIRM}", _BEFORE_UNIT.sub(THIN, text))


# --- Markup

VOID = frozenset({"br", "meta"})


class Markup(str):
    """Text that is markup already. Nothing but this module and constant text makes one."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: object) -> Markup:
    """Given an element's name, its content and attributes, return it as markup. Plain strings are escaped.

    An attribute that is None or False is left out; a trailing underscore is dropped (`class_`) and others become
    hyphens (`stroke_width`); viewBox and its like are spelled as they are.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None
                      and value is not False)
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*content)}</{name}>")


def join(*content: str) -> Markup:
    """Given pieces, return them one after the other as markup; plain strings are typeset and escaped."""
    return Markup("".join(piece if isinstance(piece, Markup) else escape(typeset(piece)) for piece in content))


def verbatim(text: str) -> Markup:
    """Given text, return it as markup to the letter."""
    return Markup(escape(text))


def untrusted(text: object, most: int | None = None) -> Markup:
    """Given untrusted text, return it as markup that cannot change the direction of the text around it."""
    return tag("bdi", verbatim(show_controls(text, most)))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(_written(value), quote=True)}"'


def _written(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


# --- Layouts of drawings: one for desktop and paper, one for a phone

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


# --- Shapes of drawings; their colours are in the style sheet

SIGN_WIDTH = 0.62            # of the font's size: what a sign of a wide font (DejaVu, Verdana) takes on average


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    look: str
    about: str = ""          # shown where the pointer rests, and read aloud
    round: float = 0.0


@dataclass(frozen=True, slots=True)
class SvgLine:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    look: str


@dataclass(frozen=True, slots=True)
class Area:
    """The area within points."""

    points: tuple[tuple[float, float], ...]
    look: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    look: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a point."""

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
               *(_shape(shape) for shape in drawing.shapes),
               viewBox=f"0 0 {drawing.width:g} {drawing.height:g}", class_=look, role="img",
               aria_labelledby=f"{title} {description}")


def _shape(shape: SvgShape) -> Markup:
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
