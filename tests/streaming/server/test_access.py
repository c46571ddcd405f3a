"""Who is let in, by a real server over real sockets: tokens, and pages from elsewhere."""

import pytest

from streaming.protocols.native import Numbered, Refused
from streaming.server.access import Access
from streaming.server.tokens import one_token
from tests.streaming.serving import Served, Talker, serving
from tests.streaming.talk import END, HELLO, get


@pytest.mark.parametrize(
    ("headers", "query", "is_in"),
    [
        ({"Authorization": "Bearer se cret"}, "", True),
        ({"Authorization": "bearer se cret"}, "", True),
        ({}, "?token=se%20cret", True),
        ({}, "", False),
        ({}, "?token=", False),
        ({"Authorization": "Bearer secret"}, "?token=se%20cret", False),
        ({"Authorization": "Basic se cret"}, "", False),
    ],
)
def test_the_token_opens_the_door(headers: dict[str, str], query: str, is_in: bool) -> None:
    with serving(access=Access(one_token("se cret", "--token"))) as served:
        served.url += query
        with Talker(served, additional_headers=headers) as talker:
            talker.say(HELLO, END)
            last = talker.rest()[-1]
        code = "ended" if isinstance(last, Numbered) else last.reason.value
        assert (code, talker.close_code) == (("ended", 1000) if is_in else ("unauthorized", 1008))
        for page in ("/metrics", "/v1/model"):
            assert get(served, f"{page}{query}", headers)[0] == (200 if is_in else 401)
        assert get(served, "/health")[0] == 200


@pytest.mark.parametrize(
    ("access", "origin", "host", "is_allowed"),
    [
        (Access(), None, "127.0.0.1:8000", True),
        (Access(), "http://127.0.0.1:8000", "127.0.0.1:8000", True),
        (Access(), "http://localhost:8000", "localhost:8000", True),
        (Access(), "http://[::1]:8000", "[::1]:8000", True),
        (Access(), "http://127.0.0.1:9000", "127.0.0.1:8000", False),
        (Access(), "http://evil.example:8000", "127.0.0.1:8000", False),
        (Access(), "null", "127.0.0.1:8000", False),
        (Access(), "http://[", "[", False),
        (Access(), "http://", "", False),
        (Access(), "https://talks.example", "talks.example", True),
        (Access(), "https://evil.example", "talks.example", False),
        (Access(origins=("https://a.example",)), "https://a.example", "127.0.0.1:8000", True),
        (Access(origins=("https://a.example",)), "https://b.example", "127.0.0.1:8000", False),
        (Access(origins=("*",)), "https://b.example", "127.0.0.1:8000", True),
    ],
)
def test_pages_from_elsewhere_are_kept_out(access: Access, origin: str | None, host: str, is_allowed: bool) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert access.allows_origin(headers) is is_allowed


def test_a_page_from_elsewhere_is_told_so(served: Served) -> None:
    with Talker(served, origin="http://evil.example") as talker:
        assert [each.reason.value for each in talker.rest() if isinstance(each, Refused)] == ["origin"]
        assert talker.close_code == 1008
