"""HTML pages of one event or of the whole history. Pure: records in, the text of a file out.

record → account (values) → drawings (shapes with places) → SVG and HTML, where our own words are typeset. Nothing here
reads a clock or a file.
"""
from __future__ import annotations

from tideover.html.event_page import event_page
from tideover.html.report import report_document, report_lines, report_page
from tideover.html.statistics import HistoryStatistics, history_statistics

__all__ = ["HistoryStatistics", "event_page", "history_statistics", "report_document", "report_lines", "report_page"]
