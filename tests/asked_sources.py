"""One poll of a source, which must have brought a document, or failed."""
from __future__ import annotations

from tideover.observations import Polled, PollFailed
from tideover.sources import Source


def polled(source: Source) -> Polled:
    news = source.poll()
    assert isinstance(news, Polled), news
    return news


def failed(source: Source) -> PollFailed:
    news = source.poll()
    assert isinstance(news, PollFailed), news
    return news
