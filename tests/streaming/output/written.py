"""Events as a format writes them, and what others read of its text."""

import logging
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ttconv.imsc import reader as imsc_reader
from ttconv.model import Br, ContentDocument, ContentElement, P, Text

from streaming.events import Event
from streaming.output.formats import WORDS_SCHEMA, Format, open_format

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / f"{WORDS_SCHEMA}.json"


def fed(written: Format, events: Iterable[Event]) -> str:
    return "".join(written.feed(event) for event in events)


def text_of(name: str, events: Iterable[Event], **options: object) -> str:
    written = open_format(name, **options)  # type: ignore[arg-type]
    return fed(written, events) + written.end()


def ttml_of(text: str, caplog: pytest.LogCaptureFixture) -> ContentDocument:
    """What ttconv reads, without a word of complaint."""
    with caplog.at_level(logging.WARNING):
        document = imsc_reader.to_model(ElementTree.ElementTree(ElementTree.fromstring(text)))
    assert document is not None
    assert not caplog.records
    return document


def paragraphs(element: ContentElement) -> list[P]:
    return [each for each in element.dfs_iterator() if isinstance(each, P)]


def shown(paragraph: P) -> str:
    parts = (
        each.get_text() if isinstance(each, Text) else "\n" * isinstance(each, Br) for each in paragraph.dfs_iterator()
    )
    return "".join(parts)
