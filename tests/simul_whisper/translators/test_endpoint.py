"""What servers may say, made up: it is text, or one error. What they do say is in test_openai.py."""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.errors import TranslationError
from simul_whisper.translators import endpoint
from simul_whisper.translators.address import parsed_address
from simul_whisper.translators.connections import Response
from tests.properties import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from("choices delta message error content finish_reason detail id".split()), inner)
    ),
    max_leaves=8,
)
LINES = st.binary(max_size=30) | JSON.map(lambda value: f"data: {json.dumps(value)}".encode())


@examples(200)
@given(st.lists(LINES, max_size=5), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_whatever_a_server_says_is_text_or_one_error(lines: list[bytes], end: bytes) -> None:
    response = Response(200, {}, iter([end.join(lines)]))
    with suppress(TranslationError):
        assert all(isinstance(piece, str) for piece in endpoint._pieces(endpoint._lines(response)))


@examples(200)
@given(JSON, st.sampled_from([302, 401, 404, 429, 500]))
def test_whatever_an_error_says_is_one_message(value: object, status: int) -> None:
    asked = endpoint.Endpoint(parsed_address("http://127.0.0.1/v1"), "", 1)
    assert isinstance(asked._reason(Response(status, {}, iter([json.dumps(value).encode()]))), str)
