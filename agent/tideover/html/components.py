"""Components of the pages: figures, tables, drawings for two widths, the style sheet and the document around them.
Pure.

The policy in the head forbids everything but this one style sheet, by its hash: markup that were ever to slip into a
page could neither run, nor fetch, nor style itself. Colours keep to WCAG 2.1 AA: 4.5 to 1 for text, 3 to 1 for what
must be told apart in a drawing; the tests compute it.
"""
from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from tideover.html.markup import Markup, join, tag
from tideover.html.summary import Severity
from tideover.html.svg import LAYOUTS, Drawing, PageLayout, svg

# --- Style sheet and document: one file, no script, nothing fetched

LIGHT: Mapping[str, str] = MappingProxyType({
    "paper": "#ffffff", "ground": "#f4f5f3", "ink": "#1c2430", "soft": "#56606e", "rule": "#d8dcd9",
    "edge": "#7c8692", "prepare": "#2f62a3", "recover": "#17786c", "rest": "#a5570a", "rest-ground": "#f7e3c8",
    "good": "#23743f", "bad": "#b3261e", "quiet": "#dde2e6", "check": "#7a5ba6",
    "budget": "#e9edf1", "on-bar": "#ffffff",
})
DARK: Mapping[str, str] = MappingProxyType({
    "paper": "#14181e", "ground": "#1c2128", "ink": "#e8ebee", "soft": "#a3adb8", "rule": "#323a44",
    "edge": "#77828f", "prepare": "#7aaaf0", "recover": "#4fc0ae", "rest": "#f0a24e", "rest-ground": "#47351c",
    "good": "#66c584", "bad": "#ff8d83", "quiet": "#323b46", "check": "#b79ae6",
    "budget": "#262e38", "on-bar": "#10141a",
})

CSS_RULES = """
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:1104px;padding:40px 32px 48px;font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
 "Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
bdi{overflow-wrap:anywhere}
h1{font-size:27px;line-height:1.32;font-weight:600;letter-spacing:-.012em;margin:0 0 14px;max-width:34em;
 text-wrap:pretty}
h2{font-size:18px;line-height:1.3;font-weight:600;margin:44px 0 12px}
h3{font-size:15px;font-weight:600;margin:22px 0 6px}
p{margin:0 0 10px;max-width:46em}
.tone{display:inline-block;font-size:13px;font-weight:600;line-height:1;padding:6px 10px;border-radius:99px;
 border:1.5px solid currentColor;margin:0 10px 0 0;vertical-align:2px}
.tone.good{color:var(--good)}.tone.bad{color:var(--bad)}.tone.open{color:var(--prepare)}.tone.calm{color:var(--soft)}
.meta{color:var(--soft);max-width:none}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;background:var(--paper);
 border:1px solid var(--rule);border-radius:8px;overflow:hidden;margin:26px 0 0;padding:0}
.figures div{padding:14px 16px;box-shadow:0 0 0 1px var(--rule)}
.figures dt{font-size:13px;color:var(--soft)}
.figures dd{margin:2px 0 0;font-size:20px;font-weight:600;line-height:1.25}
.figures .more{display:block;font-size:13px;font-weight:400;color:var(--soft);line-height:1.4;margin-top:3px}
figure{margin:0}
figcaption{font-size:14px;color:var(--soft);margin-top:8px;max-width:60em}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg.narrow{display:none}
.key{display:none}
table{border-collapse:collapse;width:100%;font-size:14.5px;line-height:1.45}
th{text-align:left;font-weight:600;font-size:13px;color:var(--soft)}
th,td{padding:7px 14px 7px 0;border-bottom:1px solid var(--rule);vertical-align:top}
td.number,th.number{text-align:right}
td.moment{white-space:nowrap}
tbody th{color:var(--ink);font-size:inherit}
tr>:last-child{padding-right:0}
.soft{color:var(--soft)}.bad-text{color:var(--bad);font-weight:600}.good-text{color:var(--good)}
.mark{display:inline-block;min-width:19px;padding:0 5px;border-radius:3px;background:var(--ground);
 border:1px solid var(--rule);font-size:12px;line-height:17px;text-align:center;color:var(--ink)}
.meter{width:130px;min-width:90px}
.meter svg{width:130px;height:12px;margin-top:5px}
pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;background:var(--ground);
 border-radius:6px;padding:10px 14px;margin:0 0 8px;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
code{font:inherit;white-space:nowrap}
figure+table{margin-top:18px}
details{margin:0 0 8px}
summary{cursor:pointer;color:var(--soft);font-size:14px;padding:4px 0}
ul.plain{margin:0;padding-left:20px}
ul.plain li{margin:0 0 6px;max-width:46em}
footer{margin-top:52px;padding-top:16px;border-top:1px solid var(--rule);font-size:13.5px;color:var(--soft)}
footer p{max-width:60em}
svg text{fill:var(--ink);font-size:13px;font-variant-numeric:tabular-nums}
svg.narrow text{font-size:12px}
svg .scale,svg .note,svg .beside,svg .flag-text{font-size:12px}
svg.narrow .scale,svg.narrow .note,svg.narrow .beside{font-size:11px}
svg .inside{font-size:11px;fill:var(--on-bar)}
svg .on-quiet,svg .on-scheduled{fill:var(--ink)}
svg .scale,svg .note,svg .beside{fill:var(--soft)}
svg .halo{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
svg .rest-text{fill:var(--rest);font-weight:600}
svg line,svg polyline{fill:none}
.panel{fill:none;stroke:var(--rule);stroke-width:1}.tolerance{fill:var(--good);fill-opacity:.09;stroke:var(--good);stroke-width:1;stroke-opacity:.55}
.zero{stroke:var(--edge);stroke-width:1;stroke-dasharray:2 3}
.band{fill:var(--prepare);opacity:.18}.curve{stroke:var(--prepare);stroke-width:1.6;stroke-linejoin:round}
.whisker{stroke:var(--prepare);stroke-width:1;opacity:.6}
.dot{fill:var(--soft);stroke:var(--paper);stroke-width:1}.dot.good{fill:var(--good)}.dot.bad{fill:var(--bad)}
.axis{stroke:var(--edge);stroke-width:1}.lane-line{stroke:var(--rule);stroke-width:1}
.staff{stroke:var(--edge);stroke-width:.8;stroke-dasharray:1 3}
.flag{fill:var(--ground);stroke:var(--edge);stroke-width:.8}
.flag.good{stroke:var(--good)}.flag.bad{stroke:var(--bad);stroke-width:1.4}
.bar.prepare,.bar.started{fill:var(--prepare)}.bar.recover{fill:var(--recover)}.bar.check{fill:var(--check)}
.bar.quiet,.bar.scheduled{fill:var(--quiet)}.bar.failed{fill:var(--bad)}
.bar.stopped{fill:var(--paper);stroke:var(--prepare);stroke-width:1.6}
.budget{fill:var(--budget);stroke:var(--edge);stroke-width:.7;stroke-dasharray:2 2}
.rest{fill:var(--rest-ground)}.rest-doubt{fill:var(--rest-ground);opacity:.5}
.rest-edge{stroke:var(--rest);stroke-width:1.2}
.not-before{stroke:var(--ink);stroke-width:1;stroke-dasharray:5 3}
.cut{fill:var(--paper)}.cut-edge{stroke:var(--edge);stroke-width:1;stroke-dasharray:3 3}
.need{stroke:var(--bad);stroke-width:1.3;stroke-dasharray:5 3}
.kind-freeze{fill:var(--prepare)}.kind-reboot{fill:var(--rest)}.kind-redeploy{fill:var(--check)}
.kind-preempt{fill:var(--bad)}.kind-terminate{fill:var(--soft)}.kind-unknown{fill:var(--edge)}
.kind-unannounced{fill:var(--recover)}.kind-live-migration{fill:var(--good)}
.length{fill:var(--prepare);fill-opacity:.62;stroke:var(--paper);stroke-width:.8}
svg .need-text{fill:var(--bad);font-weight:600}
.mid{stroke:var(--ink);stroke-width:2}
@media (max-width:700px){
body{padding:22px 16px 32px}
h1{font-size:21px}
h2{margin-top:34px}
svg.wide{display:none}svg.narrow{display:block}
.key{display:block;font-size:14px;line-height:1.9;margin:8px 0 0;padding:0;list-style:none}
.key li{display:inline-block;margin-right:12px}
.figures{grid-template-columns:1fr 1fr}
.figures div{padding:12px 14px}
.figures dd{font-size:18px}
table.stacks,table.stacks tbody,table.stacks tr,table.stacks td,table.stacks th{display:block}
table.stacks thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.stacks tr{padding:9px 0;border-bottom:1px solid var(--rule)}
table.stacks th,table.stacks td{border:0;padding:1px 0;text-align:left}
table.stacks td:empty{display:none}
table.stacks td[data-head]::before{content:attr(data-head) " ";color:var(--soft);font-size:13px;margin-right:6px}
td.moment{white-space:normal}
}
@media print{
:root{LIGHT}
@page{margin:16mm 14mm}
body{max-width:none;padding:0;font-size:10.5pt}
h1{font-size:17pt}h2{font-size:12.5pt;margin-top:22pt;break-after:avoid}h3{break-after:avoid}
svg.wide{display:block}svg.narrow,.key{display:none}
figure,.figures,tr,table.keep{break-inside:avoid}
thead{display:table-header-group}
table{font-size:9.5pt}
.figures{grid-template-columns:repeat(auto-fit,minmax(110px,1fr))}.figures dd{font-size:12pt}
.figures div{padding:8pt 9pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
pre{font-size:8.5pt}
footer{break-inside:avoid}
}
"""


def style_sheet() -> Markup:
    """Return the one style sheet."""
    light, dark = _variables(LIGHT), _variables(DARK)
    head = f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return Markup(head + CSS_RULES.replace("LIGHT", f"color-scheme:light;{light}"))


def html_document(title: str, *body: str) -> str:
    """Given the page's title and the content of its body, return the whole file's text."""
    sheet = style_sheet()
    digest = b64encode(sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag("head", tag("meta", charset="utf-8"),
               tag("meta", http_equiv="Content-Security-Policy", content=policy),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="referrer", content="no-referrer"),
               tag("meta", name="robots", content="noindex"),
               tag("title", title), tag("style", sheet))
    return join(Markup("<!doctype html>\n"), tag("html", head, tag("body", *body), lang="en"), "\n")


def _variables(colours: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


# --- Components

LOOKS: Mapping[Severity, str] = MappingProxyType({
    Severity.CARRIED: "good", Severity.WITHDRAWN: "calm", Severity.ATTENTION: "bad", Severity.OPEN: "open",
    Severity.PASSED: "calm",
    Severity.WATCHED: "calm",
})


NAME_SIGNS, NOTE_SIGNS = 120, 600      # of a stranger's words, at most


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number at a glance, with a line beneath it."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class TableCell:
    content: str
    look: str = ""


TableRows = list[list[TableCell | str]]


def badge(tone: Severity) -> Markup:
    words = tone.value
    return tag("span", words[0].upper() + words[1:], class_=f"tone {LOOKS[tone]}")


def at_a_glance(figures: Iterable[KeyFigure]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", one.name),
                           tag("dd", one.value, tag("span", one.more, class_="more") if one.more else ""))
                       for one in figures), class_="figures")


def table(heads: Sequence[str], rows: Iterable[Sequence[TableCell | str]], look: str = "stacks") -> Markup:
    """Given heads and rows, return a table whose first column names its row; on a phone each row becomes a block."""
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in heads)))
    body = tag("tbody", *(tag("tr", *(_cell(cell, heads[index], index == 0) for index, cell in enumerate(row)))
                          for row in rows))
    return tag("table", head, body, class_=look)


def figure(draw: Callable[[PageLayout], Drawing], *caption: str) -> Markup:
    """Given what draws one layout, return both drawings; the sheet shows the one that fits."""
    drawings = (svg(draw(layout), layout.name) for layout in LAYOUTS)
    return tag("figure", *drawings, tag("figcaption", *caption) if caption else "")


def section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content)


def lines(items: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items), class_="plain")


def _cell(cell: TableCell | str, head: str, is_first: bool) -> Markup:
    given = cell if isinstance(cell, TableCell) else TableCell(cell)
    if is_first:
        return tag("th", given.content, scope="row", class_=given.look or None)
    return tag("td", given.content, class_=given.look or None, data_head=head or None)
