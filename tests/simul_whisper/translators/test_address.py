"""Urls of endpoints that people write."""

import pytest

from simul_whisper.errors import ConfigError
from simul_whisper.translators.address import parsed_address


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "host/v1",
        "localhost:11434/v1",
        "http://",
        "http:///v1",
        "http://host:port/v1",
        "http://host:99999/v1",
        "http://host/v1?key=1",
        "http://host/v1#top",
        "http://[::1/v1",
        f"http://{'a' * 64}.example/v1",
        "http://a..example/v1",
        "http://host/v 1",
        "http://host/ü",
        "file:///etc/passwd",
    ],
)
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="got url = "):
        parsed_address(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1"),
        ("https://Host.example/v1/chat/completions", "https://host.example/v1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://übersetzer.example/v1", "http://xn--bersetzer-p9a.example/v1"),
    ],
)
def test_urls_as_people_write_them(url: str, shown: str) -> None:
    assert str(parsed_address(url)) == shown


def test_a_secret_in_a_url_is_refused_and_not_shown() -> None:
    for url in ("http://me:secret@host/v1", "https://secret@host/v1"):
        with pytest.raises(ConfigError, match="with a name or password in it; give a key as OPENAI_API_KEY") as told:
            parsed_address(url)
        assert "secret" not in str(told.value)
