"""Where an endpoint is: a url that people write, checked before anything is sent to it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import shown

_EXAMPLE = "expected one such as http://127.0.0.1:11434/v1"


@dataclass(frozen=True)
class Address:
    """scheme: http or https. path: without a slash at its end. port: None for that of the scheme."""

    scheme: str
    host: str
    port: int | None
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}{self.path}"


def parsed_address(url: str) -> Address:
    """Return where a url points to. Raises ConfigError for all that is no plain address of HTTP."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"got url = {shown(url)}, {_EXAMPLE}") from error
    if parts.username is not None or parts.password is not None:
        # Not shown: it is a secret.
        raise ConfigError("got a url with a name or password in it; give a key as OPENAI_API_KEY in the environment")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigError(f"got url = {shown(url)}, {_EXAMPLE}")
    if not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
        raise ConfigError(f"got url = {shown(url)}, expected a path in ASCII without spaces")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return Address(parts.scheme, host, port, path)
