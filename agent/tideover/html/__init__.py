"""Pages to read, print and send: one event, or the whole history. Pure: records in, the text of a file out.

record → account (values) → drawings (shapes with places) → SVG and HTML, where our own words are typeset. Nothing here
reads a clock or a file.
"""
from __future__ import annotations

from tideover.page.event_page import event_page
from tideover.page.figures import Figures, figures_of
from tideover.page.report_page import report_page
from tideover.page.report_words import report_document, report_lines

__all__ = ["Figures", "event_page", "figures_of", "report_document", "report_lines", "report_page"]
