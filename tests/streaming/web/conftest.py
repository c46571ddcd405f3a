"""The page where there is no server behind it."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    from tests.streaming.web.browser import open_web

    with open_web() as opened:
        yield opened
