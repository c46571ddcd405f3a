"""A server that all tests of a module may talk to."""

from collections.abc import Iterator

import pytest

from tests.streaming.serving import Served, serving

# What they assert is explained as in a test.
pytest.register_assert_rewrite("tests.streaming.output.written", "tests.streaming.stages.translation_stage")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served
