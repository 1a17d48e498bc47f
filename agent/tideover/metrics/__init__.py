"""Figures for Prometheus: what happened, counted; how long it took; and how things stand now.

Owns the library prometheus_client, and is imported only when [metrics] asks for it: an agent without it pays nothing.
`updates` is pure, `collector` keeps the counts, `exporters` serves and writes them. It decides nothing,
and no trouble of its own stops the agent.
"""
from __future__ import annotations

from importlib.util import find_spec

LIBRARY = "prometheus_client"
MISSING = ("the Python library prometheus_client is not installed; apt install python3-prometheus-client, "
           "or pip install 'tideover[metrics]'")


def why_not() -> str | None:
    """Return why there can be no figures here, and what to do; None if there can. Loads nothing."""
    return MISSING if find_spec(LIBRARY) is None else None
